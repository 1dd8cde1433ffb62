# SPDX-License-Identifier: Apache-2.0
"""A brief and a generator → which candidates are ordered: cells, each with seeds."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.variation import Variation, variations
from cosmos_flywheel.generate.base import Generator


@dataclass(frozen=True, slots=True)
class Plan:
    """What is ordered of one generator, and what it cannot make."""

    orders: tuple[tuple[Variation, int], ...]
    """Cell and seed."""
    refused: tuple[str, ...]
    """Cells that it does not make, each with the reason."""
    left_open: tuple[str, ...]
    """Axes and values of the brief that it knows nothing of: they do not stand in the orders."""


def make_plan(brief: Brief, generator: Generator, count: int, seed: int = 0) -> Plan:
    """So many orders, all cells in turn and then all of them again with the next seed.

    What the generator knows nothing of is taken out of a cell, so that no candidate says of
    itself what is not true of it; cells that are then the same are ordered once.

    Args:
        brief: what is asked for.
        generator: who is to make it.
        count: how many candidates.
        seed: the first.

    """
    cells: dict[str, Variation] = {}
    refused: dict[str, None] = {}
    left_open: dict[str, None] = {}
    for asked in variations(brief):
        known = {a: v for a, v in asked.cell.items() if v in generator.axes.get(a, ())}
        cell = replace(asked, cell=known)
        reason = generator.refusal(brief, cell)
        if reason:
            refused[f'{asked.family}, {asked.actions} commands: {reason}'] = None
            continue
        cells.setdefault(f'{cell} {cell.actions}', cell)
        left_open |= dict.fromkeys(f'{a} {v}' for a, v in asked.cell.items() if a not in known)
    made = list(cells.values())
    orders = [(made[i % len(made)], seed + i // len(made)) for i in range(count if made else 0)]
    return Plan(tuple(orders), tuple(refused), tuple(left_open))

# SPDX-License-Identifier: Apache-2.0
"""The grid and what was tried → the next orders: most probable and most costly cells first.

A cell is covered by a recorded failure or an accepted candidate. One that waits for judgement
covers it only as far as candidates survive: with a chance of s each, n of them by 1 − (1 − s)^n.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.generate.grid import SMOOTHING, Cell

State = Literal['waiting', 'accepted', 'rejected']

Makers = Callable[[str, Variation], tuple[tuple[str, ...], str]]
"""Of a brief's id and its variation: which generators make it, and, where none does, why."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One candidate that was made."""

    brief: str
    key: tuple[str, ...]
    """Of its cell."""
    seed: int
    state: State = 'waiting'


@dataclass(frozen=True, slots=True)
class Costs:
    """What it costs not to have met a failure, against others; 1 where nothing is said."""

    causes: Mapping[str, float] = field(default_factory=dict)
    families: Mapping[str, float] = field(default_factory=dict)

    def of(self, cell: Cell) -> float:
        """Of its cause times that of its family."""
        return self.causes.get(cell.cause, 1.0) * self.families.get(cell.variation.family, 1.0)


@dataclass(frozen=True, slots=True)
class Filled:
    """One cell before and after the plan."""

    cell: Cell
    cost: float
    accepted: int
    waiting: int
    rejected: int
    planned: int
    before: float
    """How far it is covered, 0 to 1."""
    after: float
    refusal: str
    """Why nothing can be planned for it; '' if something can."""

    @property
    def worth(self) -> float:
        """Probability times cost."""
        return self.cell.probability * self.cost


@dataclass(frozen=True, slots=True)
class Planned:
    """One order."""

    brief: str
    variation: Variation
    seed: int
    gain: float
    """Worth that it is expected to cover, as a share of the whole grid's."""
    why: str
    backends: tuple[str, ...] = ()
    """Generators that make it; empty where that was not asked."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """The plan."""

    cells: tuple[Filled, ...]
    """In the order of the grid."""
    orders: tuple[Planned, ...]
    """The most valuable first."""
    survival: float
    """The chance that a candidate is accepted, as it was counted on."""

    def share(self, *, after: bool, by_cost: bool = True) -> float:
        """How much of the grid is covered, by probability, or by probability times cost."""
        weights = [c.worth if by_cost else c.cell.probability for c in self.cells]
        done = [c.after if after else c.before for c in self.cells]
        return sum(w * d for w, d in zip(weights, done, strict=True)) / sum(weights)


def plan_coverage(
    grid: Sequence[Cell],
    tried: Sequence[Tried],
    count: int,
    *,
    costs: Costs | None = None,
    makers: Makers | None = None,
    seed: int = 0,
) -> Coverage:
    """Choose the next orders, one after the other, each where it gains most.

    The gain of one more candidate shrinks with every one that its cell has, so that choosing
    greedily is choosing best. Of equal gains the first cell of the grid is taken; of a cell's
    briefs the one with the fewest candidates in it, then the smaller id. The same input gives
    the same plan.

    Args:
        grid: all cells.
        tried: earlier candidates; those of cells that are no longer in the grid do not count.
        count: how many orders.
        costs: weights of causes and families.
        makers: who makes what; without it every cell can be made.
        seed: the first one of a brief's variation; further ones follow the largest tried.

    """
    costs = costs or Costs()
    chance = survival(tried)
    states: dict[tuple[str, ...], Counter[State]] = {cell.key: Counter() for cell in grid}
    for one in tried:
        if one.key in states:
            states[one.key][one.state] += 1
    makeable = {cell.key: _makeable(cell, makers) for cell in grid}
    whole = sum(cell.probability * costs.of(cell) for cell in grid)
    by_brief = Counter((t.key, t.brief) for t in tried)
    seeds = _next_seeds(tried, seed)
    planned: Counter[tuple[str, ...]] = Counter()

    def gain(cell: Cell) -> float:
        if not makeable[cell.key][0] or _is_met(cell, states[cell.key]):
            return 0.0
        before = states[cell.key]['waiting'] + planned[cell.key]
        return cell.probability * costs.of(cell) / whole * chance * (1 - chance) ** before

    heap = [(-gain(cell), place) for place, cell in enumerate(grid)]
    heapq.heapify(heap)
    orders: list[Planned] = []
    while len(orders) < count and heap and heap[0][0] < 0:
        gained, place = heapq.heappop(heap)
        cell = grid[place]
        able = makeable[cell.key][0]
        brief = min(able, key=lambda name: (by_brief[cell.key, name], name))
        number = seeds.get((cell.key, brief), seed)
        why = _why(cell, costs.of(cell), states[cell.key], planned[cell.key])
        orders.append(Planned(brief, cell.variation, number, -gained, why, able[brief]))
        seeds[cell.key, brief] = number + 1
        by_brief[cell.key, brief] += 1
        planned[cell.key] += 1
        heapq.heappush(heap, (-gain(cell), place))
    filled = tuple(
        _filled(
            cell,
            costs.of(cell),
            states[cell.key],
            planned[cell.key],
            chance,
            makeable[cell.key][1],
        )
        for cell in grid
    )
    return Coverage(filled, tuple(orders), chance)


def survival(tried: Sequence[Tried]) -> float:
    """The chance that a candidate is accepted, by those that were judged; ½ before any was."""
    states = Counter(one.state for one in tried)
    judged = states['accepted'] + states['rejected']
    return (states['accepted'] + SMOOTHING) / (judged + 2 * SMOOTHING)


def _makeable(cell: Cell, makers: Makers | None) -> tuple[dict[str, tuple[str, ...]], str]:
    """Generators by brief of those that can be made, and why none can."""
    if makers is None:
        return dict.fromkeys(cell.briefs, ()), ''
    told = {brief: makers(brief, cell.variation) for brief in cell.briefs}
    able = {brief: names for brief, (names, _) in told.items() if names}
    return able, '' if able else '; '.join(sorted({why for _, why in told.values()}))


def _is_met(cell: Cell, states: Mapping[State, int]) -> bool:
    return bool(cell.real or states['accepted'])


def _next_seeds(tried: Sequence[Tried], seed: int) -> dict[tuple[tuple[str, ...], str], int]:
    found: dict[tuple[tuple[str, ...], str], int] = {}
    for one in tried:
        place = (one.key, one.brief)
        found[place] = max(found.get(place, seed), one.seed + 1)
    return found


def _filled(
    cell: Cell,
    cost: float,
    states: Counter[State],
    planned: int,
    chance: float,
    refusal: str,
) -> Filled:
    def covered(more: int) -> float:
        if _is_met(cell, states):
            return 1.0
        return 1.0 - (1.0 - chance) ** (states['waiting'] + more)

    return Filled(
        cell=cell,
        cost=cost,
        accepted=states['accepted'],
        waiting=states['waiting'],
        rejected=states['rejected'],
        planned=planned,
        before=covered(0),
        after=covered(planned),
        refusal=refusal,
    )


def _why(cell: Cell, cost: float, states: Mapping[State, int], planned: int) -> str:
    """In words: how probable, how costly, what is there."""
    there = [f'{states[s]} {s}' for s in ('waiting', 'rejected') if states[s]]
    there += [f'{planned} planned before'] if planned else []
    return (
        f'{cell.probability:.1%} of failures, cost {cost:g}, '
        f'{"has " + ", ".join(there) if there else "is empty"}'
    )

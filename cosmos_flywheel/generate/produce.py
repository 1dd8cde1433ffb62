# SPDX-License-Identifier: Apache-2.0
"""Briefs → candidates, one after another: what is refused is tried with other seeds, and told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError, SimError
from cosmos_flywheel.generate.base import Generator, Order
from cosmos_flywheel.generate.make import Candidate, make_candidate
from cosmos_flywheel.generate.plan import make_plan

ATTEMPTS = 3
"""So many seeds are tried for one candidate."""
MOST_ORDERS = 2
"""So many times the candidates that are wanted are ordered, where some are refused."""
SEEDS_APART = 10_000
"""Between the seeds of attempts."""

Progress = Callable[[int, int], None]
"""Told how many candidates are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Produced:
    """What came of one brief."""

    made: tuple[Candidate, ...]
    refused: tuple[str, ...]
    """Orders that no seed met, with the reason of the last."""
    unmade: tuple[str, ...]
    """Cells that the generator does not make, with the reason."""
    tries: int
    """Orders that were refused on the way, those among them that another seed met."""
    left_open: tuple[str, ...]
    """Axes of the brief that the generator does not know."""


@dataclass(frozen=True, slots=True)
class Source:
    """What the candidates of one brief are made from."""

    brief: Brief
    episode: Path
    """The failure's folder."""
    robot: Robot
    nominal: tuple[Path, ...] = ()
    """Bags in which nothing went wrong."""


def produce(
    out: Path,
    source: Source,
    generator: Generator,
    count: int,
    seed: int = 0,
    progress: Progress | None = None,
) -> Produced:
    """Make so many candidates of one brief; in place of a refused order the next cells are made.

    Args:
        out: where `candidates/` lies.
        source: what they are made from.
        generator: who makes them.
        count: how many.
        seed: the first.
        progress: called before each.

    Raises:
        FlywheelError: other than the refusal of an order: the clip, the disk, the engine.

    """
    plan = make_plan(source.brief, generator, MOST_ORDERS * count, seed)
    made: list[Candidate] = []
    refused: list[str] = []
    tries = 0
    for variation, at in plan.orders:
        if progress is not None:
            progress(len(made), count)
        order = Order(source.brief, source.episode, source.robot, variation, at, source.nominal)
        found, reasons = _attempt(out, order, generator)
        tries += len(reasons)
        if found is None:
            refused.append(f'{variation}, seed {at} and {ATTEMPTS - 1} more: {reasons[-1]}')
        else:
            made.append(found)
        if len(made) == count:
            break
    return Produced(tuple(made), tuple(refused), plan.refused, tries, plan.left_open)


def _attempt(
    out: Path, order: Order, generator: Generator
) -> tuple[Candidate | None, Sequence[str]]:
    reasons: list[str] = []
    for attempt in range(ATTEMPTS):
        try:
            seeded = replace(order, seed=order.seed + attempt * SEEDS_APART)
            return make_candidate(out, seeded, generator), reasons
        except (ConfigError, SimError) as error:
            reasons.append(str(error))
    return None, reasons

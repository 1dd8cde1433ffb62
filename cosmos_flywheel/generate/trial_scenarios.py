# SPDX-License-Identifier: Apache-2.0
"""The first question of a trial: can it generate the scenarios that are missing?

Wanted are the cells of the coverage grid that are most probable and most costly, as the recorded
failures leave it. The generator is asked of each whether it makes it; a few are really made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError, NotNowError, PermanentError, SimError
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.generate.backends import makers
from cosmos_flywheel.generate.base import Generator, Order
from cosmos_flywheel.generate.coverage import plan_coverage
from cosmos_flywheel.generate.grid import Cell, Real, make_grid
from cosmos_flywheel.generate.known import pack_costs
from cosmos_flywheel.generate.make import make_candidate
from cosmos_flywheel.generate.order_work import estimate_of
from cosmos_flywheel.generate.purse import Purse
from cosmos_flywheel.generate.trial_answer import Answer, answered
from cosmos_flywheel.store.candidates import read_run

WANTED = 16
"""So many cells are asked for."""
SEEDS = 3
"""So many are tried for a candidate …"""
SEEDS_APART = 10_000
"""… so far from one another that they are no other order's."""
MOST_ORDERS = 2
"""So many times the candidates that are wanted are ordered, where some are refused."""
LEAST_SHARE = 0.5
"""Of what the wanted cells are worth, a generator must make so much …"""
LEAST_MADE = 0.5
"""… and so many of the orders that it took."""
PIECE = 'candidate'

Progress = Callable[[float], None]
"""Told which share of the question is done."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One episode that the trial is about."""

    brief: Brief
    episode: Path
    """The failure's folder."""
    robot: Robot
    nominal: tuple[Path, ...] = ()

    def order(self, variation: Variation, seed: int) -> Order:
        """One candidate of it."""
        return Order(self.brief, self.episode, self.robot, variation, seed, self.nominal)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One cell that is missing."""

    cell: str
    """In words."""
    share: float
    """Of what all wanted cells are worth together, by probability × cost."""
    refusal: str
    """Why the generator does not make it; '' if it does."""


@dataclass(frozen=True, slots=True)
class MadeOne:
    """One candidate that was made."""

    id: str
    folder: Path
    episode: str
    variation: Variation
    seed: int
    cpu_s: float
    gpu_s: float


@dataclass(frozen=True, slots=True)
class Scenarios:
    """What came of the question."""

    answer: Answer
    wanted: tuple[Wanted, ...]
    made: tuple[MadeOne, ...]
    refused: tuple[str, ...]
    """Orders that no seed met, with the reason of the last."""

    @property
    def share(self) -> float:
        """Of the worth of the wanted cells, what the generator makes."""
        return sum(one.share for one in self.wanted if not one.refusal)


def ask_scenarios(
    out: Path,
    subjects: Sequence[Subject],
    generator: Generator,
    purse: Purse,
    *,
    count: int,
    seed: int,
    progress: Progress,
) -> Scenarios:
    """Ask of every wanted cell, and make so many candidates of each episode.

    Args:
        out: where `candidates/` lies; what is made stays there.
        subjects: episodes with briefs.
        generator: who is on trial.
        purse: what may be spent.
        count: candidates of each episode.
        seed: the first.
        progress: told as it goes.

    Raises:
        FlywheelError: other than the refusal of an order: the clip, the disk, the engine.

    """
    wanted = _wanted(subjects, generator)
    made: list[MadeOne] = []
    refused: list[str] = []
    reasons: dict[str, str] = {}
    lacking = ''
    by_episode: Counter[str] = Counter()
    for subject in subjects:
        for variation, at in _orders(subject, generator, count, seed):
            done = by_episode[subject.brief.origin.id]
            purse.expect(PIECE, estimate_of(subject.brief, generator, variation))
            lacking = lacking or purse.lacks(PIECE)
            if done == count or lacking:
                break
            progress(len(made) / (count * len(subjects)))
            try:
                one = _make(out, subject.order(variation, at), generator, purse)
            except NotNowError as error:
                lacking = str(error)
                break
            if isinstance(one, str):
                refused.append(f'{variation}, seed {at}: {one}')
                reasons[subject.brief.origin.id] = refused[-1]
            else:
                made.append(one)
                by_episode[one.episode] += 1
    asked = count * len(subjects)
    found = Scenarios(Answer('undecided', ''), wanted, tuple(made), tuple(refused))
    without = [] if lacking else [name for name in _ids(subjects) if not by_episode[name]]
    missing = [f'{len(made)} of {asked} candidates were made, then {lacking}'] if lacking else []
    why = {name: reasons.get(name, 'it makes none of its cells') for name in without}
    against = list(_against(found, generator.name, why))
    whole = (
        f'{generator.name} makes {found.share:.0%} of what is missing, by probability × cost, and '
        f'made {len(made)} of {asked} candidates'
    )
    return replace(found, answer=answered(against, missing, whole))


def _against(found: Scenarios, name: str, without: Mapping[str, str]) -> Iterator[str]:
    """What speaks against the generator; `without` are episodes that got nothing, with reasons."""
    if found.share < LEAST_SHARE:
        reasons = Counter(one.refusal for one in found.wanted if one.refusal)
        why, _ = reasons.most_common(1)[0]
        yield f'{name} makes {found.share:.0%} of what is missing ({why})'
    for episode, reason in without.items():
        yield f'of episode {episode} no candidate could be made ({reason})'
    tries = len(found.made) + len(found.refused)
    if not without and tries and len(found.made) < LEAST_MADE * tries:
        yield f'{len(found.refused)} of {tries} orders were refused ({found.refused[-1]})'


def _ids(subjects: Sequence[Subject]) -> list[str]:
    return [one.brief.origin.id for one in subjects]


def _wanted(subjects: Sequence[Subject], generator: Generator) -> tuple[Wanted, ...]:
    """The cells that are worth most, each once, and whether the generator makes them."""
    briefs = {one.brief.id: one.brief for one in subjects}
    plan = plan_coverage(_grid(subjects), (), WANTED, costs=pack_costs(list(briefs.values()))[0])
    found: dict[str, tuple[float, str]] = {}
    for order in plan.orders:
        brief = briefs[order.brief]
        _, refusal = makers([generator], brief, order.variation)
        cell = f'{brief.failure.cause.replace("_", " ")}: {order.variation}'
        if order.variation.actions not in ('recorded', 'expert'):
            cell += f', {order.variation.actions} commands'
        found.setdefault(cell, (order.gain, refusal))
    whole = sum(gain for gain, _ in found.values())
    return tuple(Wanted(cell, gain / whole, why) for cell, (gain, why) in found.items())


def _orders(
    subject: Subject, generator: Generator, count: int, seed: int
) -> list[tuple[Variation, int]]:
    """Of one episode's cells those that are worth most and can be made."""
    brief = subject.brief
    plan = plan_coverage(
        _grid([subject]),
        (),
        MOST_ORDERS * count,
        costs=pack_costs([brief])[0],
        makers=lambda _, variation: makers([generator], brief, variation),
        seed=seed,
    )
    return [(order.variation, order.seed) for order in plan.orders]


def _grid(subjects: Sequence[Subject]) -> list[Cell]:
    briefs = [one.brief for one in subjects]
    return make_grid(
        briefs, [Real(b.origin.id, b.failure.cause, b.failure.object) for b in briefs]
    )


def _make(out: Path, order: Order, generator: Generator, purse: Purse) -> MadeOne | str:
    """The candidate, or why none of the seeds gives one."""
    reason = ''
    for seed in range(order.seed, order.seed + SEEDS * SEEDS_APART, SEEDS_APART):
        with purse.pay(PIECE) as piece:
            try:
                found = make_candidate(out, replace(order, seed=seed), generator)
            except (ConfigError, SimError) as error:
                reason = str(error)
                continue
            except PermanentError as error:  # no seed mends it
                return str(error)
            piece.gpu_s = found.gpu_s
        run = read_run(found.folder)  # what it cost when it was made, if it lay there before
        return MadeOne(
            found.id,
            found.folder,
            order.brief.origin.id,
            order.variation,
            seed,
            run.get('cpu_s', found.cpu_s),
            run.get('gpu_s', found.gpu_s),
        )
    return reason

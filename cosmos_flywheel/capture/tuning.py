# SPDX-License-Identifier: Apache-2.0
"""A checkpoint, nominal bags and ways to ask → which way is the cheapest that loses nothing.

The way that the model was trained for is measured first; every other is held against it on the
same chunks. Each is fitted on two bags of three and tried on the third, faults included, as
`capture/trial.py` does. What was measured is kept, so that a tuning that was cut off goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_flywheel import schemas
from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.capture.fit import fit_judge
from cosmos_flywheel.capture.generative import CosmosChoice
from cosmos_flywheel.capture.model import settings_hash
from cosmos_flywheel.capture.trial import PERSISTENCE, Trial, try_level
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError, EngineError
from cosmos_flywheel.core.lineage import config_hash
from cosmos_flywheel.core.skill import Errors, Skill, skill_of
from cosmos_flywheel.engines import CosmosSettings
from cosmos_flywheel.engines.cosmos.settings import trained_tier
from cosmos_flywheel.engines.cosmos.sums import file_sums
from cosmos_flywheel.store.files import storing, write_document

SCHEMA = 'tune-v1'
HELD_OUT = 3
"""One bag in so many is tried on."""
FEWEST_BAGS = 2
CHOSEN = 'chosen.json'
"""The way that was picked, as all others are kept."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to ask, as it was measured."""

    settings: CosmosSettings
    cost: float | None = None
    """Median real-time factor; None for a way that cannot run here."""
    skill: Skill | None = None
    """Against persistence."""
    seen: int = 0
    """Injected faults that channels found which rest on predictions …"""
    injected: int = 0
    """… of so many."""
    errors: tuple[Errors, ...] = field(default=(), compare=False)
    """By bag, against persistence."""
    why_not: str = ''
    """Why it cannot run here."""

    def to_mapping(self, key: str) -> dict[str, Any]:
        """As written to a file of schema tune-v1."""
        return {
            'schema': SCHEMA,
            'key': key,
            'settings': asdict(self.settings),
            'cost': self.cost,
            'skill': None if self.skill is None else asdict(self.skill),
            'seen': self.seen,
            'injected': self.injected,
            'why_not': self.why_not,
            'errors': [
                {
                    'stamps_ns': one.stamps_ns.tolist(),
                    'own': _plain(one.own),
                    'standing': _plain(one.peer),
                }
                for one in self.errors
            ],
        }

    @classmethod
    def from_mapping(cls, document: Mapping[str, Any]) -> Way:
        """Read back what `to_mapping` wrote."""
        known = document['skill']
        return cls(
            CosmosSettings(**document['settings']),
            document['cost'],
            None if known is None else Skill(**{**known, 'interval': tuple(known['interval'])}),
            document['seen'],
            document['injected'],
            tuple(
                Errors(
                    np.array(one['stamps_ns'], np.int64),
                    np.array(one['own'], np.float64),  # None becomes NaN
                    np.array(one['standing'], np.float64),
                )
                for one in document['errors']
            ),
            document['why_not'],
        )


@dataclass(frozen=True, slots=True)
class Compared:
    """A way beside the one that the model was trained for."""

    way: Way
    gain: Skill | None
    """Skill against the trained way, pictures of both sizes counted by what moves in them."""

    @property
    def holds(self) -> bool:
        """Whether its skill may well be the trained way's, or more."""
        return self.gain is not None and self.gain.interval[1] >= 0


def trained(robot: Robot, base: CosmosSettings) -> CosmosSettings:
    """How the model was trained and evaluated for this robot.

    Raises:
        ConfigError: the robot has no domain.

    """
    if robot.domain is None:
        raise ConfigError(f'robot {robot.name}: cosmos.domain is none; name the domain to tune')
    return replace(base, tier=trained_tier(robot.domain.name))


def ways(
    first: CosmosSettings,
    tiers: Sequence[int],
    steps: Sequence[int],
    precisions: Sequence[str],
    shifts: Sequence[float],
) -> list[CosmosSettings]:
    """The trained way and then all others, what is likely to be cheap at last."""
    others = [
        replace(first, tier=tier, steps=count, precision=precision, shift=shift)
        for tier, count, precision, shift in product(
            sorted(tiers, reverse=True), sorted(steps, reverse=True), precisions, shifts
        )
    ]
    return list(dict.fromkeys([first, *others]))


def measure_all(
    paths: Sequence[Path],
    robot: Robot,
    checkpoint: CosmosChoice,
    asked: Sequence[CosmosSettings],
    folder: Path,
    budget_s: float,
) -> Iterator[Way]:
    """Each way as it is measured, or was before; ends when the time is spent.

    Args:
        paths: nominal bags.
        robot: whose they are.
        checkpoint: that is asked; its settings are not looked at.
        asked: ways, the trained one first, which is measured whatever the time.
        folder: where what was measured is kept.
        budget_s: after so many seconds no further way is begun.

    Raises:
        BagError, ConfigError: as `flywheel fit`, or there are too few bags.
        StoreError: the folder cannot be written.

    """
    fitted, tried = _split(paths)
    common = {
        'files': file_sums(checkpoint.checkpoint),
        'robot': settings_hash(robot),
        'bags': [_bag_id(path) for path in (*fitted, *tried)],
    }
    begun_s = time.monotonic()
    for index, settings in enumerate(asked):
        key = config_hash({**common, 'settings': asdict(settings)})
        path = folder / f'{name_of(settings)}.json'
        way = _kept(path, key)
        if way is None:
            if index and time.monotonic() - begun_s > budget_s:
                continue
            way = _measure(fitted, tried, robot, replace(checkpoint, settings=settings))
            _save(way, key, path)
        yield way


def save_chosen(way: Way, folder: Path) -> Path:
    """Keep a way as the chosen one, for `flywheel fit --settings`; returns the file."""
    path = folder / CHOSEN
    document = schemas.load(folder / f'{name_of(way.settings)}.json', SCHEMA)
    _save(way, document['key'], path)
    return path


def load_settings(path: Path) -> dict[str, Any]:
    """The settings of a way that was kept.

    Raises:
        SchemaError: it is none.

    """
    return dict(schemas.load(path, SCHEMA)['settings'])


def compare(found: Sequence[Way]) -> list[Compared]:
    """Every way beside the first, the trained one."""
    first = found[0]
    return [Compared(way, _gain(way, first)) for way in found]


def pick(compared: Sequence[Compared]) -> Way | None:
    """The cheapest that loses nothing; None if even the trained way foretells nothing.

    A way finds as many of the faults as the trained one; of skill, its interval against the
    trained one does not lie below 0.
    """
    first = compared[0].way
    if first.skill is None or not first.skill.is_proved or first.cost is None:
        return None
    found = [
        (one.way.cost, index)
        for index, one in enumerate(compared)
        if one.way.cost is not None
        and (one.way is first or (one.holds and one.way.seen >= first.seen))
    ]
    return compared[min(found)[1]].way


def name_of(settings: CosmosSettings) -> str:
    """Of a way, as its file is called."""
    return (
        f'{settings.level}_{settings.steps}_{settings.precision}_shift{settings.shift:g}'
        f'_chunk{settings.chunk}'
    )


def _measure(
    fitted: Sequence[Path], tried: Sequence[Path], robot: Robot, choice: CosmosChoice
) -> Way:
    """Fit and try one way; one that cannot run here says why."""
    settings = choice.settings
    try:
        judge = fit_judge(fitted, robot, settings.level, cosmos=choice)
        trial = try_level(tried, robot, judge)
    except EngineError as error:
        return Way(settings, why_not=str(error))
    factors = [f for one in trial.calm for f in one.factors]
    errors = tuple(one.errors[PERSISTENCE] for one in trial.calm)
    return Way(
        settings,
        round(float(np.median(factors)), 4) if factors else None,
        skill_of(errors),
        _seen(trial),
        len(trial.hits),
        errors,
    )


def _seen(trial: Trial) -> int:
    return sum(hit.by_prediction for hit in trial.hits)


def _gain(way: Way, first: Way) -> Skill | None:
    """Of chunks that both foretold, errors in units of what moved at that size."""
    return skill_of(
        [_beside(one, other) for one, other in zip(way.errors, first.errors, strict=False)]
    )


def _beside(one: Errors, other: Errors) -> Errors:
    stamps_ns, mine, theirs = np.intersect1d(one.stamps_ns, other.stamps_ns, return_indices=True)
    known = np.isfinite(one.peer[mine]) & np.isfinite(other.peer[theirs])
    mine, theirs = mine[known], theirs[known]
    if not len(mine) or not one.peer[mine].any() or not other.peer[theirs].any():
        return Errors(stamps_ns[:0], one.own[:0], other.own[:0])
    return Errors(
        stamps_ns[known],
        one.own[mine] / one.peer[mine].mean(),
        other.own[theirs] / other.peer[theirs].mean(),
    )


def _split(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Bags to fit on, and bags to try on."""
    if len(paths) < FEWEST_BAGS:
        raise ConfigError(
            f'{len(paths)} bags: one is to be fitted on and another to be tried on; give '
            f'{FEWEST_BAGS} nominal bags or more'
        )
    every = min(HELD_OUT, len(paths))
    tried = [path for i, path in enumerate(paths) if i % every == every - 1]
    return [path for path in paths if path not in tried], tried


def _bag_id(path: Path) -> str:
    with open_bag(path) as source:
        return source.bag_id


def _kept(path: Path, key: str) -> Way | None:
    """What was measured of the same files, bags and settings; None if nothing was."""
    try:
        document = json.loads(path.read_text('utf-8'))
    except (OSError, ValueError):
        return None
    if not isinstance(document, dict) or document.get('key') != key:
        return None
    schemas.check(document, SCHEMA, where=str(path))
    return Way.from_mapping(document)


def _save(way: Way, key: str, path: Path) -> None:
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_document(path, way.to_mapping(key), SCHEMA)


def _plain(values: Any) -> list[float | None]:
    """Numbers for JSON; None for NaN."""
    return [round(v, 4) if np.isfinite(v) else None for v in values.tolist()]

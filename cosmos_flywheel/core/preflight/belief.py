# SPDX-License-Identifier: Apache-2.0
"""A study → how its actions are best read: kind, frame and lag, and how sure that is.

What the robot file says is believed until another reading explains the measured changes clearly
better. Elements may be mixed up at this point: each command counts with the state that it explains
best, so that a wrong order or sign does not pass for a wrong kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cosmos_flywheel.core.preflight.log import Floats
from cosmos_flywheel.core.preflight.study import (
    ALIKE,
    EXPLAINED,
    FEWEST_ROWS,
    Study,
    clearly,
    fitted_turn,
    shares_explained,
    signed_axes,
)

LATEST_REACHED_S = 0.75
"""A robot that follows later than this follows something else."""
NOTICED = 0.3
"""Elements of which less is explained by any reading do not take part."""
NEAR_S = 0.25


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read the actions."""

    kind: str
    frame: str
    """Of deltas; `base` for absolute actions."""
    score: Floats
    """(L,) share explained by lag, 0 … 1."""

    in_time: float
    """Share at the best lag that may be: a robot does not move before it is told."""

    @property
    def best(self) -> float:
        """At its best lag; 0 where nothing is known."""
        return float(np.nanmax(self.score, initial=0.0))


class Belief:
    """The reading that is believed, and the written one."""

    def __init__(self, study: Study) -> None:
        self.study = study
        action = study.robot.action
        frame = study.meaning.frame or 'base'
        frames = ('tool', 'base') if self._turns_matter else (frame,)
        ways = [('absolute', 'base'), *(('delta', frame) for frame in frames)]
        self.readings = {way: self._reading(*way) for way in ways}
        written = ('absolute', 'base') if action.kind == 'absolute' else ('delta', frame)
        if study.meaning.frame == '' and action.kind == 'delta' and self._turns_matter:
            written = max((('delta', f) for f in frames), key=lambda w: self.readings[w].in_time)
        self.written = self.readings[written]
        best = max(self.readings.values(), key=lambda reading: reading.in_time)
        is_better = study.is_told and clearly(best.in_time, self.written.in_time)
        self.believed = best if is_better else self.written

    @property
    def is_known(self) -> bool:
        """Whether commands explain what was measured, by whatever reading."""
        return self.study.is_told and self.believed.best >= EXPLAINED

    @cached_property
    def allowed(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """(L,) whether a lag may be, for the believed kind."""
        return _allowed(self.study, self.believed.kind)

    @cached_property
    def timed(self) -> Floats:
        """(L,) share explained by lag of what does not go on at a constant speed."""
        found = self._score(self.believed.kind, self.believed.frame, centred=True)
        return found if found.max(initial=0.0) >= EXPLAINED else self.believed.score

    @cached_property
    def best_place(self) -> int:
        """Index of the lag that explains most."""
        return _peak(self.timed, np.ones(len(self.study.lags_s), bool))

    @cached_property
    def allowed_place(self) -> int:
        """Index of the lag that explains most, of those that may be."""
        return _peak(self.timed, self.allowed)

    @cached_property
    def place(self) -> int:
        """Index of the believed lag."""
        score = self.timed
        sure = clearly(float(score[self.best_place]), float(score[self.allowed_place]), 3.0)
        return self.best_place if sure else self.allowed_place

    @property
    def lag_s(self) -> float:
        """How long after its command a state comes."""
        return float(self.study.lags_s[self.place])

    @cached_property
    def near(self) -> slice:
        """Lags about the believed one: joints of one robot differ."""
        lags = self.study.lags_s
        found = np.flatnonzero(np.abs(lags - self.lag_s) <= NEAR_S)
        return slice(int(found[0]), int(found[-1]) + 1)

    @cached_property
    def axes(self) -> tuple[Floats, float, float]:
        """How a position's axes are best named and directed (3, 3), and two shares explained.

        The first share is of this way, the second of the written one.
        """
        output, part = self.study.position(self.believed.kind, self.believed.frame, self.lag_s)
        ways = signed_axes()
        shares = shares_explained(output, part, ways)
        written, best = float(shares[0]), float(shares.max())
        if not clearly(best, written):
            return ways[0], written, written
        place = int(np.argmax(shares >= best - ALIKE * (1 - written)))
        return ways[place], float(shares[place]), written

    @property
    def _turns_matter(self) -> bool:
        meaning = self.study.meaning
        return meaning.position is not None and bool(meaning.measured_rotation)

    def _reading(self, kind: str, frame: str) -> Reading:
        score = self._score(kind, frame)
        in_time = np.where(_allowed(self.study, kind), score, 0.0)
        return Reading(kind, frame, score, float(np.nanmax(in_time, initial=0.0)))

    def _score(self, kind: str, frame: str, *, centred: bool = False) -> Floats:
        """(L,) mean over the elements that can be explained at all."""
        study = self.study
        pairs = study.meaning.pairs
        total, weight = np.zeros(len(study.lags_s)), 0.0
        if pairs:
            actions, states = [p.action for p in pairs], sorted({p.state for p in pairs})
            best = {
                k: _best_of(study.fit(k, centred).explained[:, actions][:, :, states])
                for k in ('absolute', 'delta')
            }
            most = np.maximum(*(np.nanmax(b, axis=0, initial=0.0) for b in best.values()))
            counts = np.where(most >= NOTICED, most, 0.0)
            total += np.nan_to_num(best[kind]) @ counts
            weight += float(counts.sum())
        if study.meaning.position is not None:
            total += 3 * np.array([
                _any_axes(*study.position(kind, frame, float(lag), centred))
                for lag in study.lags_s
            ])  # fmt: skip
            weight += 3
        found: Floats = total / weight if weight else total
        return found


def _allowed(study: Study, kind: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(L,) lags that may be: a delta leads from its own row to the next, or a little later."""
    earliest_s = (-0.5 if kind == 'delta' else -0.25) * study.period_s
    late_enough = study.lags_s >= earliest_s - 1e-9
    allowed: np.ndarray[tuple[int], np.dtype[np.bool_]] = late_enough & (
        study.lags_s <= LATEST_REACHED_S
    )
    return allowed


def _best_of(explained: Floats) -> Floats:
    """(L, A) by the state that each command explains best."""
    known = np.where(np.isfinite(explained), explained, 0.0)
    best: Floats = known.max(axis=2)
    return best


def _any_axes(output: Floats, part: Floats) -> float:
    """Share that is explained if axes may be named, directed and turned at will."""
    if len(output) < FEWEST_ROWS or not output.any():
        return 0.0
    ways = [*signed_axes(), fitted_turn(output, part)]
    return float(shares_explained(output, part, ways).max())


def _peak(score: Floats, allowed: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> int:
    return int(np.argmax(np.where(allowed & np.isfinite(score), score, -1.0)))

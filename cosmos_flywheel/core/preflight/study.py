# SPDX-License-Identifier: Apache-2.0
"""Logs of one robot → commands and what was measured, laid on one another at any lag.

Everything is compared by its change over `HORIZON_S`: a constant offset, a slow drift and the
correlation of slow things with one another then say nothing. A delta is summed up first, so that
both kinds of action are one kind of signal: where the robot should be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import permutations, product

import numpy as np

from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.preflight.log import Floats, Log, Stamps
from cosmos_flywheel.core.preflight.meaning import Meaning, meaning_of
from cosmos_flywheel.core.preflight.rotations import nearest_rotation, rotations
from cosmos_flywheel.core.source import Source
from cosmos_flywheel.core.timeline import NS

HORIZON_S = 0.5
EARLIEST_S, LATEST_S = -1.0, 1.5
"""Lags that are looked at: how long after its command a state comes."""
COARSEST_S = 0.05
MOST_ROWS = 4000
"""Changes that are compared; longer recordings are thinned evenly."""
FEWEST_ROWS = 12
EXPLAINED = 0.6
"""An element of which so much is explained, by whatever reading, can be judged."""
ALIKE = 0.02
"""Of readings that explain nearly the same, the simplest is believed."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """One log, at the instants of its commands."""

    log: Log
    times_ns: Stamps
    """(N,)"""
    action: Floats
    """(N, A) in SI, NaN where nothing is known."""
    anchors: Floats
    """(M,) indices at which changes begin."""
    ahead: int
    """A change is over so many commands."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How single elements explain single elements, by lag."""

    explained: Floats
    """(L, A, S): share of the squared change of a state that a command explains, 0 … 1."""
    slope: Floats
    """(L, A, S): change of the state for one of the command."""


class Study:
    """What all checks of one robot share; each part is computed when it is first asked for."""

    def __init__(self, robot: Robot, logs: Sequence[Log]) -> None:
        self.robot = robot
        self.logs = logs
        self.meaning: Meaning = meaning_of(robot)
        self.stretches = [s for log in logs if (s := self._stretch(log)) is not None]

    @cached_property
    def period_s(self) -> float:
        """Median time between two commands; NaN without any."""
        steps = [np.diff(stretch.times_ns) for stretch in self.stretches]
        return float(np.median(np.concatenate(steps))) / NS if steps else float('nan')

    @cached_property
    def rows(self) -> int:
        """How many changes are compared."""
        return sum(len(stretch.anchors) for stretch in self.stretches)

    @cached_property
    def is_told(self) -> bool:
        """Whether any command ever changes within a recording."""
        return any(
            bool((stretch.action[1:] != stretch.action[:-1]).any(where=np.isfinite(
                stretch.action[1:]
            )))
            for stretch in self.stretches
        )  # fmt: skip

    @cached_property
    def lags_s(self) -> Floats:
        """(L,) the lags that are looked at, multiples of a part of the period."""
        step = self.period_s / max(2, int(np.ceil(self.period_s / COARSEST_S)))
        longest = max(EARLIEST_S, -self._shortest_s), min(LATEST_S, self._shortest_s)
        return step * np.arange(np.ceil(longest[0] / step), np.floor(longest[1] / step) + 1)

    @cached_property
    def _shortest_s(self) -> float:
        """Half of the longest stretch: a lag beyond it leaves too little to compare."""
        spans = [(s.times_ns[-1] - s.times_ns[0]) / NS for s in self.stretches]
        return float(max(spans)) / 2

    def commands(self, kind: str, centred: bool = False) -> Floats:
        """(M, A) changes of where the robot should be, if actions are of this kind.

        Centred, each recording's mean change is taken off: a constant speed tells nothing of time.
        """
        parts = []
        for stretch in self.stretches:
            signal = stretch.action
            if kind == 'delta':
                signal = np.cumsum(np.nan_to_num(signal), axis=0) - np.nan_to_num(signal)
            begin = stretch.anchors.astype(int)
            change = signal[begin + stretch.ahead] - signal[begin]
            parts.append(_centred(change) if centred else change)
        return np.concatenate(parts)

    def states(self, lag_s: float, centred: bool = False) -> Floats:
        """(M, S) changes of what was measured, so much later."""
        parts = []
        for stretch in self.stretches:
            state = self.state_at(stretch, stretch.times_ns + round(lag_s * NS))
            begin = stretch.anchors.astype(int)
            change = state[begin + stretch.ahead] - state[begin]
            parts.append(_centred(change) if centred else change)
        return np.concatenate(parts)

    def state_at(self, stretch: Stretch, times_ns: Stamps) -> Floats:
        """(T, S) in SI; NaN where nothing is known."""
        found = [
            _between(stretch.log, source, times_ns) for source in self.robot.state_sources
        ] or [np.empty((len(times_ns), 0))]
        state: Floats = np.concatenate(found, axis=1) * np.array(self.meaning.state_si)
        return state

    def state_near(self, stretch: Stretch, times_ns: Stamps) -> Floats:
        """(T, S) in SI as the nearest messages have it, without interpolation."""
        found = [
            stretch.log.tracks[source.key].nearest(times_ns)
            if source.key in stretch.log.tracks
            else np.full((len(times_ns), len(source.names)), np.nan)
            for source in self.robot.state_sources
        ] or [np.empty((len(times_ns), 0))]
        state: Floats = np.concatenate(found, axis=1) * np.array(self.meaning.state_si)
        return state

    def fit(self, kind: str, centred: bool = False) -> Fit:
        """Each element of the action against each of the state, at every lag."""
        if (kind, centred) not in self._fits:
            self._fits[kind, centred] = self._fit(self.commands(kind, centred), centred)
        return self._fits[kind, centred]

    @cached_property
    def _fits(self) -> dict[tuple[str, bool], Fit]:
        return {}

    def _fit(self, told: Floats, centred: bool) -> Fit:
        explained, slope = [], []
        known = np.isfinite(told)
        told = np.where(known, told, 0.0)
        for lag_s in self.lags_s:
            state = self.states(float(lag_s), centred)
            there = np.isfinite(state)
            state = np.where(there, state, 0.0)
            xy = told.T @ state
            xx = (told**2).T @ there
            yy = known.T.astype(float) @ state**2
            enough = known.T.astype(float) @ there >= FEWEST_ROWS
            with np.errstate(invalid='ignore', divide='ignore'):
                explained.append(np.where(enough & (xx > 0) & (yy > 0), xy**2 / (xx * yy), np.nan))
                slope.append(np.where(xx > 0, xy / xx, np.nan))
        return Fit(np.array(explained), np.array(slope))

    def position(
        self, kind: str, frame: str, lag_s: float, centred: bool = False
    ) -> tuple[Floats, Floats]:
        """Changes of the measured position, and what makes them up.

        Args:
            kind: of the action.
            frame: `tool` or `base`, of a delta.
            lag_s: how much later the state is taken.
            centred: as in `commands`.

        Returns:
            (M, 3), and (M, 3, 3, 3): by output axis, the part of an input axis (last) that is
            meant for an axis of the frame (last but one). Rows with NaN are left out.

        """
        assert self.meaning.position is not None
        told, measured = (list(part) for part in self.meaning.position)
        outputs, parts = [], []
        for stretch in self.stretches:
            state = self.state_at(stretch, stretch.times_ns + round(lag_s * NS))
            begin = stretch.anchors.astype(int)
            end = begin + stretch.ahead
            signal = stretch.action[:, told]
            if kind == 'absolute':
                change = (signal[end] - signal[begin])[:, None, :]
                part = np.eye(3)[None, :, :, None] * change[:, :, None, :]
            else:
                turn = self.turns(state) if frame == 'tool' else np.eye(3)[None]
                each = np.nan_to_num(turn)[..., None] * np.nan_to_num(signal)[:, None, None, :]
                summed = np.cumsum(each, axis=0) - each
                part = summed[end] - summed[begin]
            output = state[end][:, measured] - state[begin][:, measured]
            sound = np.isfinite(output).all(1) & np.isfinite(part).all((1, 2, 3))
            output, part = output[sound], part[sound]
            outputs.append(_centred(output) if centred else output)
            parts.append(_centred(part) if centred else part)
        return np.concatenate(outputs), np.concatenate(parts)

    def turns(self, state: Floats) -> Floats:
        """(N, 3, 3) measured orientation; identity where the state has none."""
        if not self.meaning.measured_rotation:
            return np.eye(3)[None]
        return rotations(
            state[:, list(self.meaning.measured_rotation)], self.meaning.measured_form
        )

    def _stretch(self, log: Log) -> Stretch | None:
        there = [s for s in self.robot.action_sources if s.key in log.tracks]
        if not there:
            return None
        busiest = max(there, key=lambda s: len(log.tracks[s.key].stamps_ns))
        times_ns = log.tracks[busiest.key].stamps_ns
        if len(times_ns) < 3:
            return None
        action = np.concatenate(
            [_held(log, source, times_ns) for source in self.robot.action_sources], axis=1
        ) * np.array(self.meaning.action_si)
        period_s = float(np.median(np.diff(times_ns))) / NS
        ahead = min(max(1, round(HORIZON_S / period_s)), max(1, len(times_ns) // 4))
        begins = np.arange(0, len(times_ns) - ahead, dtype=np.float64)
        thin = max(1, int(np.ceil(len(begins) * len(self.logs) / MOST_ROWS)))
        return Stretch(log, times_ns, action, begins[::thin], ahead)


def along(part: Floats, turn: Floats) -> Floats:
    """(M, 3) changes that are meant, if input axes are turned like this (3, 3)."""
    meant: Floats = np.einsum('noab,ab->no', part, turn)
    return meant


def shares_explained(output: Floats, part: Floats, turns: Sequence[Floats]) -> Floats:
    """(K,) shares of the squared change that a free factor above zero explains, by turn."""
    columns, target = part.reshape(-1, 9), output.reshape(-1)
    ways = np.array(turns).reshape(-1, 9)
    alike = ways @ (columns.T @ target)
    size = np.einsum('ki,ij,kj->k', ways, columns.T @ columns, ways) * float(target @ target)
    shares: Floats = np.where(
        (size > 0) & (alike > 0), alike**2 / np.where(size > 0, size, 1.0), 0.0
    )
    return shares


def fitted_turn(output: Floats, part: Floats) -> Floats:
    """The rotation (3, 3) of the input axes that explains about most."""
    columns = part.reshape(-1, 9)
    free = np.linalg.lstsq(columns, output.reshape(-1), rcond=1e-6)[0].reshape(3, 3)
    return nearest_rotation(np.asarray(free, np.float64))


@cache
def signed_axes() -> tuple[Floats, ...]:
    """The 48 ways to name and direct three axes, the simplest first."""
    found = []
    for order in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=3):
            turn = np.zeros((3, 3))
            turn[range(3), order] = signs
            found.append(turn)
    return tuple(sorted(found, key=_strangeness))


def _strangeness(turn: Floats) -> tuple[int, int, int]:
    """What is done by mistake comes first: nothing, one swap, one sign, a quarter turn."""
    moved = 3 - int(np.count_nonzero(np.diag(turn)))
    minus = int((turn < 0).sum())
    mirrored = int(np.linalg.det(turn) < 0 and minus != 1 and not (moved == 2 and minus == 0))
    return mirrored, moved + 2 * minus, moved


def clearly(better: float, worse: float, times: float = 4.0) -> bool:
    """Whether one share explained beats another beyond doubt."""
    return better >= EXPLAINED and (1 - better) * times < 1 - worse


def _centred(change: Floats) -> Floats:
    """Without the mean of the known rows."""
    known = np.isfinite(change)
    count = np.maximum(known.sum(axis=0), 1)
    centred: Floats = change - np.where(known, change, 0.0).sum(axis=0) / count
    return centred


def _between(log: Log, source: Source, times_ns: Stamps) -> Floats:
    track = log.tracks.get(source.key)
    if track is None:
        return np.full((len(times_ns), len(source.names)), np.nan)
    return track.between(times_ns)


def _held(log: Log, source: Source, times_ns: Stamps) -> Floats:
    track = log.tracks.get(source.key)
    if track is None:
        return np.full((len(times_ns), len(source.names)), np.nan)
    return track.held(times_ns)

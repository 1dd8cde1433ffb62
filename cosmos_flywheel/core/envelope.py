# SPDX-License-Identifier: Apache-2.0
"""The bounds that a robot's commands keep to: what leaves them is neither planned nor accepted."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, isnan

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cosmos_flywheel.core.errors import ConfigError

LIMITS = ('low', 'high', 'speed', 'acceleration')
SLACK = 1e-6
"""Share of a bound's size that rounding may add."""

Actions = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Violation:
    """One bound that a path of commands leaves."""

    name: str
    """Of the command's element."""
    limit: str
    """One of `LIMITS`."""
    step: int
    """The first step at which it happens, from 0."""
    value: float
    bound: float

    def __str__(self) -> str:
        if isnan(self.value):
            return (
                f'{self.name} is not known at step {self.step}: whether it keeps to its '
                f'{self.limit} cannot be said'
            )
        return (
            f'{self.name} leaves its {self.limit} at step {self.step}: '
            f'{self.value:.4g} against {self.bound:.4g}'
        )


@dataclass(frozen=True, slots=True)
class Envelope:
    """Bounds of each element of the command, in the robot's own units.

    Raises:
        ConfigError: lengths differ, a bound is not finite, `low` exceeds `high`, or a rate is
            not above zero.

    """

    names: tuple[str, ...]
    """Of the A elements, in the order of the robot file."""
    units: tuple[str, ...]
    hz: float
    """Commands a second: rates are differences of neighbours times this."""
    low: tuple[float, ...]
    high: tuple[float, ...]
    speed: tuple[float, ...]
    """Largest change, in units a second."""
    acceleration: tuple[float, ...]
    """Largest change of the speed, in units a second squared."""
    source: str = ''
    """What the bounds come from, in words: so many nominal recordings, a robot file."""

    def __post_init__(self) -> None:
        count = len(self.names)
        for limit in ('units', *LIMITS):
            if len(getattr(self, limit)) != count:
                raise ConfigError(f'envelope: {limit} has not {count} entries; give one a name')
        for limit in LIMITS:
            for name, value in zip(self.names, getattr(self, limit), strict=True):
                if not isfinite(value):
                    raise ConfigError(f'envelope: {limit} of {name} is {value}; give a number')
                if limit in ('speed', 'acceleration') and not value > 0:
                    raise ConfigError(f'envelope: {limit} of {name} is {value}; it must exceed 0')
        for name, low, high in zip(self.names, self.low, self.high, strict=True):
            if low > high:
                raise ConfigError(f'envelope: {name} is bounded by {low} … {high}; swap them')
        if not (isfinite(self.hz) and self.hz > 0):
            raise ConfigError(f'envelope: hz is {self.hz}; give commands a second')

    def violations(
        self, actions: ArrayLike, before: ArrayLike | None = None, *, recorded: bool = False
    ) -> tuple[Violation, ...]:
        """The first step at which each bound is left, if any; NaN leaves every bound.

        Args:
            actions: (T, A) commands at `hz`.
            before: (n, A) commands that were executed just before, so that the join is judged too.
            recorded: they were executed, and NaN is what nobody heard: that is not judged.

        Raises:
            ConfigError: the width is not that of the envelope.

        """
        path = self._path(actions)
        past = self._path(before) if before is not None else path[:0]
        whole, begin = np.concatenate([past, path]), len(past)
        speed = np.diff(whole, axis=0) * self.hz
        judged = {
            'low': (whole, -1.0, self.low, 0),
            'high': (whole, 1.0, self.high, 0),
            'speed': (np.abs(speed), 1.0, self.speed, 1),
            'acceleration': (np.abs(np.diff(speed, axis=0)) * self.hz, 1.0, self.acceleration, 2),
        }
        found: list[Violation] = []
        for limit, (values, sign, bounds, lost) in judged.items():
            bound = np.asarray(bounds)
            is_inside = sign * values <= sign * bound + SLACK * np.maximum(np.abs(bound), 1e-3)
            if recorded:
                is_inside |= np.isnan(values)
            for place, name in enumerate(self.names):
                steps = np.flatnonzero(~is_inside[:, place]) + lost - begin
                steps = steps[steps >= 0]
                if steps.size:
                    step = int(steps[0])
                    value = float(values[step + begin - lost, place])
                    found.append(Violation(name, limit, step, value, float(bound[place])))
        return tuple(found)

    def clamped(self, actions: ArrayLike) -> Actions:
        """The nearest commands (T, A) within `low` and `high`; rates are left as they are."""
        return np.clip(self._path(actions), self.low, self.high)

    def _path(self, actions: ArrayLike) -> Actions:
        path = np.asarray(actions, np.float64)
        if path.ndim != 2 or path.shape[1] != len(self.names):
            raise ConfigError(
                f'actions {path.shape} do not fit the envelope; give (T, {len(self.names)}): '
                f'{", ".join(self.names)}'
            )
        return path


def measure_envelope(
    names: tuple[str, ...],
    units: tuple[str, ...],
    hz: float,
    paths: list[Actions],
    *,
    room: float = 0.1,
    source: str = '',
) -> Envelope:
    """The envelope of what was commanded.

    Args:
        names: of the A elements.
        units: theirs.
        hz: commands a second.
        paths: (T, A) each, at `hz`; steps with NaN are left out.
        room: share of the range, and of the largest rates, that is added.
        source: what the paths are, in words.

    Raises:
        ConfigError: no path has three known steps.

    """
    known = [path[np.isfinite(path).all(1)] for path in map(np.asarray, paths)]
    known = [path for path in known if len(path) >= 3]
    if not known:
        raise ConfigError('envelope: no recording holds three commands; give nominal recordings')
    values = np.concatenate(known)
    low, high = values.min(0), values.max(0)
    margin = room * np.maximum(high - low, 1e-3)
    speed = np.max([np.abs(np.diff(path, axis=0)).max(0) for path in known], 0) * hz
    bend = np.max([np.abs(np.diff(path, 2, axis=0)).max(0) for path in known], 0) * hz * hz
    least = np.full(len(names), 1e-6)
    return Envelope(
        names,
        units,
        hz,
        _numbers(low - margin),
        _numbers(high + margin),
        _numbers(np.maximum((1 + room) * speed, least)),
        _numbers(np.maximum((1 + room) * bend, least)),
        source,
    )


def _numbers(values: Actions) -> tuple[float, ...]:
    return tuple(round(float(value), 9) for value in values)

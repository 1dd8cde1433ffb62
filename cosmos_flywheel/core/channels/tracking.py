# SPDX-License-Identifier: Apache-2.0
"""Tracking error: what was commanded against what was reached."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from cosmos_flywheel.core.channels.base import Elementwise, Moment
from cosmos_flywheel.core.types import Vector

LAG_S = 0.2
"""A command may take this long to be followed before the difference counts."""
TURN = np.float32(2 * np.pi)
FLOOR = 2e-3
"""In the commands' own unit (m, rad, m/s …)."""


class TrackingChannel(Elementwise):
    """The least |commanded − reached| over the commands of the last moments, per pair.

    Taking the least over a lag forgives a servo that follows late; one that does not follow
    at all is not forgiven. For the first of these moments nothing is said: a robot that is joined
    in the middle of a motion follows commands that nobody heard.

    Args:
        pairs: (action index, state index) that mean the same quantity in the same unit.
        names: one per pair.
        clock_hz: rate of the ticks.
        units: one per pair, or none; in `rad`, a whole turn is no error.

    """

    name = 'tracking_error'
    adaptive = True

    def __init__(
        self,
        pairs: Sequence[tuple[int, int]],
        names: Sequence[str],
        clock_hz: float,
        units: Sequence[str] = (),
    ) -> None:
        self.elements = tuple(names)
        self.floors = np.full(len(self.elements), FLOOR, np.float32)
        self._actions = np.array([a for a, _ in pairs], np.intp)
        self._angles = np.array([u == 'rad' for u in units] or [False] * len(names), bool)
        self._states = np.array([s for _, s in pairs], np.intp)
        self._commands: deque[Vector] = deque(maxlen=1 + round(LAG_S * clock_hz))
        self._told = np.zeros(len(self.elements), np.intp)
        """Ticks since each pair's first command."""

    def evidence(self, moment: Moment) -> Vector:
        """NaN while no command, or no state, is known, and for the lag after the first."""
        self._commands.append(moment.tick.action[self._actions])
        self._told += np.isfinite(self._commands[-1]) | (self._told > 0)
        errors = np.stack(self._commands) - moment.tick.state[self._states]
        errors -= np.where(self._angles, TURN * np.rint(errors / TURN), np.float32(0))
        least: Vector = np.fmin.reduce(np.abs(errors), axis=0)
        least[self._told < (self._commands.maxlen or 0)] = np.nan
        return least

    def reset(self) -> None:
        """Forget earlier commands."""
        self._commands.clear()
        self._told[:] = 0

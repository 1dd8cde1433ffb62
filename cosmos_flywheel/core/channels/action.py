# SPDX-License-Identifier: Apache-2.0
"""Action surprise: what the robot is told, against what nominal recordings were told so far on."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from cosmos_flywheel.core.channels.base import Elementwise, Moment
from cosmos_flywheel.core.prior import COURSE_S, Prior, Recording
from cosmos_flywheel.core.timeline import Tick
from cosmos_flywheel.core.types import Vector

COURSE = f'the last {COURSE_S:g} s'
"""The element that is about all states and actions together."""


class ActionChannel(Elementwise):
    """How unlike nominal recordings each action's next step is, and the last seconds as a whole.

    A failure that the commands themselves bring about is no surprise to a model that knows them;
    here the commands are what is judged. 1 is as unlike as a nominal recording ever was to the
    others; less is never surprising.

    Args:
        names: of the actions.
        prior: fitted on nominal recordings of the same robot.

    """

    name = 'action_surprise'
    adaptive = True

    def __init__(self, names: Sequence[str], prior: Prior) -> None:
        self.elements = (*names, COURSE)
        self.floors = np.ones(len(self.elements), np.float32)
        self._prior = prior
        self._past: deque[Tick] = deque(maxlen=prior.past_ticks)

    def evidence(self, moment: Moment) -> Vector:
        """NaN until enough of the past is known."""
        tick = moment.tick
        if self._past and tick.stamp_ns <= self._past[-1].stamp_ns:
            self._past.clear()
        self._past.append(tick)
        recording = Recording(
            np.array([t.stamp_ns for t in self._past], np.int64),
            np.stack([t.state for t in self._past]),
            np.stack([t.action for t in self._past]),
        )
        return self._prior.newest(recording)

    def reset(self) -> None:
        """Forget the past."""
        self._past.clear()

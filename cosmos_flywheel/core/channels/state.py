# SPDX-License-Identifier: Apache-2.0
"""State surprise: the robot's own sensors against the engine's expectation of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosmos_flywheel.core.channels.base import Elementwise, Moment
from cosmos_flywheel.core.types import Vector

FLOOR = 2e-3
"""In the state's own unit (m, rad, m/s …): below it, encoder noise."""


class StateChannel(Elementwise):
    """|predicted − measured| of every state element, in its own unit."""

    name = 'state'
    adaptive = True

    def __init__(self, names: Sequence[str]) -> None:
        self.elements = tuple(names)
        self.floors = np.full(len(self.elements), FLOOR, np.float32)

    def evidence(self, moment: Moment) -> Vector:
        """NaN for an element that was not predicted or not measured."""
        if moment.predicted_state is None:
            return np.full(len(self.floors), np.nan, np.float32)
        difference: Vector = np.abs(moment.predicted_state - moment.tick.state)
        return difference

    def reset(self) -> None:
        """Nothing is remembered here: the engine holds the past."""

# SPDX-License-Identifier: Apache-2.0
"""State surprise: the robot's own sensors against the engine's expectation of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosmos_flywheel.core.channels.base import Elementwise, Moment, ahead_in_words
from cosmos_flywheel.core.types import Vector

FLOOR = 2e-3
"""In the state's own unit (m, rad, m/s …): below it, encoder noise."""


class StateChannel(Elementwise):
    """|predicted − measured| of every state element from each horizon, in its own unit."""

    name = 'state'
    adaptive = True

    def __init__(self, names: Sequence[str], ahead_s: Sequence[float]) -> None:
        self.elements = tuple(n + ahead_in_words(ahead_s, s) for s in ahead_s for n in names)
        self._horizons = len(ahead_s)
        self.floors = np.full(len(self.elements), FLOOR, np.float32)

    def evidence(self, moment: Moment) -> Vector:
        """NaN for an element that was not predicted or not measured."""
        nothing = np.full_like(moment.tick.state, np.nan)
        states = moment.predicted_states or (None,) * self._horizons
        predicted = np.concatenate([nothing if s is None else s for s in states])
        difference: Vector = np.abs(predicted - np.tile(moment.tick.state, self._horizons))
        return difference

    def reset(self) -> None:
        """Nothing is remembered here: the engine holds the past."""

# SPDX-License-Identifier: Apache-2.0
"""Joints that sway on their own: what an engine needs to learn what each of them does.

The script holds the hand upright, so that wrist, shoulder and elbow only ever move together; of
such recordings nobody can tell which of them moved the picture. Sines of unlike periods for each
joint excite all directions (Ljung, System Identification, 1999, ch. 13).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosmos_flywheel.sim.arm_plan import GRASP_M, HOVER_M
from cosmos_flywheel.sim.arm_reach import JOINTS, Place
from cosmos_flywheel.sim.world import Numbers, Setup

SINES = 3
SLOWEST_HZ, FASTEST_HZ = 0.25, 1.0
BEGINS_S = 0.3
"""It grows from nothing: an episode begins at rest."""


@dataclass(frozen=True, slots=True)
class Sway:
    """Offsets of the arm's joints over time."""

    size_rad: float
    hz: Numbers
    """(SINES, J)."""
    phase_rad: Numbers
    """(SINES, J)."""

    @classmethod
    def drawn(cls, setup: Setup) -> Sway:
        """By the seed of a setup, as large as it wants."""
        chance, shape = setup.chance('sway'), (SINES, len(JOINTS))
        hz = chance.uniform(SLOWEST_HZ, FASTEST_HZ, shape)
        return cls(setup.change.sway_rad, hz, chance.uniform(0, 2 * np.pi, shape))

    def at(self, at_s: float, place: Place) -> Numbers:
        """(J,) radians; none where the hand is low, so that it grasps what it is to grasp."""
        high = np.clip((place.z - GRASP_M) / (HOVER_M - GRASP_M), 0.0, 1.0)
        begun = min(1.0, at_s / BEGINS_S)
        waves = np.sin(2 * np.pi * self.hz * at_s + self.phase_rad).mean(0)
        return np.asarray(self.size_rad * high * begun * waves)

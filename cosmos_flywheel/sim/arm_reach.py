# SPDX-License-Identifier: Apache-2.0
"""Places of the hand to joint angles of the arm, in closed form: the hand always points down.

Lengths are those of arm.xml. The upper arm stands up at shoulder 0 and leans forward from there;
the forearm goes on straight at elbow 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosmos_flywheel.sim.world import Numbers

JOINTS = ('base', 'shoulder', 'elbow', 'wrist', 'roll')
SHOULDER_M, UPPER_M, FORE_M, HAND_M = 0.20, 0.28, 0.26, 0.17
"""Height of the shoulder; lengths up to the elbow, the wrist and the finger tips."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the finger tips are, and how the fingers stand."""

    x: float
    y: float
    z: float
    """Metres from the foot of the arm; the table is at z = 0."""
    turn: float
    """Of the line from finger to finger, in radians from the x axis; half a turn changes
    nothing."""

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0, turn: float = 0.0) -> Place:
        """So far from here."""
        return Place(self.x + x, self.y + y, self.z + z, self.turn + turn)

    def at_height(self, z: float) -> Place:
        """The same at another height."""
        return Place(self.x, self.y, z, self.turn)

    def towards(self, other: Place, share: float) -> Place:
        """On the straight line to another place: this one at share 0, the other at 1.

        The fingers turn the shorter way round.
        """
        turn = (other.turn - self.turn + np.pi / 2) % np.pi - np.pi / 2
        return self.moved(
            share * (other.x - self.x),
            share * (other.y - self.y),
            share * (other.z - self.z),
            share * turn,
        )


def joints_at(place: Place) -> Numbers:
    """Angles of `JOINTS` (5,) with the elbow up; a place out of reach gives the nearest."""
    base = np.arctan2(place.y, place.x)
    out, up = np.hypot(place.x, place.y), place.z + HAND_M - SHOULDER_M
    square = out**2 + up**2
    bend = (square - UPPER_M**2 - FORE_M**2) / (2 * UPPER_M * FORE_M)  # law of cosines
    elbow = np.arccos(np.clip(bend, -1, 1))
    lean = np.arctan2(FORE_M * np.sin(elbow), UPPER_M + FORE_M * np.cos(elbow))
    shoulder = np.arctan2(out, up) - lean
    roll = (np.pi + base - place.turn) % np.pi - np.pi / 2
    return np.array([base, shoulder, elbow, np.pi - shoulder - elbow, roll])

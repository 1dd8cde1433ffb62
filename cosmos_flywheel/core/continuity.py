# SPDX-License-Identifier: Apache-2.0
"""Numbers of one source, message by message → the same without jumps that are none.

A quaternion and its negative are one rotation, an angle and itself plus a turn are one angle;
drivers switch between the two forms at will, and a model would take the switch for a motion.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosmos_flywheel.core.fields import Numbers

QUATERNION = ('qx', 'qy', 'qz', 'qw')
TURN = 2 * np.pi


class Continuity:
    """Chooses, of the forms that mean the same, the one nearest to the message before.

    Args:
        components: what the elements are called in the message.
        units: one per element; those in `rad` are angles.

    """

    def __init__(self, components: Sequence[object], units: Sequence[str]) -> None:
        known = list(components)
        is_whole = all(name in known for name in QUATERNION)
        self._quaternion = [known.index(name) for name in QUATERNION] if is_whole else []
        self._angles = np.array([unit == 'rad' for unit in units], bool)
        self._before: Numbers | None = None

    def follow(self, numbers: Numbers) -> Numbers:
        """The (n,) numbers of the next message; not finite ones stay and are not remembered."""
        numbers = np.array(numbers, np.float64)
        before = self._before
        if before is None:
            self._before = numbers
            return numbers
        with np.errstate(invalid='ignore'):
            turns = np.rint((numbers - before) / TURN)
        numbers -= np.where(self._angles & np.isfinite(turns), turns * TURN, 0.0)
        if self._quaternion and numbers[self._quaternion] @ before[self._quaternion] < 0:
            numbers[self._quaternion] *= -1
        self._before = np.where(np.isfinite(numbers), numbers, before)
        return numbers

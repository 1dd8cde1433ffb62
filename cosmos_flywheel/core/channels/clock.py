# SPDX-License-Identifier: Apache-2.0
"""Clock health: whether the header stamps of all topics tell one time, and only forwards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosmos_flywheel.core.channels.base import Elementwise, Moment
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import Vector

CHECKS = {'offset': 0.5, 'backwards': 0.05}
"""Per topic, with limits in seconds. offset: how far its clock is from the reference topic's;
half a second is where held values go stale. backwards: a step back of its own stamps."""


class ClockChannel(Elementwise):
    """Stamps compared in the order of arrival; the time of arrival itself is never looked at.

    The first topic is the reference. Only one sign tells: what arrives later and is stamped
    earlier comes from a clock that is behind (or from a very late sender); the other sign is
    mere silence, which is the stream channel's affair.
    """

    name = 'clock_health'
    adaptive = False

    def __init__(self, topics: Sequence[str]) -> None:
        self._index = {topic: i for i, topic in enumerate(topics)}
        self.elements = tuple(f'{check} of {topic}' for topic in topics for check in CHECKS)
        self.floors = np.array([*CHECKS.values()] * len(topics), np.float32)
        self._newest_ns: list[int | None] = [None] * len(topics)
        self._seen = np.zeros(len(self.elements), np.float32)

    def arrived(self, topic: str, stamp_ns: int) -> None:
        """A message of a watched topic came; call in the order of arrival."""
        index = self._index[topic]
        before_ns, self._newest_ns[index] = self._newest_ns[index], stamp_ns
        if before_ns is not None:
            self._note(2 * index + 1, (before_ns - stamp_ns) / NS)
        if index == 0:
            for other, other_ns in enumerate(self._newest_ns):
                if other_ns is not None:
                    self._note(2 * other, (other_ns - stamp_ns) / NS)
        elif self._newest_ns[0] is not None:
            self._note(2 * index, (self._newest_ns[0] - stamp_ns) / NS)

    def evidence(self, moment: Moment) -> Vector:
        """The worst since the last tick."""
        seen, self._seen = self._seen, np.zeros_like(self._seen)
        return seen

    def reset(self) -> None:
        """A step back is what this channel exists to see: it forgets nothing here."""

    def _note(self, element: int, seconds: float) -> None:
        self._seen[element] = max(self._seen[element], seconds)

# SPDX-License-Identifier: Apache-2.0
"""Which receiver fetches which episode just now, so that of several machines one gets it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

LEASE_S = 120.0
"""A receiver that asks for nothing for so long loses its turn."""


class Turns:
    """Known to one server as long as it runs. May be used from any thread.

    Args:
        clock: seconds that never go back.

    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, tuple[str, float]] = {}

    def is_free(self, episode_id: str, receiver: str) -> bool:
        """Whether a receiver may fetch an episode: it has its turn, or nobody has."""
        with self._lock:
            holder, until_s = self._held.get(episode_id, (receiver, 0.0))
            return holder == receiver or until_s < self._clock()

    def take(self, episode_id: str, receiver: str) -> bool:
        """Begin or prolong a turn; False while somebody else has it."""
        if not self.is_free(episode_id, receiver):
            return False
        with self._lock:
            self._held[episode_id] = (receiver, self._clock() + LEASE_S)
        return True

    def end(self, episode_id: str) -> None:
        """It has arrived."""
        with self._lock:
            self._held.pop(episode_id, None)

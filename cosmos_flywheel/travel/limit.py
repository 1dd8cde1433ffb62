# SPDX-License-Identifier: Apache-2.0
"""A cap on bytes a second, shared by all transfers of a process: a token bucket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

BLOCK_BYTES = 64 * 1024
"""What is read and written at once."""
BURST_S = 0.25
"""So much of a delay is made up for: a sleep that lasts too long costs nothing then."""


class Limit:
    """Ask before each block. May be used from any thread.

    Args:
        bytes_s: the cap; None for none.
        clock: seconds that never go back.
        sleep: waits so many seconds.

    """

    def __init__(
        self,
        bytes_s: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._bytes_s, self._clock, self._sleep = bytes_s, clock, sleep
        self._free_s = clock()
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Return when `count` more bytes may go; of a pause before, BURST_S is made up for."""
        if self._bytes_s is None:
            return
        with self._lock:
            now_s = self._clock()
            begin_s = max(self._free_s, now_s - BURST_S)
            self._free_s = begin_s + count / self._bytes_s
        if begin_s > now_s:
            self._sleep(begin_s - now_s)

# SPDX-License-Identifier: Apache-2.0
"""Messages that could not be used → counts, and the ones that fall into a capture."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cosmos_flywheel.core.timeline import NS


@dataclass(frozen=True, slots=True)
class Loss:
    """One message, or a part of it, that could not be used."""

    topic: str
    stamp_ns: int
    reason: str
    """`undecodable`, `not_finite`, `out_of_order`, `clock_reset`, `resized`, `unreadable`,
    `not_judged`."""
    detail: str


class LossLog:
    """All losses of one recording: counted for good, remembered as long as a capture is long.

    Args:
        memory_s: how long a capture may be.

    """

    def __init__(self, memory_s: float) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        """By (topic, reason)."""
        self._first: dict[tuple[str, str], str] = {}
        self._recent: deque[Loss] = deque()
        self._memory_ns = round(memory_s * NS)

    def add(self, losses: Iterable[Loss]) -> None:
        """Take losses in."""
        for loss in losses:
            self.counts[loss.topic, loss.reason] += 1
            self._first.setdefault((loss.topic, loss.reason), loss.detail)
            self._recent.append(loss)
        while self._recent and self._span_ns() > self._memory_ns:
            self._recent.popleft()

    def within(self, begin_ns: int, end_ns: int) -> tuple[Loss, ...]:
        """Those stamped in [begin_ns, end_ns)."""
        return tuple(x for x in self._recent if begin_ns <= x.stamp_ns < end_ns)

    def notes(self) -> Iterator[str]:
        """One sentence for each topic and reason."""
        for (topic, reason), count in sorted(self.counts.items()):
            first = self._first[topic, reason]
            yield f'{topic}: {count} × {reason.replace("_", " ")} (first: {first})'

    def _span_ns(self) -> int:
        return self._recent[-1].stamp_ns - self._recent[0].stamp_ns

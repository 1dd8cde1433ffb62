# SPDX-License-Identifier: Apache-2.0
"""Serialized messages as they come → the last seconds of them, within a budget of bytes.

What is too old leaves by itself. What is too much leaves early: first of the topics that are over
their own share, the oldest first, then the oldest of all; how much left early is counted, because
a clip must say what it lacks. Latched messages do not age: a late reader needs them still.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

OVERHEAD_BYTES = 200
"""What a kept message costs besides its bytes: measured with tracemalloc on CPython 3.11."""
MOST_LATCHED = 1000
"""Latched messages kept of one publisher: /tf_static sends many, each with other frames."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One message, serialized."""

    topic: str
    msgtype: str
    log_ns: int
    """When it came, on the recorder's clock."""
    data: bytes
    sequence: int | None = None
    """Of its publisher; None where the middleware does not count."""
    publisher: bytes = b''

    @property
    def size(self) -> int:
        """What it costs, in bytes."""
        return len(self.data) + OVERHEAD_BYTES


@dataclass(slots=True)
class _Lane:
    """One topic's messages, the oldest first."""

    share: float
    """Of all bytes; what it may use at most."""
    messages: deque[Kept] = field(default_factory=deque)
    size: int = 0
    early_ns: deque[int] = field(default_factory=deque)
    """Log times of messages that left early and would still be young enough."""


class Ring:
    """Push messages in the order in which they come; ask for any window that is still there.

    Args:
        seconds: how long a message is kept.
        most_bytes: of all messages together; latched ones come on top.
        shares: by pattern of topic names such as `/camera/*`, the share of `most_bytes`, 0 … 1,
            that each such topic may use; the first pattern that matches counts. All others may
            use everything.

    """

    def __init__(
        self, seconds: float, most_bytes: int, shares: Mapping[str, float] | None = None
    ) -> None:
        if seconds <= 0 or most_bytes <= 0:
            raise ValueError('a ring keeps more than 0 s and more than 0 bytes')
        self.most_bytes = most_bytes
        self.size = 0
        """Bytes that are kept, without latched messages."""
        self.evicted: Counter[str] = Counter()
        """By topic, messages that left early."""
        self._span_ns = round(seconds * 1e9)
        self._shares = dict(shares or {})
        self._lanes: dict[str, _Lane] = {}
        self._latched: dict[tuple[str, bytes], deque[Kept]] = {}
        self._newest_ns = 0

    @property
    def seconds(self) -> float:
        """How long it reaches back at present."""
        oldest = [lane.messages[0].log_ns for lane in self._lanes.values() if lane.messages]
        return (self._newest_ns - min(oldest)) / 1e9 if oldest else 0.0

    def push(self, message: Kept, *, is_latched: bool = False) -> None:
        """Keep one message; a clock that steps back lets go of all that was before."""
        if message.log_ns < self._newest_ns - self._span_ns:
            self._forget()
        self._newest_ns = max(self._newest_ns, message.log_ns)
        if is_latched:
            self._latch(message)
        lane = self._lanes.get(message.topic)
        if lane is None:
            lane = self._lanes[message.topic] = _Lane(self._share(message.topic))
        lane.messages.append(message)
        lane.size += message.size
        self.size += message.size
        self._age()
        while lane.size > lane.share * self.most_bytes and len(lane.messages) > 1:
            self._evict(message.topic, lane)
        while self.size > self.most_bytes:
            topic = self._oldest_topic()
            self._evict(topic, self._lanes[topic])

    def window(self, start_ns: int, end_ns: int) -> list[Kept]:
        """Messages of [start_ns, end_ns), in the order in which they came."""
        found = [
            message
            for lane in self._lanes.values()
            for message in lane.messages
            if start_ns <= message.log_ns < end_ns
        ]
        return sorted(found, key=lambda m: m.log_ns)

    def latched(self, before_ns: int) -> list[Kept]:
        """What a late reader at this instant would have been given, in the order it came."""
        found = [m for kept in self._latched.values() for m in kept if m.log_ns < before_ns]
        return sorted(found, key=lambda m: m.log_ns)

    def lost_in(self, start_ns: int, end_ns: int) -> dict[str, int]:
        """By topic, how many messages of the window left early."""
        found = {
            topic: sum(start_ns <= at_ns < end_ns for at_ns in lane.early_ns)
            for topic, lane in self._lanes.items()
        }
        return {topic: count for topic, count in found.items() if count}

    def _latch(self, message: Kept) -> None:
        kept = self._latched.setdefault(
            (message.topic, message.publisher), deque(maxlen=MOST_LATCHED)
        )
        if not any(one.data == message.data for one in kept):
            kept.append(message)

    def _share(self, topic: str) -> float:
        return next((s for p, s in self._shares.items() if fnmatchcase(topic, p)), 1.0)

    def _age(self) -> None:
        """Let go of what is too old."""
        limit_ns = self._newest_ns - self._span_ns
        for lane in self._lanes.values():
            while lane.messages and lane.messages[0].log_ns < limit_ns:
                self._drop(lane)
            while lane.early_ns and lane.early_ns[0] < limit_ns:
                lane.early_ns.popleft()

    def _evict(self, topic: str, lane: _Lane) -> None:
        lane.early_ns.append(lane.messages[0].log_ns)
        self.evicted[topic] += 1
        self._drop(lane)

    def _drop(self, lane: _Lane) -> None:
        size = lane.messages.popleft().size
        lane.size -= size
        self.size -= size

    def _oldest_topic(self) -> str:
        return min(
            (topic for topic, lane in self._lanes.items() if lane.messages),
            key=lambda topic: self._lanes[topic].messages[0].log_ns,
        )

    def _forget(self) -> None:
        for lane in self._lanes.values():
            lane.messages.clear()
            lane.early_ns.clear()
            lane.size = 0
        self.size = 0
        self._newest_ns = 0

# SPDX-License-Identifier: Apache-2.0
"""A bag and the wall clock → the messages that are due, in the timing of their recording."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from cosmos_flywheel.bags.records import RawMessage
from cosmos_flywheel.bags.source import BagSource

NS = 1_000_000_000
PICTURES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')


class Playback:
    """Plays one bag; every instant of the wall clock is told, so that it can be tested.

    It begins paused.

    Args:
        source: an open bag.
        topics: those to play.
        rate: seconds of the bag in a second.
        offset_s: where to begin, from the bag's first message.
        loop: whether it begins again at the end.

    """

    def __init__(
        self,
        source: BagSource,
        topics: Collection[str],
        *,
        rate: float = 1.0,
        offset_s: float = 0.0,
        loop: bool = False,
    ) -> None:
        self._source, self._topics, self._loop = source, frozenset(topics), loop
        self._begin_ns = source.start_ns + round(offset_s * NS)
        self.rate = rate
        self.is_paused = True
        self.is_over = False
        self.rounds = 0
        """How often the end was reached."""
        self._anchor_s, self._anchor_ns = 0.0, self._begin_ns
        self._messages = self._from_the_beginning()
        self._next = next(self._messages, None)
        self.is_over = self._next is None

    def position_ns(self, wall_s: float) -> int:
        """The instant of the recording that it is, on the recorder's clock."""
        if self.is_paused:
            return self._anchor_ns
        return self._anchor_ns + round((wall_s - self._anchor_s) * self.rate * NS)

    def play(self, wall_s: float) -> None:
        """Go on."""
        self._anchor_s, self.is_paused = wall_s, False

    def pause(self, wall_s: float) -> None:
        """Stop where it is."""
        self._anchor_ns, self.is_paused = self.position_ns(wall_s), True

    def set_rate(self, rate: float, wall_s: float) -> None:
        """Go on from here at another rate."""
        self._anchor_ns, self._anchor_s = self.position_ns(wall_s), wall_s
        self.rate = rate

    def restart(self, wall_s: float) -> None:
        """Go back to the beginning, playing or paused as it was."""
        self._messages = self._from_the_beginning()
        self._next = next(self._messages, None)
        self.is_over = self._next is None
        self._anchor_s, self._anchor_ns = wall_s, self._begin_ns

    def due(self, wall_s: float) -> Iterator[RawMessage]:
        """The messages whose time has come."""
        while not self.is_paused and not self.is_over:
            if self._next is None or self._next.log_ns > self.position_ns(wall_s):
                return
            yield self._take(wall_s)

    def step(self, wall_s: float) -> list[RawMessage]:
        """While paused: the messages up to and with the next picture, at once."""
        found: list[RawMessage] = []
        while self._next is not None and not self.is_over:
            found.append(self._take(wall_s))
            if found[-1].msgtype in PICTURES:
                break
        if found:
            self._anchor_ns = found[-1].log_ns
        return found

    def wait_s(self, wall_s: float) -> float | None:
        """Until the next message is due; None while paused or over."""
        if self.is_paused or self._next is None:
            return None
        return max(0.0, (self._next.log_ns - self.position_ns(wall_s)) / NS / self.rate)

    def _take(self, wall_s: float) -> RawMessage:
        message = self._next
        assert message is not None
        self._next = next(self._messages, None)
        if self._next is None:
            self.rounds += 1
            if self._loop:
                self.restart(wall_s)
            else:
                self.is_over = True
        return message

    def _from_the_beginning(self) -> Iterator[RawMessage]:
        return self._source.messages(self._topics, self._begin_ns)

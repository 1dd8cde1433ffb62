# SPDX-License-Identifier: Apache-2.0
"""The last seconds of a live robot as something that clips are cut from, like a bag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property

from cosmos_flywheel.bags.records import Channel, Damage, RawMessage, Topic
from cosmos_flywheel.bags.wire import WireTypes
from cosmos_flywheel.core.ring import Kept


class Snapshot:
    """Messages that were kept; nothing that comes later changes it.

    Args:
        bag_id: identity of the robot's session.
        messages: in the order in which they came, each once.
        latched: what a late reader would have been given before the first of them.
        types: what finds definitions.
        start_ns: when the session began, on the recorder's clock.
        qos: by topic, as a bag's channel writes it.

    """

    format, storage = 'live', 'mcap'
    damage: Damage | None = None

    def __init__(
        self,
        bag_id: str,
        messages: Sequence[Kept],
        latched: Sequence[Kept],
        types: WireTypes,
        start_ns: int,
        qos: Mapping[str, str] | None = None,
    ) -> None:
        self.bag_id = bag_id
        self.start_ns = start_ns
        self._types = types
        self._qos = dict(qos or {})
        self._latched = {kept.topic for kept in latched}
        seen = {id(kept) for kept in messages}
        earlier = [kept for kept in latched if id(kept) not in seen]
        self._messages = [
            RawMessage(k.topic, k.msgtype, k.log_ns, k.data) for k in (*earlier, *messages)
        ]
        self._messages.sort(key=lambda message: message.log_ns)

    @cached_property
    def topics(self) -> dict[str, Topic]:
        """By name."""
        counts = Counter((m.topic, m.msgtype) for m in self._messages)
        return {
            topic: Topic(
                topic, msgtype, count, topic in self._latched, self._types.readable(msgtype)
            )
            for (topic, msgtype), count in counts.items()
        }

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[RawMessage]:
        """Messages of [start_ns, stop_ns) by log time, of the named topics only."""
        for message in self._messages:
            if topics is not None and message.topic not in topics:
                continue
            if start_ns is not None and message.log_ns < start_ns:
                continue
            if stop_ns is None or message.log_ns < stop_ns:
                yield message

    def channel(self, topic: str, msgtype: str) -> Channel:
        """How a topic is stored, with its definition where one is found."""
        return self._types.channel(topic, msgtype, self._qos.get(topic, ''))

    def to_cdr(self, message: RawMessage) -> bytes:
        """Its bytes, unchanged."""
        return message.data

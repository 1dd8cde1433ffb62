# SPDX-License-Identifier: Apache-2.0
"""Topics of the graph → their serialized messages, whatever their types and QoS.

A subscription needs a type and a QoS that suits the publishers. Both are asked of the graph: a
topic is subscribed when its first publisher is there, and anew when publishers come that the
subscription does not suit. Bytes are handed on as they came.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from rclpy.clock import Clock, ROSClock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)

LOOK_S = 0.25
"""The graph is asked so often what has come and gone."""
DEPTH = 200
"""Messages that may wait while the node is busy: three seconds at 60 Hz."""
SILENT_S = 3.0
"""A topic from which nothing came for so long is called silent."""


@dataclass(frozen=True, slots=True)
class Received:
    """One message, serialized."""

    topic: str
    """Its full name in the graph."""
    type_name: str
    """As ROS 2 writes it: `sensor_msgs/msg/Image`."""
    data: bytes
    """CDR with its encapsulation, unchanged."""
    received_ns: int
    """By the node's clock, so that it follows /clock where that is used."""
    source_ns: int
    """When it was published, by the publisher's clock; 0 where the middleware does not tell."""
    sequence: int | None
    """Of its publisher; a gap is a loss. None where the middleware does not count."""
    publisher: bytes
    """Which publisher it came from; empty where the middleware does not tell."""


@dataclass(slots=True)
class Stream:
    """One topic and how it is listened to."""

    topic: str
    type_name: str = ''
    qos: QoSProfile | None = None
    is_latched: bool = False
    """Whether some publisher keeps its last message for those who come later."""
    publishers: int = 0
    count: int = 0
    """Messages that came."""
    bytes: int = 0
    newest_s: float = 0.0
    """When the last one came, of time.monotonic."""
    problem: str = ''
    """Why the topic, or some publisher of it, cannot be heard; empty if all can."""
    subscription: Any = field(default=None, repr=False)


class Streams:
    """Subscribes what is wanted and calls back with every message.

    Args:
        node: whose subscriptions they are.
        take: called with each message, in the executor's thread.

    """

    def __init__(self, node: Node, take: Callable[[Received], None]) -> None:
        self._node, self._take = node, take
        self._streams: dict[str, Stream] = {}
        self._wanted: list[str] = []
        self._unwanted: list[str] = []
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(LOOK_S, self.look, clock=steady)

    @property
    def topics(self) -> dict[str, Stream]:
        """By full name, all that is wanted so far."""
        return dict(self._streams)

    def want(self, topic: str) -> None:
        """Listen to a topic as soon as somebody publishes on it."""
        self._streams.setdefault(topic, Stream(topic))
        self.look()

    def want_matching(self, patterns: Sequence[str], but: Sequence[str] = ()) -> None:
        """Listen to every topic whose full name matches a pattern such as `/camera/*`.

        What matches one of `but` is left out, unless `want` asks for it.
        """
        self._wanted += patterns
        self._unwanted += but
        self.look()

    def problems(self) -> Iterator[str]:
        """What cannot be heard, in words."""
        clock = self._node.get_clock()
        is_told = isinstance(clock, ROSClock) and clock.ros_time_is_active
        if is_told and clock.now().nanoseconds == 0:
            yield 'use_sim_time is set and nothing has come on /clock; publish it, or unset it'
        yield from (s.problem for s in self._streams.values() if s.problem)

    def silences(self, topics: Iterable[str]) -> Iterator[str]:
        """Which of these topics spoke and speak no more, in words."""
        now_s = time.monotonic()
        for stream in (self._streams[topic] for topic in topics if topic in self._streams):
            if stream.count and now_s - stream.newest_s >= SILENT_S:
                why = '' if stream.publishers else ': its publisher is gone'
                yield f'{stream.topic} is silent for {now_s - stream.newest_s:.0f} s{why}'

    def look(self) -> None:
        """Ask the graph now, without waiting for the timer."""
        if self._wanted:
            for topic, _ in self._node.get_topic_names_and_types():
                if self._is_wanted(topic):
                    self._streams.setdefault(topic, Stream(topic))
        for stream in self._streams.values():
            self._follow(stream)

    def close(self) -> None:
        """Listen no more."""
        self._node.destroy_timer(self._timer)
        for stream in self._streams.values():
            self._drop(stream)
        self._streams.clear()

    def _is_wanted(self, topic: str) -> bool:
        return any(fnmatchcase(topic, p) for p in self._wanted) and not any(
            fnmatchcase(topic, p) for p in self._unwanted
        )

    def _follow(self, stream: Stream) -> None:
        """Subscribe, or subscribe anew, if the publishers ask for it."""
        offers = [
            offer
            for offer in self._node.get_publishers_info_by_topic(stream.topic)
            if offer.topic_type
        ]
        stream.publishers = len(offers)
        if not offers:
            return
        names = sorted({offer.topic_type for offer in offers})
        name = stream.type_name if stream.type_name in names else names[0]
        problem = ''
        if len(names) > 1:
            problem = (
                f'{stream.topic}: publishers of different types ({", ".join(names)}); only {name} '
                f'is heard'
            )
        kind = message_class(name)
        if kind is None:
            self._drop(stream)
            stream.problem = (
                f'{stream.topic}: type {name} has no Python package here; install or source it'
            )
            return
        profiles = [offer.qos_profile for offer in offers if offer.topic_type == name]
        qos = suiting(profiles)
        stream.is_latched = qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
        stream.problem = problem
        if stream.subscription is not None and (name, _key(qos)) == (
            stream.type_name,
            _key(stream.qos),
        ):
            return
        self._drop(stream)
        stream.type_name, stream.qos = name, qos
        stream.subscription = self._subscribe(stream, kind, qos)

    def _subscribe(self, stream: Stream, kind: Any, qos: QoSProfile) -> Any:
        def arrived(data: bytes, info: Any) -> None:
            stream.count += 1
            stream.bytes += len(data)
            stream.newest_s = time.monotonic()
            self._take(
                Received(
                    stream.topic,
                    stream.type_name,
                    data,
                    self._node.get_clock().now().nanoseconds,
                    int(info.get('source_timestamp') or 0),
                    info.get('publication_sequence_number'),
                    bytes((info.get('publisher_gid') or {}).get('data') or b''),
                )
            )

        return self._node.create_subscription(kind, stream.topic, arrived, qos, raw=True)

    def _drop(self, stream: Stream) -> None:
        if stream.subscription is not None:
            self._node.destroy_subscription(stream.subscription)
            stream.subscription = None


def suiting(offers: Sequence[QoSProfile]) -> QoSProfile:
    """The most demanding QoS that every one of these publishers meets.

    One that is best effort makes the subscription best effort for all; likewise durability.
    """
    reliable = all(o.reliability == ReliabilityPolicy.RELIABLE for o in offers)
    latched = all(o.durability == DurabilityPolicy.TRANSIENT_LOCAL for o in offers)
    return QoSProfile(
        depth=DEPTH,
        history=HistoryPolicy.KEEP_LAST,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def misfits(node: Node, topic: str, qos: QoSProfile) -> Iterator[str]:
    """Publishers that a subscription with a fixed QoS cannot hear, with the policy, in words."""
    for offer in node.get_publishers_info_by_topic(topic):
        fit, why = qos_check_compatible(offer.qos_profile, qos)
        if fit == QoSCompatibility.ERROR:
            reason = why.removeprefix('ERROR: ').rstrip('; ')
            yield f'{offer.node_name} cannot be heard on {topic}: {reason}'


def message_class(type_name: str) -> Any | None:
    """The class of a message type, by its name in the graph; None if it is not installed."""
    package, _, name = type_name.partition('/msg/')
    if not package.isidentifier() or not name.isidentifier():
        return None
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name, None)
    except ImportError:
        return None


def _key(qos: QoSProfile | None) -> tuple[Any, ...]:
    return () if qos is None else (qos.reliability, qos.durability)

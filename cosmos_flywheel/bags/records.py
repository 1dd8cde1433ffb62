# SPDX-License-Identifier: Apache-2.0
"""The values that reading a bag gives: topics, raw messages, and what could not be read."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

ALWAYS_LATCHED = frozenset({'/tf_static', '/robot_description'})
"""Published once by convention; older recorders did not write their QoS down."""

_TRANSIENT_LOCAL = re.compile(r'durability["\']?\s*:\s*["\']?(?:1\b|transient_local)')


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic of a bag. The name comes from the bag: never use it as a path."""

    name: str
    msgtype: str
    """As ROS 2 writes it, for ROS 1 bags too: `sensor_msgs/msg/JointState`."""
    count: int
    latched: bool
    """Offered transient_local (or a ROS 1 latch): late readers still need its last message."""
    readable: bool
    """Whether the type's definition is known, so that its messages can be deserialised."""


@dataclass(frozen=True, slots=True)
class RawMessage:
    """One message as the bag stores it; message compression alone is undone."""

    topic: str
    msgtype: str
    log_ns: int
    """When the recorder got it."""
    data: bytes
    """CDR with its four-byte encapsulation, or ROS 1 serialisation for ROS 1 bags."""
    publish_ns: int | None = None
    """When the publisher sent it, where the recorder knew."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What a damaged bag no longer gives."""

    what: str
    """Sentences naming each file, what is missing, and how the rest was had."""
    messages_read: int
    messages_expected: int | None = None
    """By metadata.yaml or the file's own index; None where nothing says."""
    missing_s: float | None = None
    """Recorded seconds after the last readable message; None where nothing says."""


@dataclass(frozen=True, slots=True)
class Channel:
    """How one topic's messages of one type are stored: all that writing them again needs."""

    topic: str
    msgtype: str
    encoding: str = 'cdr'
    """`cdr` or `ros1`; anything else is carried but never deserialised."""
    schema_encoding: str = ''
    """`ros2msg`, `ros2idl`, `ros1msg`, or empty where the bag holds no definition."""
    schema: bytes = b''
    metadata: tuple[tuple[str, str], ...] = ()
    """The MCAP channel's key-value pairs, `offered_qos_profiles` among them."""
    latched: bool = False


class StorageFile(Protocol):
    """One file of a bag, whatever its format."""

    @property
    def path(self) -> Path:
        """Where it lies."""
        ...

    @property
    def channels(self) -> Mapping[Channel, int]:
        """Channels with their number of messages."""
        ...

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """Log times of the first and the last message; None without messages."""
        ...

    @property
    def losses(self) -> Sequence[Loss]:
        """What could not be read so far; may grow while messages are read."""
        ...

    def messages(
        self, topics: Collection[str] | None, start_ns: int, stop_ns: int
    ) -> Iterator[RawMessage]:
        """Messages of the topics (None: all) in [start_ns, stop_ns), in log-time order."""
        ...

    def close(self) -> None:
        """Release the file; a second call does nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Loss:
    """One stretch of a file that could not be read."""

    what: str
    messages: int = 0
    """Messages that the file's index promised and that are gone; 0 where it never counted them."""
    missing_s: float | None = None


def offers_latched(topic: str, qos: object) -> bool:
    """Whether a topic keeps its last message for late readers, by name or by its QoS text."""
    return topic in ALWAYS_LATCHED or bool(_TRANSIENT_LOCAL.search(str(qos).lower()))

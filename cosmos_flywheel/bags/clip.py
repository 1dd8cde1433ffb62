# SPDX-License-Identifier: Apache-2.0
"""Turns a window of a bag into one MCAP file of its own, byte-identical message by message."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Protocol

from mcap.writer import CompressionType, Writer

from cosmos_flywheel.bags.records import Channel, RawMessage, Topic
from cosmos_flywheel.core.errors import BagError, StoreError

LIBRARY = 'cosmos_flywheel'
MAX_CLIP_BYTES = 4 << 30
"""Default cap on one clip: a minute of three raw 640x480 cameras at 20 Hz."""

_EVERY_TRANSFORM = '/tf_static'


class ClipSource(Protocol):
    """What clips are cut from: a bag, or the last seconds of a live robot."""

    @property
    def topics(self) -> Mapping[str, Topic]:
        """By name."""
        ...

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[RawMessage]:
        """Messages of [start_ns, stop_ns) by log time, of the named topics only."""
        ...

    def channel(self, topic: str, msgtype: str) -> Channel:
        """How a topic is stored."""
        ...

    def to_cdr(self, message: RawMessage) -> bytes:
        """The message's bytes for a ROS 2 reader; raises BagError when there are none."""
        ...


@dataclass(frozen=True, slots=True)
class ClipSummary:
    """What a clip holds."""

    messages: Mapping[str, int]
    """By topic."""
    skipped: Mapping[str, int]
    """Messages left out by topic: ROS 1 messages whose type is unknown or that are corrupt."""
    sha256: str
    size_bytes: int
    first_ns: int | None
    """Log time of the earliest message, which may be a latched one; None for an empty clip."""
    last_ns: int | None


def write_clip(
    path: Path,
    source: ClipSource,
    *,
    start_ns: int,
    end_ns: int,
    topics: Collection[str] | None = None,
    latched: Sequence[RawMessage] = (),
    max_bytes: int = MAX_CLIP_BYTES,
) -> ClipSummary:
    """Write the messages with log times in [start_ns, end_ns) to a new file NAME.mcap.

    Bytes, log times, topics, types and schemas are those of the source. Latched messages come
    first and keep their own, earlier log times; those within the window are not written twice.
    ROS 1 messages are converted to CDR, with ROS 1's field layout and ROS 2's header. The same
    source and window give the same file, bit by bit: chunks are not compressed, because the
    output of compressors changes with their version.

    The file appears under its name only when it is whole and on disk. Raises StoreError when it
    exists, cannot be written, or would hold more than `max_bytes`; nothing is left behind then.
    """
    if path.exists():
        raise StoreError(
            f'{path}: exists; a clip is never overwritten, so name another or remove it'
        )
    partial = path.with_name(f'.{path.name}.partial')
    try:
        with partial.open('wb') as file:
            sink = _HashingSink(file, max_bytes, path)
            counts = _write(sink, source, _selection(source, start_ns, end_ns, topics, latched))
            file.flush()
            os.fsync(file.fileno())
        _publish(partial, path)
    except OSError as error:
        raise StoreError(
            f'{path}: cannot be written ({error.strerror or error}); free some space or choose '
            'another folder'
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()
    return ClipSummary(
        messages=dict(sorted(counts.written.items())),
        skipped=dict(sorted(counts.skipped.items())),
        sha256=sink.sha256.hexdigest(),
        size_bytes=sink.size_bytes,
        first_ns=counts.first_ns,
        last_ns=counts.last_ns,
    )


def latched_before(
    source: ClipSource, instant_ns: int, topics: Collection[str] | None = None
) -> list[RawMessage]:
    """What a late reader would have got at an instant: by log time, for `write_clip`.

    The last message of each latched topic before it; of /tf_static, to which several nodes
    publish, every distinct one.
    """
    names = {
        topic.name
        for topic in source.topics.values()
        if topic.latched and (topics is None or topic.name in topics)
    }
    kept: dict[tuple[str, bytes], RawMessage] = {}
    for message in source.messages(names, stop_ns=instant_ns) if names else ():
        content = message.data if message.topic == _EVERY_TRANSFORM else b''
        kept[message.topic, content] = message
    return sorted(kept.values(), key=lambda message: (message.log_ns, message.topic))


class _HashingSink:
    """A stream that hashes and counts what passes, and stops at a cap."""

    def __init__(self, file: BinaryIO, max_bytes: int, path: Path) -> None:
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0
        self._file, self._max_bytes, self._path = file, max_bytes, path

    def write(self, data: bytes) -> int:
        self.size_bytes += len(data)
        if self.size_bytes > self._max_bytes:
            raise StoreError(
                f'{self._path}: the clip would exceed {self._max_bytes} bytes; shorten pre-roll '
                'and post-roll, name fewer topics, or raise the cap'
            )
        self.sha256.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self.size_bytes

    def flush(self) -> None:
        self._file.flush()


class _Counts:
    """What was written and left out so far."""

    def __init__(self) -> None:
        self.written: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.first_ns: int | None = None
        self.last_ns: int | None = None

    def add(self, message: RawMessage) -> None:
        self.written[message.topic] += 1
        at_ns = message.log_ns
        self.first_ns = at_ns if self.first_ns is None else min(self.first_ns, at_ns)
        self.last_ns = at_ns if self.last_ns is None else max(self.last_ns, at_ns)


def _selection(
    source: ClipSource,
    start_ns: int,
    end_ns: int,
    topics: Collection[str] | None,
    latched: Sequence[RawMessage],
) -> Iterator[RawMessage]:
    earlier = (message for message in latched if message.log_ns < start_ns)
    return chain(earlier, source.messages(topics, start_ns, end_ns))


def _write(sink: _HashingSink, source: ClipSource, messages: Iterator[RawMessage]) -> _Counts:
    writer = Writer(sink, compression=CompressionType.NONE)  # type: ignore[arg-type]
    writer.start(profile='ros2', library=LIBRARY)
    channels: dict[tuple[str, str], int] = {}
    counts = _Counts()
    for message in messages:
        data = _as_cdr(source, message)
        if data is None:
            counts.skipped[message.topic] += 1
            continue
        key = (message.topic, message.msgtype)
        if key not in channels:
            channels[key] = _register(writer, source, key)
        publish_ns = message.log_ns if message.publish_ns is None else message.publish_ns
        writer.add_message(channels[key], message.log_ns, data, publish_ns)
        counts.add(message)
    writer.finish()  # type: ignore[no-untyped-call]
    return counts


def _as_cdr(source: ClipSource, message: RawMessage) -> bytes | None:
    try:
        return source.to_cdr(message)
    except BagError:
        return None


def _register(writer: Writer, source: ClipSource, key: tuple[str, str]) -> int:
    channel = source.channel(*key)
    # rosbag2 leaves the schema's text empty where it has none, but always names the type.
    schema = writer.register_schema(channel.msgtype, channel.schema_encoding, channel.schema)
    return writer.register_channel(channel.topic, channel.encoding, schema, dict(channel.metadata))


def _publish(partial: Path, path: Path) -> None:
    """Give the finished file its name, never over another's."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links: the check just before is the best to be had.
        if path.exists():
            raise FileExistsError(17, 'exists by now', str(path)) from None
        partial.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

# SPDX-License-Identifier: Apache-2.0
"""Turns a recorded bag of any supported format into one stream of raw messages.

rosbag2 folders and single files (MCAP, SQLite; split; chunk, message or file compression) and
ROS 1 bags. Damaged bags give what is left and say what is gone.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import chain
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from cosmos_flywheel.bags.compression import unpack_file
from cosmos_flywheel.bags.folder import PACKED, bag_files, find_bags
from cosmos_flywheel.bags.mcap_file import McapFile
from cosmos_flywheel.bags.records import (
    Channel,
    Damage,
    Loss,
    RawMessage,
    StorageFile,
    Topic,
    offers_latched,
)
from cosmos_flywheel.bags.ros1_file import Ros1File
from cosmos_flywheel.bags.sqlite_file import SqliteFile
from cosmos_flywheel.bags.typestore import types_of
from cosmos_flywheel.core.errors import BagError

__all__ = ['BagSource', 'Channel', 'Damage', 'RawMessage', 'Topic', 'find_bags', 'open_bag']

_FINGERPRINT_BYTES = 1 << 20
_EVER_NS = 2**64
_SENTENCES = 8
_FORMATS: dict[str, tuple[str, Callable[[Path], StorageFile]]] = {
    '.mcap': ('mcap', McapFile),
    '.db3': ('sqlite3', SqliteFile),
    '.bag': ('rosbag', Ros1File),
}


class BagSource:
    """One bag, open for reading. Use it in one thread, and close it."""

    path: Path
    """As it was named."""
    bag_id: str
    """16 hex digits of sha256 over, for each file on disk in order, its size (8 bytes, little
    endian), its first MiB and its last MiB. Copies and renames keep it."""
    format: Literal['ros1', 'ros2']
    storage: str
    """`mcap`, `sqlite3` or `rosbag`."""
    topics: dict[str, Topic]
    start_ns: int
    """Log time of the first message; 0 for an empty bag."""
    end_ns: int
    """Log time just after the last message; 0 for an empty bag."""
    message_count: int

    def __init__(self, path: Path) -> None:
        """Open a bag; see `open_bag`."""
        self.path = path
        self._known = bag_files(path)
        self._losses: list[Loss] = [Loss(note) for note in self._known.notes]
        with ExitStack() as stack:
            self.bag_id = _fingerprint(self._known.files)
            self._files = self._open_files(stack)
            self._stack = stack.pop_all()
        self.storage = _kind(self._known.files[0])
        counts: Counter[Channel] = Counter()
        for file in self._files:
            counts.update(file.channels)
        self._channels = counts
        self._types = types_of(tuple(counts))
        self.topics = self._list_topics()
        spans = [file.span_ns for file in self._files if file.span_ns]
        self.start_ns = min((first for first, _ in spans), default=0)
        self.end_ns = max((last + 1 for _, last in spans), default=0)
        self.message_count = sum(counts.values())
        is_ros1 = any(channel.encoding == 'ros1' for channel in counts) or self.storage == 'rosbag'
        self.format = 'ros1' if is_ros1 else 'ros2'

    @property
    def duration_s(self) -> float:
        """Seconds from the first message to just after the last."""
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def damage(self) -> Damage | None:
        """What is missing; None for a sound bag.

        Chunks in the middle are only checked when they are read, so ask again after reading.
        """
        losses = [*self._losses, *chain.from_iterable(file.losses for file in self._files)]
        read = self.message_count - sum(loss.messages for loss in losses)
        expected = self._known.messages_expected
        if expected is not None and read < expected:
            losses.append(
                Loss(f'{expected - read} of {expected} messages of metadata.yaml are gone')
            )
        if not losses:
            return None
        return Damage(
            what=_told(losses),
            messages_read=read,
            messages_expected=expected,
            missing_s=self._missing_s(losses),
        )

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[RawMessage]:
        """Messages in log-time order, of [start_ns, stop_ns) and of the named topics only.

        Memory stays at a chunk or two, however long the bag. Topics that the bag lacks give
        nothing. What turns out to be unreadable on the way is left out and counted in `damage`.
        """
        first = -_EVER_NS if start_ns is None else start_ns
        stop = _EVER_NS if stop_ns is None else stop_ns
        for files in _overlapping(self._files):
            streams = [file.messages(topics, first, stop) for file in files]
            yield from heapq.merge(*streams, key=attrgetter('log_ns'))

    def deserialize(self, message: RawMessage) -> Any:
        """The message as a rosbags dataclass.

        Raises BagError naming topic and type when its definition is unknown or its bytes are
        corrupt.
        """
        return self._types.deserialize(message)

    def serialize(self, message: Any, msgtype: str) -> bytes:
        """A message of `deserialize`, perhaps changed, as CDR."""
        return self._types.serialize(message, msgtype)

    def holds_bytes(self, topic: str) -> bool:
        """Whether a topic's messages may carry bytes of any meaning, such as pictures."""
        return self._types.holds_bytes(self.topics[topic].msgtype)

    def stamp_ns(self, message: RawMessage) -> int | None:
        """The header stamp, read from the bytes without deserialising; None where there is none.

        Agrees with `header_stamp_ns` of the deserialised message.
        """
        return self._types.stamp_ns(message)

    def channel(self, topic: str, msgtype: str) -> Channel:
        """How a topic is stored, with its schema as ROS 2 message text where the bag has none.

        Raises BagError for a topic that the bag does not hold.
        """
        for channel in self._channels:
            if (channel.topic, channel.msgtype) == (topic, msgtype):
                return self._with_schema(channel)
        raise BagError(f'{self.path}: holds no topic {topic!r} of type {msgtype!r}')

    def message_definition(self, topic: str) -> str:
        """The text of a topic's type definition; empty where it is unknown."""
        channel = self.channel(topic, self.topics[topic].msgtype)
        return channel.schema.decode(errors='replace')

    def to_cdr(self, message: RawMessage) -> bytes:
        """The message's bytes for a ROS 2 reader: as they are, or converted from ROS 1.

        The conversion keeps ROS 1's field layout (only the header loses `seq`). Raises BagError
        when a ROS 1 message is corrupt or of unknown type.
        """
        if self.format == 'ros2':
            return message.data
        if not self._types.readable(message.msgtype):
            raise BagError(f'{message.topic!r}: type {message.msgtype!r} has no usable definition')
        return self._types.to_cdr(message)

    def close(self) -> None:
        """Release the files and whatever was unpacked for them; a second call does nothing."""
        self._stack.close()

    def __enter__(self) -> BagSource:
        """Give itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _open_files(self, stack: ExitStack) -> list[StorageFile]:
        """Open every file; one that is spoilt as a whole is a loss, unless it is the only one."""
        tried = [self._try_open(number, stack) for number in range(len(self._known.files))]
        files = [file for file in tried if file is not None]
        if not files:
            raise BagError(f'{self.path}: ' + '; '.join(loss.what for loss in self._losses))
        return files

    def _try_open(self, number: int, stack: ExitStack) -> StorageFile | None:
        try:
            file = _open_file(self._known.files[number], number, stack)
        except BagError as error:
            if len(self._known.files) == 1:
                raise
            self._losses.append(Loss(str(error)))
            return None
        return stack.enter_context(closing(file))

    def _list_topics(self) -> dict[str, Topic]:
        topics: dict[str, Topic] = {}
        for channel, count in sorted(self._channels.items(), key=lambda item: item[0].topic):
            known = topics.get(channel.topic)
            qos = self._known.qos.get(channel.topic, '')
            topics[channel.topic] = Topic(
                name=channel.topic,
                msgtype=known.msgtype if known else channel.msgtype,
                count=count + (known.count if known else 0),
                latched=channel.latched
                or offers_latched(channel.topic, qos)
                or bool(known and known.latched),
                readable=self._types.readable(channel.msgtype)
                and (known is None or known.readable),
            )
        return topics

    def _with_schema(self, channel: Channel) -> Channel:
        if channel.schema and channel.encoding != 'ros1':
            return channel
        if not self._types.readable(channel.msgtype):
            return channel
        text = self._types.ros2_text(channel.msgtype).encode()
        return Channel(
            channel.topic,
            channel.msgtype,
            'cdr',
            'ros2msg',
            text,
            channel.metadata,
            channel.latched,
        )

    def _missing_s(self, losses: Sequence[Loss]) -> float | None:
        told = [loss.missing_s for loss in losses if loss.missing_s is not None]
        if self._known.last_ns is not None:
            told.append(max(0, self._known.last_ns + 1 - self.end_ns) / 1e9)
        return max(told, default=None)


def open_bag(path: Path) -> BagSource:
    """Open a rosbag2 folder, a single .mcap or .db3 file (.zstd too), or a ROS 1 .bag.

    A folder may lack metadata.yaml. Compressed files are unpacked to a temporary folder that lives
    until `close`. Raises BagError when there is no such bag, it may not be read, it is no bag, or
    its metadata name files outside of its folder.
    """
    path = Path(path)
    try:
        return BagSource(path)
    except OSError as error:
        where = error.filename or path
        raise BagError(
            f'{where}: cannot be read ({error.strerror}); check the path and its permissions'
        ) from error


def _open_file(path: Path, number: int, stack: ExitStack) -> StorageFile:
    if path.is_dir():
        raise BagError(f'{path}: a folder where a bag file should be')
    if path.exists() and not path.is_file():
        raise BagError(f'{path}: a pipe or device, not a file; name a recorded bag')
    if not path.stat().st_size:
        raise BagError(f'{path}: empty file (0 bytes); the recorder never wrote to it')
    suffix = path.name.removesuffix(PACKED).rpartition('.')[2]
    if f'.{suffix}' not in _FORMATS:
        raise BagError(f'{path}: not a bag; name a rosbag2 folder, .mcap, .db3 or .bag')
    if path.name.endswith(PACKED):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix='flywheel-')))
        # A name of our own: the bag's may be anything.
        plain = folder / f'{number}.{suffix}'
        unpack_file(path, plain)
        path = plain
    return _FORMATS[f'.{suffix}'][1](path)


def _told(losses: Sequence[Loss]) -> str:
    """Each sentence once, and not more than a reader will read."""
    sentences = list(dict.fromkeys(loss.what for loss in losses))
    rest = len(sentences) - _SENTENCES
    return '; '.join(sentences[:_SENTENCES]) + (f'; and {rest} more losses' if rest > 0 else '')


def _kind(path: Path) -> str:
    return _FORMATS['.' + path.name.removesuffix(PACKED).rpartition('.')[2]][0]


def _fingerprint(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        if path.exists() and not path.is_file():
            continue  # opening a pipe would wait for ever
        with path.open('rb') as file:
            size_bytes = os.fstat(file.fileno()).st_size
            digest.update(size_bytes.to_bytes(8, 'little'))
            digest.update(file.read(_FINGERPRINT_BYTES))
            file.seek(max(0, size_bytes - _FINGERPRINT_BYTES))
            digest.update(file.read(_FINGERPRINT_BYTES))
    return digest.hexdigest()[:16]


def _overlapping(files: Sequence[StorageFile]) -> Iterator[list[StorageFile]]:
    """Files grouped so that no group shares log time with the next; most groups are one file."""
    spanned = sorted(
        ((file.span_ns, index) for index, file in enumerate(files) if file.span_ns is not None),
    )
    group: list[int] = []
    last_ns = -_EVER_NS
    for span, index in spanned:
        if group and span[0] > last_ns:
            yield [files[i] for i in sorted(group)]
            group = []
        group.append(index)
        last_ns = max(last_ns, span[1])
    if group:
        yield [files[i] for i in sorted(group)]

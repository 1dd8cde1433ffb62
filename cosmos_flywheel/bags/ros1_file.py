# SPDX-License-Identifier: Apache-2.0
"""Turns one ROS 1 bag (format 2.0) into raw messages, through rosbags' reader.

The reader needs the bag's index and keeps it in memory, about 160 bytes for each message, with
one chunk beside it.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from rosbags.interfaces import Connection
from rosbags.rosbag1 import Reader, ReaderError
from rosbags.rosbag1.reader import Chunk, Header

from cosmos_flywheel.bags.compression import unpack
from cosmos_flywheel.bags.records import ALWAYS_LATCHED, Channel, Loss, RawMessage
from cosmos_flywheel.core.errors import BagError

# What rosbags raises itself, and what spoilt bytes make Python raise in it.
_PARSE_ERRORS = (ReaderError, struct.error, AssertionError, LookupError, OverflowError, ValueError)
_REMEDY = 'copy it from the robot anew, or repair a copy with `rosbag reindex`'


class Ros1File:
    """One ROS 1 bag. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        """Open the bag and read its index.

        Raises BagError when it is no ROS 1 bag of format 2.0, encrypted, cut off or not indexed.
        """
        self.path = path
        self.span_ns: tuple[int, int] | None = None
        self.losses: tuple[Loss, ...] = ()
        self._reader = _BoundedReader(path)
        try:
            self._reader.open()
            self._check_index()
        except _PARSE_ERRORS as error:
            self.close()
            raise BagError(
                f'{path}: not a readable ROS 1 bag ({_told(error)}); {_REMEDY} (`rosbag decrypt` '
                'opens an encrypted one, `rosbag fix` one older than format 2.0)'
            ) from error
        self._channels = {c.id: _channel_of(c) for c in self._reader.connections}
        if self._reader.message_count:
            self.span_ns = self._reader.start_time, self._reader.end_time - 1

    @property
    def channels(self) -> Mapping[Channel, int]:
        """Channels with their number of messages."""
        counts: Counter[Channel] = Counter()
        for connection in self._reader.connections:
            counts[self._channels[connection.id]] += connection.msgcount
        return counts

    def close(self) -> None:
        """Release the file."""
        if self._reader.bio is not None:
            self._reader.close()

    def messages(
        self, topics: Collection[str] | None, start_ns: int, stop_ns: int
    ) -> Iterator[RawMessage]:
        """Messages in [start_ns, stop_ns) in log-time order, up to the first damaged chunk."""
        wanted = [c for c in self._reader.connections if topics is None or c.topic in topics]
        if not wanted:
            return  # the reader would take an empty list for all
        given = 0
        try:
            for connection, log_ns, data in self._reader.messages(wanted, start_ns, stop_ns):
                channel = self._channels[connection.id]
                yield RawMessage(channel.topic, channel.msgtype, log_ns, data)
                given += 1
        except _PARSE_ERRORS as error:
            self._note_damage(error, self._indexed(wanted, start_ns, stop_ns) - given)

    def _indexed(self, wanted: Collection[Connection], start_ns: int, stop_ns: int) -> int:
        """How many messages the index lists."""
        entries = (entry for connection in wanted for entry in self._reader.indexes[connection.id])
        return sum(start_ns <= entry.time < stop_ns for entry in entries)

    def _note_damage(self, error: Exception, lost: int) -> None:
        """Keep the reading that lost most: each one that meets the damage ends there."""
        if lost > sum(loss.messages for loss in self.losses):
            what = f'{self.path.name}: reading ended at a damaged chunk ({_told(error)})'
            self.losses = (
                Loss(f'{what}; {lost} messages from there on are lost; {_REMEDY}', lost),
            )

    def _check_index(self) -> None:
        """Raise ReaderError where the index of the bag and those of its chunks disagree."""
        promised: Counter[int] = Counter()
        indexed: Counter[int] = Counter()
        for info in self._reader.chunk_infos:
            promised.update(info.connection_counts)
        for connection in self._reader.connections:
            indexed[connection.id] += connection.msgcount
        if +promised != +indexed:
            raise ReaderError('its index contradicts itself')


class _BoundedReader(Reader):
    """Unpacks no chunk to more than its header claims, and none that claims too much."""

    def read_chunk(self) -> Chunk:
        """Read a chunk's header and step over its data."""
        assert self.bio is not None
        begin = self.bio.tell()
        chunk = super().read_chunk()
        end = self.bio.tell()
        if end > os.fstat(self.bio.fileno()).st_size:
            raise ReaderError('it ends within a chunk')
        self.bio.seek(begin)
        header = Header.read(self.bio)
        compression, size_bytes = header.get_string('compression'), header.get_uint32('size')
        self.bio.seek(end)
        return chunk._replace(decompressor=lambda data: unpack(data, compression, size_bytes))


def _channel_of(connection: Connection) -> Channel:
    latching = getattr(connection.ext, 'latching', None)
    return Channel(
        topic=connection.topic,
        msgtype=connection.msgtype,
        encoding='ros1',
        schema_encoding='ros1msg',
        schema=connection.msgdef.data.encode(),
        latched=connection.topic in ALWAYS_LATCHED or bool(latching),
    )


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__

# SPDX-License-Identifier: Apache-2.0
"""Turns one ROS 1 bag (format 2.0), indexed or not, into raw messages.

Format: https://wiki.ros.org/Bags/Format/2.0. Every record is a header of `name=value` fields and
data; messages lie in chunks, which the index at the end of the file lists.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from cosmos_flywheel.bags.compression import (
    MAX_RECORD_BYTES,
    UnpackError,
    unpack,
    unpack_prefix,
)
from cosmos_flywheel.bags.records import ALWAYS_LATCHED, Channel, Loss, RawMessage
from cosmos_flywheel.bags.spans import Span, in_log_order, loss_of, wanted_spans
from cosmos_flywheel.core.errors import BagError

MAGIC = b'#ROSBAG V2.0\n'

_MESSAGE, _BAG, _CHUNK, _CHUNK_INFO, _CONNECTION = 2, 3, 5, 6, 7
_U32 = struct.Struct('<I')
_TIME = struct.Struct('<II')
_PARSE_ERRORS = (KeyError, struct.error, ValueError)

Fields = dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class _Record:
    fields: Fields
    at: int
    """Where its data begin."""
    end: int

    @property
    def op(self) -> int:
        return int.from_bytes(self.fields.get(b'op', b''), 'little')


class Ros1File:
    """One ROS 1 bag. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        """Open the bag and read its index; walk its chunks where it has none.

        Raises BagError when it is no ROS 1 bag of format 2.0, or encrypted.
        """
        self.path = path
        self.span_ns: tuple[int, int] | None = None
        self._losses: dict[int, Loss] = {}
        self._spans: list[Span] = []
        self._channels: dict[int, Channel] = {}
        self._counts: Counter[int] = Counter()
        self._file: BinaryIO = path.open('rb')
        self._size_bytes = os.fstat(self._file.fileno()).st_size
        if self._file.read(len(MAGIC)) != MAGIC:
            self.close()
            raise BagError(f'{path}: not a ROS 1 bag of format 2.0; convert it with `rosbag fix`')
        try:
            index_pos = self._index_pos()
            indexed = index_pos and self._open_by_index(index_pos)
        except _PARSE_ERRORS:
            indexed = False
        if not indexed:
            self._open_by_walk()

    @property
    def channels(self) -> Mapping[Channel, int]:
        """Channels with their number of messages."""
        counts: Counter[Channel] = Counter()
        for key, channel in self._channels.items():
            counts[channel] += self._counts[key]
        return counts

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What could not be read so far."""
        return tuple(self._losses.values())

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def messages(
        self, topics: Collection[str] | None, start_ns: int, stop_ns: int
    ) -> Iterator[RawMessage]:
        """Messages in [start_ns, stop_ns) in log-time order; an unreadable chunk is a loss."""
        wanted = {
            key: channel
            for key, channel in self._channels.items()
            if topics is None or channel.topic in topics
        }
        spans = wanted_spans(self._spans, wanted, start_ns, stop_ns)
        return in_log_order(spans, lambda span: self._load(span, wanted, start_ns, stop_ns))

    def _load(
        self, span: Span, wanted: Mapping[int, Channel], start_ns: int, stop_ns: int
    ) -> list[RawMessage]:
        messages: list[RawMessage] = []
        seen = 0
        try:
            raw = self._records_of(span)
            for record in _walk(raw):
                if record.op != _MESSAGE:
                    continue
                key, log_ns = _u32(record.fields[b'conn']), _time_ns(record.fields[b'time'])
                seen += key in self._channels
                if key in wanted and start_ns <= log_ns < stop_ns:
                    channel = wanted[key]
                    data = raw[record.at : record.end]
                    messages.append(RawMessage(channel.topic, channel.msgtype, log_ns, data))
            if seen < span.messages:
                raise UnpackError(f'it holds {seen} messages of known topics only')
        except _PARSE_ERRORS as error:
            self._losses[span.offset] = loss_of(span, self.path, error, seen)
        return messages

    def _records_of(self, span: Span) -> bytes:
        chunk = self._record(span.offset)
        compression = chunk.fields[b'compression'].decode()
        size_bytes = _u32(chunk.fields[b'size'])
        if span.is_cut:
            packed = self._read(chunk.at, self._size_bytes - chunk.at)
            return _whole_records(unpack_prefix(packed, compression, size_bytes))
        return unpack(self._read(chunk.at, chunk.end - chunk.at), compression, size_bytes)

    def _record(self, offset: int) -> _Record:
        """The record at a byte of the file, its data unread; they may end behind the file."""
        header_bytes = _u32(self._read(offset, 4))
        header = self._read(offset + 4, header_bytes)
        at = offset + 4 + header_bytes
        data_bytes = _u32(self._read(at, 4))
        return _Record(_fields(header), at + 4, at + 4 + data_bytes)

    def _read(self, offset: int, size_bytes: int) -> bytes:
        if not 0 <= size_bytes <= MAX_RECORD_BYTES:
            raise UnpackError(f'it claims {size_bytes} bytes, limit {MAX_RECORD_BYTES}')
        missing_bytes = offset + size_bytes - self._size_bytes
        if missing_bytes > 0:
            raise UnpackError(f'the file ends {missing_bytes} bytes too early')
        self._file.seek(offset)
        return self._file.read(size_bytes)

    def _index_pos(self) -> int:
        """Where the index lies; 0 where the recorder did not live to write it."""
        bag = self._record(len(MAGIC))
        if bag.fields.get(b'encryptor'):
            self.close()
            raise BagError(f'{self.path}: encrypted; decrypt it with `rosbag decrypt` first')
        return int(struct.unpack('<Q', bag.fields[b'index_pos'])[0])

    def _open_by_index(self, offset: int) -> bool:
        """Read connections and chunk infos; False where they do not reach the end of the file."""
        while offset < self._size_bytes:
            record = self._record(offset)
            data = self._read(record.at, record.end - record.at)
            if record.op == _CONNECTION:
                self._note(record.fields, data)
            elif record.op == _CHUNK_INFO:
                self._add(_span_of(record.fields), _counts_of(data))
            else:
                return False
            offset = record.end
        return self._counts.keys() <= self._channels.keys()

    def _open_by_walk(self) -> None:
        """Find the chunks one after the other, and take what a cut one still gives."""
        self._spans.clear()
        self._counts.clear()
        offset, cut_bytes = len(MAGIC), 0
        while offset < self._size_bytes:
            try:
                record = self._record(offset)
            except _PARSE_ERRORS:
                cut_bytes = self._size_bytes - offset
                break
            if record.op == _CHUNK:
                self._index(Span(offset, 0, 0, is_cut=record.end > self._size_bytes))
            cut_bytes = max(0, record.end - self._size_bytes)
            offset = record.end
        self._losses[-1] = Loss(
            f'{self.path.name}: it has no index (the recorder was killed, or the copy is '
            f'unfinished); its chunks were read one by one, {cut_bytes} bytes of the last record '
            'are missing or spoilt'
        )

    def _index(self, span: Span) -> None:
        counts: Counter[int] = Counter()
        times: list[int] = []
        try:
            raw = self._records_of(span)
            for record in _walk(raw):
                if record.op == _CONNECTION:
                    self._note(record.fields, raw[record.at : record.end])
                elif record.op == _MESSAGE:
                    counts[_u32(record.fields[b'conn'])] += 1
                    times.append(_time_ns(record.fields[b'time']))
        except _PARSE_ERRORS as error:
            self._losses[span.offset] = loss_of(span, self.path, error)
            return
        if times:
            self._add(replace(span, start_ns=min(times), last_ns=max(times)), counts)

    def _add(self, span: Span, counts: Mapping[int, int]) -> None:
        if not counts:
            return
        self._counts.update(counts)
        total = sum(counts.values())
        self._spans.append(replace(span, channel_ids=frozenset(counts), messages=total))
        known = self.span_ns or (span.start_ns, span.last_ns)
        self.span_ns = min(known[0], span.start_ns), max(known[1], span.last_ns)

    def _note(self, fields: Fields, data: bytes) -> None:
        """Remember a connection."""
        about = _fields(data)
        topic = fields[b'topic'].decode()
        package, _, name = about[b'type'].decode().partition('/')
        self._channels[_u32(fields[b'conn'])] = Channel(
            topic=topic,
            msgtype=f'{package}/msg/{name}',
            encoding='ros1',
            schema_encoding='ros1msg',
            schema=about[b'message_definition'],
            latched=topic in ALWAYS_LATCHED or about.get(b'latching') == b'1',
        )


def _fields(header: bytes) -> Fields:
    fields, at = {}, 0
    while at < len(header):
        size_bytes = _u32(header[at : at + 4])
        name, _, value = header[at + 4 : at + 4 + size_bytes].partition(b'=')
        fields[name] = value
        at += 4 + size_bytes
    return fields


def _walk(raw: bytes) -> Iterator[_Record]:
    """Records of an unpacked chunk."""
    at = 0
    while at < len(raw):
        (header_bytes,) = _U32.unpack_from(raw, at)
        data_at = at + 4 + header_bytes + 4
        (data_bytes,) = _U32.unpack_from(raw, data_at - 4)
        if data_at + data_bytes > len(raw):
            raise UnpackError(f'a record claims {data_bytes} bytes and has {len(raw) - data_at}')
        yield _Record(_fields(raw[at + 4 : data_at - 4]), data_at, data_at + data_bytes)
        at = data_at + data_bytes


def _whole_records(raw: bytes) -> bytes:
    """Without the record that is cut at the end."""
    whole = 0
    try:
        for record in _walk(raw):
            whole = record.end
    except _PARSE_ERRORS:
        pass
    return raw[:whole]


def _span_of(fields: Fields) -> Span:
    (offset,) = struct.unpack('<Q', fields[b'chunk_pos'])
    return Span(offset, _time_ns(fields[b'start_time']), _time_ns(fields[b'end_time']))


def _counts_of(data: bytes) -> dict[int, int]:
    """Messages by connection, as a chunk info lists them."""
    return dict(struct.iter_unpack('<II', data))


def _u32(value: bytes) -> int:
    return int(_U32.unpack(value)[0])


def _time_ns(value: bytes) -> int:
    seconds, nanoseconds = _TIME.unpack(value)
    return int(seconds * 10**9 + nanoseconds)

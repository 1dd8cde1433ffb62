# SPDX-License-Identifier: Apache-2.0
"""Turns one MCAP file, whole or cut off by a power cut, into raw messages.

The file's own index is used where it has one; otherwise the file is walked record by record up
to the last whole message (format: https://mcap.dev/spec). Sizes are checked before use.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel as ChannelRecord
from mcap.records import ChunkIndex, Footer, Schema, Statistics

from cosmos_flywheel.bags.compression import (
    MAX_RECORD_BYTES,
    UnpackError,
    unpack,
    unpack_message,
    unpack_prefix,
)
from cosmos_flywheel.bags.records import Channel, Loss, RawMessage, offers_latched
from cosmos_flywheel.bags.spans import Span, in_log_order, loss_of, wanted_spans
from cosmos_flywheel.core.errors import BagError

MAGIC = b'\x89MCAP0\r\n'

_HEAD = struct.Struct('<BQ')
_MESSAGE = struct.Struct('<HIQQ')
_CHUNK = struct.Struct('<QQQII')
_FOOTER_BYTES = 20
_TAIL_BYTES = _HEAD.size + _FOOTER_BYTES + len(MAGIC)
_RUN_BYTES = 1 << 20
_PARSE_ERRORS = (McapError, struct.error, UnicodeDecodeError, ValueError)


@dataclass(frozen=True, slots=True)
class _ChunkHead:
    start_ns: int
    last_ns: int
    raw_bytes: int
    crc: int
    compression: str
    offset: int
    """Where the packed records begin."""
    packed_bytes: int


class McapFile:
    """One MCAP file. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        """Open the file and read its index; walk it whole where it has none.

        Raises BagError when it is no MCAP file. A cut file opens, and `losses` says what is gone.
        """
        self.path = path
        self.span_ns: tuple[int, int] | None = None
        self._losses: dict[tuple[int, str], Loss] = {}
        self._spans: list[Span] = []
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}
        self._counts: Counter[int] = Counter()
        self._file: BinaryIO = path.open('rb')
        self._size_bytes = os.fstat(self._file.fileno()).st_size
        if self._file.read(len(MAGIC)) != MAGIC:
            self.close()
            raise BagError(f'{path}: not an MCAP file; name a rosbag2 folder, .mcap, .db3 or .bag')
        if not self._open_by_index():
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
            for opcode, at, end in _walk(raw):
                if opcode != Opcode.MESSAGE:
                    continue
                key, _, log_ns, publish_ns = _MESSAGE.unpack_from(raw, at)
                seen += key in self._channels
                if key in wanted and start_ns <= log_ns < stop_ns:
                    data = self._unpacked(
                        span.offset + at, wanted[key], raw[at + _MESSAGE.size : end]
                    )
                    if data is not None:
                        channel = wanted[key]
                        messages.append(
                            RawMessage(channel.topic, channel.msgtype, log_ns, data, publish_ns)
                        )
            if seen < span.messages:
                raise UnpackError(f'it holds {seen} messages of known topics only')
        except _PARSE_ERRORS as error:
            self._losses[(span.offset, '')] = loss_of(span, self.path, error, seen)
        return messages

    def _unpacked(self, place: int, channel: Channel, data: bytes) -> bytes | None:
        if channel.encoding != 'cdr':
            return data
        try:
            return unpack_message(data)
        except UnpackError as error:
            what = f'{self.path.name}: messages of {channel.topic!r} cannot be unpacked: {error}'
            self._losses[(place, channel.topic)] = Loss(what, messages=1)
            return None

    def _records_of(self, span: Span) -> bytes:
        if span.is_run:
            return self._read(span.offset, span.length_bytes)
        head = self._chunk_head(span.offset)
        if span.is_cut:
            packed = self._read(head.offset, span.offset + span.length_bytes - head.offset)
            return _whole_records(unpack_prefix(packed, head.compression, head.raw_bytes))
        packed = self._read(head.offset, head.packed_bytes)
        return unpack(packed, head.compression, head.raw_bytes, head.crc)

    def _chunk_head(self, offset: int) -> _ChunkHead:
        fixed_bytes = _HEAD.size + _CHUNK.size
        fixed = self._read(offset, fixed_bytes)
        if fixed[0] != Opcode.CHUNK:
            raise UnpackError('the index points to something else')
        start_ns, last_ns, raw_bytes, crc, name_bytes = _CHUNK.unpack_from(fixed, _HEAD.size)
        rest = self._read(offset + fixed_bytes, min(name_bytes, 64) + 8)
        name, (packed_bytes,) = rest[:-8].decode(), struct.unpack('<Q', rest[-8:])
        data_offset = offset + fixed_bytes + len(rest)
        return _ChunkHead(start_ns, last_ns, raw_bytes, crc, name, data_offset, packed_bytes)

    def _read(self, offset: int, size_bytes: int) -> bytes:
        if not 0 <= size_bytes <= MAX_RECORD_BYTES:
            raise UnpackError(f'it claims {size_bytes} bytes, limit {MAX_RECORD_BYTES}')
        missing_bytes = offset + size_bytes - self._size_bytes
        if missing_bytes > 0:
            raise UnpackError(f'the file ends {missing_bytes} bytes too early')
        self._file.seek(offset)
        return self._file.read(size_bytes)

    # Opening by the index at the end of the file.

    def _open_by_index(self) -> bool:
        """Read the summary; False where it is missing or does not hold together."""
        try:
            return self._read_summary()
        except _PARSE_ERRORS:
            return False

    def _read_summary(self) -> bool:
        tail = self._read(max(0, self._size_bytes - _TAIL_BYTES), _TAIL_BYTES)
        if not tail.endswith(MAGIC) or tail[0] != Opcode.FOOTER:
            return False
        footer = Footer.read(ReadDataStream(BytesIO(tail[_HEAD.size :])))
        if not footer.summary_start:
            return False
        raw = self._read(
            footer.summary_start, self._size_bytes - _TAIL_BYTES - footer.summary_start
        )
        statistics, chunks = None, []
        for opcode, at, end in _walk(raw):
            stream = ReadDataStream(BytesIO(raw[at:end]))
            if opcode == Opcode.STATISTICS:
                statistics = Statistics.read(stream)
            elif opcode == Opcode.CHUNK_INDEX:
                chunks.append(ChunkIndex.read(stream))
            else:
                self._note(opcode, stream)
        return statistics is not None and self._adopt(statistics, chunks)

    def _adopt(self, statistics: Statistics, chunks: list[ChunkIndex]) -> bool:
        """Take the index over if it covers every message."""
        counts = Counter(statistics.channel_message_counts)
        if statistics.chunk_count != len(chunks) or not counts.keys() <= self._channels.keys():
            return False
        if statistics.message_count and not chunks:
            return False
        spans = [_span_of(chunk) for chunk in chunks]
        if (indexed := sum(span.messages for span in spans)) and indexed != counts.total():
            return False
        self._counts, self._spans = counts, spans
        if statistics.message_count:
            self.span_ns = statistics.message_start_time, statistics.message_end_time
        return True

    def _note(self, opcode: int, stream: ReadDataStream) -> None:
        """Remember a schema or a channel."""
        if opcode == Opcode.SCHEMA:
            schema = Schema.read(stream)
            self._schemas[schema.id] = schema
        elif opcode == Opcode.CHANNEL:
            record = ChannelRecord.read(stream)
            self._channels[record.id] = _channel_of(record, self._schemas.get(record.schema_id))

    # Opening without an index: by walking the records.

    def _open_by_walk(self) -> None:
        self._spans.clear()
        self._counts.clear()
        offset = len(MAGIC)
        while offset < self._size_bytes:
            try:
                opcode, length_bytes = _HEAD.unpack(self._read(offset, _HEAD.size))
            except UnpackError:
                return self._note_cut(offset)
            end = offset + _HEAD.size + length_bytes
            if opcode == 0 or end > self._size_bytes:
                return self._note_cut(offset, opcode)
            if opcode in (Opcode.DATA_END, Opcode.FOOTER):
                return self._note_end(offset)
            self._note_record(opcode, offset, end)
            offset = end
        return self._note_cut(offset)

    def _note_record(self, opcode: int, offset: int, end: int) -> None:
        try:
            if opcode == Opcode.CHUNK:
                head = self._chunk_head(offset)
                self._index(Span(offset, head.start_ns, head.last_ns))
            elif opcode == Opcode.MESSAGE:
                self._index_run(offset, end)
            elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                payload = self._read(offset + _HEAD.size, end - offset - _HEAD.size)
                self._note(opcode, ReadDataStream(BytesIO(payload)))
        except _PARSE_ERRORS as error:
            self._losses[(offset, '')] = loss_of(Span(offset, 0, 0), self.path, error)

    def _index(self, span: Span) -> None:
        """Count what a span holds, note its channels, and keep it if it has messages."""
        raw = self._records_of(span)
        times: list[int] = []
        counts: Counter[int] = Counter()
        for opcode, at, end in _walk(raw):
            if opcode == Opcode.MESSAGE:
                key, _, log_ns, _ = _MESSAGE.unpack_from(raw, at)
                counts[key] += 1
                times.append(log_ns)
            else:
                self._note(opcode, ReadDataStream(BytesIO(raw[at:end])))
        if times:
            self._counts += counts
            start_ns, last_ns = min(times), max(times)
            self._stretch(start_ns, last_ns)
            self._spans.append(
                replace(
                    span,
                    start_ns=start_ns,
                    last_ns=last_ns,
                    channel_ids=frozenset(counts),
                    messages=len(times),
                )
            )

    def _index_run(self, offset: int, end: int) -> None:
        """Add one message outside of chunks, to the run before it where they touch."""
        key, _, log_ns, _ = _MESSAGE.unpack(self._read(offset + _HEAD.size, _MESSAGE.size))
        self._counts[key] += 1
        self._stretch(log_ns, log_ns)
        one = Span(offset, log_ns, log_ns, end - offset, True, False, frozenset({key}), 1)
        last = self._spans[-1] if self._spans else None
        if (
            last is None
            or not last.is_run
            or last.offset + last.length_bytes != offset
            or last.length_bytes + one.length_bytes > _RUN_BYTES
        ):
            self._spans.append(one)
        else:
            self._spans[-1] = _joined(last, one)

    def _note_end(self, offset: int) -> None:
        if self._read(self._size_bytes - len(MAGIC), len(MAGIC)) != MAGIC:
            what = 'cut off within its index, after the last message; all were read'
            self._losses[(offset, '')] = Loss(f'{self.path.name}: {what}')

    def _note_cut(self, offset: int, opcode: int = 0) -> None:
        """Take what the last, cut record still gives, and say what is missing."""
        rest_bytes = self._size_bytes - offset
        until_ns, salvaged = None, 0
        if opcode == Opcode.CHUNK:
            before = self._counts.total()
            until_ns = self._salvage(offset, rest_bytes)
            salvaged = self._counts.total() - before
        missing_s = None
        if until_ns is not None:
            seen_ns = self.span_ns[1] if self.span_ns else until_ns
            missing_s = max(0, until_ns - seen_ns) / 1e9
        self._losses[(offset, '')] = Loss(
            f'{self.path.name}: cut off at byte {self._size_bytes} without its index (power cut, '
            f'full disk or unfinished copy); its records were walked one by one, the last '
            f'{rest_bytes} bytes are an unfinished record that still gave {salvaged} messages'
            + ('' if missing_s is None else f' and lost at least {missing_s:.3f} s'),
            missing_s=missing_s,
        )

    def _salvage(self, offset: int, rest_bytes: int) -> int | None:
        """Index the readable part of a cut chunk; the log time that its header promised."""
        try:
            head = self._chunk_head(offset)
            self._index(Span(offset, 0, 0, rest_bytes, is_cut=True))
        except _PARSE_ERRORS:
            return None
        return head.last_ns

    def _stretch(self, start_ns: int, last_ns: int) -> None:
        known = self.span_ns or (start_ns, last_ns)
        self.span_ns = min(known[0], start_ns), max(known[1], last_ns)


def _walk(raw: bytes) -> Iterator[tuple[int, int, int]]:
    """Opcode, start and end of each record's content."""
    at = 0
    while at < len(raw):
        opcode, length_bytes = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        if at + length_bytes > len(raw):
            raise UnpackError(f'a record claims {length_bytes} bytes and has {len(raw) - at}')
        yield opcode, at, at + length_bytes
        at += length_bytes


def _whole_records(raw: bytes) -> bytes:
    """Without the record that is cut at the end."""
    whole = 0
    try:
        for _, _, end in _walk(raw):
            whole = end
    except (struct.error, UnpackError):
        pass
    return raw[:whole]


def _joined(run: Span, one: Span) -> Span:
    return replace(
        run,
        start_ns=min(run.start_ns, one.start_ns),
        last_ns=max(run.last_ns, one.last_ns),
        length_bytes=run.length_bytes + one.length_bytes,
        channel_ids=(run.channel_ids or frozenset()) | (one.channel_ids or frozenset()),
        messages=run.messages + one.messages,
    )


def _span_of(chunk: ChunkIndex) -> Span:
    # A message index record is 15 bytes and 16 more for each message.
    indexes = len(chunk.message_index_offsets)
    return Span(
        chunk.chunk_start_offset,
        chunk.message_start_time,
        chunk.message_end_time,
        channel_ids=frozenset(chunk.message_index_offsets) if indexes else None,
        messages=max(0, chunk.message_index_length - 15 * indexes) // 16,
    )


def _channel_of(record: ChannelRecord, schema: Schema | None) -> Channel:
    return Channel(
        topic=record.topic,
        msgtype=_normal_name(schema.name) if schema else '',
        encoding=record.message_encoding,
        schema_encoding=schema.encoding if schema else '',
        schema=schema.data if schema else b'',
        metadata=tuple(record.metadata.items()),
        latched=offers_latched(record.topic, record.metadata.get('offered_qos_profiles', '')),
    )


def _normal_name(name: str) -> str:
    """ROS 1 converters write `sensor_msgs/Image`; ROS 2 says `sensor_msgs/msg/Image`."""
    package, _, rest = name.partition('/')
    return f'{package}/msg/{rest}' if rest and '/' not in rest else name

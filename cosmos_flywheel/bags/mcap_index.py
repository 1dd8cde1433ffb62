# SPDX-License-Identifier: Apache-2.0
"""Turns the summary at the end of an MCAP file into an index of its messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO

from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.records import Channel as ChannelRecord
from mcap.records import ChunkIndex, Footer, Schema, Statistics

from cosmos_flywheel.bags.mcap_bytes import HEAD, MAGIC, PARSE_ERRORS, McapBytes, walk
from cosmos_flywheel.bags.records import Channel, offers_latched
from cosmos_flywheel.bags.spans import Span

_FOOTER_BYTES = 20
_TAIL_BYTES = HEAD.size + _FOOTER_BYTES + len(MAGIC)
_RUN_BYTES = 1 << 20


@dataclass(slots=True)
class McapIndex:
    """Where the messages of one file lie, and which channels they are of."""

    spans: list[Span] = field(default_factory=list)
    span_ns: tuple[int, int] | None = None
    """Log times of the first and the last message; None without messages."""
    counts: Counter[int] = field(default_factory=Counter)
    """Messages by channel number."""
    channels: dict[int, Channel] = field(default_factory=dict)
    _schemas: dict[int, Schema] = field(default_factory=dict)

    def note(self, opcode: int, content: bytes) -> None:
        """Remember a schema or a channel; any other record is passed over."""
        stream = ReadDataStream(BytesIO(content))
        if opcode == Opcode.SCHEMA:
            schema = Schema.read(stream)
            self._schemas[schema.id] = schema
        elif opcode == Opcode.CHANNEL:
            record = ChannelRecord.read(stream)
            self.channels[record.id] = _channel_of(record, self._schemas.get(record.schema_id))

    def add(self, span: Span, counts: Mapping[int, int]) -> None:
        """Take up a span that holds messages; one that continues a run is joined to it."""
        span = replace(span, channel_ids=frozenset(counts))
        self.counts.update(counts)
        known = self.span_ns or (span.start_ns, span.last_ns)
        self.span_ns = min(known[0], span.start_ns), max(known[1], span.last_ns)
        if self.spans and _continues(self.spans[-1], span):
            self.spans[-1] = _joined(self.spans[-1], span)
        else:
            self.spans.append(span)


def read_summary(file: McapBytes, index: McapIndex) -> bool:
    """Fill the index; False where the summary is missing or does not hold together.

    Schemas and channels are noted either way.
    """
    try:
        tail = file.read(max(0, file.size_bytes - _TAIL_BYTES), _TAIL_BYTES)
        if not tail.endswith(MAGIC) or tail[0] != Opcode.FOOTER:
            return False
        footer = Footer.read(ReadDataStream(BytesIO(tail[HEAD.size :])))
        if not footer.summary_start:
            return False
        length_bytes = file.size_bytes - _TAIL_BYTES - footer.summary_start
        return _parse(file.read(footer.summary_start, length_bytes), index)
    except PARSE_ERRORS:
        return False


def _parse(summary: bytes, index: McapIndex) -> bool:
    statistics, chunks = None, []
    for opcode, at, end in walk(summary):
        content = summary[at:end]
        if opcode == Opcode.STATISTICS:
            statistics = Statistics.read(ReadDataStream(BytesIO(content)))
        elif opcode == Opcode.CHUNK_INDEX:
            chunks.append(ChunkIndex.read(ReadDataStream(BytesIO(content))))
        else:
            index.note(opcode, content)
    return statistics is not None and _adopt(statistics, chunks, index)


def _adopt(statistics: Statistics, chunks: list[ChunkIndex], index: McapIndex) -> bool:
    """Take the chunks over if they cover every message."""
    counts = Counter(statistics.channel_message_counts)
    if statistics.chunk_count != len(chunks) or not counts.keys() <= index.channels.keys():
        return False
    if statistics.message_count and not chunks:
        return False
    spans = [_span_of(chunk) for chunk in chunks]
    if (indexed := sum(span.messages for span in spans)) and indexed != counts.total():
        return False
    index.counts, index.spans = counts, spans
    if statistics.message_count:
        index.span_ns = statistics.message_start_time, statistics.message_end_time
    return True


def _continues(run: Span, span: Span) -> bool:
    """Whether two runs touch and stay small together."""
    touch = run.is_run and span.is_run and run.offset + run.length_bytes == span.offset
    return touch and run.length_bytes + span.length_bytes <= _RUN_BYTES


def _joined(run: Span, span: Span) -> Span:
    return replace(
        run,
        start_ns=min(run.start_ns, span.start_ns),
        last_ns=max(run.last_ns, span.last_ns),
        length_bytes=run.length_bytes + span.length_bytes,
        channel_ids=(run.channel_ids or frozenset()) | (span.channel_ids or frozenset()),
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

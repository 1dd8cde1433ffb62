# SPDX-License-Identifier: Apache-2.0
"""Turns one MCAP file, whole or cut off by a power cut, into raw messages.

The file's own index is used where it has one; otherwise the file is walked record by record. The
mcap library parses the records; finding them stays here, because that library gives up at the
first one that is spoilt, and unpacks whatever it is told to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from mcap.opcode import Opcode

from cosmos_flywheel.bags.compression import UnpackError, unpack_message
from cosmos_flywheel.bags.mcap_bytes import MESSAGE, PARSE_ERRORS, McapBytes, walk
from cosmos_flywheel.bags.mcap_index import McapIndex, read_summary
from cosmos_flywheel.bags.mcap_recovery import recover_index
from cosmos_flywheel.bags.records import Channel, Loss, RawMessage
from cosmos_flywheel.bags.spans import Span, in_log_order, loss_of, wanted_spans


class McapFile:
    """One MCAP file. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        """Open the file and read its index; walk it whole where it has none.

        Raises BagError when it is no MCAP file. A cut file opens, and `losses` says what is gone.
        """
        self.path = path
        self._losses: dict[tuple[int, str], Loss] = {}
        self._file = McapBytes(path)
        self._index = McapIndex()
        if not read_summary(self._file, self._index):
            lost = recover_index(self._file, self._index)
            self._losses = {(offset, ''): loss for offset, loss in lost.items()}

    @property
    def channels(self) -> Mapping[Channel, int]:
        """Channels with their number of messages."""
        counts: Counter[Channel] = Counter()
        for key, channel in self._index.channels.items():
            counts[channel] += self._index.counts[key]
        return counts

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """Log times of the first and the last message; None without messages."""
        return self._index.span_ns

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
            for key, channel in self._index.channels.items()
            if topics is None or channel.topic in topics
        }
        spans = wanted_spans(self._index.spans, wanted, start_ns, stop_ns)
        return in_log_order(spans, lambda span: self._load(span, wanted, start_ns, stop_ns))

    def _load(
        self, span: Span, wanted: Mapping[int, Channel], start_ns: int, stop_ns: int
    ) -> list[RawMessage]:
        messages: list[RawMessage] = []
        seen = 0
        try:
            raw = self._file.records_of(span)
            for opcode, at, end in walk(raw):
                if opcode != Opcode.MESSAGE:
                    continue
                key, _, log_ns, publish_ns = MESSAGE.unpack_from(raw, at)
                seen += key in self._index.channels
                if key in wanted and start_ns <= log_ns < stop_ns:
                    channel, content = wanted[key], raw[at + MESSAGE.size : end]
                    data = self._unpacked(span.offset + at, channel, content)
                    if data is not None:
                        messages.append(
                            RawMessage(channel.topic, channel.msgtype, log_ns, data, publish_ns)
                        )
            if seen < span.messages:
                raise UnpackError(f'it holds {seen} messages of known topics only')
        except PARSE_ERRORS as error:
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

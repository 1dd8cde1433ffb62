# SPDX-License-Identifier: Apache-2.0
"""Turns stretches of a file, each read whole, into one stream of messages in log-time order."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from cosmos_flywheel.bags.records import Loss, RawMessage


@dataclass(frozen=True, slots=True)
class Span:
    """One chunk, or one run of messages outside of chunks."""

    offset: int
    """Byte in the file where its first record begins."""
    start_ns: int
    last_ns: int
    """Log times of its first and last message, both within."""
    length_bytes: int = 0
    """Of a run or of a cut chunk; 0 for a chunk, whose own header says it."""
    is_run: bool = False
    """Records outside of any chunk."""
    is_cut: bool = False
    """The file ends within it: its first part alone can be read."""
    channel_ids: frozenset[int] | None = None
    """Channels with messages in it; None where nothing says."""
    messages: int = 0
    """How many the index counts; 0 where it does not."""


def in_log_order(
    spans: Iterable[Span], load: Callable[[Span], list[RawMessage]]
) -> Iterator[RawMessage]:
    """Messages of all spans by log time, then by place in the file.

    Holds the spans that overlap in time, for most recordings one or two; a recorder whose clock
    jumped back by a minute makes it hold that minute.
    """
    pending: list[tuple[int, int, int, RawMessage]] = []
    for span in sorted(spans, key=attrgetter('start_ns', 'offset')):
        ready = bisect_left(pending, (span.start_ns,))
        yield from (entry[-1] for entry in pending[:ready])
        pending = pending[ready:]
        pending += [(m.log_ns, span.offset, place, m) for place, m in enumerate(load(span))]
        pending.sort()
    yield from (entry[-1] for entry in pending)


def wanted_spans(
    spans: Iterable[Span], channel_ids: Iterable[int], start_ns: int, stop_ns: int
) -> list[Span]:
    """Spans that may hold messages of the channels in [start_ns, stop_ns)."""
    wanted = frozenset(channel_ids)
    return [
        span
        for span in spans
        if span.start_ns < stop_ns
        and span.last_ns >= start_ns
        and (span.channel_ids is None or not span.channel_ids.isdisjoint(wanted))
    ]


def loss_of(span: Span, path: Path, error: Exception, seen: int = 0) -> Loss:
    """What a chunk takes with it that cannot be read, or only up to `seen` messages."""
    lasts_s = (span.last_ns - span.start_ns) / 1e9
    messages = f'{span.messages} messages' if span.messages else 'messages that nobody counted'
    what = f'{path.name}: the chunk at byte {span.offset} ({lasts_s:.3f} s, {messages})'
    return Loss(f'{what} cannot be read: {error}', messages=max(0, span.messages - seen))

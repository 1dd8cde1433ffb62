# SPDX-License-Identifier: Apache-2.0
"""Turns what a harvest found into one HTML file that needs nothing else: no network, no folder.

Its size is bounded: the strongest episodes get pictures and a video, all get words and numbers.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from cosmos_flywheel.capture.report.kinds import kinds_of
from cosmos_flywheel.capture.report.lanes import Lane, lay_lanes, span_boxes, time_ticks, x_of
from cosmos_flywheel.capture.report.media import Media, illustrate
from cosmos_flywheel.capture.report.result import (
    BagTrace,
    ChannelPeak,
    EpisodeView,
    HarvestResult,
    Span,
)
from cosmos_flywheel.capture.report.templating import (
    asset,
    clock_words,
    offset_words,
    plain_name,
    render,
    script_hash,
)
from cosmos_flywheel.capture.report.words import REACH, reaches
from cosmos_flywheel.core.errors import StoreError

MAX_TIMELINES = 200
TIMELINE_BINS = 480
CARD_BINS = 240
_POINTS = 60_000
"""Bins of all timelines together."""


@dataclass(frozen=True, slots=True)
class Plot:
    """Lanes over one stretch of time, with what is marked on them."""

    start_s: float
    end_s: float
    lanes: tuple[Lane, ...]
    ticks: tuple[tuple[str, float], ...]
    """(time in words, x)."""
    zero_s: float = 0.0
    """Where times are counted from."""
    onset_x: float | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """One episode as the page shows it."""

    number: int
    view: EpisodeView
    end_s: float
    """Where the kept window ends: never after its bag."""
    link: str
    window: Span | None
    """Across its bag's timeline, as (x, width)."""
    onset_x: float
    media: Media
    plot: Plot | None

    @property
    def onset_share(self) -> float:
        """Where the onset lies within the captured window, in percent."""
        return x_of(self.view.onset_s, self.view.start_s, self.end_s) / 10

    @property
    def peaks(self) -> list[tuple[str, ChannelPeak]]:
        """Channels at their highest: the causes first, then by how near they came."""
        causes = self.view.causes
        return sorted(
            self.view.peaks.items(),
            key=lambda item: (item[0] not in causes, -np.nan_to_num(item[1].ratio), item[0]),
        )


@dataclass(frozen=True, slots=True)
class Section:
    """One bag as the page shows it."""

    number: int
    trace: BagTrace
    plot: Plot | None
    cards: tuple[Card, ...]

    @property
    def causes(self) -> str:
        """Channels that raised an alarm in this bag."""
        return ', '.join(map(plain_name, tally([c.view for c in self.cards])))


def write_report(result: HarvestResult, path: Path) -> Path:
    """Write the report of one harvest; equal results give equal bytes.

    Args:
        result: What was found.
        path: The HTML file; it appears whole or not at all, and replaces an older one.

    Raises:
        StoreError: The file cannot be written.
    """
    text = draw_report(result)
    part = path.with_name(path.name + '.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(text.encode('utf-8'))
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StoreError(
            f'The report {path} cannot be written ({error.strerror}): free space or pick '
            'another folder.'
        ) from error
    return path


def draw_report(result: HarvestResult) -> str:
    """The whole page as text."""
    media = illustrate(result.episodes)
    sections = list(_sections(result, media))
    script = asset('report.js')
    promised = _promised(result.bags)
    return render(
        'report.html.j2',
        result=result,
        sections=sections,
        loud=[s for s in sections if s.cards],
        quiet=[s for s in sections if not s.cards],
        causes=tally(result.episodes),
        kinds=kinds_of((card.number, card.view) for s in sections for card in s.cards),
        watched_s=3600 * result.hours,
        proved=[name for name, proved in promised.items() if proved],
        channels=len(promised),
        groundings=list(dict.fromkeys(b.grounding for b in result.bags if b.grounding)),
        reaches=reaches(promised),
        reach=REACH,
        style=asset('report.css'),
        script=script,
        script_hash=script_hash(script),
    )


def tally(episodes: Sequence[EpisodeView]) -> dict[str, int]:
    """Episodes by cause, the most frequent first; one with two causes counts under both."""
    counted = Counter(cause for e in episodes for cause in dict.fromkeys(e.causes))
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _sections(result: HarvestResult, media: Mapping[int, Media]) -> Iterator[Section]:
    """One section per bag; an episode of an unlisted bag gets a section of its own."""
    known = {bag.bag for bag in result.bags}
    strays = dict.fromkeys(e.bag for e in result.episodes if e.bag not in known)
    empty = np.empty(0)
    traces = [*result.bags, *(BagTrace(bag, 0.0, empty, ()) for bag in strays)]
    loud = {e.bag for e in result.episodes}
    drawn = {t.bag for t in sorted(traces, key=lambda t: t.bag not in loud)[:MAX_TIMELINES]}
    bins = min(TIMELINE_BINS, _POINTS // max(1, len(drawn)))
    numbers = {i: n for n, i in enumerate(_in_order(result.episodes, traces), start=1)}
    for number, trace in enumerate(traces, start=1):
        cards = [
            _card(numbers[i], e, trace, media.get(i))
            for i, e in enumerate(result.episodes)
            if e.bag == trace.bag
        ]
        plot = lay_plot(trace, 0.0, trace.duration_s, bins) if trace.bag in drawn else None
        yield Section(number, trace, plot, tuple(sorted(cards, key=lambda c: c.number)))


def _in_order(episodes: Sequence[EpisodeView], traces: Sequence[BagTrace]) -> list[int]:
    """Positions of the episodes in the order of the page: by bag, then by onset."""
    place = {trace.bag: i for i, trace in enumerate(traces)}
    keys = [(place[e.bag], e.onset_s) for e in episodes]
    return sorted(range(len(episodes)), key=keys.__getitem__)


def lay_plot(
    trace: BagTrace, start_s: float, end_s: float, bins: int, onset_s: float | None = None
) -> Plot | None:
    """All lanes of a bag between two times; times count from the onset where one is given."""
    if not trace.channels or not end_s > start_s:
        return None
    zero_s, words = (0.0, clock_words) if onset_s is None else (onset_s, offset_words)
    ticks, digits = time_ticks(start_s - zero_s, end_s - zero_s)
    return Plot(
        start_s=start_s,
        end_s=end_s,
        lanes=lay_lanes(trace, start_s, end_s, bins),
        ticks=tuple((words(t, digits), x_of(t + zero_s, start_s, end_s)) for t in ticks),
        zero_s=zero_s,
        onset_x=None if onset_s is None else x_of(onset_s, start_s, end_s),
    )


def _card(
    number: int,
    view: EpisodeView,
    trace: BagTrace,
    media: Media | None,
) -> Card:
    spans = span_boxes([(view.start_s, view.end_s)], 0.0, trace.duration_s)
    end_s = min(view.end_s, trace.duration_s or view.end_s)
    lanes = lay_plot(trace, view.start_s, end_s, CARD_BINS, view.onset_s) if media else None
    return Card(
        number=number,
        view=view,
        end_s=end_s,
        link='./' + quote(view.folder.encode('utf-8', 'replace')) if view.folder else '',
        window=spans[0] if spans else None,
        onset_x=x_of(view.onset_s, 0.0, trace.duration_s),
        media=media or Media(note='Among so many episodes only the strongest show pictures.'),
        plot=lanes,
    )


def _promised(bags: Sequence[BagTrace]) -> dict[str, bool]:
    """Whether a false-alarm rate is proved, by channel: only if it is in every bag."""
    promised: dict[str, bool] = {}
    for channel in (c for bag in bags for c in bag.channels):
        promised[channel.name] = promised.get(channel.name, True) and channel.guaranteed
    return promised

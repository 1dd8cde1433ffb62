# SPDX-License-Identifier: Apache-2.0
"""Turns what a harvest found into one HTML file that needs nothing else: no network, no folder.

Its size is bounded: the strongest episodes get pictures and a video, all get words and numbers.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

import numpy as np

from cosmos_flywheel.capture.evidence import (
    STRIP_ROWS,
    encode_jpeg,
    fit,
    residual_top,
    strip_cells,
    unpack_frame,
)
from cosmos_flywheel.capture.lanes import Lane, lay_lanes, span_boxes, time_ticks, x_of
from cosmos_flywheel.capture.page import (
    asset,
    clock_words,
    offset_words,
    plain_name,
    render,
    script_hash,
)
from cosmos_flywheel.capture.result import (
    BagTrace,
    ChannelPeak,
    ClipFrame,
    EpisodeView,
    HarvestResult,
    Span,
)
from cosmos_flywheel.core.errors import PictureError, StoreError
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.video.encode import encode_webm

MEDIA_BYTES = 10_000_000
"""Pictures and videos of one report together; a third more once they are text."""
MAX_VIDEOS = 12
MAX_STRIPS = 48
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
class Film:
    """A video and the bar below it: which part is in alarm, where the onset is."""

    webm: bytes
    poster: bytes
    duration_s: float
    onset_x: float
    alarms: tuple[Span, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Strip:
    """Rows of JPEG pictures around the onset."""

    times: tuple[str, ...]
    after: tuple[bool, ...]
    rows: tuple[tuple[str, tuple[bytes | None, ...]], ...]
    top: float

    @property
    def size(self) -> int:
        """Bytes of all pictures."""
        return sum(len(p) for _, cells in self.rows for p in cells if p)


@dataclass(frozen=True, slots=True)
class Card:
    """One episode as the page shows it."""

    number: int
    view: EpisodeView
    link: str
    window: Span | None
    """Across its bag's timeline, as (x, width)."""
    onset_x: float
    strip: Strip | None
    film: Film | None
    plot: Plot | None
    missing: str
    """What is not shown here, and why."""

    @property
    def onset_share(self) -> float:
        """Where the onset lies within the captured window, in percent."""
        return x_of(self.view.onset_s, self.view.start_s, self.view.end_s) / 10

    @property
    def peaks(self) -> list[tuple[str, ChannelPeak]]:
        """Channels at their highest: the causes first."""
        causes = self.view.causes
        return sorted(self.view.peaks.items(), key=lambda p: p[0] not in causes)


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
        watched_s=3600 * result.hours,
        proved=[name for name, proved in promised.items() if proved],
        channels=len(promised),
        style=asset('report.css'),
        script=script,
        script_hash=script_hash(script),
    )


def tally(episodes: Sequence[EpisodeView]) -> dict[str, int]:
    """Episodes by cause, the most frequent first; one with two causes counts under both."""
    counted = Counter(cause for e in episodes for cause in dict.fromkeys(e.causes))
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def illustrate(
    episodes: Sequence[EpisodeView], budget_bytes: int = MEDIA_BYTES
) -> dict[int, tuple[Strip | None, Film | None, str]]:
    """Strips and videos for the strongest episodes, by position, within a budget of bytes."""
    order = sorted(range(len(episodes)), key=lambda i: (-episodes[i].severity, i))
    made: dict[int, tuple[Strip | None, Film | None, str]] = {}
    left = budget_bytes
    for rank, index in enumerate(order[:MAX_STRIPS]):
        strip = draw_cells(episodes[index])
        strip = strip if strip and strip.size <= left else None
        left -= strip.size if strip else 0
        film, note = None, ''
        if rank < MAX_VIDEOS and left > 0:
            film, note = _try_film(episodes[index], left)
        left -= len(film.webm) + len(film.poster) if film else 0
        made[index] = (strip, film, note)
    return made


def draw_cells(view: EpisodeView) -> Strip | None:
    """The strip of one episode as single JPEG pictures; None without pictures."""
    if not view.strip:
        return None
    cells = strip_cells(view.strip)
    packed = [tuple(None if p is None else encode_jpeg(p) for p in column) for column in cells]
    offsets = [column.time_s - view.onset_s for column in view.strip]
    return Strip(
        times=tuple(offset_words(o) for o in offsets),
        after=tuple(o >= -0.005 for o in offsets),
        rows=tuple((n, tuple(c[i] for c in packed)) for i, n in enumerate(STRIP_ROWS)),
        top=residual_top(view.strip),
    )


def shoot_film(view: EpisodeView) -> Film:
    """The video of one episode, framed in red while an alarm stands.

    Raises:
        PictureError: No frames, or one that is no JPEG.
    """
    frames = _increasing(view.clip)
    if not frames:
        raise PictureError('no pictures were kept')
    pictures = [unpack_frame(frame) for frame in frames]
    height, width = pictures[0].shape[:2]
    framed = [
        _frame_red(fit(picture, width, height)) if frame.alarm else fit(picture, width, height)
        for frame, picture in zip(frames, pictures, strict=True)
    ]
    times_s = [frame.time_s for frame in frames]
    step_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 1.0
    end_s = times_s[-1] + step_s
    poster = min(frames, key=lambda frame: abs(frame.time_s - view.onset_s))
    skipped = len(view.clip) - len(frames)
    return Film(
        webm=encode_webm(framed, 1 / step_s, times_s=times_s),
        poster=poster.jpeg,
        duration_s=end_s - times_s[0],
        onset_x=min(1000.0, max(0.0, x_of(view.onset_s, times_s[0], end_s))),
        alarms=span_boxes(_alarm_spans(frames, end_s), times_s[0], end_s),
        note=f'{skipped} pictures whose time did not advance are left out.' if skipped else '',
    )


def _try_film(view: EpisodeView, left_bytes: int) -> tuple[Film | None, str]:
    if not view.clip:
        return None, ''
    try:
        film = shoot_film(view)
    except PictureError as error:
        return None, f'The video could not be made: {error}'
    if len(film.webm) + len(film.poster) > left_bytes:
        return None, ''
    return film, film.note


def _increasing(clip: Sequence[ClipFrame]) -> list[ClipFrame]:
    kept: list[ClipFrame] = []
    for frame in clip:
        if not kept or frame.time_s - kept[-1].time_s >= 0.002:
            kept.append(frame)
    return kept


def _alarm_spans(frames: Sequence[ClipFrame], end_s: float) -> Iterator[Span]:
    edges_s = [*(frame.time_s for frame in frames), end_s]
    for alarm, run in groupby(range(len(frames)), key=lambda i: frames[i].alarm):
        if alarm:
            indices = list(run)
            yield edges_s[indices[0]], edges_s[indices[-1] + 1]


def _frame_red(picture: Picture) -> Picture:
    framed = picture.copy()
    edge = max(2, picture.shape[1] // 100)
    framed[:edge] = framed[-edge:] = framed[:, :edge] = framed[:, -edge:] = (214, 60, 32)
    return framed


def _sections(
    result: HarvestResult, media: Mapping[int, tuple[Strip | None, Film | None, str]]
) -> Iterator[Section]:
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
    return sorted(range(len(episodes)), key=lambda i: (place[episodes[i].bag], episodes[i].onset_s))


def lay_plot(
    trace: BagTrace, start_s: float, end_s: float, bins: int, onset_s: float | None = None
) -> Plot | None:
    """All lanes of a bag between two times; tick labels count from the onset where one is given."""
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
    media: tuple[Strip | None, Film | None, str] | None,
) -> Card:
    strip, film, note = media or (None, None, '')
    spans = span_boxes([(view.start_s, view.end_s)], 0.0, trace.duration_s)
    lanes = lay_plot(trace, view.start_s, view.end_s, CARD_BINS, view.onset_s) if media else None
    return Card(
        number=number,
        view=view,
        link='./' + quote(view.folder.encode('utf-8', 'replace')) if view.folder else '',
        window=spans[0] if spans else None,
        onset_x=x_of(view.onset_s, 0.0, trace.duration_s),
        strip=strip,
        film=film,
        plot=lanes,
        missing=note or _missing(strip, film, media is not None),
    )


def _missing(strip: Strip | None, film: Film | None, chosen: bool) -> str:
    if strip and film:
        return ''
    if not chosen:
        return 'Among many episodes only the strongest are shown with pictures.'
    lacking = ' and '.join(['video'] * (film is None) + ['strip'] * (strip is None))
    return f'No {lacking} here: none was kept, or the report would become too large.'


def _promised(bags: Sequence[BagTrace]) -> dict[str, bool]:
    """Whether a false-alarm rate is proved, by channel: only if it is in every bag."""
    promised: dict[str, bool] = {}
    for channel in (c for bag in bags for c in bag.channels):
        promised[channel.name] = promised.get(channel.name, True) and channel.guaranteed
    return promised

# SPDX-License-Identifier: Apache-2.0
"""Turns the pictures of the strongest episodes into strips and small videos for one report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from cosmos_flywheel.capture.report.evidence import (
    STRIP_ROWS,
    encode_jpeg,
    fit,
    residual_top,
    strip_cells,
    unpack_frame,
)
from cosmos_flywheel.capture.report.lanes import span_boxes, x_of
from cosmos_flywheel.capture.report.result import ClipFrame, EpisodeView, Span
from cosmos_flywheel.capture.report.templating import offset_words
from cosmos_flywheel.core.errors import PictureError
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.video.encode import encode_webm

MEDIA_BYTES = 10_000_000
"""Pictures and videos of one report together; a third more once they are text."""
MAX_VIDEOS = 12
MAX_STRIPS = 48


@dataclass(frozen=True, slots=True)
class Film:
    """A video and the bar below it: which part is in alarm, where the onset is."""

    webm: bytes
    poster: bytes
    duration_s: float
    onset_x: float
    alarms: tuple[Span, ...]
    note: str

    @property
    def size(self) -> int:
        """Bytes of the video and its poster."""
        return len(self.webm) + len(self.poster)


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
class Media:
    """What one episode has to show; `note` says why something is missing."""

    strip: Strip | None = None
    film: Film | None = None
    note: str = ''


def illustrate(
    episodes: Sequence[EpisodeView], budget_bytes: int = MEDIA_BYTES
) -> dict[int, Media]:
    """Strips and videos for the strongest episodes, by position, within a budget of bytes."""
    order = sorted(range(len(episodes)), key=lambda i: (-episodes[i].severity, i))[:MAX_STRIPS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        films = list(pool.map(_try_film, [episodes[i] for i in order[:MAX_VIDEOS]]))
    films += [(None, '')] * (len(order) - len(films))
    made: dict[int, Media] = {}
    for index, (film, note) in zip(order, films, strict=True):
        strip = draw_strip_cells(episodes[index])
        if strip and strip.size > budget_bytes:
            strip = None
        budget_bytes -= strip.size if strip else 0
        if film and film.size > budget_bytes:
            film, note = None, ''
        budget_bytes -= film.size if film else 0
        made[index] = Media(strip, film, note or _missing(strip, film))
    return made


def draw_strip_cells(view: EpisodeView) -> Strip | None:
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


def _try_film(view: EpisodeView) -> tuple[Film | None, str]:
    if not view.clip:
        return None, ''
    try:
        film = shoot_film(view)
    except PictureError as error:
        return None, f'The video could not be made: {error}'
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
    framed: Picture = picture.copy()
    edge = max(2, picture.shape[1] // 100)
    framed[:edge] = framed[-edge:] = framed[:, :edge] = framed[:, -edge:] = (214, 60, 32)
    return framed


def _missing(strip: Strip | None, film: Film | None) -> str:
    lacking = ' and '.join(['video'] * (film is None) + ['strip'] * (strip is None))
    return f'No {lacking} here: none was kept, or the page would grow too large.' * bool(lacking)

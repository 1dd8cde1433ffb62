# SPDX-License-Identifier: Apache-2.0
"""Turns a channel's scores into the geometry of one lane, however long the bag; no peak is lost.

A lane is 1000 wide and 100 high, y pointing down. Scores are drawn in multiples of their
threshold: linear up to it (the lower half), logarithmic above it (the upper half, up to
`TOP_RATIO`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log, nan

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.capture.report.result import BagTrace, ChannelTrace, Span

WIDTH = 1000.0
HEIGHT = 100.0
TOP_RATIO = 32.0
"""The multiple of the threshold at a lane's upper edge; higher scores are drawn there."""
GAP_STEPS = 5
"""Ticks further apart than this many usual steps (and than a second) leave a silence between."""

_STEPS = [(m * 10.0**-e, e) for e in (3, 2, 1) for m in (1, 2, 5)]
_STEPS += [(s, 0) for s in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600)]

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lane:
    """One channel over one stretch of time, ready to draw; spans are (x, width) in lane units."""

    name: str
    path: str
    """SVG path of score over threshold; empty where the channel never spoke with a threshold."""
    peak: float
    """Highest multiple of the threshold in this stretch; NaN where there is none."""
    silent: tuple[Span, ...]
    warming: tuple[Span, ...]
    alarms: tuple[Span, ...]
    guaranteed: bool


def lay_lanes(trace: BagTrace, start_s: float, end_s: float, bins: int) -> tuple[Lane, ...]:
    """Lay out every channel of a bag between two times, with at most two points per bin."""
    return tuple(lay_lane(trace.times_s, c, start_s, end_s, bins) for c in trace.channels)


def lay_lane(
    times_s: Values, channel: ChannelTrace, start_s: float, end_s: float, bins: int
) -> Lane:
    """Lay out one channel between two times, with at most two points per bin."""
    scores = channel.scores.astype(np.float64)
    thresholds = channel.thresholds.astype(np.float64)
    times, scores, thresholds = _mark_gaps(times_s, scores, thresholds, start_s, end_s)
    speaking = np.isfinite(scores)
    armed = np.isfinite(thresholds) & (thresholds > 0)
    ratios = np.full(len(times), nan)
    np.divide(scores, thresholds, out=ratios, where=speaking & armed)
    x = (times - start_s) / max(end_s - start_s, 1e-9) * WIDTH
    bin_width = WIDTH / bins
    inside = (times >= start_s) & (times <= end_s) & np.isfinite(ratios)
    kept_x, kept = reduce_minmax(x[inside], ratios[inside], bin_width)
    return Lane(
        name=channel.name,
        path=_path(kept_x, kept, _runs(x, ~np.isfinite(ratios), bin_width)),
        peak=float(kept.max()) if len(kept) else nan,
        silent=_clip(_runs(x, ~speaking, bin_width)),
        warming=_clip(_runs(x, speaking & ~armed, bin_width)),
        alarms=_merge(span_boxes(channel.alarms, start_s, end_s), bin_width),
        guaranteed=channel.guaranteed,
    )


def height_of(ratio: Values) -> Values:
    """The y of a multiple of the threshold: 100 at 0, 50 at 1, 0 at `TOP_RATIO` and above."""
    over = np.log(np.clip(ratio, 1.0, TOP_RATIO)) / log(TOP_RATIO)
    return HEIGHT * (1 - 0.5 * np.clip(ratio, 0.0, 1.0) - 0.5 * over)


def span_boxes(spans: Iterable[Span], start_s: float, end_s: float) -> tuple[Span, ...]:
    """Stretches of time as (x, width) boxes in lane units, cut to the window."""
    edges = [(x_of(a, start_s, end_s), x_of(b, start_s, end_s)) for a, b in spans]
    return _clip([(a, b - a) for a, b in edges])


def reduce_minmax(x: Values, values: Values, bin_width: float) -> tuple[Values, Values]:
    """Thin a finite curve to the lowest and the highest point of each bin, in order."""
    bins = np.floor(x / bin_width)
    order = np.lexsort((values, bins))
    first = np.flatnonzero(np.diff(bins[order], prepend=nan))
    last = np.append(first[1:], len(order)) - 1 if len(order) else first
    kept = np.unique(np.concatenate((order[first], order[last])))
    return x[kept], values[kept]


def x_of(time_s: float, start_s: float, end_s: float) -> float:
    """Where a time lies across a lane; outside 0 … 1000 when outside the window."""
    return round((time_s - start_s) / max(end_s - start_s, 1e-9) * WIDTH, 1)


def time_ticks(start_s: float, end_s: float, count: int = 8) -> tuple[tuple[float, ...], int]:
    """Round times inside a window, at most about `count`, and the digits that they need."""
    rough = max(end_s - start_s, 1e-6) / count
    step, digits = next((s for s in _STEPS if s[0] >= rough), (rough, 0))
    first, last = ceil(start_s / step - 1e-9), floor(end_s / step + 1e-9)
    return tuple(i * step for i in range(first, last + 1)), digits


def _mark_gaps(
    times: Values, scores: Values, thresholds: Values, start_s: float, end_s: float
) -> tuple[Values, Values, Values]:
    """Insert a silent tick where ticks are missing, so that no line is drawn across."""
    if not len(times):
        return times, scores, thresholds
    steps = np.diff(times, append=max(end_s, times[-1]))
    usual = float(np.median(steps[:-1])) if len(times) > 1 else 0.0
    before = np.flatnonzero(steps > max(1.0, GAP_STEPS * usual))
    at, marks = before + 1, times[before] + usual
    if times[0] > start_s + usual:
        at, marks = np.append(0, at), np.append(start_s, marks)
    return (
        np.insert(times, at, marks),
        np.insert(scores, at, nan),
        np.insert(thresholds, at, nan),
    )


def _runs(x: Values, mask: NDArray[np.bool_], least: float) -> list[Span]:
    """Runs of true ticks as (x, width), those wide enough to see; a tick lasts until the next."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    ends = np.append(x, max(WIDTH, float(x[-1])) if len(x) else WIDTH)
    runs = zip(x[edges[::2]], ends[edges[1::2]], strict=True)
    return [(float(a), float(b - a)) for a, b in runs if b - a >= least]


def _merge(boxes: Iterable[Span], least: float) -> tuple[Span, ...]:
    """Boxes that are wide enough to see, those closer than that made one; none is lost."""
    merged: list[Span] = []
    for x, width in sorted(boxes):
        end = x + max(width, least)
        if merged and x - sum(merged[-1]) < least:
            last = merged.pop()
            x, end = last[0], max(end, sum(last))
        merged.append((x, end - x))
    return _clip(merged)


def _clip(boxes: Iterable[Span]) -> tuple[Span, ...]:
    cut = [(max(0.0, x), min(WIDTH, x + width)) for x, width in boxes]
    return tuple((round(a, 1), round(b - a, 1)) for a, b in cut if b > a or 0 < a == b)


def _path(x: Values, ratios: Values, breaks: Sequence[Span]) -> str:
    """An SVG path that does not cross the breaks."""
    piece = np.searchsorted(np.array([start for start, _ in breaks]), x, side='right')
    starts = np.flatnonzero(np.diff(piece, prepend=-1))
    ends = np.append(starts, len(x))[1:]
    points = [f'{a:.5g} {b:.4g}' for a, b in zip(x, height_of(ratios), strict=True)]
    return ''.join('M' + 'L'.join(points[a:b]) for a, b in zip(starts, ends, strict=True))

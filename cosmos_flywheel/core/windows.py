# SPDX-License-Identifier: Apache-2.0
"""Rows of numbers at uneven ticks → what was known over the time before each tick."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.timeline import NS

Numbers = NDArray[np.float64]
Stamps = NDArray[np.int64]

MOST_PERIODS = 2.5
"""Between two ticks; one more lost is a gap."""


def runs(stamps_ns: Stamps) -> Iterator[slice]:
    """The stretches in which stamps only grow."""
    borders = np.flatnonzero(np.diff(stamps_ns) <= 0) + 1
    for start, stop in pairwise([0, *borders.tolist(), len(stamps_ns)]):
        if stop > start:
            yield slice(start, stop)


def windows(
    stamps_ns: Stamps, rows: Numbers, seconds: float, samples: int, hz: float, last: int = 0
) -> Numbers:
    """Each tick's past by samples evenly spread, oldest first.

    Args:
        stamps_ns: (T,), growing.
        rows: (T, n).
        seconds: how far back.
        samples: how many, the tick itself included.
        hz: of the ticks.
        last: only of so many ticks at the end; 0 for all.

    Returns:
        (T or `last`, samples · n), NaN where no tick lies within a period of a sample's instant.

    """
    period_ns = round(NS / hz)
    offsets_ns = np.linspace(-seconds * NS, 0, samples).round().astype(np.int64)
    wanted_ns = stamps_ns[-last:, None] + offsets_ns
    places = np.maximum(np.searchsorted(stamps_ns, wanted_ns + period_ns // 2, 'right') - 1, 0)
    apart_ns = np.abs(stamps_ns[places] - wanted_ns)
    taken = np.where((apart_ns <= period_ns)[..., None], rows[places], np.nan)
    return taken.reshape(len(wanted_ns), samples * rows.shape[1])


def steps(stamps_ns: Stamps, rows: Numbers, hz: float) -> Numbers:
    """(T, n): how far each row is from the one before, as if one period had passed.

    NaN across a gap. Two ticks that nearly coincide count as half a period apart: they must not
    look like a leap.
    """
    moved = np.full_like(rows, np.nan)
    periods = np.diff(stamps_ns) / NS * hz
    across = np.where(periods > MOST_PERIODS, np.nan, np.maximum(periods, 0.5))
    moved[1:] = np.diff(rows, axis=0) / across[:, None]
    return moved


def before(rows: Numbers) -> Numbers:
    """(T, n): each tick's predecessor; NaN for the first."""
    return np.concatenate([np.full_like(rows[:1], np.nan), rows[:-1]])


def trailing_mean(values: Numbers, ticks: int) -> Numbers:
    """(T, n): the mean of each tick's last values; NaN where one of them is."""
    padded = np.concatenate([np.full((ticks - 1, values.shape[1]), np.nan), values])
    means: Numbers = np.lib.stride_tricks.sliding_window_view(padded, ticks, axis=0).mean(axis=-1)
    return means

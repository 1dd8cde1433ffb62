# SPDX-License-Identifier: Apache-2.0
"""Scores of a recording, tick by tick → blocks, and what each block has to say.

A block is what a promise counts in: a stretch of `BLOCK_S`, or a whole recording that is shorter.
Scores of a robot in motion are correlated over a second or two, so ticks tell little by
themselves; blocks many times as long are nearly independent, and an incident seldom outlasts one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosmos_flywheel.core.types import Vector

BLOCK_S = 10.0


def borders(ticks: int, block_ticks: int) -> list[tuple[int, int]]:
    """Half-open ranges of whole blocks; a rest joins the last one."""
    count = max(1, ticks // block_ticks)
    return [
        (i * block_ticks, ticks if i == count - 1 else (i + 1) * block_ticks) for i in range(count)
    ]


def scores_of(evidence: Vector, scale: Vector) -> Vector:
    """(T,), the largest multiple of normal at every tick of (T, n) evidence; NaN where blind."""
    scores: Vector = np.fmax.reduce(evidence / scale, axis=1)
    return scores


def block_maxima(scores: Vector, block_ticks: int) -> list[float]:
    """The largest score of every block; 0 where the channel was blind."""
    return [
        float(np.fmax.reduce(scores[begin:end], initial=0.0))
        for begin, end in borders(len(scores), block_ticks)
    ]


def block_medians(scores: Vector, block_ticks: int) -> list[float]:
    """The median score of every block in which the channel was not blind."""
    parts = [scores[begin:end] for begin, end in borders(len(scores), block_ticks)]
    return [float(np.nanmedian(p)) for p in parts if np.isfinite(p).any()]


def thinned(values: Sequence[float], most: int) -> list[float]:
    """Sorted, and evenly thinned where there are more than so many."""
    ordered = sorted(values)
    if len(ordered) <= most:
        return ordered
    kept = np.linspace(0, len(ordered) - 1, most).round().astype(int)
    return [ordered[i] for i in kept.tolist()]


def rounded(value: float) -> float:
    """Six significant digits: enough for a threshold, and the same in every file."""
    return float(f'{value:.6g}')

# SPDX-License-Identifier: Apache-2.0
"""Evidence of nominal recordings → how large each element normally is, with or without one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.channels import Channel
from cosmos_flywheel.core.scoring import element_quantile
from cosmos_flywheel.core.types import Vector

NORMAL_QUANTILE = 0.999
"""This quantile of an element's nominal evidence is its normal size: with minutes the largest."""


def normal_size(channel: Channel, evidence: Vector) -> Vector:
    """(n,) of (T, n) evidence; the floors of a channel whose limits need no learning."""
    if not channel.adaptive:
        return channel.floors
    return channel.settle(element_quantile(evidence, NORMAL_QUANTILE))


def sizes_without_each(channel: Channel, recordings: Sequence[Vector]) -> list[Vector]:
    """For every recording, the normal size by all the others; by itself if it is the only one.

    Exactly what `normal_size` says of the others' evidence, but without sorting all of it once
    for every recording: only the largest values of either side of it can decide.
    """
    if not channel.adaptive or len(recordings) == 1:
        return [normal_size(channel, np.concatenate(recordings))] * len(recordings)
    counts = [np.count_nonzero(~np.isnan(r), axis=0) for r in recordings]
    total = np.sum(counts, axis=0)
    most = int(_rank(total).max())
    before = _running(recordings, most)
    after = _running(recordings[::-1], most)[::-1]
    return [
        channel.settle(_ranked(np.concatenate([before[i], after[i]]), total - counts[i]))
        for i in range(len(recordings))
    ]


def _running(recordings: Sequence[Vector], most: int) -> list[Vector]:
    """The largest values, by element, of all recordings before each; blind ones come last."""
    kept = np.full((0, recordings[0].shape[1]), -np.inf, np.float32)
    found = []
    for recording in recordings:
        found.append(kept)
        known = np.where(np.isnan(recording), np.float32(-np.inf), recording)
        kept = _largest(np.concatenate([kept, known]), most)
    return found


def _largest(values: Vector, most: int) -> Vector:
    """So many rows that hold the largest values of every column, in no order."""
    if len(values) <= most:
        return values
    kept: Vector = np.partition(values, len(values) - most, axis=0)[len(values) - most :]
    return kept


def _rank(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which value from the top is the quantile of so many, 1 for the largest."""
    index = np.array([max(0, math.ceil(NORMAL_QUANTILE * n) - 1) for n in counts.tolist()])
    ranks: NDArray[np.int64] = np.maximum(counts - index, 1)
    return ranks


def _ranked(values: Vector, counts: NDArray[np.int64]) -> Vector:
    """(n,), the quantile of every column, of which so many are known; NaN where none is."""
    ordered = np.sort(values, axis=0)[::-1]
    found = np.take_along_axis(ordered, _rank(counts)[None] - 1, axis=0)[0]
    sizes: Vector = np.where(counts > 0, found, np.float32(np.nan))
    return sizes

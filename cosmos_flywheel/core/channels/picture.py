# SPDX-License-Identifier: Apache-2.0
"""Picture surprise: the residual of every region, so that something small is not drowned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.channels.base import Moment, ahead_in_words
from cosmos_flywheel.core.types import Vector

BLOCK_PX = 8
STRIDE_PX = 4
"""Blocks overlap by half: a small thing lies within at least one of them."""
NEIGHBOURS = 4
"""Motion that was normal so many strides away may come here."""
QUIET_SHARE = 0.2
"""No block's normal size is below this share of the largest one: a corner where nothing ever
moved must not alarm at the first shadow."""
FLOOR_LEVELS = 2.0
"""Grey levels; below this a region's residual is sensor noise."""


class PictureChannel:
    """Mean residual of each 8 × 8 block of the compared picture, from each horizon, grey levels.

    Args:
        size: (H, W) of residuals; a margin that fills no half block is left out.
        ahead_s: how far ahead the engine predicts, the nearest horizon first.

    """

    name = 'picture'
    adaptive = True

    def __init__(self, size: tuple[int, int], ahead_s: Sequence[float]) -> None:
        self.shape = size[0] // STRIDE_PX - 1, size[1] // STRIDE_PX - 1
        rows, columns = self.shape
        self.elements = tuple(
            _region(r / rows, c / columns) + ahead_in_words(ahead_s, one)
            for one in ahead_s
            for r in range(rows)
            for c in range(columns)
        )
        self._horizons = len(ahead_s)
        self.floors = np.full(len(self.elements), FLOOR_LEVELS, np.float32)

    def evidence(self, moment: Moment) -> Vector:
        """Block means by horizon, row by row; NaN without a prediction."""
        nothing = np.full(self.shape[0] * self.shape[1], np.nan, np.float32)
        residuals = moment.residuals or (None,) * self._horizons
        return np.concatenate([nothing if r is None else self._blocks(r) for r in residuals])

    def settle(self, sizes: Vector) -> Vector:
        """The largest of each block's neighbourhood, and never below a share of the largest."""
        parts = np.split(sizes, self._horizons)
        settled: Vector = np.fmax(np.concatenate([self._settle(p) for p in parts]), self.floors)
        return settled

    def reset(self) -> None:
        """Nothing is remembered here: the engine holds the past."""

    def _blocks(self, residual: NDArray[np.float32]) -> Vector:
        rows, columns = self.shape[0] + 1, self.shape[1] + 1
        cut = residual[: rows * STRIDE_PX, : columns * STRIDE_PX]
        cells = cut.reshape(rows, STRIDE_PX, columns, STRIDE_PX).mean((1, 3), dtype=np.float32)
        pairs = cells[:-1] + cells[1:]
        means: Vector = ((pairs[:, :-1] + pairs[:, 1:]) / 4).ravel()
        return means

    def _settle(self, sizes: Vector) -> Vector:
        if not np.isfinite(sizes).any():
            return np.zeros_like(sizes)
        reach = 2 * NEIGHBOURS + 1
        padded = np.pad(sizes.reshape(self.shape), NEIGHBOURS, mode='edge')
        across = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=1).max(-1)
        largest = np.lib.stride_tricks.sliding_window_view(across, reach, axis=0).max(-1).ravel()
        settled: Vector = np.fmax(largest, QUIET_SHARE * np.nanmax(sizes))
        return settled


def _region(down: float, across: float) -> str:
    """A block's place in words, by thirds of the picture."""
    vertical = ('top', 'middle', 'bottom')[int(down * 3)]
    horizontal = ('left', 'centre', 'right')[int(across * 3)]
    return f'{vertical} {horizontal}'

# SPDX-License-Identifier: Apache-2.0
"""Picture surprise: the residual of every region, so that something small is not drowned."""

from __future__ import annotations

import numpy as np

from cosmos_flywheel.core.channels.base import Moment
from cosmos_flywheel.core.types import Vector

BLOCK_PX = 8
NEIGHBOURS = 2
"""Motion that was normal two blocks away may come here."""
QUIET_SHARE = 0.2
"""No block's normal size is below this share of the largest one: a corner where nothing ever
moved must not alarm at the first shadow."""
FLOOR_LEVELS = 2.0
"""Grey levels; below this a region's residual is sensor noise."""


class PictureChannel:
    """Mean residual of each 8 × 8 block of the engine's picture, in grey levels.

    Args:
        size: (H, W) of the engine's pictures; a margin that fills no block is left out.

    """

    name = 'picture'
    adaptive = True

    def __init__(self, size: tuple[int, int]) -> None:
        self.shape = size[0] // BLOCK_PX, size[1] // BLOCK_PX
        rows, columns = self.shape
        self.elements = tuple(
            _region(r / rows, c / columns) for r in range(rows) for c in range(columns)
        )
        self.floors = np.full(rows * columns, FLOOR_LEVELS, np.float32)

    def evidence(self, moment: Moment) -> Vector:
        """Block means, row by row; all NaN without a prediction."""
        if moment.residual is None:
            return np.full(len(self.floors), np.nan, np.float32)
        rows, columns = self.shape
        residual = moment.residual[: rows * BLOCK_PX, : columns * BLOCK_PX]
        blocks = residual.reshape(rows, BLOCK_PX, columns, BLOCK_PX)
        means: Vector = blocks.mean(axis=(1, 3), dtype=np.float32).ravel()
        return means

    def settle(self, sizes: Vector) -> Vector:
        """The largest of each block's neighbourhood, and never below a share of the largest."""
        if not np.isfinite(sizes).any():
            return self.floors
        reach = 2 * NEIGHBOURS + 1
        padded = np.pad(sizes.reshape(self.shape), NEIGHBOURS, mode='edge')
        around = np.lib.stride_tricks.sliding_window_view(padded, (reach, reach))
        largest = around.max(axis=(2, 3)).ravel()
        settled: Vector = np.fmax(np.fmax(largest, QUIET_SHARE * np.nanmax(sizes)), self.floors)
        return settled

    def reset(self) -> None:
        """Nothing is remembered here: the engine holds the past."""


def _region(down: float, across: float) -> str:
    """A block's place in words, by thirds of the picture."""
    vertical = ('top', 'middle', 'bottom')[int(down * 3)]
    horizontal = ('left', 'centre', 'right')[int(across * 3)]
    return f'{vertical} {horizontal}'

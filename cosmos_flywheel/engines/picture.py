# SPDX-License-Identifier: Apache-2.0
"""A predicted and an actual picture → where they part, whatever the exposure."""

from __future__ import annotations

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from cosmos_flywheel.core.types import Picture

GAIN_RANGE = (0.5, 2.0)
"""Exposure and white balance are forgiven within this gain; a covered lens is not."""
BLUR_PX = 3
"""Box blur before comparing: sensor noise and half-pixel shifts are no surprise."""


def exposure_residual(predicted: Picture, actual: Picture) -> NDArray[np.float32]:
    """Absolute difference after matching level and contrast: (H, W) float32, levels 0 … 255.

    Level and contrast are matched per colour channel by median and interquartile range, which
    something that covers less than a quarter of the picture does not move.
    """
    expected = cv2.blur(predicted, (BLUR_PX, BLUR_PX))
    seen = cv2.blur(actual, (BLUR_PX, BLUR_PX))
    wanted, given = _quartiles(expected), _quartiles(seen)
    gain = np.clip((wanted[2] - wanted[0] + 1) / (given[2] - given[0] + 1), *GAIN_RANGE)
    # Every level maps to one other: a table of 256 is cheaper than arithmetic on every pixel.
    levels = (np.arange(256)[:, None] - given[1]) * gain + wanted[1]
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    matched = cv2.LUT(seen, table.reshape(1, 256, 3))
    apart = cv2.absdiff(expected, matched).astype(np.float32)
    return np.asarray(cv2.transform(apart, np.full((1, 3), 1 / 3, np.float32)), np.float32)


def _quartiles(picture: MatLike) -> NDArray[np.float64]:
    """The 25th, 50th and 75th percentile of every colour: (3, 3)."""
    sparse = np.asarray(picture)[::4, ::4].reshape(-1, 3)
    ranks = [share * len(sparse) // 4 for share in (1, 2, 3)]
    return np.partition(sparse, ranks, axis=0)[ranks].astype(np.float64)

# SPDX-License-Identifier: Apache-2.0
"""A predicted and an actual picture → where they part, whatever the exposure."""

from __future__ import annotations

import cv2
import numpy as np
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
    expected = cv2.blur(predicted, (BLUR_PX, BLUR_PX)).astype(np.float32)
    seen = cv2.blur(actual, (BLUR_PX, BLUR_PX)).astype(np.float32)
    wanted, given = _quartiles(expected), _quartiles(seen)
    gain = (wanted[2] - wanted[0] + 1) / (given[2] - given[0] + 1)
    gain = np.clip(gain, *GAIN_RANGE).astype(np.float32)
    seen = (seen - given[1]) * gain + wanted[1]
    difference: NDArray[np.float32] = np.abs(seen - expected).mean(axis=2)
    return difference


def _quartiles(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """The 25th, 50th and 75th percentile of every colour: (3, 3)."""
    sparse = np.sort(picture[::2, ::2].reshape(-1, 3), axis=0)
    quarter = len(sparse) // 4
    return sparse[[quarter, 2 * quarter, 3 * quarter]]

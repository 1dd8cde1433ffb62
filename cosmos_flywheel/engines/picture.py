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
TOLERANCE = np.ones((3, 3), np.uint8)
SURE_LEVELS = 8.0
"""Unsureness of so many grey levels halves a residual; chosen on the simulated gantry
(docs/experiments.md)."""


def exposure_residual(predicted: Picture, actual: Picture) -> NDArray[np.float32]:
    """Absolute difference, a change of exposure forgiven: (H, W) float32, levels 0 … 255.

    Level and contrast are matched per colour by median and interquartile range if that brings
    the median pixel nearer, and left alone if not: something that covers much of the picture
    moves its statistics too, but not the pixels that it leaves free.
    """
    expected = cv2.blur(predicted, (BLUR_PX, BLUR_PX))
    seen = cv2.blur(actual, (BLUR_PX, BLUR_PX))
    plain = _apart(expected, seen)
    matched = _apart(expected, _match(seen, expected))
    return matched if _typical(matched) < _typical(plain) else plain


def tolerant_residual(
    predicted: Picture, actual: Picture, unsure: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """What lies beyond the colours that were predicted within one px: (H, W) float32, levels.

    A change of exposure or white balance is forgiven as in `exposure_residual`; an edge that is
    off by less than a px as well. Where the prediction is unsure, less is made of it.

    Args:
        predicted: (H, W, 3) RGB.
        actual: the same size.
        unsure: (H, W) grey levels by which the prediction may be off; none is 0.

    """
    expected = predicted
    matched = _match(actual, expected)
    near = _typical(_apart(expected, matched)) < _typical(_apart(expected, actual))
    seen = matched if near else actual
    beyond = cv2.max(
        cv2.subtract(seen, cv2.dilate(expected, TOLERANCE)),
        cv2.subtract(cv2.erode(expected, TOLERANCE), seen),
    )
    levels = cv2.transform(beyond.astype(np.float32), np.full((1, 3), 1 / 3, np.float32))
    if unsure is not None:
        levels = levels * (SURE_LEVELS / (SURE_LEVELS + unsure))
    return np.asarray(levels, np.float32)


def _match(seen: MatLike, expected: MatLike) -> MatLike:
    """The seen picture with the level and contrast of the expected one."""
    wanted, given = _quartiles(expected), _quartiles(seen)
    gain = np.clip((wanted[2] - wanted[0] + 1) / (given[2] - given[0] + 1), *GAIN_RANGE)
    # Every level maps to one other: a table of 256 is cheaper than arithmetic on every pixel.
    levels = (np.arange(256)[:, None] - given[1]) * gain + wanted[1]
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return cv2.LUT(seen, table.reshape(1, 256, 3))


def _apart(expected: MatLike, seen: MatLike) -> NDArray[np.float32]:
    """Mean absolute difference of the colours."""
    apart = cv2.absdiff(expected, seen).astype(np.float32)
    return np.asarray(cv2.transform(apart, np.full((1, 3), 1 / 3, np.float32)), np.float32)


def _typical(residual: NDArray[np.float32]) -> float:
    sparse = residual[::4, ::4].ravel()
    return float(np.partition(sparse, len(sparse) // 2)[len(sparse) // 2])


def _quartiles(picture: MatLike) -> NDArray[np.float64]:
    """The 25th, 50th and 75th percentile of every colour: (3, 3)."""
    sparse = np.asarray(picture)[::4, ::4].reshape(-1, 3)
    ranks = [share * len(sparse) // 4 for share in (1, 2, 3)]
    return np.partition(sparse, ranks, axis=0)[ranks].astype(np.float64)

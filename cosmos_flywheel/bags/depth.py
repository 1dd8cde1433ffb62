# SPDX-License-Identifier: Apache-2.0
"""Turns distances into a grey picture, by one rule for every frame and camera."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.types import Picture

NEAR_M = 0.25
"""Depth that is white. Hands work from here on; most depth cameras see nothing nearer."""


def picture_of_depth(depth: NDArray[Any]) -> Picture:
    """Depth (H, W) to grey RGB (H, W, 3): 255 * 0.25 m / depth, rounded, at most 255.

    uint16 is millimetres and float32 metres (REP 118). Inverse depth spends the greys where a
    robot works (0.5 m: 128, 1 m: 64, 10 m: 6) and lets infinity be black. Zero, negative, and NaN
    mean unknown and are black too. Never scaled by the frame's own range, so equal distances have
    equal greys all through a recording.
    """
    metres = depth.astype(np.float32)
    if depth.dtype == np.uint16:
        metres /= 1000
    known = metres > 0
    grey = np.zeros(metres.shape, np.float32)
    np.divide(255 * NEAR_M, metres, out=grey, where=known)
    narrow = np.rint(np.minimum(grey, 255)).astype(np.uint8)
    return np.repeat(narrow[:, :, None], 3, axis=2)

# SPDX-License-Identifier: Apache-2.0
"""A clean picture to one seen through dirt on the lens: soft blotches that stay where they are."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.types import Picture

FEWEST, MOST = 3, 16
"""Blotches at strength 0 and 1."""
LEAST_COVER, MOST_COVER = 0.15, 0.9
"""How much of what lies behind a blotch it takes away in its middle."""
MUD = (74.0, 66.0, 54.0)
"""Its colour, RGB."""
HAZE_PX = 5.0
"""What is seen through the rest of it is blurred so much at 320 px of width."""


class Lens:
    """Dirt of one seed; a stronger fault keeps the blotches of a weaker one and adds others."""

    def __init__(
        self, chance: np.random.Generator, strength: float, size: tuple[int, int]
    ) -> None:
        count = round(FEWEST + (MOST - FEWEST) * strength)
        cover = LEAST_COVER + (MOST_COVER - LEAST_COVER) * strength
        self._mask = cover * _blotches(chance, count, size)
        self._haze_px = HAZE_PX * size[1] / 320

    def through(self, picture: Picture, share: float) -> Picture:
        """The picture (H, W, 3) with this share, 0 … 1, of the dirt before it."""
        mask = (share * self._mask)[..., None]
        blurred = cv2.GaussianBlur(picture, (0, 0), self._haze_px).astype(np.float32)
        dirt = 0.6 * np.array(MUD, np.float32) + 0.4 * blurred
        return np.asarray(picture + mask * (dirt - picture) + 0.5, np.uint8)


def _blotches(
    chance: np.random.Generator, count: int, size: tuple[int, int]
) -> NDArray[np.float32]:
    """How much each pixel is covered, 0 … 1: (H, W)."""
    height, width = size
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    clear = np.ones(size, np.float32)
    draws = chance.uniform(size=(MOST, 5))
    for row, column, large, flat, tilt in draws[:count]:
        radius = (0.025 + 0.085 * large**2) * width
        down, right = rows - row * height, columns - column * width
        angle = np.arctan2(down, right)
        lobes = 1 + 0.18 * np.sin(3 * angle + 6 * tilt) + 0.1 * np.sin(5 * angle + 9 * flat)
        away = np.hypot(down * (0.8 + 0.5 * flat), right) / (radius * lobes)
        clear *= 1 - np.clip((1.25 - away) / 0.5, 0, 1).astype(np.float32)
    return 1 - clear

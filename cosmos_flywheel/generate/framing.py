# SPDX-License-Identifier: Apache-2.0
"""A clip's pictures ↔ those of a film that a world model is asked for."""

from __future__ import annotations

from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.bags.recording import Recording
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.engines.cosmos.canvas import Canvas, Size


def size_of(recording: Recording) -> Size:
    """(H, W) in px of its pictures."""
    return recording.pictures.shape[1], recording.pictures.shape[2]


def fitted(recording: Recording, begin: int, end: int, canvas: Canvas) -> NDArray[np.uint8]:
    """Pictures of a stretch as the canvas has them, without what fills no latent cell."""
    high, wide = canvas.shown
    fit = [resized(p, canvas.content)[:high, :wide] for p in recording.pictures[begin:end]]
    return np.stack(fit).astype(np.uint8)


def content_of(picture: Size, size: Size) -> Size:
    """(H, W) of a picture scaled to fit; even, as a film's sides have to be."""
    scale = min(size[0] / picture[0], size[1] / picture[1])
    high, wide = (
        min(side, 2 * ceil(scale * p / 2)) for side, p in zip(size, picture, strict=True)
    )
    return high, wide


def laid(picture: Picture, size: Size) -> Picture:
    """Scaled to fit, in the upper left corner; the rest continues it."""
    high, wide = content_of((picture.shape[0], picture.shape[1]), size)
    below, beside = size[0] - high, size[1] - wide
    way = cv2.BORDER_REPLICATE if below >= high or beside >= wide else cv2.BORDER_REFLECT_101
    fit = resized(picture, (high, wide))
    return np.asarray(cv2.copyMakeBorder(fit, 0, below, 0, beside, way), np.uint8)


def resized(picture: Picture, size: Size) -> Picture:
    """Brought to (H, W); areas are averaged where it shrinks."""
    if picture.shape[:2] == size:
        return picture
    way = cv2.INTER_AREA if size[0] < picture.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size[::-1], interpolation=way), np.uint8)

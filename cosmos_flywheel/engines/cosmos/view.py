# SPDX-License-Identifier: Apache-2.0
"""A robot's cameras → the one picture that Cosmos sees, and back to the primary camera's part.

One camera alone, or the concat view of three: one on top, two of half its width side by side below
(see `canvas.concatenated`). The wrist camera lies on top, as DROID has it, or else the primary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.engines.cosmos.canvas import Canvas
from cosmos_flywheel.engines.cosmos.dims import SCALE

CONCAT = 'concat_view'
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class View:
    """Which camera lies where."""

    point: str
    """One of the view points that the model knows."""
    cameras: tuple[str, ...]
    """One name, or three: the upper, the lower left, the lower right one."""
    primary: int
    """Which of them is compared."""
    canvas: Canvas

    @classmethod
    def of(cls, robot: Robot, camera_size: Size, tier: int) -> View:
        """Of a robot whose primary camera has pictures of (H, W) px.

        Raises:
            ConfigError: the robot has no camera, or for a concat view not three.
            EngineError: there is no such tier.

        """
        names = [camera.name for camera in robot.cameras]
        if not names:
            raise ConfigError(f'robot {robot.name}: engine cosmos needs a camera; fit local')
        if robot.cosmos.view_layout != CONCAT:
            point = robot.cosmos.view_layout
            return cls(point, (names[0],), 0, Canvas.choose(camera_size, tier))
        if len(names) != 3:
            raise ConfigError(
                f'robot {robot.name}: a concat view has three cameras, not {len(names)}; name '
                'three, or give cosmos.view_layout another'
            )
        wrists = [c.name for c in robot.cameras if c.view_point == 'wrist_view']
        top = wrists[0] if wrists else names[0]
        order = (top, *(name for name in names if name != top))
        whole = camera_size[0] + camera_size[0] // 2, camera_size[1]
        return cls(CONCAT, order, order.index(names[0]), Canvas.choose(whole, tier))

    @property
    def size(self) -> Size:
        """(H, W) in px at which cameras are read: the whole content, or its upper part."""
        high, wide = self.canvas.content
        return (high, wide) if len(self.cameras) == 1 else (high - high // 3, wide)

    @property
    def shown(self) -> tuple[slice, slice]:
        """Rows and columns of predicted pictures that are the primary camera."""
        high, wide = self.canvas.shown
        if len(self.cameras) == 1:
            return slice(0, high), slice(0, wide)
        border, middle = self.size[0], self.size[1] // 2
        rows = slice(0, border) if self.primary == 0 else slice(border, high)
        columns = (slice(0, wide), slice(0, middle), slice(middle, wide))[self.primary]
        return rows, columns

    @property
    def cells(self) -> tuple[slice, slice]:
        """The same in latent cells, of those that lie wholly inside."""
        rows, columns = self.shown
        return _whole(rows), _whole(columns)

    def compose(self, pictures: Mapping[str, Picture]) -> Picture | None:
        """What is shown to the model, (H, W, 3) of the canvas; None where a camera is silent.

        `pictures` are of `size`, the primary camera's first.
        """
        parts = [next(iter(pictures.values()), None), *map(pictures.get, self.cameras)]
        if len(self.cameras) == 1:
            return None if parts[0] is None else self.laid(parts[0])
        found = [p for p in parts[1:] if p is not None]
        if parts[0] is None or len(found) != len(self.cameras):
            return None
        high, wide = self.canvas.content
        below = high - self.size[0]
        left = _resized(found[1], (below, self.size[1] // 2))
        right = _resized(found[2], (below, wide - self.size[1] // 2))
        return self.laid(np.concatenate([found[0], np.concatenate([left, right], 1)]))

    def part(self, pictures: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
        """The primary camera's part of (T, H, W, 3), each brought to a size."""
        rows, columns = self.shown
        return np.stack([_resized(one[rows, columns], size) for one in pictures])

    def seen(self, picture: Picture, size: Size) -> Picture:
        """An actual picture of `size` as `part` has predicted ones: what fills no cell is cut."""
        if len(self.cameras) > 1:
            return _resized(picture, size)
        high, wide = self.canvas.shown
        return _resized(picture[:high, :wide], size)

    def laid(self, content: Picture) -> Picture:
        """Padded to the canvas as `Canvas.lay` pads."""
        return laid(content, self.canvas.size)

    def to_mapping(self) -> dict[str, Any]:
        """As a model folder keeps it."""
        return {
            'point': self.point,
            'cameras': list(self.cameras),
            'primary': self.primary,
            'canvas': list(self.canvas.size),
            'content': list(self.canvas.content),
        }

    @classmethod
    def from_mapping(cls, written: Mapping[str, Any]) -> View:
        """Inverse of `to_mapping`."""
        canvas = Canvas(_pair(written['canvas']), _pair(written['content']))
        return cls(written['point'], tuple(written['cameras']), written['primary'], canvas)


def laid(content: Picture, size: Size) -> Picture:
    """A picture (h, w, 3) at the upper left of one of (H, W), padded as `Canvas.lay` pads."""
    (high, wide), (down, across) = size, content.shape[:2]
    bottom, right = high - down, wide - across
    if not bottom and not right:
        return content
    far = right >= across or bottom >= down
    way = cv2.BORDER_REPLICATE if far else cv2.BORDER_REFLECT_101
    return np.asarray(cv2.copyMakeBorder(content, 0, bottom, 0, right, way), np.uint8)


def laid_again(shown: Picture, canvas: Canvas) -> Picture:
    """A predicted picture laid on the canvas, to begin with; what was cut off repeats its edge."""
    high, wide = canvas.content
    down, across = high - shown.shape[0], wide - shown.shape[1]
    whole = cv2.copyMakeBorder(shown, 0, down, 0, across, cv2.BORDER_REPLICATE)
    return laid(np.asarray(whole, np.uint8), canvas.size)


def _pair(numbers: Sequence[int]) -> Size:
    return numbers[0], numbers[1]


def _whole(pixels: slice) -> slice:
    first = -(-pixels.start // SCALE)
    return slice(first, max(pixels.stop // SCALE, first + 1))


def _resized(picture: Picture, size: Size) -> Picture:
    if picture.shape[:2] == size:
        return picture
    shrinks = size[0] < picture.shape[0]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size[::-1], interpolation=way), np.uint8)

# SPDX-License-Identifier: Apache-2.0
"""Fields of a network (motion, shares, spread) and what was seen → the picture that they foretell.

A predicted picture is put together from the seen one: carried along a motion field, left where it
is, replaced by the mean of the past, or blurred, each by a share that the network gives for every
place. Nothing is painted that was not seen, so that a picture stays sharp where the model is sure
and colours never drift.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.types import Picture

Floats = NDArray[np.float32]

LARGE = (192, 320)
"""(H, W) in px of the pictures that the engine takes and shows, whatever the camera's shape."""
SMALL = (96, 160)
"""(H, W) in px at which the network looks and pictures are compared."""
CELLS = (48, 80)
"""(H, W) of the network's fields."""
MEAN_RATE = 0.02
"""The mean of the past forgets with this rate, so after about 50 ticks."""
MOST_PERIODS = 3.0
"""A motion seen over a longer gap than this many ticks is no longer a velocity."""
SAME_PERIOD = 0.2
"""Cameras jitter by less than this share of a tick; larger gaps are divided out."""
CHANNELS = 8
"""Of the fields: motion down and across (2), how much of the seen motion goes on (1), shares of
carried, kept, mean and blurred picture (4), spread (1)."""
CANDIDATES = ('network', 'flow', 'flow, blurred', 'flow, much blurred', 'seen, blurred', 'mean')
"""What a picture at full size is blended from."""
BLUR = 9
"""Width in SMALL's px of the blurred share's box."""
SPREAD_SHARE, CHANGE_SHARE = 0.3, 0.3
"""How much of the expected spread and of the foretold change counts as unsureness; chosen on the
simulated gantry (docs/experiments.md)."""
MEAN_COLOUR = np.full((1, 3), 1 / 3, np.float32)


def make_search() -> cv2.DISOpticalFlow:
    """Dense inverse search (Kroeger et al., ECCV 2016) between OpenCV's fast and medium preset.

    Two thirds of medium's time, and its blend's skill within 0.01 (docs/experiments.md).
    """
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    search.setFinestScale(1)
    search.setGradientDescentIterations(12)
    search.setPatchSize(8)
    search.setPatchStride(4)
    search.setVariationalRefinementIterations(5)
    return search


@dataclass(frozen=True, slots=True)
class Sight:
    """One observation as the network and the renderer want it."""

    large: Picture
    """(H, W, 3) RGB, at the engine's own size."""
    small: Floats
    """(*SMALL, 3), 0 … 255."""
    small_before: Floats
    small_mean: Floats
    large_mean: Picture
    """Mean of the past, rounded."""
    flow: Floats
    """(H, W, 2): where each px of `large` was one tick ago, in px from here."""
    small_flow: Floats
    """(*SMALL, 2), in SMALL's px."""


class Eye:
    """Remembers the past of one stream of pictures; call `see` in order."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self._search = make_search()
        self._grey: NDArray[np.uint8] | None = None
        self.small: Floats = np.zeros((*SMALL, 3), np.float32)
        """The newest picture."""
        self.small_mean: Floats = np.zeros((*SMALL, 3), np.float32)
        self.large_mean: Floats = np.zeros((*size, 3), np.float32)
        """Of all so far, older ones forgotten."""
        self._count = 0

    def see(self, picture: Picture, periods: float) -> Sight | None:
        """What the picture is beside the past; None while there is none near enough.

        Args:
            picture: (H, W, 3) RGB, of the engine's size.
            periods: ticks of the model's clock since the picture before.

        """
        small = shrink(picture).astype(np.float32)
        grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
        before_grey, before_small = self._grey, self.small
        self._grey, self.small = grey, small
        rate = max(1 / (self._count + 1), MEAN_RATE)
        self._count += 1
        cv2.accumulateWeighted(small, self.small_mean, rate)
        cv2.accumulateWeighted(picture, self.large_mean, rate)
        if before_grey is None or not 0 < periods <= MOST_PERIODS:
            return None
        flow = self._search.calc(grey, before_grey, np.zeros((*self.size, 2), np.float32))
        if abs(periods - 1) > SAME_PERIOD:
            flow = np.asarray(flow / periods, np.float32)
        small_flow = cv2.resize(flow, SMALL[::-1], interpolation=cv2.INTER_AREA)
        scale = np.array([SMALL[1] / self.size[1], SMALL[0] / self.size[0]], np.float32)
        return Sight(
            picture,
            small,
            before_small,
            self.small_mean.copy(),
            np.asarray(cv2.convertScaleAbs(self.large_mean), np.uint8),
            np.asarray(flow, np.float32),
            np.asarray(small_flow * scale, np.float32),
        )


def shrink(picture: Picture) -> Picture:
    """Bring a picture to SMALL by averaging areas."""
    return np.asarray(cv2.resize(picture, SMALL[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def foretell(fields: Floats, sight: Sight, steps: int) -> tuple[Picture, Floats]:
    """The small picture so many ticks later, and how unsure it is.

    Args:
        fields: (*CELLS, CHANNELS) as the network gives them.
        sight: what it was given.
        steps: ticks ahead.

    Returns:
        (*SMALL, 3) RGB, and (*SMALL) in grey levels: a share of the spread that the network
        expects and of the change that it foretells.

    """
    wide = _enlarge(fields, SMALL)
    picture = compose(wide, sight.small, sight.small_mean, sight.small_flow, steps)
    change = cv2.transform(cv2.absdiff(picture, sight.small), MEAN_COLOUR)
    unsure = 255 * SPREAD_SHARE * wide[..., 7] + CHANGE_SHARE * change
    return np.asarray(cv2.convertScaleAbs(picture), np.uint8), np.asarray(unsure, np.float32)


def foretell_large(fields: Floats, sight: Sight, steps: int, blend: Floats) -> Picture:
    """The same at full size, blended with simpler predictions: (H, W, 3) RGB.

    Args:
        fields: (*CELLS, CHANNELS).
        sight: what the network was given.
        steps: ticks ahead.
        blend: (len(CANDIDATES),) shares, fitted on recordings that the network never saw.

    """
    result = sight.large.astype(np.float32)
    for share, change in zip(blend, candidates(fields, sight, steps), strict=True):
        result += share * change
    return np.clip(np.rint(result), 0, 255).astype(np.uint8)


def candidates(fields: Floats, sight: Sight, steps: int) -> Iterator[Floats]:
    """What each of CANDIDATES foretells, less the picture as seen: (H, W, 3) float32 each."""
    seen = sight.large.astype(np.float32)
    mean = sight.large_mean.astype(np.float32)
    wide = _enlarge(fields, seen.shape[:2])
    carried = carry(seen, sight.flow * np.float32(steps))
    yield compose(wide, seen, mean, sight.flow, steps) - seen
    yield carried - seen
    for picture, box in ((carried, 5), (carried, 15), (seen, 5)):
        yield cv2.blur(picture, (box, box)) - seen
    yield mean - seen


def compose(wide: Floats, seen: Floats, mean: Floats, flow: Floats, steps: int) -> Floats:
    """Carry, keep, average and blur by shares: all arguments of one size (H, W)."""
    scale = seen.shape[1] / SMALL[1]
    carried = carry(seen, flow * (steps * wide[..., 2:3]) + wide[..., :2] * np.float32(scale))
    box = int((BLUR - 1) * scale) + 1
    result = seen * wide[..., 4:5]
    result += carried * wide[..., 3:4]
    result += mean * wide[..., 5:6]
    result += cv2.blur(carried, (box, box)) * wide[..., 6:7]
    return result


def carry(picture: Floats, motion: Floats) -> Floats:
    """Take every px from where `motion` (H, W, 2) says it comes from; the border stays."""
    height, width = picture.shape[:2]
    rows, columns = _grid(height, width)
    return np.asarray(
        cv2.remap(
            picture,
            columns + motion[..., 0],
            rows + motion[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.float32,
    )


def _enlarge(fields: Floats, size: tuple[int, int]) -> Floats:
    return np.asarray(cv2.resize(fields, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


_grids: dict[tuple[int, int], tuple[Floats, Floats]] = {}


def _grid(height: int, width: int) -> tuple[Floats, Floats]:
    if (height, width) not in _grids:
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
        _grids[height, width] = rows, columns
    return _grids[height, width]

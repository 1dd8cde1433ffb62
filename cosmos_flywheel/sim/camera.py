# SPDX-License-Identifier: Apache-2.0
"""Perfect pictures to those of a real camera, with the faults that any camera can have.

A robot offers them by listing `camera_faults(tasks)` among its own.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.sim.world import LASTS_S, Fault, Numbers, Setup, Span

NOISE_SIGMA = 2.0
"""Of a nominal pixel, of 255."""
EXPOSURE_SPREAD, BALANCE_SPREAD = 0.015, 0.008
"""Nominal episodes differ so much in gain: one standard deviation, overall and by colour."""

SETTLE_S = 0.5
"""A lasting change comes gradually within this time."""
COVER_S = 0.2
"""Something comes before the lens within this time."""
MOST_LATE_S = 0.4
MOST_NOISE = 10.0
MOST_BALANCE = 0.2

Floats = NDArray[np.float32]


def camera_faults(tasks: tuple[str, ...]) -> tuple[Fault, ...]:
    """The faults of every camera, for these tasks."""
    return (
        Fault(
            'freeze', 'sensor', tasks,
            'the camera repeats its last picture', '0.2 s … 2 s long',
        ),
        Fault(
            'occlusion', 'sensor', tasks,
            'something dark hangs before the lens', '2 % … 40 % of the picture',
        ),
        Fault(
            'dropped_frames', 'sensor', tasks,
            'pictures get lost', '10 % … 90 % of them, for 1.5 s',
        ),
        Fault(
            'latency', 'sensor', tasks,
            'pictures are older than their stamps say', 'one picture … 0.4 s, to the end',
        ),
        Fault(
            'white_balance', 'benign', tasks,
            'the camera shifts its colours', 'red and blue by ±0 % … ±20 %, to the end',
        ),
        Fault(
            'noise', 'benign', tasks,
            'the pixels get noisier', 'sigma 2 … 12 of 255, to the end',
        ),
    )  # fmt: skip


def lasts_s(setup: Setup) -> float | None:
    """How long a fault of a camera acts; None for ever."""
    if setup.has('freeze'):
        return 0.2 + 1.8 * setup.strength
    return LASTS_S if setup.has('occlusion') or setup.has('dropped_frames') else None


class Camera:
    """Turns the perfect pictures of one episode into what is published; one call a frame.

    Every frame draws the same random numbers whatever the fault, so that two episodes of one
    seed are equal, bit by bit, until a fault begins.
    """

    def __init__(self, setup: Setup, span: Span | None, hz: int) -> None:
        self._setup = setup
        self._span = span
        self._noise = setup.chance('pixel noise')
        self._luck = setup.chance('lost pictures')
        self._cover = setup.chance('occlusion').uniform(0.25, 0.75, 2)
        self._gain = _nominal_gain(setup)
        self._past: deque[Picture] = deque(maxlen=1 + round(MOST_LATE_S * hz))
        self._hz = hz
        self._last: Picture | None = None

    def take(self, at_s: float, picture: Picture) -> Picture | None:
        """What is published for the frame at this instant; None when nothing is.

        Args:
            at_s: seconds from the start.
            picture: uint8 (H, W, 3) RGB, as a perfect camera sees it.
        """
        grain = self._noise.standard_normal(picture.shape, np.float32)
        luck = self._luck.random()
        self._past.append(picture)
        if self._last is not None and self._share('freeze', at_s):
            return self._last
        seen = self._past[-1 - self._late(at_s)] * self._gains(at_s)
        self._darken(seen, at_s)
        sigma = NOISE_SIGMA + MOST_NOISE * self._share('noise', at_s, SETTLE_S)
        self._last = np.clip(seen + sigma * grain + 0.5, 0, 255).astype(np.uint8)
        return None if self._is_dropped(at_s, luck) else self._last

    def _share(self, fault: str, at_s: float, ramp_s: float = 0.0) -> float:
        """How much of this fault's full strength there is now, 0 … 1."""
        if self._span is None or not self._setup.has(fault):
            return 0.0
        return self._setup.strength * self._span.share(at_s, ramp_s)

    def _is_dropped(self, at_s: float, luck: float) -> bool:
        if self._span is None or not self._share('dropped_frames', at_s):
            return False
        # The first one always: a fault that does nothing would be a wrong label.
        return at_s == self._span.start_s or luck < 0.1 + 0.8 * self._setup.strength

    def _late(self, at_s: float) -> int:
        """Frames that the content lags behind."""
        lag = self._share('latency', at_s, SETTLE_S) * MOST_LATE_S * self._hz
        return min(len(self._past) - 1, int(np.ceil(lag)))

    def _gains(self, at_s: float) -> Floats:
        shift = MOST_BALANCE * self._share('white_balance', at_s, SETTLE_S)
        change = np.array([1 + shift, 1, 1 - shift])
        return np.asarray(self._gain * change, np.float32)

    def _darken(self, seen: Floats, at_s: float) -> None:
        """Lay a soft dark ellipse over the picture, in place."""
        strength = self._share('occlusion', at_s)
        if not strength or self._span is None:
            return
        area = (0.02 + 0.38 * strength) * min(1.0, (at_s - self._span.start_s) / COVER_S + 0.3)
        height, width = seen.shape[:2]
        radius = np.sqrt(area * height * width / np.pi)
        rows, columns = np.ogrid[:height, :width]
        row, column = self._cover * (height, width)
        away = np.hypot((rows - row) / 0.8, (columns - column) * 0.8) / radius
        cover = np.clip((1.05 - away) / 0.1, 0, 1)[..., None].astype(np.float32)
        seen *= 1 - cover
        seen += cover * 22


def _nominal_gain(setup: Setup) -> Numbers:
    chance = setup.chance('exposure')
    overall = 1 + EXPOSURE_SPREAD * chance.standard_normal()
    return np.asarray(overall * (1 + BALANCE_SPREAD * chance.standard_normal(3)))

# SPDX-License-Identifier: Apache-2.0
"""Constant velocity: whatever moved goes on moving, every pixel along its optical flow."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.types import ActionChunk, Observation, Picture, Prediction
from cosmos_flywheel.engines.persistence import Persistence, chosen_stamps, primary_picture

LEAST_PX = 16
"""OpenCV's search reads outside of its memory on smaller pictures, or gives NaN."""
MAX_STEP = 3.0
"""A motion seen over a longer gap than this many steps is no longer a velocity."""


class Flow(Persistence):
    """Dense inverse search (Kroeger et al., ECCV 2016; OpenCV's medium preset), extrapolated.

    State is extrapolated at constant velocity as well. Without an earlier observation it falls
    back to persistence.
    """

    level = 'flow'

    def __init__(self, size: tuple[int, int], horizon: int = 2) -> None:
        super().__init__(size, horizon)
        if min(size) < LEAST_PX:
            raise EngineError(
                f'flow needs pictures of at least {LEAST_PX} px a side, not {size[1]}x{size[0]}; '
                f'take engine persistence, or a camera of another shape'
            )
        self._search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        rows, columns = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
        self._grid = np.stack([columns, rows])
        self._past: deque[Observation] = deque(maxlen=self.spec.chunk + 2)

    def open(self, robot: str, task: str) -> None:
        """Begin a session without a past."""
        self._past.clear()

    def observe(self, observation: Observation) -> None:
        """Remember the last observations; motion is looked for when a prediction needs it."""
        self._past.append(observation)

    def predict(
        self, observation: Observation, actions: ActionChunk, steps: Sequence[int] | None = None
    ) -> Prediction:
        """Carry on the motion between the previous observation and this one."""
        stamps_ns = chosen_stamps(actions, steps)
        before = self._observed_before(observation)
        ahead = (stamps_ns - observation.stamp_ns).astype(np.float64)
        if before is None or not self._is_near(before, observation, actions):
            return super().predict(observation, actions, steps)
        ratios = (ahead / (observation.stamp_ns - before.stamp_ns)).astype(np.float32)
        velocity = observation.state - before.state
        state = observation.state + ratios[:, None] * velocity
        frames = self._frames(observation, before, ratios)
        return Prediction(observation.stamp_ns, self.spec.level, stamps_ns, frames, None, state)

    def close(self) -> None:
        """Forget the past."""
        self._past.clear()

    def _observed_before(self, observation: Observation) -> Observation | None:
        """The observation before this one, if both were told."""
        for before, now in zip(self._past, islice(self._past, 1, None), strict=False):
            if now.stamp_ns == observation.stamp_ns:
                return before
        return None

    @staticmethod
    def _is_near(before: Observation, now: Observation, actions: ActionChunk) -> bool:
        gap_ns = now.stamp_ns - before.stamp_ns
        return bool(0 < gap_ns <= MAX_STEP * (actions.stamps_ns[0] - now.stamp_ns))

    def _frames(
        self, observation: Observation, before: Observation, ratios: NDArray[np.float32]
    ) -> NDArray[np.uint8] | None:
        picture, earlier = primary_picture(observation), primary_picture(before)
        if picture is None:
            return None
        if earlier is None:
            return np.broadcast_to(picture, (len(ratios), *picture.shape))
        return self._extrapolate(picture, _grey(picture), _grey(earlier), ratios)

    def _extrapolate(
        self,
        picture: Picture,
        grey: NDArray[np.uint8],
        before_grey: NDArray[np.uint8],
        ratios: NDArray[np.float32],
    ) -> NDArray[np.uint8]:
        """Warp the picture along the flow that leads back to the previous one."""
        flow = self._search.calc(grey, before_grey, np.zeros((*grey.shape, 2), np.float32))
        back = np.stack(cv2.split(flow))
        frames = np.empty((len(ratios), *picture.shape), np.uint8)
        for frame, ratio in zip(frames, ratios, strict=True):
            across, down = self._grid + back * ratio
            cv2.remap(picture, across, down, cv2.INTER_LINEAR, frame, cv2.BORDER_REPLICATE)
        return frames


def _grey(picture: Picture) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)

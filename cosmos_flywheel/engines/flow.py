# SPDX-License-Identifier: Apache-2.0
"""Constant velocity: whatever moved goes on moving, every pixel along its optical flow."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.types import ActionChunk, Observation, Picture, Prediction
from cosmos_flywheel.engines.persistence import Persistence, primary_picture

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
        self._before: Observation | None = None
        self._before_grey: NDArray[np.uint8] | None = None

    def open(self, robot: str, task: str) -> None:
        """Begin a session without a past."""
        self._before = self._before_grey = None

    def predict(self, observation: Observation, actions: ActionChunk) -> Prediction:
        """Carry on the motion between the previous observation and this one."""
        steps = len(actions.stamps_ns)
        picture = primary_picture(observation)
        grey = None if picture is None else _grey(picture)
        before, before_grey = self._before, self._before_grey
        self._before, self._before_grey = observation, grey
        ahead = (actions.stamps_ns - observation.stamp_ns).astype(np.float64)
        if before is None or not self._is_near(before, observation, ahead):
            return super().predict(observation, actions)
        ratios = (ahead / (observation.stamp_ns - before.stamp_ns)).astype(np.float32)
        velocity = observation.state - before.state
        state = observation.state + ratios[:, None] * velocity
        frames = None
        if picture is not None:
            frames = np.broadcast_to(picture, (steps, *picture.shape))
            if before_grey is not None and grey is not None:
                frames = self._extrapolate(picture, grey, before_grey, ratios)
        return Prediction(
            observation.stamp_ns, self.spec.level, actions.stamps_ns, frames, None, state
        )

    def close(self) -> None:
        """Forget the past."""
        self._before = self._before_grey = None

    @staticmethod
    def _is_near(before: Observation, now: Observation, ahead: NDArray[np.float64]) -> bool:
        gap_ns = now.stamp_ns - before.stamp_ns
        return bool(0 < gap_ns <= MAX_STEP * ahead[0])

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

# SPDX-License-Identifier: Apache-2.0
"""The simplest world model: what is seen now will still be seen. The yardstick of every other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.lineage import canonical_json, sha256_hex
from cosmos_flywheel.core.types import ActionChunk, Observation, Picture, Prediction
from cosmos_flywheel.engines.base import EngineSpec
from cosmos_flywheel.engines.picture import exposure_residual


class Persistence:
    """Pictures and state stay as they are.

    Args:
        size: (H, W) of the pictures it compares.
        horizon: instants ahead.

    """

    level = 'persistence'
    revision = 1
    """Counts up whenever equal input gets another prediction or residual."""

    def __init__(self, size: tuple[int, int], horizon: int = 2) -> None:
        settings: dict[str, float | int | str] = {
            'engine': self.level,
            'revision': self.revision,
            'horizon': horizon,
            'height': size[0],
            'width': size[1],
        }
        self.spec = EngineSpec(
            self.level,
            sha256_hex(canonical_json(settings)),
            size,
            chunk=horizon,
            horizons=(horizon,),
            settings=settings,
            follows_actions=False,
        )

    def open(self, robot: str, task: str) -> None:
        """Begin a session; there is nothing to remember."""

    def observe(self, observation: Observation) -> None:
        """Nothing to remember."""

    def predict(
        self, observation: Observation, actions: ActionChunk, steps: Sequence[int] | None = None
    ) -> Prediction:
        """Repeat the observation at every instant."""
        stamps_ns = chosen_stamps(actions, steps)
        count, picture = len(stamps_ns), primary_picture(observation)
        frames = None if picture is None else np.broadcast_to(picture, (count, *picture.shape))
        state = np.broadcast_to(observation.state, (count, *observation.state.shape))
        return Prediction(observation.stamp_ns, self.spec.level, stamps_ns, frames, None, state)

    def show(
        self, observation: Observation, actions: ActionChunk, steps: Sequence[int]
    ) -> NDArray[np.uint8]:
        """The predicted pictures themselves."""
        frames = self.predict(observation, actions, steps).frames
        if frames is None:
            raise EngineError('nothing to show: the observation has no picture')
        return frames

    def residual(self, prediction: Prediction, step: int, actual: Picture) -> NDArray[np.float32]:
        """Exposure-invariant difference, (H, W) in grey levels."""
        assert prediction.frames is not None
        return exposure_residual(prediction.frames[step], actual)

    def close(self) -> None:
        """Nothing to give back."""


def chosen_stamps(actions: ActionChunk, steps: Sequence[int] | None) -> NDArray[np.int64]:
    """The instants of a chunk that are asked for."""
    return actions.stamps_ns if steps is None else actions.stamps_ns[list(steps)]


def primary_picture(observation: Observation) -> Picture | None:
    """The picture that engines predict: an observation lists its primary camera first."""
    return next(iter(observation.pictures.values()), None)

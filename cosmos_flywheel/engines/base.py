# SPDX-License-Identifier: Apache-2.0
"""The one interface to every world model: a session that predicts what comes next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.types import ActionChunk, Observation, Picture, Prediction


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What a session is and what it wants to be fed."""

    level: str
    """Name of the rung of the deadline ladder, published with every score."""
    sha256: str
    """Of everything that decides the engine's answers: code version, weights, settings."""
    size: tuple[int, int]
    """(H, W) in pixels of the pictures that it takes and gives."""
    chunk: int
    """Actions per prediction, so also the number of predicted instants."""
    horizons: tuple[int, ...]
    """Which of the predicted instants are compared with reality, counted from 1."""
    settings: dict[str, float | int | str] = field(default_factory=dict)


class WorldModel(Protocol):
    """A forward-dynamics session over one robot's stream of observations.

    Calls come in the order of time; an engine may remember earlier observations of the session.
    """

    spec: EngineSpec

    def open(self, robot: str, task: str) -> None:
        """Begin a session, forgetting any earlier one."""

    def predict(self, observation: Observation, actions: ActionChunk) -> Prediction:
        """What will be seen at each of the chunk's instants' ends.

        Args:
            observation: the instant to start from; its primary picture, if any, at `spec.size`.
            actions: T = `spec.chunk` commands; `stamps_ns` are the T instants to predict.

        Raises:
            EngineError: the model cannot answer.

        """

    def residual(self, prediction: Prediction, step: int, actual: Picture) -> NDArray[np.float32]:
        """Where the picture predicted for `step` (from 0) and the actual one part: (H, W) ≥ 0."""

    def close(self) -> None:
        """End the session and give back what it holds."""

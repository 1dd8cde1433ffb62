# SPDX-License-Identifier: Apache-2.0
"""The one interface to every world model: a session that predicts what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.types import ActionChunk, Observation, Picture, Prediction, Vector

FORWARD_DYNAMICS, INVERSE_DYNAMICS, POLICY = 'forward_dynamics', 'inverse_dynamics', 'policy'
MODES = (FORWARD_DYNAMICS, INVERSE_DYNAMICS, POLICY)
"""Observation and actions → pictures; pictures → actions; observation and task → both."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What a session is and what it wants to be fed."""

    level: str
    """Name of the rung of the deadline ladder, published with every score."""
    sha256: str
    """Of everything that decides the engine's answers: code version, weights, settings."""
    size: tuple[int, int]
    """(H, W) in pixels of the pictures that it takes and shows."""
    chunk: int
    """Most actions per prediction that a session is asked for."""
    horizons: tuple[int, ...]
    """Which instants are compared with reality, in ticks ahead, the nearest first."""
    settings: dict[str, float | int | str] = field(default_factory=dict)
    modes: tuple[str, ...] = (FORWARD_DYNAMICS,)
    """Which of MODES a session answers; all do the first, `acting` gives who does the others."""
    compared: tuple[int, int] = (0, 0)
    """(H, W) in pixels of predicted frames and residuals; (0, 0) stands for `size`."""
    follows_actions: bool = True
    """Whether other actions may ever give other predictions."""
    stride: int = 1
    """Ticks between the instants that predictions start from: a chunk costs more than a tick."""
    predicts_state: bool = True
    """Whether predictions hold the robot's state."""
    reads_measured: bool = False
    """Whether what was executed is read from measured states, so that a prediction may rest on
    them instead of on commands; `ActionChunk.is_plan` prevents it."""
    compares_past: bool = False
    """Whether residuals need what was observed since the prediction's start, so that a session
    which only compares must be told every observation too."""

    @property
    def residual_size(self) -> tuple[int, int]:
        """(H, W) of frames and residuals."""
        return self.compared if any(self.compared) else self.size


class WorldModel(Protocol):
    """A forward-dynamics session over one robot's stream of observations.

    Every observation is told once, in the order of time; predictions start from one of the last.
    """

    spec: EngineSpec

    def open(self, robot: str, task: str) -> None:
        """Begin a session, forgetting any earlier one."""

    def observe(self, observation: Observation) -> None:
        """Take note of an instant; its primary picture, if any, is of `spec.size`."""

    def predict(
        self, observation: Observation, actions: ActionChunk, steps: Sequence[int] | None = None
    ) -> Prediction:
        """What will be seen at the end of the chunk's instants.

        Args:
            observation: the instant to start from, one of the last `spec.chunk` + 1 observed.
            actions: T commands, executed (hindsight) or planned (lookahead); `stamps_ns` are the
                T instants that they lead to.
            steps: which of these instants to predict, from 0; by default all.

        Raises:
            EngineError: the model cannot answer.

        """

    def show(
        self, observation: Observation, actions: ActionChunk, steps: Sequence[int]
    ) -> NDArray[np.uint8]:
        """The predicted pictures for people: (len(steps), H, W, 3) RGB at `spec.size`.

        May take longer than `predict`.

        Raises:
            EngineError: the model cannot answer, or has no picture to start from.

        """

    def residual(self, prediction: Prediction, step: int, actual: Picture) -> NDArray[np.float32]:
        """Where a prediction's frame `step` (from 0) and the actual picture part.

        The actual picture is of `spec.size`; the residual, (H, W) ≥ 0, of `spec.residual_size`.
        """

    def close(self) -> None:
        """End the session and give back what it holds."""


@dataclass(frozen=True, slots=True, eq=False)
class ActionEstimate:
    """What an engine takes to have been done between pictures, or would do itself."""

    chunk: ActionChunk
    """T commands as the robot file has them; NaN in elements of which the domain says nothing."""
    valid: NDArray[np.bool_]
    """(T,), whether a step lies in the range that actions had in training; not whether it is
    right, and no word on limits of the robot."""
    rows: Vector
    """(T, width) in model space, as `Cosmos.rollout` takes them."""
    poses: NDArray[np.float64] | None = None
    """(T + 1, 4, 4) of the flange, the measured one first; None for domains without poses."""


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """What an engine would do, and what it expects to see then."""

    actions: ActionEstimate
    frames: NDArray[np.uint8]
    """(1 + T, H, W, 3) RGB of the primary camera at `spec.size`, the given picture first."""


class ActingModel(WorldModel, Protocol):
    """A session whose `spec.modes` holds more than forward dynamics."""

    def infer_actions(
        self, observations: Sequence[Observation], seed: int | None = None
    ) -> ActionEstimate:
        """What was done between pictures (inverse dynamics).

        Args:
            observations: 1 + k · `spec.chunk` instants, a tick apart, each with every camera's
                picture; of states only the first one is read. Real or generated.
            seed: of the noise; by default the settings'.

        Raises:
            EngineError: the engine does not do that, another count of pictures, one is missing or
                of another size, the state where they begin is not known, or no answer is found.

        """

    def propose(
        self, observation: Observation, task: str = '', seed: int | None = None
    ) -> Proposal:
        """What a robot with this task would do next, `spec.chunk` actions (policy).

        Args:
            observation: the instant to start from.
            task: in words; by default what the session was fitted for.
            seed: of the noise; by default the settings'.

        Raises:
            EngineError: the engine does not do that, a picture or the state is not known, or no
                answer is found.

        """

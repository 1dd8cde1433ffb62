# SPDX-License-Identifier: Apache-2.0
"""Observations and commands → predictions by a server; no torch is needed on this side.

All but the answer is as in `Cosmos`: canvas, caption, actions, stride, seeds and what is compared.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.types import ActionChunk, Observation, Picture, Prediction, Vector
from cosmos_flywheel.engines.base import FORWARD_DYNAMICS
from cosmos_flywheel.engines.cosmos.session import Cosmos
from cosmos_flywheel.engines.remote.model import RemoteModel
from cosmos_flywheel.engines.remote.runtime import Decode, RemoteRuntime, runtime_of


class Remote(Cosmos):
    """A session; see `WorldModel`.

    Args:
        model: server, robot and settings.
        decode: reads films.
        runtime: what asks; by default the process' own, made at the first prediction.

    """

    def __init__(
        self, model: RemoteModel, decode: Decode, runtime: RemoteRuntime | None = None
    ) -> None:
        # It has all that a session reads of a model: robot, view, actions, settings, hash.
        super().__init__(cast(Any, model))
        self._asked = model
        self._decode = decode
        self._remote = runtime
        self._stop = threading.Event()

    def _modes(self) -> tuple[str, ...]:
        return (FORWARD_DYNAMICS,)

    @property
    def runtime(self) -> Any:
        """What asks the server."""
        if self._remote is None:
            self._remote = runtime_of(self._asked, self._decode)
        return self._remote

    def prepare(self) -> None:
        """See that the server is there, and is what the model says; EngineError if not."""
        self.runtime.check(self._stop)

    def open(self, robot: str, task: str) -> None:
        """Begin a session without a past."""
        super().open(robot, task)
        self._stop = threading.Event()

    def predict(
        self, observation: Observation, actions: ActionChunk, steps: Sequence[int] | None = None
    ) -> Prediction:
        """As `Cosmos.predict`, after a control that the server answers what it is asked."""
        self._prove(observation, actions)
        return super().predict(observation, actions, steps)

    def show(
        self, observation: Observation, actions: ActionChunk, steps: Sequence[int]
    ) -> NDArray[np.uint8]:
        """As `Cosmos.show`, after the same control."""
        self._prove(observation, actions)
        return super().show(observation, actions, steps)

    def close(self) -> None:
        """End what is being asked, delete its job, and forget the past."""
        self._stop.set()
        super().close()

    def _prove(self, observation: Observation, actions: ActionChunk) -> None:
        """Once a process: have a robot that does not move foretold."""
        picture = self.model.view.compose(observation.pictures)
        if self.runtime.is_proved or picture is None or not len(actions.values):
            return
        rows = self._still(observation, actions.values[:1])
        if np.isfinite(rows).all():
            self.runtime.prove(picture, rows, self._stop)

    def _still(self, observation: Observation, command: Vector) -> Vector:
        """(chunk, width) in model space of a robot that stays as it is.

        A domain of poses is told the same pose twice; another one the command once more if that
        holds the robot, and zeros if commands are steps.
        """
        stays = self._asked.actions.tool is not None or self._asked.holds
        states = np.stack([observation.state, observation.state])
        told = command if stays else np.zeros_like(command)
        return self._held(self._asked.actions.executed(states, told))

    def _foretell(self, begun_ns: int, picture: Picture, rows: Vector) -> Any:
        """Pictures (seeds, 1 + chunk, H, W, 3), kept for whoever asks again."""
        key, settings = rows.tobytes(), self._asked.settings
        if self._newest is not None and self._newest[:2] == (begun_ns, key):
            return self._newest[2]
        made: Any = np.concatenate(
            [
                self.runtime.foretell(picture, rows, settings.seed + i, self._stop)
                for i in range(settings.seeds)
            ]
        )
        self._newest = begun_ns, key, made
        return made

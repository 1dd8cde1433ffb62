# SPDX-License-Identifier: Apache-2.0
"""Inverse dynamics and policy of a session: pictures, or a task → commands of the robot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import ActionChunk, Observation, Picture, Vector
from cosmos_flywheel.engines.base import (
    FORWARD_DYNAMICS,
    INVERSE_DYNAMICS,
    MODES,
    POLICY,
    ActionEstimate,
    EngineSpec,
    Proposal,
)
from cosmos_flywheel.engines.cosmos.model import CosmosModel

if TYPE_CHECKING:
    from cosmos_flywheel.engines.cosmos.actor import Actor
    from cosmos_flywheel.engines.cosmos.runtime import Runtime

WITHOUT_WIDTH = ('libero', 'hand_pose')
"""Domains whose actions have no fixed width, so that nothing can be predicted of them
(cosmos-framework 5eee9ed: inverse dynamics and `wam` are not supported there)."""
REACH = 1.1
"""Rows were between -1 and 1 in training; the sampler leaves a little noise."""


def modes_of(model: CosmosModel) -> tuple[str, ...]:
    """Which modes a session of a model in this process answers."""
    forward_only = (
        model.settings.back_end == 'tensorrt'  # has engines of forward dynamics alone
        or model.actions.domain in WITHOUT_WIDTH
    )
    return (FORWARD_DYNAMICS,) if forward_only else MODES


class Acting(ABC):
    """What a session does besides foretelling; see `ActingModel`."""

    spec: EngineSpec
    model: CosmosModel

    @property
    @abstractmethod
    def runtime(self) -> Runtime:
        """What answers."""

    def infer_actions(
        self, observations: Sequence[Observation], seed: int | None = None
    ) -> ActionEstimate:
        """What was done between pictures, chunk by chunk; see `ActingModel.infer_actions`."""
        self._require(INVERSE_DYNAMICS)
        chunk, count = self.model.settings.chunk, len(observations) - 1
        if count < chunk or count % chunk:
            raise EngineError(
                f'{self.spec.level} infers actions from 1 + k · {chunk} pictures, not from '
                f'{count + 1}; give so many, or fit with --set chunk=…'
            )
        self._check_spacing([one.stamp_ns for one in observations])
        canvases = np.stack([self._canvas(o, k) for k, o in enumerate(observations)])
        begins = range(0, count, chunk)
        actor, seed = self._actor(), self._seed(seed)
        parts = [
            actor.infer(canvases[at : at + chunk + 1], seed + index)
            for index, at in enumerate(begins)
        ]
        stamps = np.array([one.stamp_ns for one in observations[1:]], np.int64)
        return self._estimate(observations[0], stamps, np.concatenate(parts))

    def propose(
        self, observation: Observation, task: str = '', seed: int | None = None
    ) -> Proposal:
        """What a robot with this task would do next; see `ActingModel.propose`."""
        self._require(POLICY)
        canvas = self._canvas(observation, 0)
        model = self.model if not task else replace(self.model, task=task)
        pictures, rows = self._actor().propose(canvas, model, self._seed(seed))
        ticks = np.arange(1, len(rows) + 1) * round(NS / self.model.clock_hz)
        estimate = self._estimate(observation, observation.stamp_ns + ticks, rows)
        return Proposal(estimate, self.model.view.part(pictures, self.spec.size))

    def _estimate(
        self, observation: Observation, stamps_ns: NDArray[np.int64], rows: Vector
    ) -> ActionEstimate:
        commands, poses = self.model.actions.commands(observation.state, rows)
        valid = np.abs(rows).max(1) <= REACH
        return ActionEstimate(ActionChunk(stamps_ns, commands), valid, rows, poses)

    def _actor(self) -> Actor:
        runtime = self.runtime  # which says it if torch is missing
        from cosmos_flywheel.engines.cosmos.actor import Actor

        return Actor(runtime)

    def _require(self, mode: str) -> None:
        if mode not in self.spec.modes:
            raise EngineError(
                f'{self.spec.level} does no {mode} for domain {self.model.actions.domain}, only '
                f'{", ".join(self.spec.modes)}'
            )

    def _canvas(self, observation: Observation, number: int) -> Picture:
        high, wide = self.spec.size
        for name, picture in observation.pictures.items():
            if picture.shape != (high, wide, 3) or picture.dtype != np.uint8:
                raise EngineError(
                    f'picture {number} of {name} is {picture.shape} {picture.dtype}, the engine '
                    f'takes uint8 ({high}, {wide}, 3)'
                )
        canvas = self.model.view.compose(observation.pictures)
        if canvas is None:
            cameras = ', '.join(self.model.view.cameras)
            raise EngineError(f'picture {number} is not known; every camera of {cameras} has one')
        return canvas

    def _check_spacing(self, stamps_ns: list[int]) -> None:
        period_ns = NS / self.model.clock_hz
        steps = np.diff(stamps_ns)
        if (np.abs(steps - period_ns) > period_ns / 2).any():
            least_s, most_s = steps.min() / NS, steps.max() / NS
            raise EngineError(
                f'pictures lie {least_s:.3f} to {most_s:.3f} s apart, the model was fitted at '
                f'{self.model.clock_hz:g} Hz; give one for each tick, in order'
            )

    def _seed(self, seed: int | None) -> int:
        return int(self.model.settings.seed) if seed is None else seed

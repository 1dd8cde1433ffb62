# SPDX-License-Identifier: Apache-2.0
"""A runtime's tower and autoencoder, asked for actions: the loops of the two other modes.

They are made when they are first asked for, and share all weights with forward dynamics.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.types import Picture, Vector
from cosmos_flywheel.engines.base import INVERSE_DYNAMICS, POLICY
from cosmos_flywheel.engines.cosmos.dims import GROUP
from cosmos_flywheel.engines.cosmos.loop import Loop, Task
from cosmos_flywheel.engines.cosmos.memory import enough_memory
from cosmos_flywheel.engines.cosmos.model import CosmosModel
from cosmos_flywheel.engines.cosmos.runtime import Runtime, Steps
from cosmos_flywheel.engines.cosmos.texts import texts_of
from cosmos_flywheel.engines.cosmos.vae import Stream


class Actor:
    """Every call waits for its answer.

    Args:
        runtime: whose weights and device are used; what its earlier actors made is there.

    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._made: dict[str, tuple[str, Loop, Steps]] = runtime.acting
        """By mode, the newest task, and the loop that was made for it."""

    def infer(self, pictures: NDArray[np.uint8], seed: int) -> Vector:
        """Rows (T, width) in model space of what was done between pictures (T + 1, H, W, 3).

        Raises:
            EngineError: the prediction is not finite, or the GPU's memory is used up.

        """
        stream = Stream()
        groups = [pictures[:1], *np.split(pictures[1:], (len(pictures) - 1) // GROUP)]
        latents = torch.cat([self._runtime.encode(group, stream) for group in groups], 2)
        loop, steps = self._loop(INVERSE_DYNAMICS, self._runtime.model)
        return self._run(loop, steps, latents, seed)

    def propose(
        self, picture: Picture, model: CosmosModel, seed: int
    ) -> tuple[NDArray[np.uint8], Vector]:
        """Pictures (1 + T, H, W, 3) of what is shown of the canvas, and rows (T, width).

        Args:
            picture: (H, W, 3) of the canvas.
            model: the runtime's, with the task that is asked for.
            seed: of the noise.

        Raises:
            EngineError: as `infer`, or the task cannot be read.

        """
        loop, steps = self._loop(POLICY, model)
        rows = self._run(loop, steps, self._runtime.first(picture), seed)
        return self._runtime.pictures(loop.latents()), rows

    def _run(self, loop: Loop, steps: Steps, given: Tensor, seed: int) -> Vector:
        with enough_memory('predicting', self._runtime.model), torch.no_grad():
            loop.begin(given, None, loop.draw(seed))
            steps.run()
            found = loop.actions()
            assert found is not None
            rows = np.array(found.float().cpu().numpy(), np.float32)  # the loop goes on
        if not np.isfinite(rows).all():
            raise EngineError(
                'the predicted actions hold NaN or infinity; take precision bf16, or check the '
                "checkpoint's files"
            )
        return rows

    def _loop(self, mode: str, model: CosmosModel) -> tuple[Loop, Steps]:
        kept = self._made.get(mode)
        if kept is not None and kept[0] == model.task:
            return kept[1:]
        own = self._runtime.loop
        texts = own.texts if model.task == self._runtime.model.task else texts_of(model)
        like = own.task
        task = Task(
            mode, like.latent, like.actions, like.width, like.domain, like.fps, like.guidance
        )
        with enough_memory('recording the steps', self._runtime.model), torch.no_grad():
            loop = Loop(own.generation, task, texts, own.schedule)
            frames = 1 if loop.task.moves else like.latent[0]
            channels = self._runtime.vae.dims.channels
            loop.begin(torch.zeros(1, channels, frames, *like.latent[1:]), None, loop.draw(0))
            steps = self._runtime.steps_over(loop)
        self._made[mode] = model.task, loop, steps
        return loop, steps

# SPDX-License-Identifier: Apache-2.0
"""A model of Cosmos on one device: tower, autoencoder and text, made once, then asked."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.types import Picture, Vector
from cosmos_flywheel.engines.base import FORWARD_DYNAMICS
from cosmos_flywheel.engines.cosmos.cuda import (
    GraphLoop,
    GraphVae,
    channels_last,
    compiled_layer,
    compiled_passes,
    to_float8,
)
from cosmos_flywheel.engines.cosmos.generation import Generation
from cosmos_flywheel.engines.cosmos.loop import Loop, Task
from cosmos_flywheel.engines.cosmos.memory import enough_memory
from cosmos_flywheel.engines.cosmos.model import CosmosModel
from cosmos_flywheel.engines.cosmos.prefill import Text
from cosmos_flywheel.engines.cosmos.sampler import make_schedule
from cosmos_flywheel.engines.cosmos.vae import PLAIN, Stream, Vae, grey_levels


class Steps(Protocol):
    """What walks a begun loop to its end."""

    def run(self) -> None:
        """All steps."""


@dataclasses.dataclass(frozen=True, slots=True)
class Weights:
    """What a runtime is made of, wherever it came from."""

    generation: Generation
    vae: Vae
    texts: tuple[Text, ...]
    """The caption's, and with guidance above 1 the empty prompt's."""


class Runtime:
    """Asks the model; every call waits for its answer.

    Args:
        model: what is asked, and how.
        weights: on the device, in the precision that the settings name; float8 is made here.
        uses_graphs: recorded CUDA graphs, or plain steps.

    Raises:
        EngineError: the domain does not fit the checkpoint, or memory does not do.

    """

    def __init__(self, model: CosmosModel, weights: Weights, *, uses_graphs: bool) -> None:
        self.model = model
        self.latent = (model.settings.latent_frames, *model.view.canvas.latent)
        self.vae = weights.vae
        self._newest: tuple[Picture, Tensor] | None = None
        """The last first picture and its latent: other seeds and actions begin with it too."""
        with enough_memory('recording the steps', model), torch.no_grad():
            self._prepare(weights, uses_graphs=uses_graphs)

    def _prepare(self, weights: Weights, *, uses_graphs: bool) -> None:
        """Make the loop, and record it."""
        model, settings, canvas = self.model, self.model.settings, self.model.view.canvas
        self.generation = weights.generation
        task = Task(
            FORWARD_DYNAMICS,
            self.latent,
            settings.chunk,
            model.actions.width,
            model.actions.id,
            model.clock_hz,
            settings.guidance,
        )
        schedule = make_schedule(settings.steps, settings.shift)
        self.loop = Loop(weights.generation, task, weights.texts, schedule)
        self._begin_anyhow()
        if settings.precision == 'fp8' and not _is_packed(weights.generation):
            to_float8(self.loop)
        self.graphs: GraphVae | None = None
        if uses_graphs:
            self.vae = channels_last(self.vae, compiled_passes())
            self.graphs = GraphVae(self.vae, canvas.size, self.latent)
        self._uses_graphs = uses_graphs
        self.steps = self.steps_over(self.loop)
        self.acting: dict[str, Any] = {}
        """What `actor.py` made of this one."""

    def foretell(self, picture: Picture, rows: Vector, seed: int) -> Tensor:
        """Latents (1, 48, T, h, w) of a chunk.

        Args:
            picture: (H, W, 3) of the canvas.
            rows: (chunk, width) in model space.
            seed: of the noise.

        Raises:
            EngineError: a shape does not fit, rows hold NaN, or the GPU's memory is used up.

        """
        with enough_memory('predicting', self.model), torch.no_grad():
            self.loop.begin(self.first(picture), torch.from_numpy(rows), self.loop.draw(seed))
            self.steps.run()
            latents = self.loop.latents()
            if not bool(torch.isfinite(latents).all()):
                raise EngineError(
                    'the prediction holds NaN or infinity; take precision bf16, or check the '
                    "checkpoint's files"
                )
            return latents

    def first(self, picture: Picture) -> Tensor:
        """The clean latent (1, 48, 1, h, w) that a chunk from this picture begins with."""
        if self._newest is None or not np.array_equal(self._newest[0], picture):
            with enough_memory('predicting', self.model), torch.no_grad():
                self._newest = picture, self._encode_first(picture)
        return self._newest[1]

    def encode(self, pictures: NDArray[np.uint8], stream: Stream) -> Tensor:
        """The next actual latent (1, 48, 1, h, w) of pictures (1 or 4, H, W, 3) of the canvas."""
        with enough_memory('encoding', self.model), torch.no_grad():
            # Compiled passes would stop a running robot's feed for the time of a compilation, and
            # groups of four gain nothing by them.
            plain = dataclasses.replace(self.vae, passes=PLAIN)
            return self._crop(plain.encode_group(self._tensor(pictures), stream)).float()

    def pictures(self, latents: Tensor) -> NDArray[np.uint8]:
        """Decoded (1 + chunk, H, W, 3) RGB of what is shown of the canvas."""
        with enough_memory('decoding', self.model), torch.no_grad():
            if self.graphs is not None:
                parts = list(self.graphs.decode(latents))
                _wait()
                return np.concatenate([part.numpy() for part in parts])
            like = next(iter(self.vae.tensors.values()))
            return grey_levels(self.vae.decode(latents.to(like.device, like.dtype)))

    def steps_over(self, loop: Loop) -> Steps:
        """What walks a loop that has begun, as the settings say."""
        settings = self.model.settings
        if settings.back_end == 'tensorrt':
            # Wants libraries that no other back end does.
            from cosmos_flywheel.engines.tensorrt.back_end import steps_of

            return steps_of(loop, settings.duty)
        if self._uses_graphs:
            return GraphLoop(loop, compiled_layer(), duty=settings.duty)
        return loop

    def _encode_first(self, picture: Picture) -> Tensor:
        if self.graphs is None:
            return self._crop(self.vae.encode_group(self._tensor(picture[None]), Stream()))
        host = torch.from_numpy(np.ascontiguousarray(picture))
        return self.graphs.encode(host.pin_memory() if torch.cuda.is_available() else host).clone()

    def _begin_anyhow(self) -> None:
        """Begin with noise, so that there is something to record and to scale by."""
        settings, draw = self.model.settings, torch.Generator().manual_seed(0)
        first = torch.randn(1, self.vae.dims.channels, 1, *self.latent[1:], generator=draw)
        rows = torch.rand(settings.chunk, self.model.actions.width, generator=draw) * 2 - 1
        self.loop.begin(first, rows, self.loop.draw(0))

    def _tensor(self, pictures: NDArray[np.uint8]) -> Tensor:
        like = self.vae.tensors['encoder.conv_in.weight']
        frames = torch.from_numpy(np.ascontiguousarray(pictures)).to(like.device)
        return frames.permute(3, 0, 1, 2)[None].to(like.dtype) / 127.5 - 1

    def _crop(self, latent: Tensor) -> Tensor:
        return latent[..., : self.latent[1], : self.latent[2]]


def _is_packed(generation: Generation) -> bool:
    return isinstance(generation.layers[0]['qkv'], tuple)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()

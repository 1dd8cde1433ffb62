# SPDX-License-Identifier: Apache-2.0
"""The causal checkpoint on one device, and the streams that sessions hold of it.

The autoencoder, too, goes on from where it was: what came is encoded four pictures at a time, and
what is foretold is decoded after all that came before it. Steps are plain ones.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.types import Picture, Vector
from cosmos_flywheel.engines.base import FORWARD_DYNAMICS
from cosmos_flywheel.engines.cosmos.causal.loop import StreamLoop
from cosmos_flywheel.engines.cosmos.causal.settings import StreamSettings
from cosmos_flywheel.engines.cosmos.checkpoint import Checkpoint
from cosmos_flywheel.engines.cosmos.dims import GROUP
from cosmos_flywheel.engines.cosmos.loop import Task
from cosmos_flywheel.engines.cosmos.memory import enough_memory
from cosmos_flywheel.engines.cosmos.runtime import Runtime, Weights
from cosmos_flywheel.engines.cosmos.vae import Stream, grey_levels


class StreamRuntime(Runtime):
    """Shares its weights among streams; every call waits for its answer."""

    def _prepare(self, weights: Weights, *, uses_graphs: bool) -> None:
        assert isinstance(self.model.settings, StreamSettings)
        checkpoint = Checkpoint(self.model.checkpoint, self.model.commit)
        if checkpoint.manifest is None:
            raise EngineError(f'{self.model.checkpoint}: is no causal checkpoint; fit again')
        self.model.settings.check(checkpoint.manifest)
        self._weights, self._times = weights, checkpoint.manifest.times
        self.generation = weights.generation
        self.graphs = None
        self._own: World | None = None

    def stream(self) -> World:
        """A stream with a window of its own, which takes its memory here, once.

        Raises:
            EngineError: the GPU has not enough memory for it.

        """
        settings, model = self.model.settings, self.model
        assert isinstance(settings, StreamSettings)
        task = Task(
            FORWARD_DYNAMICS,
            (settings.chunk // GROUP, *self.latent[1:]),
            settings.chunk,
            model.actions.width,
            model.actions.id,
            model.clock_hz,
        )
        with enough_memory('making room for the window', model), torch.no_grad():
            loop = StreamLoop(
                self.generation,
                task,
                self._weights.texts[0],
                settings.window,
                self._times,
                settings.duty,
            )
        return World(self, loop)

    def foretell(self, picture: Picture, rows: Vector, seed: int) -> Tensor:
        """Latents (1, 48, 1 + T, h, w) of a stream that begins with this picture."""
        if self._own is None:
            self._own = self.stream()
        self._own.begin(picture)
        latents = self._own.foretell(rows, seed)
        return torch.cat([self.first(picture).float(), latents], 2)


class World:
    """What came, or was made, since a stream began.

    Args:
        runtime: whose autoencoder is used.
        loop: whose window this fills.

    """

    def __init__(self, runtime: StreamRuntime, loop: StreamLoop) -> None:
        self._runtime, self._loop = runtime, loop
        self._seen, self._shown = Stream(), Stream()
        """What the encoder and the decoder remember."""

    @property
    def holds(self) -> int:
        """Latent frames in the window."""
        return min(self._loop.count, self._loop.window)

    def begin(self, picture: Picture) -> NDArray[np.uint8]:
        """Forget all, and begin with a picture of the canvas; (1, H, W, 3) as it is decoded."""
        self._loop.forget()
        self._seen, self._shown = Stream(), Stream()
        latent = self._runtime.encode(picture[None], self._seen)
        with enough_memory('taking in a picture', self._runtime.model), torch.no_grad():
            self._loop.keep(latent)
        return self._decode(latent, self._shown)

    def follow(self, pictures: NDArray[np.uint8], rows: Vector) -> None:
        """Take in what came: pictures (T, H, W, 3) of the canvas, and rows (T, width) to them."""
        groups = np.split(pictures, len(pictures) // GROUP)
        latents = torch.cat([self._runtime.encode(group, self._seen) for group in groups], 2)
        self._keep(latents, rows)
        self._decode(latents, self._shown)

    def foretell(self, rows: Vector, seed: int) -> Tensor:
        """Latents (1, 48, T / 4, h, w) of what comes next; the stream stays where it is.

        Raises:
            EngineError: nothing came before, a shape does not fit, or no answer is found.

        """
        with enough_memory('predicting', self._runtime.model), torch.no_grad():
            found = self._loop.foretell(torch.from_numpy(rows), self._loop.draw(seed))
        if not bool(torch.isfinite(found).all()):
            raise EngineError(
                'the prediction holds NaN or infinity; take precision bf16, or check the '
                "checkpoint's files"
            )
        return found

    def pictures(self, latents: Tensor) -> NDArray[np.uint8]:
        """What is foretold, decoded after all that came: (T, H, W, 3) of what is shown."""
        return self._decode(latents, Stream(dict(self._shown.memory), self._shown.first))

    def go_on(self, latents: Tensor, rows: Vector) -> NDArray[np.uint8]:
        """Take what was foretold for what came; the same pictures (T, H, W, 3)."""
        self._keep(latents, rows)
        return self._decode(latents, self._shown)

    def _keep(self, latents: Tensor, rows: Vector) -> None:
        with enough_memory('taking in a chunk', self._runtime.model), torch.no_grad():
            self._loop.keep(latents, torch.from_numpy(rows))

    def _decode(self, latents: Tensor, stream: Stream) -> NDArray[np.uint8]:
        vae = self._runtime.vae
        like = next(iter(vae.tensors.values()))
        with enough_memory('decoding', self._runtime.model), torch.no_grad():
            latents = latents.to(like.device, like.dtype)
            groups = [vae.decode_group(one, stream) for one in latents.split(1, 2)]
            return grey_levels(groups)

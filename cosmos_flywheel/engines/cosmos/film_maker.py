# SPDX-License-Identifier: Apache-2.0
"""Orders → films, by one tower and one autoencoder that stay loaded from film to film.

Steps are plain ones: shapes and captions change from order to order, and at these sizes a step's
arithmetic hides what its launches cost.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cosmos_flywheel.core.errors import EngineError, costing
from cosmos_flywheel.core.types import Picture, Vector
from cosmos_flywheel.engines.base import FORWARD_DYNAMICS, POLICY
from cosmos_flywheel.engines.cosmos.cuda import channels_last, to_float8
from cosmos_flywheel.engines.cosmos.dims import Dims
from cosmos_flywheel.engines.cosmos.film import Film, FilmOrder, NoRoomError
from cosmos_flywheel.engines.cosmos.generation import Generation
from cosmos_flywheel.engines.cosmos.host_layers import HostLayers
from cosmos_flywheel.engines.cosmos.loop import Loop, Task
from cosmos_flywheel.engines.cosmos.memory import is_out_of_memory
from cosmos_flywheel.engines.cosmos.prefill import Text
from cosmos_flywheel.engines.cosmos.sampler import make_schedule
from cosmos_flywheel.engines.cosmos.vae import Stream, Vae, grey_levels
from cosmos_flywheel.engines.cosmos.view import laid_again
from cosmos_flywheel.engines.cosmos.weights import Weights

TEXTS_KEPT = 6
"""Captions whose keys and values stay on the device; of Super, 300 tokens are 75 MB."""
SCALED_BY = Task(FORWARD_DYNAMICS, (5, 12, 20), 16, 1, 0, 15.0)
"""What the scales of float8 are measured on, whatever is ordered first."""

Read = Callable[[str, bool], Text]
"""A text, and whether it is a film's without actions → what the tower needs of it."""
Follows = Callable[[Vector], bool]
"""All rows of a policy so far, the newest chunk's last → whether that chunk is taken."""


@dataclass(frozen=True, slots=True)
class FilmParts:
    """Where a maker takes what it is made of."""

    dims: Dims
    tower: Weights
    """Of the generation tower, on the device and in the type that it computes in."""
    vae: Vae
    read: Read


class FilmMaker:
    """Makes one film after another.

    Args:
        parts: tower, autoencoder and texts.
        float8: quantise the tower; its first and last steps keep 16 bits.
        from_host: leave the layers in the host's memory from the beginning.

    Raises:
        NoRoomError: not even one layer after another fits.

    """

    def __init__(self, parts: FilmParts, *, float8: bool = False, from_host: bool = False) -> None:
        self._parts, self._float8 = parts, float8
        self._texts: OrderedDict[tuple[str, bool], Text] = OrderedDict()
        self.vae = channels_last(parts.vae) if _is_cuda(parts.vae) else parts.vae
        self.from_host = from_host
        self._tower: Generation | None = None

    def make(self, order: FilmOrder, follows: Follows | None = None) -> Film:
        """The film of an order; where the card is too small, with layers lent by the host.

        Args:
            order: what is asked for.
            follows: of a policy, asked after each chunk; the film ends before one that it does
                not take. Whatever it raises goes through, and tells what the card did until then.

        Raises:
            NoRoomError: it does not fit even so.
            EngineError: the domain does not fit the checkpoint, or the film is not finite.

        """
        if not self.from_host:
            try:
                return self._film(order, follows)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if self._float8:
                    raise no_room('take precision bf16, whose layers the host can keep') from None
            # Outside of the handler, which holds on to what the film had taken.
            self._tower, self.from_host = None, True
            self._texts.clear()
            torch.cuda.empty_cache()
        try:
            return self._film(order, follows)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise no_room('take tier 256 or fewer frames') from error

    @property
    def dims(self) -> Dims:
        """Of the tower."""
        return self._parts.dims

    def _ready(self) -> Generation:
        """The tower, loaded on the first call."""
        if self._tower is None:
            with torch.no_grad():
                self._tower = self._loaded()
        return self._tower

    def begun(self, order: FilmOrder, index: int, picture: Picture) -> Loop:
        """One chunk's loop before its first step.

        Args:
            order: whose chunk it is.
            index: which one.
            picture: (H, W, 3) of the canvas that it goes on from.

        """
        task = Task(
            POLICY if order.mode == POLICY else FORWARD_DYNAMICS,
            order.latent,
            order.chunk if order.acts else 0,
            order.width,
            order.domain,
            order.fps,
            order.guidance,
        )
        words = [order.captions[index]]
        if order.guidance != 1:
            words.append(order.negative)
        texts = [self._text(one, not order.acts) for one in words]
        loop = Loop(self._ready(), task, texts, make_schedule(order.steps, order.shift))
        rows = order.part(index) if order.acts else np.zeros((0, order.width), np.float32)
        given = None if rows is None else torch.from_numpy(rows)
        first = self._encoded(picture)[..., : order.latent[1], : order.latent[2]]
        loop.begin(first, given, loop.draw(order.chunk_seed(index)))
        return loop

    def _film(self, order: FilmOrder, follows: Follows | None) -> Film:
        with torch.no_grad():
            return self._chunk_by_chunk(order, follows)

    def _chunk_by_chunk(self, order: FilmOrder, follows: Follows | None) -> Film:
        self._ready()
        clock, calls = _Clock(_is_cuda(self.vae)), 0
        shown: list[NDArray[np.uint8]] = []
        acted: list[Vector] = []
        picture = order.picture
        with costing(clock.read_s):
            for index in range(order.chunks):
                latents, rows = self._chunk(order, index, picture)
                calls += 1
                if rows is not None:
                    acted.append(rows)
                    if follows is not None and not follows(np.concatenate(acted)):
                        acted.pop()
                        break
                frames = self._decoded(latents)
                shown.append(frames if not index else frames[1:])
                picture = laid_again(frames[-1], order.canvas)
        return Film(
            np.concatenate(shown)[: order.frames],
            np.concatenate(acted)[: order.frames - 1] if acted else order.rows,
            clock.read_s(),
            calls,
            self.from_host,
        )

    def _chunk(
        self, order: FilmOrder, index: int, picture: Picture
    ) -> tuple[Tensor, Vector | None]:
        loop = self.begun(order, index, picture)
        loop.run()
        latents, rows = loop.latents(), loop.actions()
        if not bool(torch.isfinite(loop.state).all()):
            raise EngineError(
                'the film holds NaN or infinity; take precision bf16, or check the '
                "checkpoint's files"
            )
        return latents, None if rows is None else np.array(rows.float().cpu().numpy(), np.float32)

    def _encoded(self, picture: Picture) -> Tensor:
        like = self.vae.tensors['encoder.conv_in.weight']
        pixels = torch.from_numpy(np.ascontiguousarray(picture)).to(like.device)
        frame = pixels.permute(2, 0, 1)[None, :, None].to(like.dtype) / 127.5 - 1
        return self.vae.encode_group(frame, Stream())

    def _decoded(self, latents: Tensor) -> NDArray[np.uint8]:
        like = self.vae.tensors['encoder.conv_in.weight']
        return grey_levels(self.vae.decode(latents.to(like.device, like.dtype)))

    def _text(self, words: str, is_film: bool) -> Text:
        key = words, is_film
        if key not in self._texts:
            while len(self._texts) >= TEXTS_KEPT:
                self._texts.popitem(last=False)
            self._texts[key] = self._parts.read(words, is_film)
        self._texts.move_to_end(key)
        return self._texts[key]

    def _loaded(self) -> Generation:
        parts = self._parts
        if self.from_host:
            return Generation.load(parts.tower, parts.dims, hold=HostLayers)
        tower = Generation.load(parts.tower, parts.dims)
        if self._float8:
            text = parts.read('', False)
            loop = Loop(tower, SCALED_BY, [text], make_schedule(4, 10.0))
            draw = torch.Generator().manual_seed(0)
            first = torch.randn(1, parts.vae.dims.channels, 1, 12, 20, generator=draw)
            rows = torch.rand(SCALED_BY.actions, SCALED_BY.width, generator=draw) * 2 - 1
            loop.begin(first, rows, loop.draw(0))
            to_float8(loop)
        return tower


class _Clock:
    """Seconds from its making to its reading, as the card counts them; 0 without one."""

    def __init__(self, is_cuda: bool) -> None:
        self._began: Any = torch.cuda.Event(enable_timing=True) if is_cuda else None
        if self._began is not None:
            self._began.record()

    def read_s(self) -> float:
        """Wait for all work, and read."""
        if self._began is None:
            return 0.0
        ended: Any = torch.cuda.Event(enable_timing=True)
        ended.record()
        torch.cuda.synchronize()
        return float(self._began.elapsed_time(ended)) / 1e3


def _is_cuda(vae: Vae) -> bool:
    return bool(vae.tensors['encoder.conv_in.weight'].is_cuda)


def no_room(remedy: str) -> NoRoomError:
    """In words with a remedy."""
    left, whole = torch.cuda.mem_get_info() if torch.cuda.is_available() else (0, 0)
    return NoRoomError(
        f'the GPU has not enough memory for this film ({left / 1e9:.1f} of {whole / 1e9:.1f} GB '
        f'are free); {remedy}, or end what else uses the card'
    )

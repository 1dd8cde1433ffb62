# SPDX-License-Identifier: Apache-2.0
"""A session of the causal checkpoint: every chunk begins from what really came before it.

From the first prediction on, chunk by chunk, what was observed and done goes into the window, one
stride behind, so that a prediction can still start from the stride before. Where something of it
is not known (a picture, a state, a tick too many or too few) the stream begins anew, as many whole
chunks before the prediction's start as the session remembers and knows; at worst with the start's
own picture, and an otherwise empty window.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import ActionChunk, Observation, Picture, Vector
from cosmos_flywheel.engines.base import FORWARD_DYNAMICS
from cosmos_flywheel.engines.cosmos.model import CosmosModel
from cosmos_flywheel.engines.cosmos.session import Cosmos

if TYPE_CHECKING:
    from torch import Tensor

    from cosmos_flywheel.engines.cosmos.causal.runtime import StreamRuntime, World
    from cosmos_flywheel.engines.cosmos.runtime import Runtime

Block = tuple[NDArray[np.uint8], Vector]
"""Pictures (T, H, W, 3) of the canvas, and rows (T, width) that led to them."""
Blocks = list[Block]
KEPT_CHUNKS = 3
"""Of observations: those to be taken in, those of the prediction, and one that was skipped."""


class CosmosStream(Cosmos):
    """A session; see `WorldModel`.

    Args:
        model: a causal checkpoint, robot and settings.
        runtime: what answers; by default the process' own, made at the first prediction.

    """

    def __init__(self, model: CosmosModel, runtime: Runtime | None = None) -> None:
        super().__init__(model, runtime)
        self._past: deque[Observation] = deque(maxlen=KEPT_CHUNKS * model.settings.chunk + 2)
        self._world: World | None = None
        self._head_ns: int | None = None
        """The instant whose picture came last into the stream; None where there is none."""
        self._begun_ns: int | None = None
        """The newest first tick of a stride."""

    def observe(self, observation: Observation) -> None:
        """Remember what the robot sensed; a stride that is over goes into the window."""
        before_ns = self._past[-1].stamp_ns if self._past else None
        super().observe(observation)
        if not self._stride.begins(observation.stamp_ns, before_ns):
            return
        over_ns, self._begun_ns = self._begun_ns, observation.stamp_ns
        if self._world is not None and over_ns is not None:
            self._reach(over_ns)

    def rollout(
        self, observation: Observation, rows: Vector, seed: int | None = None
    ) -> NDArray[np.uint8]:
        """As `Cosmos.rollout`, going on from the stream's own frames.

        What came before the instant is in the window, if it was observed. What is made up takes
        its place: the next prediction begins anew.
        """
        picture = self.model.view.compose(observation.pictures)
        if picture is None:
            raise EngineError('a rollout needs a picture of every camera to begin with')
        chunk, seed = self.model.settings.chunk, self.model.settings.seed if seed is None else seed
        world = self._reach(observation.stamp_ns, picture)
        found = [self._first(picture)]
        self._head_ns = None
        for index, begin in enumerate(range(0, len(rows), chunk)):
            part = self._held(rows[begin : begin + chunk])
            found.append(world.go_on(world.foretell(part, seed + index), part))
        return np.concatenate(found)[: 1 + len(rows)]

    def close(self) -> None:
        """Forget the past and give the window back; the weights stay for the next session."""
        super().close()
        self._world = None

    def _forget(self) -> None:
        super()._forget()
        self._head_ns = self._begun_ns = None

    def _modes(self) -> tuple[str, ...]:
        return (FORWARD_DYNAMICS,)

    def _foretell(self, begun_ns: int, picture: Picture, rows: Vector) -> Tensor:
        """(seeds, 48, T / 4, h, w) of a chunk, kept for whoever asks again."""
        import torch

        key, settings = rows.tobytes(), self.model.settings
        if self._newest is not None and self._newest[:2] == (begun_ns, key):
            return self._newest[2]
        world = self._reach(begun_ns, picture)
        seeds = range(settings.seed, settings.seed + settings.seeds)
        latents = torch.cat([world.foretell(rows, seed) for seed in seeds])
        self._newest = begun_ns, key, latents
        return latents

    def _pictures(self, latents: Tensor) -> NDArray[np.uint8]:
        """(1 + T, H, W, 3), of which the first only holds the place of what began it."""
        assert self._world is not None
        made = self._world.pictures(latents)
        return np.concatenate([made[:1], made])

    def _reach(self, begun_ns: int, picture: Picture | None = None) -> World:
        """The stream, brought up to an instant; begun anew where what came is not known whole."""
        world = self._stream()
        if self._head_ns == begun_ns:
            return world
        self._newest = None
        path = [o for o in self._past if o.stamp_ns <= begun_ns]
        if not path or path[-1].stamp_ns != begun_ns:
            path = []  # nobody told of that instant
        head_ns, self._head_ns = self._head_ns, None
        known = head_ns in [one.stamp_ns for one in path]
        blocks = self._blocks([o for o in path if o.stamp_ns >= (head_ns or 0)]) if known else None
        if blocks is None:
            blocks = self._begin(world, path, picture)
        if blocks is not None:
            for pictures, rows in blocks:
                world.follow(pictures, rows)
            self._head_ns = begun_ns
        return world

    def _begin(
        self, world: World, path: list[Observation], picture: Picture | None
    ) -> Blocks | None:
        """Begin anew as early as what led to an instant is known; what came since then.

        None where not even the picture of the instant is known.
        """
        chunk = self.model.settings.chunk
        for count in range((len(path) - 1) // chunk, 0, -1):
            since = path[-1 - count * chunk :]
            first, blocks = self.model.view.compose(since[0].pictures), self._blocks(since)
            if first is not None and blocks is not None:
                world.begin(first)
                return blocks
        if picture is None and path:
            picture = self.model.view.compose(path[-1].pictures)
        if picture is None:
            return None
        world.begin(picture)
        return []

    def _blocks(self, path: list[Observation]) -> Blocks | None:
        """What came along a path: pictures and rows, chunk by chunk.

        None where that is not whole chunks of ticks, or not all of it is known.
        """
        chunk, period_ns = self.model.settings.chunk, NS / self.model.clock_hz
        steps = np.diff([one.stamp_ns for one in path])
        whole = len(path) > 1 and (len(path) - 1) % chunk == 0
        if not whole or (np.abs(steps - period_ns) > period_ns / 2).any():
            return None
        found = []
        for at in range(0, len(path) - 1, chunk):
            block = self._block(path[at : at + chunk + 1])
            if block is None:
                return None
            found.append(block)
        return found

    def _block(self, path: list[Observation]) -> Block | None:
        commands = [one.command for one in path[:-1]]
        pictures = [self.model.view.compose(one.pictures) for one in path[1:]]
        told = [one for one in commands if one is not None]
        seen = [one for one in pictures if one is not None]
        if len(told) != len(commands) or len(seen) != len(pictures):
            return None
        stamps = np.array([one.stamp_ns for one in path[1:]], np.int64)
        rows = self._rows(path[0], ActionChunk(stamps, np.stack(told)))
        return (np.stack(seen), rows) if np.isfinite(rows).all() else None

    def _first(self, picture: Picture) -> NDArray[np.uint8]:
        """The picture that a rollout begins with, (1, H, W, 3) of what is shown."""
        high, wide = self.model.view.canvas.shown
        return picture[None, :high, :wide]

    def _stream(self) -> World:
        if self._world is None:
            self._world = cast('StreamRuntime', self.runtime).stream()
        return self._world

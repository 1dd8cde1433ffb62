# SPDX-License-Identifier: Apache-2.0
"""The past as keys and values in a window, and a few steps over the chunk that comes next.

Tokens come frame by frame: the four actions that lead to a latent frame, then its patches. While a
chunk is made of noise, its tokens see the caption, the window and one another. Of what came, or
was made, one pass without a timestep takes the keys and values; there each frame sees the frames
before it and itself, never one after it. The first frame has no actions before it: its rows are
zeros at the frame's own time, and their values (not their keys) are zeros.

Each step takes the noise away altogether and lays new noise on, down to the next step's share
(`FlowMatchEulerDiscreteScheduler` of diffusers 0.42.1 with `stochastic_sampling`).

[unverified]: whether the window of so many frames counts the chunk's first one (TensorRT-LLM keeps
one frame less of the past than vllm-omni; here as vllm-omni); whether times are ever counted anew
in a long stream (here they grow, as in both).
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.cosmos.causal.manifest import TRAIN_STEPS
from cosmos_flywheel.engines.cosmos.dims import GROUP, Dims
from cosmos_flywheel.engines.cosmos.generation import Generation, attend, multiply, project
from cosmos_flywheel.engines.cosmos.loop import Task
from cosmos_flywheel.engines.cosmos.patches import patched, unpatched
from cosmos_flywheel.engines.cosmos.prefill import Text
from cosmos_flywheel.engines.cosmos.rotary import Turns, turns

EMPTY = -1


class StreamLoop:
    """One stream. All that grows with the window is made once, here; shapes are static.

    Args:
        generation: the tower, not quantised.
        task: forward dynamics; `latent` is that of a chunk, without any frame before it.
        text: of the caption, in its bucket.
        window: latent frames of the past that are looked at.
        times: share of noise before each step, falling from 1.
        duty: share of the time that steps may keep the GPU busy.

    Raises:
        EngineError: the domain does not fit the model, or the actions not the frames.

    """

    def __init__(
        self,
        generation: Generation,
        task: Task,
        text: Text,
        window: int,
        times: tuple[float, ...],
        duty: float = 1.0,
    ) -> None:
        dims, frames = generation.dims, task.latent[0]
        if not 0 <= task.domain < dims.domains or not 0 < task.width <= dims.action_dim:
            raise EngineError(
                f'domain {task.domain} with {task.width} numbers per action does not fit a model '
                f'of {dims.domains} domains and {dims.action_dim} numbers'
            )
        if task.actions != GROUP * frames or window < frames:
            raise EngineError(
                f'{task.actions} actions and a window of {window} do not fit chunks of {frames} '
                f'latent frames; each has {GROUP} actions'
            )
        self.generation, self.task, self.text, self.duty = generation, task, text, duty
        self.window, self.times = window, times
        like = generation.ends['proj_in.weight']
        self.device, self.dtype = like.device, like.dtype
        _, rows, columns = task.latent
        self.grid = (-(-rows // dims.patch), -(-columns // dims.patch))
        self.slot = GROUP + self.grid[0] * self.grid[1]
        """Tokens of one latent frame and the actions that lead to it."""
        room = text.bucket + window * self.slot
        self.keys = [self._room(room, own) for own in text.keys]
        self.values = [self._room(room, own) for own in text.values]
        self.holds = [EMPTY] * window
        """Which latent frame of the stream lies in each place of the window."""
        self.count = 0
        """Latent frames so far."""
        inside = torch.ones(1, dims.latent_channels, *task.latent, device=self.device)
        self._kept = patched(inside, dims)
        shares = torch.tensor([TRAIN_STEPS * t for t in times], device=self.device)
        self._time = generation.time(shares)
        self._head = generation.action_head('in', task.domain)

    def forget(self) -> None:
        """Begin a stream anew, in the same memory."""
        self.holds, self.count = [EMPTY] * self.window, 0

    def foretell(self, actions: Tensor, noise: Tensor) -> Tensor:
        """Latents (1, 48, frames, h, w) of the next chunk; the stream stays where it is.

        Args:
            actions: (4 · frames, width) in model space.
            noise: (steps, tokens, patch_width), standard normal; see `draw`.

        Raises:
            EngineError: nothing came before, or the actions do not fit or are not finite.

        """
        if not self.count:
            raise EngineError('a stream begins with a picture; keep its latent frame first')
        frames = self.task.latent[0]
        by = self._turns(self.count, frames)
        mask = self._seen(self.count, frames)[:1]
        acting = self._acting(actions, frames)
        state = noise[0].to(self.device) * self._kept
        for index, (share, after) in enumerate(pairwise((*self.times, 0.0))):
            begun_s = time.perf_counter()
            velocity = self._velocity(state, index, acting, by, mask)
            state = state - share * velocity
            if after:
                fresh = noise[index + 1].to(self.device) * self._kept
                state = (1 - after) * state + after * fresh
            self._rest(begun_s)
        return unpatched(state, self.generation.dims, self.task.latent[1:])

    def keep(self, latents: Tensor, actions: Tensor | None = None) -> None:
        """Take clean latents into the window, where the oldest leave it.

        Args:
            latents: (1, 48, 1, h, w) to begin with, afterwards a whole chunk.
            actions: (4 · frames, width) that led to them; none to begin with.

        Raises:
            EngineError: it is not what comes next.

        """
        frames = latents.shape[2]
        if (actions is None) != (self.count == 0) or frames != (
            self.task.latent[0] if self.count else 1
        ):
            raise EngineError(
                f'{frames} latent frames do not come next; a stream begins with one and no '
                f'actions, and goes on by {self.task.latent[0]} with theirs'
            )
        begins = self.count == 0
        pictures = self._pictures(patched(latents.to(self.device), self.generation.dims))
        x = self._joined(self._acting(actions, frames), pictures, frames)
        found: list[tuple[Tensor, Tensor]] = []

        def layer(x: Tensor, past_key: Tensor, past_value: Tensor, *rest: Any) -> Tensor:
            cos, sin, mask, w, head, eps, exact = rest

            def product(value: Tensor, name: str) -> Tensor:
                return multiply(value, w[name], exact)

            query, key, value = project(x, past_key.shape[1], cos, sin, w, head, eps, product)
            if begins:
                value = torch.cat([torch.zeros_like(value[:GROUP]), value[GROUP:]])
            found.append((key, value))
            key, value = torch.cat([past_key, key]), torch.cat([past_value, value])
            return attend(x, query, key, value, mask, w, eps, product)

        by, mask = self._turns(self.count, frames), self._causal(self.count, frames)
        self.generation.run(x, tuple(self.keys), tuple(self.values), by, mask, layer)
        self._put(found, frames)

    def draw(self, seed: int) -> Tensor:
        """Noise of one seed for all steps, drawn on the CPU so that every device begins alike."""
        shape = (len(self.times), *self._kept.shape)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    def _velocity(
        self, state: Tensor, index: int, acting: Tensor, by: Turns, mask: Tensor
    ) -> Tensor:
        ends, frames = self.generation.ends, self.task.latent[0]
        noisy = self._pictures(state) + self._time[index]
        x = self._joined(acting, noisy, frames)
        x = self.generation.run(x, tuple(self.keys), tuple(self.values), by, mask)
        seen = x.view(frames, self.slot, -1)[:, GROUP:].flatten(0, 1)
        moved = functional.linear(seen, ends['proj_out.weight'], ends['proj_out.bias'])
        return moved.float() * self._kept

    def _pictures(self, patches: Tensor) -> Tensor:
        ends = self.generation.ends
        return functional.linear(
            patches.to(self.dtype), ends['proj_in.weight'], ends['proj_in.bias']
        )

    def _acting(self, actions: Tensor | None, frames: int) -> Tensor:
        """Tokens (4 · frames, hidden) of actions, of zeros where there are none."""
        if actions is None:
            actions = torch.zeros(GROUP * frames, self.task.width)
        if tuple(actions.shape) != (GROUP * frames, self.task.width):
            raise EngineError(
                f'actions {tuple(actions.shape)} do not fit; the domain wants '
                f'({GROUP * frames}, {self.task.width})'
            )
        if not actions.is_cuda and not bool(torch.isfinite(actions).all()):
            raise EngineError('actions hold NaN or infinity; leave such chunks out')
        rows = functional.pad(actions, (0, self.generation.dims.action_dim - self.task.width))
        matrix, bias = self._head
        rows = rows.to(self.device, self.dtype)
        return rows @ matrix + bias + self.generation.ends['action_modality_embed']

    def _joined(self, acting: Tensor, pictures: Tensor, frames: int) -> Tensor:
        """Frame by frame, its actions before its patches."""
        parts = [t.view(frames, -1, t.shape[-1]) for t in (acting, pictures)]
        return torch.cat(parts, 1).flatten(0, 1)

    def _turns(self, first: int, frames: int) -> Turns:
        dims, fps = self.generation.dims, self.task.fps
        places = stream_places(dims, self.text.count, first, frames, self.grid, fps)
        return turns(dims, places.to(self.device), self.dtype)

    def _seen(self, first: int, frames: int) -> Tensor:
        """(frames, caption + window + own tokens): what each new frame may look at, by token."""
        held = torch.tensor(self.holds)[None]
        own = torch.arange(first, first + frames)[:, None]
        past = (held != EMPTY) & (held >= own - self.window)
        words = (torch.arange(self.text.bucket) < self.text.count).expand(frames, -1)
        mine = torch.ones(frames, frames * self.slot, dtype=torch.bool)
        seen = torch.cat([words, past.repeat_interleave(self.slot, 1), mine], 1)
        return seen.to(self.device)

    def _causal(self, first: int, frames: int) -> Tensor:
        """(own tokens, …) of the pass over clean frames: none looks at a later one."""
        seen = self._seen(first, frames)
        begin = self.text.bucket + self.window * self.slot
        for index in range(frames):
            seen[index, begin + (index + 1) * self.slot :] = False
        return seen.repeat_interleave(self.slot, 0)

    def _put(self, found: list[tuple[Tensor, Tensor]], frames: int) -> None:
        for index in range(frames):
            place = (self.count + index) % self.window
            begin = self.text.bucket + place * self.slot
            own = slice(index * self.slot, (index + 1) * self.slot)
            for key, value, (new_key, new_value) in zip(
                self.keys, self.values, found, strict=True
            ):
                key[begin : begin + self.slot] = new_key[own]
                value[begin : begin + self.slot] = new_value[own]
            self.holds[place] = self.count + index
        self.count += frames

    def _room(self, tokens: int, text: Tensor) -> Tensor:
        made = text.new_zeros(tokens, *text.shape[1:])
        made[: len(text)] = text
        return made

    def _rest(self, begun_s: float) -> None:
        """Leave the GPU to others for as long as `duty` says."""
        if self.duty < 1:
            if self.device.type == 'cuda':
                torch.cuda.current_stream().synchronize()
            time.sleep((time.perf_counter() - begun_s) * (1 / self.duty - 1))


def stream_places(
    dims: Dims, text: int, first: int, frames: int, grid: tuple[int, int], fps: float
) -> Tensor:
    """Places (3, tokens) in time, height and width of latent frames `first` … of a stream.

    Frame f is 24 / fps · f after the caption; its actions lie on the four pixel frames that end
    with it, those of the first frame of all on the frame itself.
    """
    rate = dims.base_fps / fps
    begin = text + dims.temporal_margin
    frame = torch.arange(first, first + frames, dtype=torch.float64)
    back = torch.arange(GROUP - 1, -1, -1, dtype=torch.float64) / GROUP
    before = frame[:, None] - back * (frame[:, None] > 0)
    down, across = (torch.arange(side, dtype=torch.float64) for side in grid)
    patches = torch.stack(torch.meshgrid(begin + rate * frame, down, across, indexing='ij'))
    acting = torch.zeros(3, frames, GROUP, dtype=torch.float64)
    acting[0] = begin + rate * before
    return torch.cat([acting, patches.flatten(2)], 2).flatten(1).float()

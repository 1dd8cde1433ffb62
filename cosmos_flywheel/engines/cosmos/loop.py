# SPDX-License-Identifier: Apache-2.0
"""A clean beginning, a text and noise → predicted latents and actions, in a fixed count of steps.

Modes: `forward_dynamics` (first frame and actions given, frames predicted), `inverse_dynamics`
(all frames given, actions predicted), `policy` (first frame given, both predicted). All buffers
are made once; a step asks the device nothing, so that it can be recorded as a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.settings import nearest
from cosmos_flywheel.engines.base import FORWARD_DYNAMICS, INVERSE_DYNAMICS, MODES
from cosmos_flywheel.engines.cosmos.dims import EXACT_ENDS, EXACT_SHARE
from cosmos_flywheel.engines.cosmos.generation import Generation, RunLayer
from cosmos_flywheel.engines.cosmos.patches import patched, unpatched
from cosmos_flywheel.engines.cosmos.prefill import Text
from cosmos_flywheel.engines.cosmos.rotary import turns, world_places
from cosmos_flywheel.engines.cosmos.sampler import Schedule


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked for, with everything that decides a shape."""

    mode: str
    latent: tuple[int, int, int]
    """(T, h, w) latent frames, rows, columns; odd ones are padded to whole patches."""
    actions: int
    width: int
    """Numbers per action of the domain."""
    domain: int
    fps: float
    guidance: float = 1.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise EngineError(f'unknown mode {self.mode!r}; {nearest(self.mode, MODES)}')

    @property
    def moves(self) -> bool:
        """Whether pictures are predicted."""
        return self.mode != INVERSE_DYNAMICS

    @property
    def acts(self) -> bool:
        """Whether actions are predicted."""
        return self.mode != FORWARD_DYNAMICS


class Loop:
    """One task's buffers, and the steps over them."""

    def __init__(
        self, generation: Generation, task: Task, texts: Sequence[Text], schedule: Schedule
    ) -> None:
        """Make the buffers.

        Args:
            generation: the tower.
            task: what is asked for.
            texts: the prompt's, and with guidance other than 1 the negative prompt's after it.
            schedule: of the sampler.

        Raises:
            EngineError: unknown domain, action too wide, or a negative prompt missing or too many.

        """
        dims = generation.dims
        if not 0 <= task.domain < dims.domains or not 0 < task.width <= dims.action_dim:
            raise EngineError(
                f'domain {task.domain} with {task.width} numbers per action does not fit a model '
                f'of {dims.domains} domains and {dims.action_dim} numbers'
            )
        if len(texts) != (1 if task.guidance == 1.0 else 2):
            raise EngineError('guidance other than 1 needs a negative prompt, and 1 takes none')
        self.generation, self.task, self.texts, self.schedule = generation, task, texts, schedule
        self.layer: RunLayer | None = None
        like = generation.ends['proj_in.weight']
        self.device, self.dtype = like.device, like.dtype
        frames, height, width = task.latent
        self.grid = (frames, -(-height // dims.patch), -(-width // dims.patch))
        area = self.grid[1] * self.grid[2]
        self.clean = area if task.moves else frames * area
        self.noisy = frames * area - self.clean
        self._make_buffers(area)
        self._places = [self._place(text) for text in texts]

    def _make_buffers(self, area: int) -> None:
        dims, task, steps = self.generation.dims, self.task, self.schedule.steps
        hidden = dims.hidden
        self.split = self.noisy * dims.patch_width
        length = self.split + (task.actions * dims.action_dim if task.acts else 0)
        self.state = torch.zeros(1, length, device=self.device)
        self.history = torch.zeros(steps + 1, length, device=self.device)
        self.index = torch.zeros(1, dtype=torch.long, device=self.device)
        self.coefficients = torch.from_numpy(self.schedule.coefficients).float().to(self.device)
        timesteps = torch.from_numpy(self.schedule.timesteps).to(self.device)
        self.times = self.generation.time(timesteps)
        self.given = torch.zeros(self.clean, hidden, device=self.device, dtype=self.dtype)
        self.given_actions = torch.zeros(
            task.actions, hidden, device=self.device, dtype=self.dtype
        )
        self.held: Tensor | None = None
        """The clean latents, put back into the result."""
        inside = torch.zeros(1, dims.latent_channels, *task.latent, device=self.device) + 1
        kept = [patched(inside, dims)[self.clean :].flatten()]
        if task.acts:
            used = torch.arange(dims.action_dim, device=self.device) < task.width
            kept.append(used.float().repeat(task.actions))
        self.kept = torch.cat(kept)[None]
        """1 where the state is part of the world, 0 where it only fills a patch or a row."""
        self.head_in = self.generation.action_head('in', task.domain)
        self.head_out = self.generation.action_head('out', task.domain)

    def _place(self, text: Text) -> tuple[Tensor, Tensor, Tensor | None]:
        task, dims = self.task, self.generation.dims
        places = world_places(dims, text.count, self.grid, task.actions, task.fps).to(self.device)
        cos, sin = turns(dims, places, self.dtype)
        if text.count == text.bucket:
            return cos, sin, None
        seen = torch.arange(text.bucket + places.shape[1], device=self.device)
        return cos, sin, ((seen < text.count) | (seen >= text.bucket))[None]

    def begin(self, latents: Tensor, actions: Tensor | None, noise: Tensor) -> None:
        """Set what is given and the noise.

        Args:
            latents: (1, 48, 1, h, w) the first frame, or all frames for inverse dynamics.
            actions: (actions, width) in model space, forward dynamics only.
            noise: (1, length of the state), standard normal; see `draw`.

        Raises:
            EngineError: a shape does not fit, or actions are not finite.

        """
        ends = self.generation.ends
        patches = patched(latents.to(self.device), self.generation.dims)
        if len(patches) != self.clean:
            raise EngineError(
                f'latents {tuple(latents.shape)} do not fit {self.task.mode} of {self.task.latent}'
            )
        self.held = latents.to(self.device).float()
        self.given.copy_(
            functional.linear(patches.to(self.dtype), ends['proj_in.weight'], ends['proj_in.bias'])
        )
        if not self.task.acts:
            self._give_actions(actions)
        self.state.copy_(noise * self.kept)
        self.rewind()

    def _give_actions(self, actions: Tensor | None) -> None:
        task, dims = self.task, self.generation.dims
        if actions is None or tuple(actions.shape) != (task.actions, task.width):
            shape = None if actions is None else tuple(actions.shape)
            raise EngineError(
                f'actions {shape} do not fit; the domain wants ({task.actions}, {task.width})'
            )
        if not actions.is_cuda and not bool(torch.isfinite(actions).all()):
            raise EngineError('actions hold NaN or infinity; leave such chunks out')
        rows = functional.pad(actions, (0, dims.action_dim - task.width))
        self.given_actions.copy_(self._action_tokens(rows.to(self.device, self.dtype)))

    def rewind(self) -> None:
        """Go back to the first step from the state as it is."""
        self.history.zero_()
        self.history[0].copy_(self.state[0])
        self.index.zero_()

    def draw(self, seed: int) -> Tensor:
        """Noise of one seed, drawn on the CPU so that every device begins alike."""
        return torch.randn(self.state.shape, generator=torch.Generator().manual_seed(seed)).to(
            self.device
        )

    def velocity(self, exact: bool = False) -> Tensor:
        """(1, length) of the state at the present step."""
        time = self.times.index_select(0, self.index)
        found = [
            self._branch(text, place, time, exact)
            for text, place in zip(self.texts, self._places, strict=True)
        ]
        if len(found) == 1:
            return found[0]
        return torch.lerp(found[1], found[0], self.task.guidance)

    def step(self, exact: bool = False) -> None:
        """Advance the state by one step."""
        velocity = self.velocity(exact)
        self.history.index_copy_(0, self.index + 1, velocity)
        self.state.copy_(self.coefficients.index_select(0, self.index) @ self.history)
        self.index.add_(1)

    def run(self) -> None:
        """All steps."""
        for i in range(self.schedule.steps):
            self.step(is_exact(i, self.schedule.steps))

    def latents(self) -> Tensor:
        """(1, 48, T, h, w) as predicted, the given frames unchanged."""
        if self.held is None:
            raise EngineError('the loop has not begun; call begin first')
        if not self.task.moves:
            return self.held
        state = self.state[0, : self.split]
        return torch.cat(
            [self.held, unpatched(state, self.generation.dims, self.task.latent[1:])], 2
        )

    def actions(self) -> Tensor | None:
        """(actions, width) in model space, where the mode predicts them."""
        if not self.task.acts:
            return None
        return self.state[0, self.split :].view(self.task.actions, -1)[:, : self.task.width]

    def _branch(
        self,
        text: Text,
        place: tuple[Tensor, Tensor, Tensor | None],
        time: Tensor,
        exact: bool,
    ) -> Tensor:
        ends, state = self.generation.ends, self.state.to(self.dtype)
        tokens = [self.given]
        if self.task.moves:
            noisy = state[0, : self.split].view(self.noisy, -1)
            tokens.append(
                functional.linear(noisy, ends['proj_in.weight'], ends['proj_in.bias']) + time
            )
        if self.task.acts:
            rows = state[0, self.split :].view(self.task.actions, -1)
            tokens.append(self._action_tokens(rows) + time)
        else:
            tokens.append(self.given_actions)
        cos, sin, mask = place
        x = self.generation.run(
            torch.cat(tokens), text.keys, text.values, (cos, sin), mask, self.layer, exact
        )
        found = []
        if self.task.moves:
            seen = x[self.clean : self.clean + self.noisy]
            moved = functional.linear(seen, ends['proj_out.weight'], ends['proj_out.bias'])
            found.append(moved.flatten())
        if self.task.acts:
            matrix, bias = self.head_out
            found.append((x[self.clean + self.noisy :] @ matrix + bias).flatten())
        return torch.cat(found).float()[None] * self.kept

    def _action_tokens(self, rows: Tensor) -> Tensor:
        matrix, bias = self.head_in
        return rows @ matrix + bias + self.generation.ends['action_modality_embed']


def is_exact(step: int, steps: int) -> bool:
    """Whether a step keeps 16 bits of activations when matrices are float8."""
    ends = min(EXACT_ENDS, max(1, round(EXACT_SHARE * steps)))
    return step < ends or step >= steps - ends

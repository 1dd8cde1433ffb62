# SPDX-License-Identifier: Apache-2.0
"""A picture, actions and a seed → predicted pictures, through units that an executor computes.

The loop is the eager one; only its tower is made of units, and so are prefill, encoding and
decoding. What computes them, TensorRT or onnxruntime, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.cosmos.dims import SCALE
from cosmos_flywheel.engines.cosmos.generation import Generation, RunLayer
from cosmos_flywheel.engines.cosmos.loop import Loop, Task
from cosmos_flywheel.engines.cosmos.prefill import Text
from cosmos_flywheel.engines.cosmos.rotary import Turns
from cosmos_flywheel.engines.cosmos.sampler import Schedule
from cosmos_flywheel.engines.tensorrt.executor import Executor
from cosmos_flywheel.engines.tensorrt.form import Form
from cosmos_flywheel.engines.tensorrt.units import (
    DECODE_FIRST,
    DECODE_NEXT,
    ENCODE,
    Units,
    made,
)


@dataclass(frozen=True, slots=True)
class EngineTower(Generation):
    """A generation tower whose layers an executor computes."""

    executor: Executor
    units: Units

    @classmethod
    def open(cls, units: Units, executor: Executor) -> EngineTower:
        """Fetch the projections; layers stay with the executor."""
        weights = units.checkpoint.transformer(executor.device, units.dtype)
        plain = Generation.load(weights, units.dims, layers=0)
        return cls(plain.dims, plain.layers, plain.ends, executor, units)

    def run(
        self,
        x: Tensor,
        keys: tuple[Tensor, ...],
        values: tuple[Tensor, ...],
        by: Turns,
        mask: Tensor | None,
        layer: RunLayer | None = None,
        exact: bool = False,
    ) -> Tensor:
        """As `Generation.run`; what runs a layer, and how exactly, was decided at export."""
        if mask is None:
            mask = torch.ones(1, len(keys[0]) + len(x), dtype=torch.bool, device=x.device)
        for index, layers in enumerate(self.units.groups):
            given = {'x': x, 'cos': by[0], 'sin': by[1], 'mask': mask}
            for number in layers:
                given |= {f'key.{number}': keys[number], f'value.{number}': values[number]}
            x = self.executor.run(f'step_{index}', given)['y']
        return x


class EngineVae:
    """An autoencoder whose units an executor computes."""

    def __init__(self, units: Units, executor: Executor) -> None:
        self._units, self._executor = units, executor
        self._next = units.shadow(DECODE_NEXT).inputs

    def encode(self, picture: Tensor) -> Tensor:
        """Latent frame (1, 48, 1, h, w) of a picture (1, 3, 1, H, W) in -1 … 1."""
        given = {'picture': picture.to(self._units.dtype).contiguous()}
        return self._executor.run(ENCODE, given)['y']

    def decode(self, latents: Tensor) -> Iterator[Tensor]:
        """Pictures (1, 3, 1 or 4, H, W) in -1 … 1 of latent frames (1, 48, T, h, w)."""
        found: dict[str, Tensor] = {}
        for index, latent in enumerate(latents.to(self._units.dtype).split(1, 2)):
            given = {'latent': latent.contiguous()}
            if index:
                given |= {n: self._before(n, found) for n in self._next if n != 'latent'}
            found = self._executor.run(DECODE_NEXT if index else DECODE_FIRST, given)
            yield found['y']

    def _before(self, name: str, found: dict[str, Tensor]) -> Tensor:
        """What is remembered of the group before; zeros for what its first frame did without."""
        after = found.get(name.replace('before.', 'after.', 1))
        return made(self._next[name], self._executor.device) if after is None else after


class Runtime:
    """One task, chunk after chunk.

    Args:
        units: of the checkpoint, at the setting that was exported.
        executor: computes them.
        task: forward dynamics or policy, of the setting's size.
        ids: token ids of the prompt, and with guidance other than 1 the negative prompt's.
        schedule: of the sampler.

    Raises:
        EngineError: task and setting differ, or a unit cannot be loaded or run.

    """

    def __init__(
        self,
        units: Units,
        executor: Executor,
        task: Task,
        ids: Sequence[Tensor],
        schedule: Schedule,
    ) -> None:
        setting = units.setting
        size = (setting.frames, *setting.latent)
        if not task.moves or (task.latent, task.actions) != (size, setting.actions):
            raise EngineError(
                f'{task.mode} of {task.latent} with {task.actions} actions is not what was '
                f'exported: pictures of {size} with {setting.actions}; build engines for it with '
                '`flywheel engine build`, or take the eager back end'
            )
        self.units, self._executor = units, executor
        with executor.working():
            texts = [self._read(row) for row in ids]
            for name in (n for n in units.names if n.startswith('prefill')):
                executor.drop(name)
            self.loop = Loop(EngineTower.open(units, executor), task, texts, schedule)
            self.vae = EngineVae(units, executor)
            for name in (n for n in units.names if not n.startswith('prefill')):
                executor.load(name)
        rows, columns = setting.latent
        shown = (setting.actions + 1, SCALE * rows, SCALE * columns, 3)
        self._picture = executor.host(Form((*setting.canvas, 3), 'uint8'))
        self._shown = executor.host(Form(shown, 'uint8'))

    def predict(self, picture: Tensor, actions: Tensor | None, seed: int) -> Iterator[Tensor]:
        """Predicted pictures uint8 (1 or 4, H, W, 3), the given one first; overwritten next.

        Args:
            picture: uint8 RGB of the canvas, (H, W, 3).
            actions: (T, width) in model space; None for a policy, whose own `loop.actions` has.
            seed: of the noise.

        Raises:
            EngineError: picture or actions do not fit, or a unit fails.

        """
        if tuple(picture.shape) != tuple(self._picture.shape) or picture.dtype != torch.uint8:
            raise EngineError(
                f'a picture {tuple(picture.shape)} of {picture.dtype} is not the canvas '
                f'{tuple(self._picture.shape)} of uint8; lay it there with `Canvas`'
            )
        self._picture.copy_(picture)
        with self._executor.working():
            seen = self._picture.to(self._executor.device, non_blocking=True)
            first = self.vae.encode(seen.permute(2, 0, 1)[None, :, None].float() / 127.5 - 1)
            self.loop.begin(first.float(), actions, self.loop.draw(seed))
            self.loop.run()
            latents = self.loop.latents()
        yield from self._show(latents)

    def close(self) -> None:
        """Give back all that the units hold."""
        self._executor.close()

    def _show(self, latents: Tensor) -> Iterator[Tensor]:
        decoded, begin = self.vae.decode(latents), 0
        while begin < len(self._shown):
            with self._executor.working():
                pictures = next(decoded)[0].permute(1, 2, 3, 0)
                part = self._shown[begin : begin + len(pictures)]
                part.copy_(((pictures.float() + 1) * 127.5).round(), non_blocking=True)
            self._executor.wait()
            begin += len(part)
            yield part

    def _read(self, ids: Tensor) -> Text:
        """A prompt's keys and values, in the bucket that was exported."""
        count, bucket = len(ids), self.units.setting.text
        top = self.units.dims.vocabulary
        if not 0 < count <= bucket or int(ids.min()) < 0 or int(ids.max()) >= top:
            raise EngineError(
                f'a prompt of {count} ids does not fit {bucket} tokens of 0 to {top - 1}; shorten '
                'the task text, or build engines with a larger --text'
            )
        x = functional.pad(ids, (0, bucket - count)).to(self._executor.device)
        keys: dict[int, Tensor] = {}
        values: dict[int, Tensor] = {}
        for index, layers in enumerate(self.units.groups):
            found = self._executor.run(f'prefill_{index}', {'x': x})
            for number in layers:
                keys[number] = found[f'key.{number}'].clone()
                values[number] = found[f'value.{number}'].clone()
            x = found.get('y', x)
        return Text(tuple(keys.values()), tuple(values.values()), count)

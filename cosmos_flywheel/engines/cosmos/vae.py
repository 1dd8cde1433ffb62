# SPDX-License-Identifier: Apache-2.0
"""Pictures ↔ latents with the Wan 2.2 autoencoder, frame by frame and causally.

The first frame becomes a latent frame of its own, every four more another. Nothing looks ahead, so
one frame can be encoded alone, and decoded frames go out while later ones are still worked on.
Each convolution in time remembers its last two frames; before the first there were zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.cosmos.dims import GROUP, SCALE, VaeDims
from cosmos_flywheel.engines.cosmos.weights import Weights

Memory = dict[str, Tensor]


def normed(x: Tensor, gamma: Tensor) -> Tensor:
    """Root mean square over channels, in float32, times gamma."""
    return functional.normalize(x.float(), dim=1).to(x.dtype) * x.shape[1] ** 0.5 * gamma


def enter(x: Tensor, bias: Tensor | None, gamma: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Bias of the convolution before, norm and SiLU, and the two frames before laid in front.

    Returns:
        What the next convolution sees, and its last two frames, to be remembered.

    """
    x = x if bias is None else x + bias.view(-1, 1, 1, 1)
    joined = torch.cat([before, functional.silu(normed(x, gamma))], 2)
    return joined, joined[:, :, -2:].clone()


def leave(x: Tensor, bias: Tensor | None, kept: Tensor) -> Tensor:
    """Bias of the convolution before, and what went round a block."""
    return (x if bias is None else x + bias.view(-1, 1, 1, 1)) + kept


class Passes(NamedTuple):
    """What goes over memory between convolutions: pure functions, apart for a compiler."""

    enter: Callable[..., tuple[Tensor, Tensor]] = enter
    leave: Callable[..., Tensor] = leave
    adds_bias: bool = False
    """Whether they add the biases of convolutions, which otherwise do that themselves: one pass
    less, and other bits."""


PLAIN = Passes()


@dataclass(slots=True)
class Stream:
    """What an encoder or decoder remembers between groups of frames."""

    memory: Memory = field(default_factory=dict)
    first: bool = True


@dataclass(frozen=True, slots=True)
class Vae:
    """The autoencoder on one device."""

    dims: VaeDims
    tensors: dict[str, Tensor]
    passes: Passes = PLAIN

    @classmethod
    def load(cls, weights: Weights, dims: VaeDims) -> Vae:
        """Fetch all tensors."""
        return cls(dims, {name: weights.get(name) for name in dims.shapes()})

    def encode_group(self, pictures: Tensor, stream: Stream) -> Tensor:
        """One latent frame (1, 48, 1, h, w), normalised, from (1, 3, T, H, W) in -1 … 1.

        T is 1 for a stream's first group and 4 afterwards.

        Raises:
            EngineError: H or W is no multiple of 16, or T does not fit.

        """
        count, height, width = pictures.shape[2:]
        if height % SCALE or width % SCALE or count != (1 if stream.first else GROUP):
            raise EngineError(
                f'{count} pictures of {width}x{height} cannot be encoded here; bring them to the '
                f'canvas (multiples of {SCALE} px), one first, then {GROUP} at a time'
            )
        x = self._coder('encoder', _fold(pictures, self.dims.patch), stream)
        stream.first = False
        middle = self._plain_conv('quant_conv', x)[:, : self.dims.channels]
        mean, inverse = self._statistics(middle)
        return (middle - mean) * inverse

    def encode(self, pictures: Tensor) -> Tensor:
        """All groups of 1 + 4 k pictures → (1, 48, 1 + k, h, w)."""
        stream = Stream()
        groups = [pictures[:, :, :1], *pictures[:, :, 1:].split(GROUP, 2)]
        return torch.cat([self.encode_group(g, stream) for g in groups if g.shape[2]], 2)

    def decode_group(self, latent: Tensor, stream: Stream) -> Tensor:
        """Pictures (1, 3, 1 or 4, H, W) in -1 … 1 of one latent frame (1, 48, 1, h, w)."""
        mean, inverse = self._statistics(latent)
        x = self._plain_conv('post_quant_conv', latent / inverse + mean)
        x = self._coder('decoder', x, stream)
        stream.first = False
        return _unfold(x, self.dims.patch).clamp(-1, 1)

    def decode(self, latents: Tensor) -> Iterator[Tensor]:
        """Decoded pictures, the earliest first, latent frame by latent frame."""
        stream = Stream()
        for latent in latents.split(1, 2):
            yield self.decode_group(latent, stream)

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and 1 / deviation of the latents; made once, before a graph is recorded."""
        for name, values in (('mean', self.dims.mean), ('std', self.dims.std)):
            if name not in self.tensors:
                self.tensors[name] = torch.tensor(values).to(like).view(1, -1, 1, 1, 1)
        return self.tensors['mean'], 1.0 / self.tensors['std']

    def _coder(self, name: str, x: Tensor, stream: Stream) -> Tensor:
        x = self._conv(f'{name}.conv_in', x, stream)
        if name == 'encoder':
            for index in range(len(self.dims.multiples)):
                x = self._down(index, x, stream)
        x = self._residual(f'{name}.mid_block.resnets.0', x, stream)
        x = self._attend(f'{name}.mid_block.attentions.0', x)
        x = self._residual(f'{name}.mid_block.resnets.1', x, stream)
        if name == 'decoder':
            for index in range(len(self.dims.multiples)):
                x = self._up(index, x, stream)
        seen = self._enter(f'{name}.norm_out', f'{name}.conv_out', x, None, stream)
        weight, bias = self._pair(f'{name}.conv_out')
        return functional.conv3d(seen, weight, bias, padding=(0, 1, 1))

    def _down(self, index: int, x: Tensor, stream: Stream) -> Tensor:
        name, before = f'encoder.down_blocks.{index}', x
        for block in range(self.dims.blocks):
            x = self._residual(f'{name}.resnets.{block}', x, stream)
        narrowed = index != len(self.dims.multiples) - 1
        in_time = narrowed and self.dims.in_time[index]
        if narrowed:
            padded = functional.pad(_frames(x), (0, 1, 0, 1))
            x = _clip(self._conv2d(f'{name}.downsampler.resample.1', padded, 2))
        if in_time:
            x = self._halve(f'{name}.downsampler.time_conv', x, stream)
        return x + _average(before, x.shape[1], 2 if in_time else 1, 2 if narrowed else 1)

    def _halve(self, name: str, x: Tensor, stream: Stream) -> Tensor:
        """Halve the frames of a group; the first frame passes, and is remembered."""
        before = stream.memory.get(name)
        stream.memory[name] = x[:, :, -1:].clone()
        if before is None:
            return x
        return functional.conv3d(torch.cat([before, x], 2), *self._pair(name), stride=(2, 1, 1))

    def _up(self, index: int, x: Tensor, stream: Stream) -> Tensor:
        name, before = f'decoder.up_blocks.{index}', x
        for block in range(self.dims.blocks + 1):
            x = self._residual(f'{name}.resnets.{block}', x, stream)
        if index == len(self.dims.multiples) - 1:
            return x
        in_time = self.dims.in_time[::-1][index]
        if in_time and not stream.first:
            pair = self._conv(f'{name}.upsampler.time_conv', x, stream)
            x = pair.unflatten(1, (2, -1)).permute(0, 2, 3, 1, 4, 5).flatten(2, 3)
        wide = functional.interpolate(_frames(x), scale_factor=2.0, mode='nearest-exact')
        x = _clip(self._conv2d(f'{name}.upsampler.resample.1', wide, 1, 1))
        return x + _repeat(before, x.shape[1], 2 if in_time else 1, stream.first)

    def _residual(self, name: str, x: Tensor, stream: Stream) -> Tensor:
        kept = x
        if f'{name}.conv_shortcut.weight' in self.tensors:
            kept = self._plain_conv(f'{name}.conv_shortcut', x)
        left = None
        for part in ('1', '2'):
            seen = self._enter(f'{name}.norm{part}', f'{name}.conv{part}', x, left, stream)
            weight, bias = self._pair(f'{name}.conv{part}')
            own, left = (None, bias) if self.passes.adds_bias else (bias, None)
            x = functional.conv3d(seen, weight, own, padding=(0, 1, 1))
        return self.passes.leave(x, left, kept)

    def _enter(
        self, norm: str, conv: str, x: Tensor, bias: Tensor | None, stream: Stream
    ) -> Tensor:
        """What a convolution after a norm sees; the stream remembers its last frames."""
        before = self._before(conv, x, stream)
        seen, stream.memory[conv] = self.passes.enter(
            x, bias, self.tensors[f'{norm}.gamma'], before
        )
        return seen

    def _before(self, name: str, x: Tensor, stream: Stream) -> Tensor:
        """The two frames before of a convolution."""
        before = stream.memory.get(name)
        return x.new_zeros((*x.shape[:2], 2, *x.shape[3:])) if before is None else before

    def _attend(self, name: str, x: Tensor) -> Tensor:
        """Attention of one head within each frame."""
        frames = _frames(x)
        count, channels, height, width = frames.shape
        seen = self._conv2d(f'{name}.to_qkv', normed(frames, self.tensors[f'{name}.norm.gamma']))
        heads = seen.reshape(count, 1, 3 * channels, -1).permute(0, 1, 3, 2).contiguous()
        out = functional.scaled_dot_product_attention(*heads.chunk(3, -1))
        out = out.squeeze(1).permute(0, 2, 1).reshape(count, channels, height, width)
        return _clip(self._conv2d(f'{name}.proj', out)) + x

    def _conv(self, name: str, x: Tensor, stream: Stream) -> Tensor:
        """A convolution of three frames: this one and the two before."""
        joined = torch.cat([self._before(name, x, stream), x], 2)
        stream.memory[name] = joined[:, :, -2:].clone()
        weight, bias = self._pair(name)
        around = weight.shape[-1] // 2
        return functional.conv3d(joined, weight, bias, padding=(0, around, around))

    def _plain_conv(self, name: str, x: Tensor) -> Tensor:
        return functional.conv3d(x, *self._pair(name))

    def _conv2d(self, name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        return functional.conv2d(x, *self._pair(name), stride=stride, padding=padding)

    def _pair(self, name: str) -> tuple[Tensor, Tensor]:
        return self.tensors[f'{name}.weight'], self.tensors[f'{name}.bias']


def grey_levels(groups: Iterable[Tensor]) -> NDArray[np.uint8]:
    """(T, H, W, 3) RGB of decoded groups (1, 3, …, H, W) in -1 … 1."""
    shown = [
        ((g[0].permute(1, 2, 3, 0).float() + 1) * 127.5).round().to(torch.uint8) for g in groups
    ]
    return np.asarray(torch.cat(shown).cpu().numpy())


def _frames(x: Tensor) -> Tensor:
    """(1, C, T, H, W) → (T, C, H, W)."""
    return x[0].transpose(0, 1)


def _clip(frames: Tensor) -> Tensor:
    """Inverse of `_frames`."""
    return frames.transpose(0, 1)[None]


def _fold(pictures: Tensor, size: int) -> Tensor:
    """Squares of pixels into channels; the column within a square varies slower than the row."""
    x = pictures.unflatten(4, (-1, size)).unflatten(3, (-1, size))
    return x.permute(0, 1, 6, 4, 2, 3, 5).flatten(1, 3)


def _unfold(x: Tensor, size: int) -> Tensor:
    """Inverse of `_fold`."""
    x = x.unflatten(1, (-1, size, size)).permute(0, 1, 4, 5, 3, 6, 2)
    return x.flatten(5, 6).flatten(3, 4)


def _average(x: Tensor, channels: int, in_time: int, in_space: int) -> Tensor:
    """The shortcut of a narrowing block: cells into channels, channels averaged in groups."""
    x = functional.pad(x, (0, 0, 0, 0, -x.shape[2] % in_time, 0))
    x = x.unflatten(4, (-1, in_space)).unflatten(3, (-1, in_space)).unflatten(2, (-1, in_time))
    x = x.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)
    return x.unflatten(1, (channels, -1)).mean(2)


def _repeat(x: Tensor, channels: int, in_time: int, first: bool) -> Tensor:
    """The shortcut of a widening block: channels repeated into cells."""
    x = x.repeat_interleave(channels * in_time * 4 // x.shape[1], 1)
    x = x.unflatten(1, (channels, in_time, 2, 2)).permute(0, 1, 5, 2, 6, 3, 7, 4)
    x = x.flatten(6, 7).flatten(4, 5).flatten(2, 3)
    return x[:, :, in_time - 1 :] if first else x

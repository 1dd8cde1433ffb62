# SPDX-License-Identifier: Apache-2.0
"""Where tensors come from: the one question that prefill, generation and autoencoder ask."""

from __future__ import annotations

import math
import zlib
from typing import Protocol

import torch
from torch import Tensor

from cosmos_flywheel.engines.cosmos.dims import Shapes


class Weights(Protocol):
    """A checkpoint's tensors by name."""

    def get(self, name: str) -> Tensor:
        """One tensor, of the type and on the device that the source was made for."""


class RandomWeights:
    """Tensors of the right shape that keep a signal's size: speed and rounding are real with them.

    Equal seeds give equal tensors, in whatever order they are asked for. Matrices are drawn with a
    standard deviation of 1 / sqrt(inputs), embeddings and biases with 0.02, norms about 1.
    """

    def __init__(
        self,
        shapes: Shapes,
        seed: int = 0,
        device: str = 'cpu',
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.shapes, self.seed, self.device, self.dtype = shapes, seed, device, dtype

    def get(self, name: str) -> Tensor:
        """Draw one tensor."""
        shape = self.shapes[name]
        draw = torch.Generator(self.device).manual_seed(self.seed + zlib.crc32(name.encode()))
        made = torch.randn(shape, generator=draw, device=self.device, dtype=self.dtype)
        if 'norm' in name:
            return made.mul_(0.1).add_(1)
        if name.endswith('bias') or len(shape) == 1 or name.startswith(('embed', 'action_proj')):
            return made.mul_(0.02)
        return made.mul_(1 / math.sqrt(math.prod(shape[1:])))

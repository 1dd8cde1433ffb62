# SPDX-License-Identifier: Apache-2.0
"""Latents ↔ rows of vision tokens: squares of latent cells, the channel fastest."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from cosmos_flywheel.engines.cosmos.dims import Dims


def patched(latents: Tensor, dims: Dims) -> Tensor:
    """(1, C, T, h, w) → (tokens, patch_width), padded with zeros to whole patches."""
    size = dims.patch
    pad = (0, -latents.shape[-1] % size, 0, -latents.shape[-2] % size)
    x = functional.pad(latents[0], pad).unflatten(3, (-1, size)).unflatten(2, (-1, size))
    return x.permute(1, 2, 4, 3, 5, 0).flatten(3, 5).flatten(0, 2)


def unpatched(rows: Tensor, dims: Dims, latent: tuple[int, int]) -> Tensor:
    """Inverse of `patched` for latents of (h, w); `rows` may have any shape."""
    down, across = (-(-side // dims.patch) for side in latent)
    shape = (-1, down, across, dims.patch, dims.patch, dims.latent_channels)
    x = rows.view(shape).permute(5, 0, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)[None]
    return x[..., : latent[0], : latent[1]]

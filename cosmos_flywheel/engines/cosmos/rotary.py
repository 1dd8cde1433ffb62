# SPDX-License-Identifier: Apache-2.0
"""Places of tokens in time, height and width → the cosines and sines that turn queries and keys.

Positions and interleaving as diffusers 0.42.1 has them (`get_3d_mrope_ids_vae_tokens`,
`apply_interleaved_mrope`); computed in float32, since bfloat16 cannot count past 256.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cosmos_flywheel.engines.cosmos.dims import Dims

FRAMES_PER_LATENT = 4
"""Pixel frames per latent frame of the autoencoder, but for the first."""

Turns = tuple[Tensor, Tensor]
"""cos and sin, each (N, 1, head_dim)."""


def turns(dims: Dims, places: Tensor, dtype: torch.dtype) -> Turns:
    """Of places (3, N): time, height, width."""
    half = torch.arange(0, dims.head_dim, 2, dtype=torch.float32, device=places.device)
    rates = 1.0 / dims.rope_base ** (half / dims.head_dim)
    angles = places.float()[..., None] * rates
    mixed = angles[0].clone()
    for axis in (1, 2):
        chosen = slice(axis, 3 * dims.rope_axes[axis], 3)
        mixed[:, chosen] = angles[axis][:, chosen]
    both = torch.cat([mixed, mixed], -1)[:, None]
    return both.cos().to(dtype), both.sin().to(dtype)


def text_places(count: int, device: torch.device | str = 'cpu') -> Tensor:
    """Of the text: token i is at i on all three axes."""
    return torch.arange(count, device=device).expand(3, -1)


def world_places(
    dims: Dims, text: int, grid: tuple[int, int, int], actions: int, fps: float
) -> Tensor:
    """Of pictures and actions after a text of so many real tokens, padding not counted.

    Args:
        dims: of the checkpoint.
        text: how many real tokens the text has.
        grid: (T, H, W) latent frames and patches.
        actions: how many; action k belongs to pixel frame k + 1.
        fps: pictures per second of the world.

    Returns:
        (3, T·H·W + actions), float32.

    """
    frames, rows, columns = grid
    begin = text + dims.temporal_margin
    picture = dims.base_fps / fps if dims.fps_modulation and frames > 1 else 1.0
    step = dims.base_fps / FRAMES_PER_LATENT / fps if dims.fps_modulation and actions > 1 else 1.0
    time = begin + torch.arange(frames, dtype=torch.float32) * picture
    down = torch.arange(rows, dtype=torch.float32)
    across = torch.arange(columns, dtype=torch.float32)
    vision = torch.stack(torch.meshgrid(time, down, across, indexing='ij')).flatten(1)
    acting = torch.zeros(3, actions)
    acting[0] = begin + torch.arange(1, actions + 1, dtype=torch.float32) * step
    return torch.cat([vision, acting], 1)


def turn(x: Tensor, by: Turns) -> Tensor:
    """Turn heads (N, heads, head_dim); the second half is the imaginary part."""
    first, second = x.chunk(2, -1)
    return x * by[0] + torch.cat([-second, first], -1) * by[1]

# SPDX-License-Identifier: Apache-2.0
"""A stream of Cosmos as one pass over all of it under a mask, with no cache: what to compare to.

Written apart from the engine: weights by their names, attention as sums, places as a list.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cosmos_flywheel.engines.cosmos.dims import Dims
from cosmos_flywheel.engines.cosmos.prefill import Text
from cosmos_flywheel.engines.cosmos.rotary import turns
from cosmos_flywheel.engines.cosmos.weights import RandomWeights


def whole_stream(
    dims: Dims,
    text: Text,
    clean: Tensor,
    actions: Tensor,
    noise: Tensor,
    *,
    window: int,
    times: tuple[float, ...],
    domain: int,
    fps: float,
) -> Tensor:
    """Patches (frames, area, width) of the next chunk.

    Args:
        dims: of the model.
        text: its keys and values.
        clean: (1, 48, F, h, w) all that came; sides are even.
        actions: (4 (F - 1 + frames), width) from the second frame on, those of the chunk too.
        noise: (steps, frames, area, width).
        window: frames.
        times: shares of noise.
        domain: of the actions.
        fps: pictures a second.

    """
    weights = RandomWeights(dims.shapes())
    came, frames = clean.shape[2], noise.shape[1]
    patches = torch.stack([patches_of(clean[0, :, f]) for f in range(came)])
    area = patches.shape[1]
    rows = torch.zeros(4 * (came + frames), dims.action_dim)
    rows[4:, : actions.shape[1]] = actions
    owner = torch.arange(came + frames).repeat_interleave(4 + area)
    sees = torch.zeros(len(owner), len(owner), dtype=torch.bool)
    for i, mine in enumerate(owner.tolist()):
        for j, other in enumerate(owner.tolist()):
            if mine < came:
                sees[i, j] = mine - window <= other <= mine
            else:
                sees[i, j] = other >= came - window
    places = []
    for frame in range(came + frames):
        at = text.count + dims.temporal_margin + frame * dims.base_fps / fps
        step = dims.base_fps / fps / 4 if frame else 0.0
        places += [(at - (3 - k) * step, 0, 0) for k in range(4)]
        side = clean.shape[4] // 2
        places += [(at, k // side, k % side) for k in range(area)]
    cos, sin = turns(dims, torch.tensor(places).T, torch.float32)
    state = noise[0]
    for index, share in enumerate(times):
        shown = torch.cat([patches, state])
        seen = tower(dims, weights, text, shown, rows, share, came, sees, (cos, sin), domain)
        made = state - share * seen[came:]
        after = times[index + 1] if index + 1 < len(times) else 0.0
        state = made if not after else (1 - after) * made + after * noise[index + 1]
    return state


def tower(dims, weights, text, patches, rows, share, came, sees, by, domain) -> Tensor:
    def get(name: str) -> Tensor:
        return weights.get(name)

    def norm(value: Tensor, name: str) -> Tensor:
        scale = torch.rsqrt(value.square().mean(-1, keepdim=True) + dims.eps)
        return value * scale * get(f'{name}.weight')

    frames, area = patches.shape[:2]
    vision = patches @ get('proj_in.weight').T + get('proj_in.bias')
    half = torch.exp(-torch.log(torch.tensor(10000.0)) * torch.arange(128) / 128)
    wave = torch.cat([(share * half).cos(), (share * half).sin()])
    wave = get('time_embedder.linear_1.weight') @ wave + get('time_embedder.linear_1.bias')
    wave = functional.silu(wave)
    wave = get('time_embedder.linear_2.weight') @ wave + get('time_embedder.linear_2.bias')
    vision[came:] += wave
    head = get('action_proj_in.fc.weight')[domain].view(dims.action_dim, dims.hidden)
    acting = rows @ head + get('action_proj_in.bias.weight')[domain]
    acting = (acting + get('action_modality_embed')).view(frames, 4, -1)
    x = torch.cat([acting, vision], 1).flatten(0, 1)
    words = torch.arange(text.bucket) < text.count
    sees = torch.cat([words.expand(len(x), -1), sees], 1)
    for layer in range(dims.layers):
        name = f'layers.{layer}'
        seen = norm(x, f'{name}.input_layernorm_moe_gen')
        q, k, v = (
            (seen @ get(f'{name}.self_attn.{part}.weight').T).view(len(x), -1, dims.head_dim)
            for part in ('add_q_proj', 'add_k_proj', 'add_v_proj')
        )
        q = turned(norm(q, f'{name}.self_attn.norm_added_q'), by)
        k = turned(norm(k, f'{name}.self_attn.norm_added_k'), by)
        v[:4] = 0  # the first frame has no actions
        k, v = torch.cat([text.keys[layer], k]), torch.cat([text.values[layer], v])
        k, v = (t.repeat_interleave(dims.heads // dims.kv_heads, 1) for t in (k, v))
        weight = torch.einsum('ihd,jhd->hij', q, k) / dims.head_dim**0.5
        weight = weight.masked_fill(~sees, -torch.inf).softmax(-1)
        out = torch.einsum('hij,jhd->ihd', weight, v).flatten(1)
        x = x + out @ get(f'{name}.self_attn.to_add_out.weight').T
        seen = norm(x, f'{name}.post_attention_layernorm_moe_gen')
        gate, up = (
            seen @ get(f'{name}.mlp_moe_gen.{part}.weight').T for part in ('gate_proj', 'up_proj')
        )
        x = x + (functional.silu(gate) * up) @ get(f'{name}.mlp_moe_gen.down_proj.weight').T
    x = norm(x, 'norm_moe_gen').view(frames, 4 + area, -1)[:, 4:]
    return x @ get('proj_out.weight').T + get('proj_out.bias')


def turned(x: Tensor, by: tuple[Tensor, Tensor]) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * by[0] + torch.cat([-second, first], -1) * by[1]


def patches_of(frame: Tensor) -> Tensor:
    """(C, h, w) → (area, 4 C): row, column, channel."""
    _, high, wide = frame.shape
    return torch.stack(
        [
            frame[:, y : y + 2, x : x + 2].permute(1, 2, 0).flatten()
            for y in range(0, high, 2)
            for x in range(0, wide, 2)
        ]
    )

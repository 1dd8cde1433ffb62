# SPDX-License-Identifier: Apache-2.0
"""Tokens of pictures and actions, beside a text's keys and values → their velocities.

Only this tower lives on the device while steps run. Projections that share an input are one
matrix, so that a layer has four products. Shapes are static and nothing asks the device a
question, so that a whole step can be recorded as one graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from cosmos_flywheel.engines.cosmos.dims import TIME_CHANNELS, Dims
from cosmos_flywheel.engines.cosmos.rotary import Turns, turn
from cosmos_flywheel.engines.cosmos.weights import Weights

LARGEST = 448.0
"""Of torch.float8_e4m3fn."""
MATRICES = ('qkv', 'out', 'up', 'down')

Layer = dict[str, Any]
"""norms and matrices of a layer; a matrix is a tensor, or what `quantised` makes of it."""
RunLayer = Callable[..., Tensor]
Product = Callable[[Tensor, str], Tensor]
"""A value times the matrix of that name."""


@dataclass(frozen=True, slots=True)
class Generation:
    """The generation tower's weights on one device."""

    dims: Dims
    layers: Sequence[Layer]
    ends: dict[str, Tensor]
    """Projections in and out, time embedder, action heads of all domains."""

    @classmethod
    def load(
        cls,
        weights: Weights,
        dims: Dims,
        layers: int | None = None,
        hold: Callable[[Iterator[Layer]], Sequence[Layer]] = list,
    ) -> Generation:
        """Fetch the tower, or its first few layers, one layer at a time; `hold` keeps them."""
        names = [n for n in dims.shapes() if not n.startswith(('layers.', 'embed_tokens'))]
        count = dims.layers if layers is None else layers
        return cls(
            dims,
            hold(pack_layer(weights, dims, f'layers.{i}') for i in range(count)),
            {name: weights.get(name) for name in names},
        )

    def time(self, timesteps: Tensor) -> Tensor:
        """Embed timesteps (n,), 0 … 1000, into (n, hidden); in float32 as the model was trained.

        Sinusoids with cosine first, over a base of 10000 (diffusers `Timesteps`).
        """
        half = TIME_CHANNELS // 2
        rates = torch.arange(half, dtype=torch.float32, device=timesteps.device) / half
        angles = (timesteps.float() * self.dims.timestep_scale)[:, None] * torch.exp(
            -math.log(10000) * rates
        )
        x = torch.cat([angles.cos(), angles.sin()], -1)
        ends = {n: t.float() for n, t in self.ends.items() if n.startswith('time_embedder')}
        for index in (1, 2):
            name = f'time_embedder.linear_{index}'
            x = functional.linear(x, ends[f'{name}.weight'], ends[f'{name}.bias'])
            x = functional.silu(x) if index == 1 else x
        return x.to(self.ends['proj_in.weight'].dtype)

    def action_head(self, which: str, domain: int) -> tuple[Tensor, Tensor]:
        """(in, out) matrix and bias of one domain's head, `in` or `out`."""
        name = f'action_proj_{which}'
        into = self.dims.action_dim if which == 'in' else self.dims.hidden
        matrix = self.ends[f'{name}.fc.weight'][domain].view(into, -1)
        return matrix, self.ends[f'{name}.bias.weight'][domain]

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
        """Run all layers and the last norm over tokens (N, hidden).

        Args:
            x: tokens.
            keys: of the text, per layer (U, kv_heads, head_dim).
            values: likewise.
            by: cos and sin of the tokens' places.
            mask: (1, U + N) True where a token may be looked at; None for all.
            layer: `run_layer`, or what a compiler made of it.
            exact: quantised matrices, but activations as they are.

        """
        run = layer or run_layer
        head, eps = self.dims.head_dim, self.dims.eps
        for weights, key, value in zip(self.layers, keys, values, strict=False):
            x = run(x, key, value, by[0], by[1], mask, weights, head, eps, exact)
        return functional.rms_norm(x, (x.shape[-1],), self.ends['norm_moe_gen.weight'], eps)


def pack_layer(weights: Weights, dims: Dims, name: str) -> Layer:
    """Fetch one layer and join the projections that share an input."""

    def get(*parts: str) -> Tensor:
        got = [weights.get(f'{name}.{part}.weight') for part in parts]
        return got[0] if len(got) == 1 else torch.cat(got)

    gate = ('mlp_moe_gen.gate_proj',) if dims.gated else ()
    return {
        'norm_1': get('input_layernorm_moe_gen'),
        'norm_2': get('post_attention_layernorm_moe_gen'),
        'norm_q': get('self_attn.norm_added_q'),
        'norm_k': get('self_attn.norm_added_k'),
        'qkv': get('self_attn.add_q_proj', 'self_attn.add_k_proj', 'self_attn.add_v_proj'),
        'out': get('self_attn.to_add_out'),
        'up': get(*gate, 'mlp_moe_gen.up_proj'),
        'down': get('mlp_moe_gen.down_proj'),
    }


def run_layer(
    x: Tensor,
    text_key: Tensor,
    text_value: Tensor,
    cos: Tensor,
    sin: Tensor,
    mask: Tensor | None,
    w: Layer,
    head: int,
    eps: float,
    exact: bool = False,
    note: Callable[[str, Tensor], None] | None = None,
) -> Tensor:
    """One layer over tokens (N, hidden); a pure function, so that one compilation serves all.

    Args:
        x: tokens.
        text_key: (U, kv_heads, head).
        text_value: likewise.
        cos: (N, 1, head).
        sin: likewise.
        mask: see `Generation.run`.
        w: the layer's weights.
        head: numbers per head.
        eps: of the norms.
        exact: see `Generation.run`.
        note: told what goes into each matrix, for calibration.

    """

    def product(value: Tensor, name: str) -> Tensor:
        if note is not None:
            note(name, value)
        return multiply(value, w[name], exact)

    query, key, value = project(x, text_key.shape[1], cos, sin, w, head, eps, product)
    key, value = torch.cat([text_key, key]), torch.cat([text_value, value])
    return attend(x, query, key, value, mask, w, eps, product)


def project(
    x: Tensor,
    kv_heads: int,
    cos: Tensor,
    sin: Tensor,
    w: Layer,
    head: int,
    eps: float,
    product: Product,
) -> tuple[Tensor, Tensor, Tensor]:
    """Of tokens (N, hidden): queries and keys, turned, and values, each (N, heads, head)."""
    count, keys = len(x), kv_heads * head
    qkv = product(functional.rms_norm(x, (x.shape[-1],), w['norm_1'], eps), 'qkv')
    query, key, value = qkv.split([qkv.shape[-1] - 2 * keys, keys, keys], -1)
    query = functional.rms_norm(query.reshape(count, -1, head), (head,), w['norm_q'], eps)
    key = functional.rms_norm(key.reshape(count, -1, head), (head,), w['norm_k'], eps)
    by = cos, sin
    return turn(query, by), turn(key, by), value.reshape(count, -1, head)


def attend(
    x: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    w: Layer,
    eps: float,
    product: Product,
) -> Tensor:
    """What the rest of a layer makes of tokens (N, hidden), given all that they look at."""
    q, k, v = (t.transpose(0, 1)[None] for t in (query, key, value))
    out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    x = x + product(out[0].transpose(0, 1).reshape(len(x), -1), 'out')
    up = product(functional.rms_norm(x, (x.shape[-1],), w['norm_2'], eps), 'up')
    if up.shape[-1] == _width(w['down']):  # not gated
        return x + product(torch.relu(up).square(), 'down')
    gate, up = up.chunk(2, -1)
    return x + product(functional.silu(gate) * up, 'down')


def _width(matrix: Any) -> int:
    tensor = matrix[0] if isinstance(matrix, tuple) else matrix
    return int(tensor.shape[1])


def quantised(matrix: Tensor, largest_input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A matrix (out, in) as float8 with one scale, and the scale of what it is multiplied by.

    Returns:
        (float8 matrix, its scale, the inputs' scale); inputs beyond 1.25 times the largest that
        calibration saw are clamped.

    """
    scale = matrix.float().abs().amax() / LARGEST
    packed = (matrix.float() / scale).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn)
    return packed, scale, largest_input.float() * 1.25 / LARGEST


def multiply(x: Tensor, matrix: Any, exact: bool = False) -> Tensor:
    """X (N, in) times a matrix (out, in); both in float8 if the matrix is, unless `exact`."""
    if not isinstance(matrix, tuple):
        return functional.linear(x, matrix)
    packed, scale, input_scale = matrix
    if exact:
        return functional.linear(x, packed.to(x.dtype) * scale.to(x.dtype))
    small = (x.float() / input_scale).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn)
    if not x.is_cuda:
        return functional.linear(small.float() * input_scale, packed.float() * scale).to(x.dtype)
    return torch._scaled_mm(
        small,
        packed.t(),
        scale_a=input_scale,
        scale_b=scale,
        out_dtype=x.dtype,
        use_fast_accum=True,
    )

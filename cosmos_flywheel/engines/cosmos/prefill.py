# SPDX-License-Identifier: Apache-2.0
"""A prompt's token ids → each layer's keys and values, computed once per prompt.

The understanding tower sees the text alone and no timestep, so what the generation tower reads of
it is constant over steps and chunks (reference: technical report of Cosmos 3, §5.2). Its layers
are fetched one at a time and dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.cosmos.dims import Dims
from cosmos_flywheel.engines.cosmos.rotary import text_places, turn, turns
from cosmos_flywheel.engines.cosmos.weights import Weights


@dataclass(frozen=True, slots=True)
class Text:
    """What the generation tower needs of a prompt."""

    keys: tuple[Tensor, ...]
    """Per layer (bucket, kv_heads, head_dim)."""
    values: tuple[Tensor, ...]
    count: int
    """How many of the bucket's tokens are real."""

    @property
    def bucket(self) -> int:
        """Tokens, padding included."""
        return int(self.keys[0].shape[0])

    def padded(self, bucket: int) -> Text:
        """The same text in a bucket of static size.

        Raises:
            EngineError: the text is longer than the bucket.

        """
        missing = bucket - self.bucket
        if missing < 0:
            raise EngineError(
                f'the prompt has {self.bucket} tokens, the bucket {bucket}; shorten the task text '
                'or take a larger bucket'
            )
        pad = (0, 0, 0, 0, 0, missing)
        return Text(
            tuple(functional.pad(k, pad) for k in self.keys),
            tuple(functional.pad(v, pad) for v in self.values),
            self.count,
        )


def prefill(weights: Weights, dims: Dims, ids: Tensor) -> Text:
    """Run the understanding tower over token ids (N,), int64.

    Raises:
        EngineError: no ids, or one outside of the vocabulary.

    """
    if ids.ndim != 1 or not len(ids) or int(ids.min()) < 0 or int(ids.max()) >= dims.vocabulary:
        raise EngineError(
            f'token ids must be one row of 0 to {dims.vocabulary - 1}; take the text_tokenizer of '
            'the same checkpoint'
        )
    x = weights.get('embed_tokens.weight')[ids]
    by = turns(dims, text_places(len(ids), x.device), x.dtype)
    keys, values = [], []
    for index in range(dims.layers):
        x, key, value = text_layer(weights, dims, f'layers.{index}', x, by)
        keys.append(key)
        values.append(value)
    return Text(tuple(keys), tuple(values), len(ids))


def text_layer(
    weights: Weights, dims: Dims, name: str, x: Tensor, by: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer over tokens (N, hidden) → its own, and the keys and values that it shows."""

    def get(part: str) -> Tensor:
        return weights.get(f'{name}.{part}.weight')

    def norm(value: Tensor, part: str) -> Tensor:
        return functional.rms_norm(value, (value.shape[-1],), get(part), dims.eps)

    seen = norm(x, 'input_layernorm')
    shape = (len(x), -1, dims.head_dim)
    query, key, value = (
        functional.linear(seen, get(f'self_attn.{part}')).view(shape)
        for part in ('to_q', 'to_k', 'to_v')
    )
    if dims.text_qk_norm:
        query, key = norm(query, 'self_attn.norm_q'), norm(key, 'self_attn.norm_k')
    shown = norm(key, 'self_attn.k_norm_und_for_gen') if dims.text_k_norm_for_gen else key
    q, k, v = (t.transpose(0, 1)[None] for t in (turn(query, by), turn(key, by), value))
    out = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    x = x + functional.linear(out[0].transpose(0, 1).flatten(1), get('self_attn.to_out'))
    seen = norm(x, 'post_attention_layernorm')
    up = functional.linear(seen, get('mlp.up_proj'))
    if dims.gated:
        up = functional.silu(functional.linear(seen, get('mlp.gate_proj'))) * up
    else:
        up = torch.relu(up).square()
    return x + functional.linear(up, get('mlp.down_proj')), turn(shown, by), value.contiguous()

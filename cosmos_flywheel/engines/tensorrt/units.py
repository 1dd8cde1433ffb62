# SPDX-License-Identifier: Apache-2.0
"""A checkpoint → the units that are exported: text prefill, generation step, encoding, decoding.

Towers go in groups of layers, so that neither a graph nor an engine holds all of a model's
weights. Shapes are static. Outside of the units stays what the loop does around its tower: the
projections in and out, time and action embeddings, and the sampler's product. A unit's forms come
from a walk without values, so that nothing is read to find an engine on a shelf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.cosmos.checkpoint import Checkpoint
from cosmos_flywheel.engines.cosmos.dims import Dims
from cosmos_flywheel.engines.cosmos.generation import pack_layer, run_layer
from cosmos_flywheel.engines.cosmos.prefill import text_layer
from cosmos_flywheel.engines.cosmos.rotary import text_places, turns
from cosmos_flywheel.engines.cosmos.vae import Stream, Vae
from cosmos_flywheel.engines.cosmos.weights import Weights
from cosmos_flywheel.engines.tensorrt.form import Form
from cosmos_flywheel.engines.tensorrt.setting import Setting

EXPORT = 1
"""Counts up whenever equal weights and settings get another graph."""
ENCODE, DECODE_FIRST, DECODE_NEXT = 'encode', 'decode_first', 'decode_next'
Walk = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True)
class Unit:
    """What one engine computes."""

    name: str
    walk: Walk
    """Over its inputs in order."""
    inputs: dict[str, Form]
    outputs: tuple[str, ...]

    def forms(self) -> dict[str, Form]:
        """Of the outputs; exact where the unit's weights have no values, as those of `Shadows`."""
        found = self.walk(*(made(form, 'meta') for form in self.inputs.values()))
        return {name: form_of(t) for name, t in zip(self.outputs, found, strict=True)}


class Shadows:
    """Weights without values: what is computed from them has the right shape and no numbers."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], dtype: torch.dtype) -> None:
        self.shapes, self.dtype = shapes, dtype

    def get(self, name: str) -> Tensor:
        """A tensor without values."""
        return torch.empty(self.shapes[name], device='meta', dtype=self.dtype)


class Units:
    """Of one checkpoint at one setting."""

    def __init__(self, checkpoint: Checkpoint, setting: Setting) -> None:
        if checkpoint.manifest is not None:
            raise EngineError(
                f'{checkpoint.folder}: is a causal checkpoint; there are no engines for its window'
            )
        self.checkpoint, self.setting = checkpoint, setting
        self.dims: Dims = checkpoint.dims
        self.dtype: torch.dtype = getattr(torch, setting.precision)

    @property
    def groups(self) -> list[range]:
        """Which layers each group holds."""
        size, layers = self.setting.group, self.dims.layers
        return [range(i, min(i + size, layers)) for i in range(0, layers, size)]

    @property
    def names(self) -> list[str]:
        """Of all units, in the order in which they are run."""
        steps = range(len(self.groups))
        return [
            *(f'prefill_{i}' for i in steps),
            ENCODE,
            *(f'step_{i}' for i in steps),
            DECODE_FIRST,
            DECODE_NEXT,
        ]

    def shadow(self, name: str) -> Unit:
        """A unit without its weights' values."""
        dims, vae = self.dims, self.checkpoint.vae_dims
        return self._unit(
            name, Shadows(dims.shapes(), self.dtype), Shadows(vae.shapes(), self.dtype)
        )

    def load(self, name: str) -> Unit:
        """A unit with its weights; EngineError if one cannot be read."""
        return self._unit(
            name,
            self.checkpoint.transformer('cpu', self.dtype),
            self.checkpoint.vae('cpu', self.dtype),
        )

    def _unit(self, name: str, transformer: Weights, picture: Weights) -> Unit:
        kind, _, index = name.rpartition('_')
        if kind == 'prefill':
            return self._prefill(name, int(index), transformer)
        if kind == 'step':
            return self._step(name, int(index), transformer)
        vae = Vae.load(picture, self.checkpoint.vae_dims)
        return self._encode(vae) if name == ENCODE else self._decode(name, vae)

    def _prefill(self, name: str, index: int, weights: Weights) -> Unit:
        """Token ids, or what the group before made of them → keys and values of some layers."""
        dims, layers, text = self.dims, self.groups[index], self.setting.text
        held = Held(weights, dims, layers)
        table = weights.get('embed_tokens.weight') if index == 0 else None
        last = index == len(self.groups) - 1

        def walk(x: Tensor) -> tuple[Tensor, ...]:
            x = x if table is None else functional.embedding(x, table)
            by = turns(dims, text_places(text, x.device), x.dtype)
            shown: list[Tensor] = []
            for layer in layers:
                x, key, value = text_layer(held, dims, f'layers.{layer}', x, by)
                shown += [key, value]
            return tuple(shown) if last else (*shown, x)

        given = Form((text,), 'int64') if index == 0 else self._form(text, dims.hidden)
        outputs = [n for layer in layers for n in (f'key.{layer}', f'value.{layer}')]
        return Unit(name, walk, {'x': given}, (*outputs, *(() if last else ('y',))))

    def _step(self, name: str, index: int, weights: Weights) -> Unit:
        """Tokens → tokens, through some layers of the generation tower; the last one's normed."""
        dims, layers, text = self.dims, self.groups[index], self.setting.text
        count = self.setting.tokens(dims.patch)
        packed = [pack_layer(weights, dims, f'layers.{layer}') for layer in layers]
        norm = weights.get('norm_moe_gen.weight') if index == len(self.groups) - 1 else None

        def walk(x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, *shown: Tensor) -> Outputs:
            for layer, key, value in zip(packed, shown[::2], shown[1::2], strict=True):
                x = run_layer(x, key, value, cos, sin, mask, layer, dims.head_dim, dims.eps)
            return (x if norm is None else functional.rms_norm(x, norm.shape, norm, dims.eps),)

        turned = self._form(count, 1, dims.head_dim)
        inputs = {
            'x': self._form(count, dims.hidden),
            'cos': turned,
            'sin': turned,
            'mask': Form((1, text + count), 'bool'),
        }
        for layer in layers:
            shape = self._form(text, dims.kv_heads, dims.head_dim)
            inputs |= {f'key.{layer}': shape, f'value.{layer}': shape}
        return Unit(name, walk, inputs, ('y',))

    def _encode(self, vae: Vae) -> Unit:
        """One picture in -1 … 1 → its latent frame, cut to what the picture covers."""
        rows, columns = self.setting.latent

        def walk(picture: Tensor) -> Outputs:
            return (vae.encode_group(picture, Stream())[..., :rows, :columns].contiguous(),)

        return Unit(ENCODE, walk, {'picture': self._form(1, 3, 1, *self.setting.canvas)}, ('y',))

    def _decode(self, name: str, vae: Vae) -> Unit:
        """One latent frame, and what was remembered → pictures in -1 … 1, and what to remember."""
        latent = self._form(1, vae.dims.channels, 1, *self.setting.latent)
        remembered = self._memory()
        if name == DECODE_FIRST:

            def first(latent: Tensor) -> Outputs:
                stream = Stream()
                pictures = vae.decode_group(latent, stream)
                return pictures, *(stream.memory[n] for n in remembered if n in stream.memory)

            kept = [n for n in remembered if not n.endswith('time_conv')]
            return Unit(name, first, {'latent': latent}, ('y', *(f'after.{n}' for n in kept)))

        def walk(latent: Tensor, *before: Tensor) -> Outputs:
            stream = Stream(dict(zip(remembered, before, strict=True)), first=False)
            pictures = vae.decode_group(latent, stream)
            return pictures, *(stream.memory[n] for n in remembered)

        inputs = {'latent': latent} | {f'before.{n}': f for n, f in remembered.items()}
        return Unit(name, walk, inputs, ('y', *(f'after.{n}' for n in remembered)))

    def _memory(self) -> dict[str, Form]:
        """What a decoder remembers after its second latent frame."""
        dims = self.checkpoint.vae_dims
        vae, stream = Vae.load(Shadows(dims.shapes(), self.dtype), dims), Stream()
        for _ in range(2):
            vae.decode_group(
                made(self._form(1, dims.channels, 1, *self.setting.latent), 'meta'), stream
            )
        return {name: form_of(tensor) for name, tensor in stream.memory.items()}

    def _form(self, *shape: int) -> Form:
        return Form(shape, self.setting.precision)


Outputs = tuple[Tensor, ...]


class Held:
    """Some layers' tensors, read once: a graph is traced with what is already there."""

    def __init__(self, weights: Weights, dims: Dims, layers: range) -> None:
        self._tensors = {name: weights.get(name) for name in _text_names(dims, layers)}

    def get(self, name: str) -> Tensor:
        """One tensor."""
        return self._tensors[name]


def _text_names(dims: Dims, layers: range) -> Iterator[str]:
    """Of the understanding tower's tensors in some layers."""
    for name in dims.shapes():
        if not name.startswith('layers.') or '_moe_gen' in name or 'add' in name:
            continue
        if int(name.split('.')[1]) in layers:
            yield name


def form_of(tensor: Tensor) -> Form:
    """Shape and type of a tensor."""
    return Form(tuple(tensor.shape), str(tensor.dtype).removeprefix('torch.'))


def made(form: Form, device: str) -> Tensor:
    """A tensor of zeros."""
    return torch.zeros(form.shape, dtype=getattr(torch, form.dtype), device=device)

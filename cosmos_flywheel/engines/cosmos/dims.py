# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's configs → its dimensions, and with them the name and shape of every tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from cosmos_flywheel.core.errors import EngineError

FAMILY = 'Cosmos3OmniTransformer'
VAE_FAMILY = 'AutoencoderKLWan'
GROUP = 4
"""Pixel frames per latent frame of the autoencoder, but for the first."""
SCALE = 16
"""Pixels per latent cell, down and across."""
EXACT_ENDS, EXACT_SHARE = 3, 0.1
"""Steps at each end whose activations stay 16 bits wide in float8 (diffusers 0.42.1,
`mixed_precision.py`), and, so that few steps keep something of float8, their largest share."""
TIME_CHANNELS = 256
"""Sines and cosines of the timestep (diffusers 0.42.1, `transformer_cosmos3.py`)."""

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Dims:
    """Of the two towers, as `transformer/config.json` says; the defaults are Nano's."""

    layers: int = 36
    hidden: int = 4096
    heads: int = 32
    kv_heads: int = 8
    head_dim: int = 128
    mlp: int = 12288
    gated: bool = True
    """Gated SiLU; otherwise the square of ReLU (Edge)."""
    vocabulary: int = 151936
    eps: float = 1e-6
    rope_base: float = 5e6
    rope_axes: tuple[int, int, int] = (24, 20, 20)
    text_qk_norm: bool = True
    text_k_norm_for_gen: bool = False
    action_dim: int = 64
    domains: int = 32
    latent_channels: int = 48
    patch: int = 2
    base_fps: float = 24.0
    fps_modulation: bool = True
    temporal_margin: int = 15000
    timestep_scale: float = 0.001

    @property
    def patch_width(self) -> int:
        """Numbers per vision token."""
        return self.latent_channels * self.patch**2

    @classmethod
    def read(cls, config: Mapping[str, Any], where: str) -> Dims:
        """Take the dimensions from a config.

        Raises:
            EngineError: the config is of another family, or without action heads.

        """
        family = config.get('_class_name')
        if family != FAMILY:
            raise EngineError(f'{where}: holds a {family}, not a {FAMILY}; give a Cosmos 3 model')
        if not config.get('action_gen'):
            raise EngineError(f'{where}: this checkpoint has no action heads; take a base model')
        axes = config.get('rope_axes_dim') or (config.get('rope_scaling') or {}).get(
            'mrope_section', (24, 20, 20)
        )
        try:
            return cls(
                layers=config['num_hidden_layers'],
                hidden=config['hidden_size'],
                heads=config['num_attention_heads'],
                kv_heads=config['num_key_value_heads'],
                head_dim=config['head_dim'],
                mlp=config['intermediate_size'],
                gated=config.get('hidden_act', 'silu') == 'silu',
                vocabulary=config['vocab_size'],
                eps=config['rms_norm_eps'],
                rope_base=config['rope_theta'],
                rope_axes=(axes[0], axes[1], axes[2]),
                text_qk_norm=config.get('qk_norm_for_text', True),
                text_k_norm_for_gen=config.get('use_und_k_norm_for_gen', False),
                action_dim=config['action_dim'],
                domains=config['num_embodiment_domains'],
                latent_channels=config['latent_channel'],
                patch=config['latent_patch_size'],
                base_fps=config['base_fps'],
                fps_modulation=config['enable_fps_modulation'],
                temporal_margin=config['unified_3d_mrope_temporal_modality_margin'],
                timestep_scale=config['timestep_scale'],
            )
        except KeyError as error:
            raise EngineError(f'{where}: lacks {error}; download the checkpoint again') from error

    def config(self) -> dict[str, Any]:
        """Inverse of `read`."""
        return {
            '_class_name': FAMILY,
            'num_hidden_layers': self.layers,
            'hidden_size': self.hidden,
            'num_attention_heads': self.heads,
            'num_key_value_heads': self.kv_heads,
            'head_dim': self.head_dim,
            'intermediate_size': self.mlp,
            'hidden_act': 'silu' if self.gated else 'relu2',
            'vocab_size': self.vocabulary,
            'rms_norm_eps': self.eps,
            'rope_theta': self.rope_base,
            'rope_axes_dim': list(self.rope_axes),
            'qk_norm_for_text': self.text_qk_norm,
            'use_und_k_norm_for_gen': self.text_k_norm_for_gen,
            'action_gen': True,
            'action_dim': self.action_dim,
            'num_embodiment_domains': self.domains,
            'latent_channel': self.latent_channels,
            'latent_patch_size': self.patch,
            'patch_latent_dim': self.patch_width,
            'base_fps': self.base_fps,
            'enable_fps_modulation': self.fps_modulation,
            'unified_3d_mrope_temporal_modality_margin': self.temporal_margin,
            'timestep_scale': self.timestep_scale,
        }

    def shapes(self) -> Shapes:
        """Every tensor that the engine reads, by its name in the hub's files."""
        hidden, width, action = self.hidden, self.patch_width, self.action_dim
        shapes: Shapes = {
            'embed_tokens.weight': (self.vocabulary, hidden),
            'norm_moe_gen.weight': (hidden,),
            'proj_in.weight': (hidden, width),
            'proj_in.bias': (hidden,),
            'proj_out.weight': (width, hidden),
            'proj_out.bias': (width,),
            'time_embedder.linear_1.weight': (hidden, TIME_CHANNELS),
            'time_embedder.linear_1.bias': (hidden,),
            'time_embedder.linear_2.weight': (hidden, hidden),
            'time_embedder.linear_2.bias': (hidden,),
            'action_proj_in.fc.weight': (self.domains, action * hidden),
            'action_proj_in.bias.weight': (self.domains, hidden),
            'action_proj_out.fc.weight': (self.domains, hidden * action),
            'action_proj_out.bias.weight': (self.domains, action),
            'action_modality_embed': (hidden,),
        }
        for layer in range(self.layers):
            shapes |= {f'layers.{layer}.{k}': v for k, v in self._layer_shapes().items()}
        return shapes

    def _layer_shapes(self) -> Shapes:
        hidden, head = self.hidden, self.head_dim
        queries, keys = self.heads * head, self.kv_heads * head
        shapes: Shapes = {}
        for q, k, v, out in (
            ('to_q', 'to_k', 'to_v', 'to_out'),
            ('add_q_proj', 'add_k_proj', 'add_v_proj', 'to_add_out'),
        ):
            shapes[f'self_attn.{q}.weight'] = (queries, hidden)
            shapes[f'self_attn.{k}.weight'] = (keys, hidden)
            shapes[f'self_attn.{v}.weight'] = (keys, hidden)
            shapes[f'self_attn.{out}.weight'] = (hidden, queries)
        norms = ['norm_added_q', 'norm_added_k']
        norms += ['norm_q', 'norm_k'] if self.text_qk_norm else []
        norms += ['k_norm_und_for_gen'] if self.text_k_norm_for_gen else []
        shapes |= {f'self_attn.{norm}.weight': (head,) for norm in norms}
        for end, mlp in (('', 'mlp'), ('_moe_gen', 'mlp_moe_gen')):
            shapes[f'input_layernorm{end}.weight'] = (hidden,)
            shapes[f'post_attention_layernorm{end}.weight'] = (hidden,)
            for part in ('gate_proj', 'up_proj') if self.gated else ('up_proj',):
                shapes[f'{mlp}.{part}.weight'] = (self.mlp, hidden)
            shapes[f'{mlp}.down_proj.weight'] = (hidden, self.mlp)
        return shapes


@dataclass(frozen=True, slots=True)
class VaeDims:
    """Of the Wan 2.2 autoencoder; the defaults are those of all Cosmos 3 models but for `mean`."""

    base: int = 160
    decoder_base: int = 256
    channels: int = 48
    multiples: tuple[int, ...] = (1, 2, 4, 4)
    blocks: int = 2
    in_time: tuple[bool, ...] = (False, True, True)
    """Which of the stages halve the frames as well, seen from the picture."""
    patch: int = 2
    mean: tuple[float, ...] = (0.0,) * 48
    std: tuple[float, ...] = (1.0,) * 48

    @classmethod
    def read(cls, config: Mapping[str, Any], where: str) -> VaeDims:
        """Take the dimensions from `vae/config.json`; EngineError for another autoencoder."""
        if config.get('_class_name') != VAE_FAMILY or not config.get('is_residual'):
            raise EngineError(f'{where}: is not the autoencoder of Wan 2.2; download it again')
        try:
            return cls(
                config['base_dim'],
                config.get('decoder_base_dim') or config['base_dim'],
                config['z_dim'],
                tuple(config['dim_mult']),
                config['num_res_blocks'],
                tuple(config['temperal_downsample']),
                config['patch_size'],
                tuple(config['latents_mean']),
                tuple(config['latents_std']),
            )
        except KeyError as error:
            raise EngineError(f'{where}: lacks {error}; download the checkpoint again') from error

    def config(self) -> dict[str, Any]:
        """Inverse of `read`."""
        return {
            '_class_name': VAE_FAMILY,
            'base_dim': self.base,
            'decoder_base_dim': self.decoder_base,
            'z_dim': self.channels,
            'dim_mult': list(self.multiples),
            'num_res_blocks': self.blocks,
            'attn_scales': [],
            'temperal_downsample': list(self.in_time),
            'patch_size': self.patch,
            'in_channels': 3 * self.patch**2,
            'out_channels': 3 * self.patch**2,
            'is_residual': True,
            'latents_mean': list(self.mean),
            'latents_std': list(self.std),
            'scale_factor_spatial': 16,
            'scale_factor_temporal': 4,
        }

    @property
    def down(self) -> tuple[int, ...]:
        """Channels along the encoder."""
        return tuple(self.base * m for m in (1, *self.multiples))

    @property
    def up(self) -> tuple[int, ...]:
        """Channels along the decoder."""
        return tuple(self.decoder_base * m for m in (self.multiples[-1], *self.multiples[::-1]))

    def shapes(self) -> Shapes:
        """Every tensor of the autoencoder by its name in the hub's files."""
        shapes: Shapes = {}
        double, pixels = 2 * self.channels, 3 * self.patch**2
        last = len(self.multiples) - 1

        def conv(name: str, out: int, into: int, *kernel: int) -> None:
            shapes[f'{name}.weight'] = (out, into, *kernel)
            shapes[f'{name}.bias'] = (out,)

        def residual(name: str, into: int, out: int) -> None:
            shapes[f'{name}.norm1.gamma'] = (into, 1, 1, 1)
            conv(f'{name}.conv1', out, into, 3, 3, 3)
            shapes[f'{name}.norm2.gamma'] = (out, 1, 1, 1)
            conv(f'{name}.conv2', out, out, 3, 3, 3)
            if into != out:
                conv(f'{name}.conv_shortcut', out, into, 1, 1, 1)

        def ends(name: str, into: int, first: int, middle: int, final: int, out: int) -> None:
            conv(f'{name}.conv_in', first, into, 3, 3, 3)
            for i in range(2):
                residual(f'{name}.mid_block.resnets.{i}', middle, middle)
            shapes[f'{name}.mid_block.attentions.0.norm.gamma'] = (middle, 1, 1)
            conv(f'{name}.mid_block.attentions.0.to_qkv', 3 * middle, middle, 1, 1)
            conv(f'{name}.mid_block.attentions.0.proj', middle, middle, 1, 1)
            shapes[f'{name}.norm_out.gamma'] = (final, 1, 1, 1)
            conv(f'{name}.conv_out', out, final, 3, 3, 3)

        down, up = self.down, self.up
        ends('encoder', pixels, down[0], down[-1], down[-1], double)
        ends('decoder', self.channels, up[0], up[0], up[-1], pixels)
        conv('quant_conv', double, double, 1, 1, 1)
        conv('post_quant_conv', self.channels, self.channels, 1, 1, 1)
        for i, (into, out) in enumerate(pairwise(down)):
            name = f'encoder.down_blocks.{i}'
            for j in range(self.blocks):
                residual(f'{name}.resnets.{j}', into if j == 0 else out, out)
            if i != last:
                conv(f'{name}.downsampler.resample.1', out, out, 3, 3)
                if self.in_time[i]:
                    conv(f'{name}.downsampler.time_conv', out, out, 3, 1, 1)
        for i, (into, out) in enumerate(pairwise(up)):
            name = f'decoder.up_blocks.{i}'
            for j in range(self.blocks + 1):
                residual(f'{name}.resnets.{j}', into if j == 0 else out, out)
            if i != last:
                conv(f'{name}.upsampler.resample.1', out, out, 3, 3)
                if self.in_time[::-1][i]:
                    conv(f'{name}.upsampler.time_conv', 2 * out, out, 3, 1, 1)
        return shapes

# SPDX-License-Identifier: Apache-2.0
"""What a causal checkpoint says of itself, under a key of its own in `transformer/config.json`.

Names as vllm-omni 881fca7 reads them (`config.py`, `action_contract.py`). [unverified]: that the
published file has the very class name of other Cosmos 3 transformers; schema 5 of its actions, 59
unified numbers, is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.cosmos.actions import ActionMap
from cosmos_flywheel.engines.cosmos.dims import GROUP

KEY = 'cosmos3_nano_sim_bimanual'
ACTION_SCHEMA = 3
TRAIN_STEPS = 1000


@dataclass(frozen=True, slots=True)
class Embodiment:
    """One robot that the checkpoint was trained on: y = (x - offset) / scale, never clamped."""

    domain: int
    offset: tuple[float, ...]
    scale: tuple[float, ...]

    @property
    def width(self) -> int:
        """Numbers per action."""
        return len(self.offset)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The defaults are those of Cosmos3-Nano-Sim-Bimanual."""

    chunk: int = 4
    """Latent frames that are foretold at once."""
    window: int = 96
    """Latent frames of the past that are looked at."""
    text: int = 512
    """Most tokens of a caption."""
    times: tuple[float, ...] = (1.0, 15 / 16, 5 / 6, 5 / 8)
    """Share of noise before each step; they are what flow shift 5 makes of 1, 3/4, 1/2, 1/4."""
    embodiments: Mapping[str, Embodiment] = field(default_factory=dict)

    @classmethod
    def of_folder(cls, checkpoint: Path) -> Manifest | None:
        """Of a checkpoint in the hub's layout; None where it is not a causal one.

        Raises:
            EngineError: the config cannot be read, or asks for what is not known here.

        """
        path = checkpoint / 'transformer' / 'config.json'
        try:
            config = json.loads(path.read_text('utf-8'))
        except (OSError, ValueError) as error:
            raise EngineError(f'{path}: cannot be read ({error}); download it again') from error
        return cls.read(config, str(path))

    @classmethod
    def read(cls, config: Mapping[str, Any], where: str) -> Manifest | None:
        """Of a config; None without the key. Raises as `of_folder`."""
        if KEY not in config:
            return None
        block, where = config[KEY], f'{where}: {KEY}'
        try:
            sampler, conditioning = block['fixed_step_sampler_config'], block['conditioning']
            asked = {
                'sink_frames': (block['sink_frames'], 0),
                'sample_type': (sampler['sample_type'], 'sde'),
                'num_train_timesteps': (sampler['num_train_timesteps'], TRAIN_STEPS),
                'enable_fps_modulation': (block['enable_fps_modulation'], True),
                'conditioning.mode': (conditioning['mode'], 'action'),
                'conditioning.schema_version': (conditioning['schema_version'], ACTION_SCHEMA),
                'action_tokens_per_frame': (conditioning['action_tokens_per_frame'], GROUP),
            }
            for name, (found, known) in asked.items():
                if found != known:
                    raise EngineError(
                        f'{where}: {name} is {found!r}, only {known!r} is known here'
                    )
            return cls(
                int(block['chunk_size']),
                int(block['window_frames']),
                int(block['text_cache_max_len']),
                tuple(float(t) for t in sampler['t_list']),
                {name: _embodiment(e) for name, e in conditioning['embodiments'].items()},
            )
        except (KeyError, TypeError) as error:
            raise EngineError(f'{where} lacks {error}; download the checkpoint again') from error

    def config(self) -> dict[str, Any]:
        """Inverse of `read`, as far as it is read."""
        embodiments = {
            name: {
                'domain_id': e.domain,
                'raw_action_dim': e.width,
                'normalizer': {
                    'transform': {
                        'type': 'affine',
                        'offset': list(e.offset),
                        'scale': list(e.scale),
                        'forward_clamp': False,
                    }
                },
            }
            for name, e in self.embodiments.items()
        }
        block = {
            'schema_version': 1,
            'chunk_size': self.chunk,
            'window_frames': self.window,
            'sink_frames': 0,
            'text_cache_max_len': self.text,
            'video_temporal_causal': True,
            'enable_fps_modulation': True,
            'fixed_step_sampler_config': {
                'sample_type': 'sde',
                't_list': list(self.times),
                'num_train_timesteps': TRAIN_STEPS,
            },
            'conditioning': {
                'mode': 'action',
                'schema_version': ACTION_SCHEMA,
                'action_tokens_per_frame': GROUP,
                'embodiments': embodiments,
            },
        }
        return {KEY: block}

    def fitted(self, actions: ActionMap) -> ActionMap:
        """A robot's actions with the normaliser that the checkpoint was trained with.

        Raises:
            EngineError: it was trained on no such robot, or with another width.

        """
        known = {name: e for name, e in self.embodiments.items() if e.domain == actions.id}
        if not known:
            names = ', '.join(f'{n} (domain {e.domain})' for n, e in self.embodiments.items())
            raise EngineError(
                f'the causal checkpoint was trained on {names or "nothing"}, not on '
                f'{actions.domain} (domain {actions.id}); take a base checkpoint with --engine '
                'cosmos-480'
            )
        if len(known) > 1 and actions.domain not in known:
            raise EngineError(
                f'the causal checkpoint has {", ".join(known)} for domain {actions.id}; name the '
                "robot's one of these"
            )
        one = known.get(actions.domain) or next(iter(known.values()))
        if one.width != actions.width:
            raise EngineError(
                f'domain {actions.domain} has {actions.width} numbers, the causal checkpoint was '
                f'trained with {one.width}'
            )
        pairs = list(zip(one.offset, one.scale, strict=True))
        low, high = tuple(o - s for o, s in pairs), tuple(o + s for o, s in pairs)
        return replace(actions, q01=low, q99=high, clamp=False)


def _embodiment(written: Mapping[str, Any]) -> Embodiment:
    transform = written['normalizer']['transform']
    if transform['type'] != 'affine' or transform['forward_clamp']:
        raise EngineError('the normaliser of a causal checkpoint is affine and does not clamp')
    offset, scale = transform['offset'], transform['scale']
    if not len(offset) == len(scale) == written['raw_action_dim'] or min(scale) <= 0:
        raise EngineError(
            'the normaliser of a causal checkpoint has as many offsets as scales > 0'
        )
    return Embodiment(written['domain_id'], tuple(map(float, offset)), tuple(map(float, scale)))

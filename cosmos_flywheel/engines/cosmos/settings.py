# SPDX-License-Identifier: Apache-2.0
"""How Cosmos is asked: every number that a user may choose, with its range."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from cosmos_flywheel.core.domains import RESOLUTION_TIERS
from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.settings import nearest
from cosmos_flywheel.engines.cosmos.dims import GROUP

TIERS = (256, 480)
TRAINED_AT_256 = ('libero', 'pusht')
"""Domains whose data the model saw at tier 256; all others at 480."""
PRECISIONS = ('fp32', 'bf16', 'fp8')
RESIDUALS = ('frames', 'latents')
BACK_ENDS = ('auto', 'eager', 'cuda', 'tensorrt')
RANGES: Mapping[str, tuple[float, float]] = {
    'steps': (1, 200),
    'shift': (0.1, 100),
    'guidance': (1, 20),
    'seed': (0, 2**31 - 1),
    'seeds': (1, 16),
    'chunk': (GROUP, 400),
    'stride': (1, 400),
    'bucket': (0, 4096),
    'show_hz': (0, 60),
    'duty': (0.01, 1),
    'memory_gb': (0, 1000),
}
"""Least and most; steps, guidance and text as vLLM-Omni takes them, actions as the technical
report of Cosmos 3 has them (§6.3.1: up to 400)."""
CHOICES: Mapping[str, tuple[object, ...]] = {
    'tier': TIERS,
    'precision': PRECISIONS,
    'residual': RESIDUALS,
    'back_end': BACK_ENDS,
}
OF_THE_MACHINE = ('back_end', 'duty', 'memory_gb', 'show_hz')
"""They decide how fast an answer comes, not which."""


@dataclass(frozen=True, slots=True)
class CosmosSettings:
    """The defaults are what the model was trained and evaluated with, where that is known."""

    tier: int = 480
    """Robots and cars were trained at 480, libero and pusht at 256."""
    steps: int = 30
    """Of the sampler: 30 in the code's defaults, 50 in the report; fewer are unproved."""
    shift: float = 10.0
    """Of the schedule: 10 in the code's defaults, 5 in the report."""
    guidance: float = 1.0
    """Above 1 each step costs two passes; actions were evaluated with 1."""
    precision: str = 'bf16'
    seed: int = 0
    """Of the noise, the same for every chunk."""
    seeds: int = 1
    """Predictions per chunk, from `seed` on; their mean is compared, their spread forgives."""
    chunk: int = 16
    """Actions per prediction, and how many ticks ahead the compared picture lies."""
    stride: int = 8
    """Ticks between the starts of predictions."""
    residual: str = 'frames'
    """What is compared: decoded pictures, or latents without decoding."""
    bucket: int = 0
    """Tokens that the text is padded to, so that shapes stay static; 0 takes the text's own."""
    show_hz: float = 0.5
    """In latent mode, how often pictures are decoded for people; 0 only on demand."""
    back_end: str = 'auto'
    """Of a step: eager, recorded CUDA graphs, or engines of TensorRT that are built beforehand;
    auto takes graphs where there is a GPU."""
    duty: float = 1.0
    """Share of the time that steps may keep the GPU busy."""
    memory_gb: float = 0.0
    """Most of the GPU's memory that may be taken; 0 for no limit."""

    def __post_init__(self) -> None:
        check_ranges(self, CHOICES, RANGES)
        check_whole_groups(self.chunk)

    @property
    def level(self) -> str:
        """Name of the rung of the deadline ladder."""
        return f'cosmos-{self.tier}'

    @property
    def latent_frames(self) -> int:
        """Latent frames of a chunk, the given one included."""
        return 1 + self.chunk // GROUP

    def deciding(self) -> dict[str, Any]:
        """Those on which answers depend."""
        return {k: v for k, v in asdict(self).items() if k not in OF_THE_MACHINE}

    @classmethod
    def parse(cls, words: Iterable[str], **given: Any) -> CosmosSettings:
        """Settings of `name=value` words, over those given.

        Raises:
            EngineError: an unknown name, or a value out of its range.

        """
        return cls(**parse_words(cls, words, given))


def trained_tier(domain: str) -> int:
    """The tier at which the model saw data of a domain."""
    return TIERS[0] if domain in TRAINED_AT_256 else TIERS[1]


def check_ranges(
    settings: Any,
    choices: Mapping[str, tuple[object, ...]],
    ranges: Mapping[str, tuple[float, float]],
) -> None:
    """Raise EngineError for the first setting that is none of its choices, or out of its range."""
    if settings.tier in RESOLUTION_TIERS and settings.tier not in TIERS:
        raise EngineError(
            f'tier {settings.tier} is known to the model and to no level here; the tiers that are '
            f'registered are {" and ".join(map(str, TIERS))}'
        )
    for name, options in choices.items():
        if getattr(settings, name) not in options:
            known = ', '.join(map(str, options))
            raise EngineError(f'{name} is {getattr(settings, name)!r}; take one of {known}')
    for name, (least, most) in ranges.items():
        if not least <= getattr(settings, name) <= most:
            raise EngineError(f'{name} is {getattr(settings, name)}; give {least:g} to {most:g}')


def check_whole_groups(chunk: int) -> None:
    """Raise EngineError unless a chunk's pictures fill latent frames."""
    if chunk % GROUP:
        raise EngineError(
            f'chunk is {chunk}; give a multiple of {GROUP}, so many pictures are one latent frame'
        )


def parse_words(kind: Any, words: Iterable[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a dataclass of settings by `name=value` words, over those given.

    Raises:
        EngineError: an unknown name, or a value of another kind.

    """
    kinds: dict[str, Any] = {f.name: type(f.default) for f in fields(kind)}
    values = dict(given)
    for word in words:
        name, equals, text = word.partition('=')
        if name not in kinds or not equals:
            raise EngineError(f'{word!r} sets nothing; {nearest(name, tuple(kinds))}')
        try:
            values[name] = kinds[name](text)
        except ValueError as error:
            number = 'a whole number' if kinds[name] is int else 'a number'
            raise EngineError(f'{name} is {text!r}; give {number}') from error
    return values

# SPDX-License-Identifier: Apache-2.0
"""How Cosmos is asked for films in this process: every choice of a user, with its range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.cosmos.settings import PRECISIONS, RANGES, TIERS, parse_words
from cosmos_flywheel.engines.remote.video_job import SAMPLING

CHOICES: Mapping[str, tuple[object, ...]] = {
    'tier': (0, *TIERS),
    'precision': PRECISIONS,
    'on_no_gpu': ('wait', 'refuse', 'cpu'),
    'guardrail': ('off', 'on'),
}


@dataclass(frozen=True, slots=True)
class FilmSettings:
    """How Cosmos is asked; 0 stands for what the kind of film was trained with, or the brief says.

    Raises:
        EngineError: a value is out of its range.

    """

    tier: int = 0
    steps: int = 0
    guidance: float = 0.0
    shift: float = 0.0
    precision: str = 'bf16'
    """`fp8` quantises the tower when it is loaded; `fp32` is for processors."""
    on_no_gpu: str = 'wait'
    """Without a card, or without room on it: `wait` for it, `refuse`, or let a processor work,
    which takes hours for what a card does in seconds."""
    guardrail: str = 'off'
    """`on` needs NVIDIA's gated weights on this machine."""

    def __post_init__(self) -> None:
        for name, options in CHOICES.items():
            if getattr(self, name) not in options:
                known = ', '.join(map(str, options))
                raise EngineError(f'{name} is {getattr(self, name)!r}; take one of {known}')
        for name in ('steps', 'guidance', 'shift'):
            (least, most), value = RANGES[name], getattr(self, name)
            if value and not least <= value <= most:
                raise EngineError(f'{name} is {value}; give {least:g} to {most:g}')

    @classmethod
    def parse(cls, words: tuple[str, ...]) -> FilmSettings:
        """Of `name=value` words; EngineError for an unknown name or a value out of its range."""
        return cls(**parse_words(cls, words, {}))

    def sampling(self, kind: str) -> dict[str, Any]:
        """Steps, guidance and shift of a kind of film."""
        own = {name: getattr(self, name) for name in ('steps', 'guidance', 'shift')}
        return {**SAMPLING[kind], **{name: value for name, value in own.items() if value}}

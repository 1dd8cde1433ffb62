# SPDX-License-Identifier: Apache-2.0
"""How Cosmos is asked for films, by a server or in this process: all that a user may choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cosmos_flywheel.core.domains import RESOLUTION_TIERS
from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.cosmos.settings import PRECISIONS, RANGES, parse_words
from cosmos_flywheel.engines.remote.video_job import CONTROLLED, SAMPLING
from cosmos_flywheel.engines.remote.video_job import RANGES as OF_A_JOB
from cosmos_flywheel.generate.film_kind import VIDEO_TO_VIDEO

CHOICES: Mapping[str, tuple[object, ...]] = {
    'tier': (0, *RESOLUTION_TIERS),
    'precision': PRECISIONS,
    'on_no_gpu': ('wait', 'refuse', 'cpu'),
    'guardrail': ('off', 'on'),
}
LIMITS: Mapping[str, tuple[float, float]] = {
    **{name: RANGES[name] for name in ('steps', 'guidance', 'shift')},
    'frames': OF_A_JOB['frames'],
}
"""Least and most of what is not 0."""
IN_PROCESS = ('precision', 'on_no_gpu', 'guardrail')
"""A server was told these when it was started, or is asked in another way."""
SAMPLED: Mapping[str, Mapping[str, Any]] = {**SAMPLING, VIDEO_TO_VIDEO: CONTROLLED}
"""By kind of film; one that is made of a film follows a control here."""


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
    frames: int = 0
    """Most that are made, the given picture included; 0 for four chunks under commands, else
    for as many as a film of its kind has in training. A clip that ends sooner bounds it too, but
    for a policy."""
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
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            if value and not least <= value <= most:
                raise EngineError(f'{name} is {value}; give {least:g} to {most:g}')

    @classmethod
    def parse(cls, words: Sequence[str], *, of_a_server: bool = False) -> FilmSettings:
        """Of `name=value` words.

        Raises:
            EngineError: an unknown name, a value out of its range, or one that a server decides.

        """
        made = cls(**parse_words(cls, words, {}))
        own = [word for word in words if word.partition('=')[0] in IN_PROCESS]
        if of_a_server and own:
            raise EngineError(
                f'{own[0]} is of backend cosmos; for a server it is decided where that is started'
            )
        return made

    def sampling(self, kind: str) -> dict[str, Any]:
        """Steps, guidance and shift of a kind of film."""
        own = {name: getattr(self, name) for name in ('steps', 'guidance', 'shift')}
        return {**SAMPLED[kind], **{name: value for name, value in own.items() if value}}

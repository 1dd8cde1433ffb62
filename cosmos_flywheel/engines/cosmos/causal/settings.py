# SPDX-License-Identifier: Apache-2.0
"""How the causal checkpoint is asked: less is to be chosen, for it was distilled to one way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.cosmos.causal.manifest import Manifest
from cosmos_flywheel.engines.cosmos.dims import GROUP
from cosmos_flywheel.engines.cosmos.settings import CosmosSettings, parse_words

LEVEL = 'cosmos-stream'
CHOSEN = ('tier', 'window', 'precision', 'seed', 'seeds', 'back_end', 'duty', 'memory_gb')
"""What a user may set; all else is the checkpoint's."""


@dataclass(frozen=True, slots=True)
class StreamSettings(CosmosSettings):
    """The defaults are what Cosmos3-Nano-Sim-Bimanual was trained with, but for the tier."""

    tier: int = 480
    """[unverified]: the published servers take any canvas up to 720 x 1280."""
    steps: int = 4
    shift: float = 5.0
    """What makes the checkpoint's four times of even ones; nothing else reads it."""
    chunk: int = 16
    stride: int = 16
    """As the chunk: what came is taken in by whole chunks."""
    bucket: int = 512
    window: int = 96
    """Latent frames of the past that are looked at; fewer take less memory and are unproved."""

    def __post_init__(self) -> None:
        CosmosSettings.__post_init__(self)
        fixed = {
            'precision': (self.precision != 'fp8', 'fp32 or bf16'),
            'back_end': (self.back_end in ('auto', 'eager'), 'auto or eager'),
            'residual': (self.residual == 'frames', 'frames'),
            'guidance': (self.guidance == 1, '1, for it was distilled in'),
            'stride': (self.stride == self.chunk, f'the chunk, {self.chunk}'),
            'window': (self.window >= self.chunk // GROUP, 'a chunk of latent frames or more'),
        }
        for name, (holds, only) in fixed.items():
            if not holds:
                raise EngineError(
                    f'{name} is {getattr(self, name)!r}; level {LEVEL} takes only {only}'
                )

    @property
    def level(self) -> str:
        """Name of the rung of the deadline ladder."""
        return LEVEL

    @classmethod
    def parse(cls, words: Iterable[str], **given: Any) -> StreamSettings:
        """Settings of `name=value` words, over those given.

        Raises:
            EngineError: a name that is not to be chosen, or a value out of its range.

        """
        words = list(words)
        for name in (word.partition('=')[0] for word in words):
            if name in CosmosSettings.__dataclass_fields__ and name not in CHOSEN:
                raise EngineError(
                    f"{name} is the checkpoint's own at level {LEVEL}; leave it away, or set one "
                    f'of {", ".join(CHOSEN)}'
                )
        return cls(**parse_words(cls, words, given))

    @classmethod
    def of_checkpoint(cls, checkpoint: Path, words: Iterable[str]) -> StreamSettings:
        """What a causal checkpoint asks for, and `name=value` words over it.

        Raises:
            EngineError: it is not a causal one, or a word sets what is not to be chosen.

        """
        manifest = Manifest.of_folder(checkpoint)
        if manifest is None:
            raise EngineError(
                f'{checkpoint}: is no causal checkpoint; give --engine cosmos-480 or cosmos-256'
            )
        chunk = GROUP * manifest.chunk
        return cls.parse(
            words,
            steps=len(manifest.times),
            chunk=chunk,
            stride=chunk,
            bucket=manifest.text,
            window=manifest.window,
        )

    def check(self, manifest: Manifest) -> None:
        """Raise EngineError unless a checkpoint was distilled to be asked like this."""
        if self.window > manifest.window:
            raise EngineError(
                f'window is {self.window}, the causal checkpoint has {manifest.window}; give at '
                'most that'
            )
        for name, own, its in (
            ('chunk', self.chunk, GROUP * manifest.chunk),
            ('steps', self.steps, len(manifest.times)),
            ('bucket', self.bucket, manifest.text),
        ):
            if own != its:
                raise EngineError(f'{name} is {own}, the causal checkpoint was made for {its}')

# SPDX-License-Identifier: Apache-2.0
"""All that decides the shapes of a model's units, and so which engines it needs."""

from __future__ import annotations

from dataclasses import dataclass

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.settings import nearest
from cosmos_flywheel.engines.cosmos.dims import GROUP

PRECISIONS = ('bfloat16', 'float32')


@dataclass(frozen=True, slots=True)
class Setting:
    """Of one robot's forward dynamics.

    Raises:
        EngineError: a number that cannot be, or an unknown precision.

    """

    canvas: tuple[int, int]
    """(H, W) in px of what is encoded; see `Canvas.size`."""
    latent: tuple[int, int]
    """(rows, columns) of latent cells that the picture covers; see `Canvas.latent`."""
    actions: int
    """Per chunk; four lead to one latent frame."""
    text: int
    """Tokens that a prompt may have; shorter ones are padded."""
    group: int
    """Layers per engine: what is built, and held twice while it is built, at a time."""
    precision: str = PRECISIONS[0]

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise EngineError(
                f'there are no engines of {self.precision}; {nearest(self.precision, PRECISIONS)}'
            )
        if self.actions < GROUP or self.actions % GROUP:
            raise EngineError(
                f'{self.actions} actions fill no latent frames; give a multiple of {GROUP}'
            )
        if min(self.text, self.group, *self.latent) < 1:
            raise EngineError(
                f'{self.text} tokens of text and {self.group} layers an engine given; both must '
                'be above 0'
            )

    @property
    def frames(self) -> int:
        """Latent frames, the given one included."""
        return 1 + self.actions // GROUP

    def tokens(self, patch: int) -> int:
        """Of pictures and actions, with patches of so many cells a side."""
        rows, columns = (-(-side // patch) for side in self.latent)
        return self.frames * rows * columns + self.actions

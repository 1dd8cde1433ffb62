# SPDX-License-Identifier: Apache-2.0
"""A film that Cosmos is asked for offline: its first picture, its words, and what moves it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.settings import nearest
from cosmos_flywheel.core.types import Picture, Vector
from cosmos_flywheel.engines.base import FORWARD_DYNAMICS, POLICY
from cosmos_flywheel.engines.cosmos.canvas import Canvas
from cosmos_flywheel.engines.cosmos.dims import GROUP
from cosmos_flywheel.engines.cosmos.settings import RANGES, check_whole_groups

IMAGE_TO_VIDEO = 'image_to_video'
FILM_MODES = (FORWARD_DYNAMICS, POLICY, IMAGE_TO_VIDEO)
MOST_FRAMES = 401
"""The technical report trains on up to 400 (§6.3.1); cosmos-framework allows that at tier 256, and
300 at 480."""


class NoRoomError(EngineError):
    """The GPU's memory is used up, though the layers were left in the host's memory."""


@dataclass(frozen=True, eq=False)
class FilmOrder:
    """Everything that decides a film.

    Raises:
        EngineError: a value is out of its range, or fields do not go together.

    """

    mode: str
    """One of `FILM_MODES`."""
    picture: Picture
    """(H, W, 3) RGB of the canvas: the film begins with it."""
    canvas: Canvas
    captions: tuple[str, ...]
    """What the model reads, a text for each chunk of the film."""
    frames: int
    """The given picture included."""
    fps: float
    steps: int
    guidance: float
    shift: float
    seed: int
    negative: str = ''
    """What the model reads to be led away from, with guidance above 1."""
    chunk: int = 16
    """Actions of one pass; a film without actions is one pass whatever its length."""
    domain: int = 0
    width: int = 1
    """Numbers per action of the domain."""
    rows: Vector | None = None
    """(frames - 1, width) in model space, for forward dynamics."""

    def __post_init__(self) -> None:
        if self.mode not in FILM_MODES:
            raise EngineError(f'unknown film {self.mode!r}; {nearest(self.mode, FILM_MODES)}')
        for name in ('steps', 'guidance', 'shift'):
            least, most = RANGES[name]
            value = getattr(self, name)
            if not least <= value <= most:
                raise EngineError(f'{name} is {value}; give {least:g} to {most:g}')
        if not 2 <= self.frames <= MOST_FRAMES or not 1 <= self.fps <= 60:
            raise EngineError(
                f'{self.frames} frames at {self.fps:g} a second; '
                f'give 2 to {MOST_FRAMES}, at 1 to 60'
            )
        if self.acts:
            check_whole_groups(self.chunk)
        elif self.frames % GROUP != 1:
            raise EngineError(f'frames is {self.frames}; give a multiple of 4, and 1: 5, 9, 13 …')
        if len(self.captions) != self.chunks:
            raise EngineError(
                f'{len(self.captions)} captions for {self.chunks} chunks; give one for each'
            )
        if self.picture.shape != (*self.canvas.size, 3) or self.picture.dtype != np.uint8:
            raise EngineError(
                f'the first picture is {self.picture.shape} {self.picture.dtype}; the canvas '
                f'takes uint8 {(*self.canvas.size, 3)}'
            )
        self._check_rows()

    def _check_rows(self) -> None:
        if (self.rows is not None) != (self.mode == FORWARD_DYNAMICS):
            raise EngineError('forward dynamics takes rows of actions, and no other film does')
        shape = (self.frames - 1, self.width)
        if self.rows is not None and (
            self.rows.shape != shape or not np.isfinite(self.rows).all()
        ):
            raise EngineError(f'rows {self.rows.shape} do not fit or hold NaN; give {shape}')

    @property
    def acts(self) -> bool:
        """Whether actions are given or asked for."""
        return self.mode != IMAGE_TO_VIDEO

    @property
    def chunks(self) -> int:
        """How many passes, each going on from the last picture of the one before."""
        return -(-(self.frames - 1) // self.chunk) if self.acts else 1

    @property
    def latent(self) -> tuple[int, int, int]:
        """(T, h, w) latent frames, rows, columns of one pass."""
        ahead = self.chunk if self.acts else self.frames - 1
        return 1 + ahead // GROUP, *self.canvas.latent

    def part(self, index: int) -> Vector | None:
        """(chunk, width) rows of one pass; the film's last one is held to its end."""
        if self.rows is None:
            return None
        own = self.rows[index * self.chunk : (index + 1) * self.chunk]
        held = np.repeat(own[-1:], self.chunk - len(own), 0)
        return np.ascontiguousarray(np.concatenate([own, held]), np.float32)

    def chunk_seed(self, index: int) -> int:
        """Of the noise of one pass: the film's own, and for later ones what follows from it."""
        if not index:
            return self.seed
        return int(np.random.SeedSequence([self.seed, index]).generate_state(1)[0])


@dataclass(frozen=True, eq=False)
class Film:
    """What came of an order."""

    frames: NDArray[np.uint8]
    """(T, H, W, 3) RGB of what is shown of the canvas; the first is the given picture as the
    autoencoder gives it back."""
    rows: Vector | None
    """(T - 1, width) in model space, as given or as the policy proposes; None without actions."""
    gpu_s: float
    """From the first work on the card to the last, without loading; 0 on a processor."""
    calls: int
    """Chunks that were computed, one that was not followed included."""
    from_host: bool
    """Whether the tower's layers had to stay in the host's memory: slower, the same film."""

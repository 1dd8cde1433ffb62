# SPDX-License-Identifier: Apache-2.0
"""Squared errors of a prediction and of a peer on the same chunks → by how much it is nearer.

Skill is 1 − E / E(peer) over all chunks together (Murphy, "Skill scores based on the mean square
error", 1988). Neighbouring chunks are alike, so the interval is a bootstrap over blocks (Künsch,
1989), of the same length as for action grounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.grounding import BLOCK_S, CONFIDENCE, FEWEST_BLOCKS, RESAMPLES, SEED
from cosmos_flywheel.core.timeline import NS

DIGITS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """Chunks of one recording, in the order of time."""

    stamps_ns: NDArray[np.int64]
    """(N,), the instants that they lead to."""
    own: NDArray[np.float64]
    """(N,) mean squared differences of predicted and actual picture; NaN where unknown."""
    peer: NDArray[np.float64]
    """(N,) the same of what is held against it."""


@dataclass(frozen=True, slots=True)
class Skill:
    """How much nearer, with what certainty."""

    value: float
    """1 is perfect, 0 as good as the peer, below 0 worse."""
    interval: tuple[float, float]
    """With CONFIDENCE."""
    chunks: int
    blocks: int

    @property
    def is_proved(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.interval[0] > 0

    def in_words(self) -> str:
        """The value and its interval."""
        low, high = self.interval
        return f'{self.value:.2f} ({low:.2f} … {high:.2f})'


def skill_of(recordings: Sequence[Errors]) -> Skill | None:
    """The skill over all recordings; None where too little is known, or nothing moved."""
    sums: list[NDArray[np.float64]] = []
    chunks = 0
    for one in recordings:
        known = np.isfinite(one.own) & np.isfinite(one.peer)
        if not known.any():
            continue
        chunks += int(known.sum())
        stamps_ns = one.stamps_ns[known]
        _, places = np.unique(
            (stamps_ns - stamps_ns[0]) // round(BLOCK_S * NS), return_inverse=True
        )
        found = np.zeros((int(places.max()) + 1, 2))
        np.add.at(found, places, np.stack([one.own[known], one.peer[known]], 1))
        sums.append(found)
    blocks = np.concatenate(sums) if sums else np.zeros((0, 2))
    total = blocks.sum(0)
    if len(blocks) < FEWEST_BLOCKS or not total[1] > 0:
        return None
    picks = np.random.default_rng(SEED).integers(0, len(blocks), (RESAMPLES, len(blocks)))
    drawn = blocks[picks].sum(1)
    drawn = drawn[drawn[:, 1] > 0]
    tail = (1 - CONFIDENCE) / 2
    ends = np.quantile(1 - drawn[:, 0] / drawn[:, 1], (tail, 1 - tail))
    return Skill(
        _plain(1 - total[0] / total[1]), (_plain(ends[0]), _plain(ends[1])), chunks, len(blocks)
    )


def _plain(value: float) -> float:
    return round(float(value), DIGITS) + 0.0

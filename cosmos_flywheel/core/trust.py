# SPDX-License-Identifier: Apache-2.0
"""Predictions of several seeds on nominal recordings → whether a generative level may alarm.

A generative model paints a picture from noise. It is trusted to alarm only if its pictures of
nominal recordings are nearer to what came than the picture that it began with (skill against
persistence), and another seed than its own must not alarm where its own did not: thresholds are
raised by what another seed would have scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEEDS = 4
"""Predictions of each sampled chunk."""
QUANTILE = 0.95
"""Of the sampled chunks, for so many the raised threshold covers the worst of the seeds."""
CHANNEL = 'picture'
"""What rests on painted pictures."""
DIGITS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Reseeded:
    """Sampled chunks of one recording."""

    errors: NDArray[np.float64]
    """(N, seeds) mean squared difference of predicted and actual picture."""
    standing: NDArray[np.float64]
    """(N,) the same of the picture that the chunk began with."""
    evidence: NDArray[np.float32]
    """(N, seeds, n) of the channel, the level's own seed first."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What the sample says."""

    skill: float
    """1 − error / error of persistence; above 0 is better than standing still."""
    spread: float
    """By how much another seed may score more, as a share."""
    chunks: int
    seeds: int

    @property
    def factor(self) -> float:
        """What a threshold is raised by."""
        return 1 + self.spread

    def muted(self, channel: str) -> str:
        """Why a channel may not alarm; empty if it may."""
        if channel != CHANNEL or self.skill > 0:
            return ''
        return (
            f'{channel} is muted: on nominal recordings the predictions are no better than the '
            f'picture that they began with (skill {self.skill:.2f} over {self.chunks} chunks); '
            'they may be looked at, but not alarm'
        )

    def in_words(self) -> str:
        """One line for people."""
        muted = f'; {CHANNEL} is muted' if self.muted(CHANNEL) else ''
        return (
            f'skill {self.skill:.2f} against persistence, threshold raised by '
            f'{100 * self.spread:.0f} % for other seeds ({self.chunks} chunks, {self.seeds} '
            f'seeds){muted}'
        )

    def to_mapping(self) -> dict[str, Any]:
        """As the calibration file holds it."""
        return {
            'skill': self.skill,
            'spread': self.spread,
            'chunks': self.chunks,
            'seeds': self.seeds,
        }

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Trust:
        """Read back what `to_mapping` wrote."""
        return cls(values['skill'], values['spread'], values['chunks'], values['seeds'])


def trust_of(recordings: Sequence[Reseeded], scale: Sequence[float]) -> Trust:
    """What the sampled chunks of all recordings say together.

    No chunk at all, or recordings in which nothing moves, prove no skill.

    Args:
        recordings: in any order.
        scale: (n,) the normal size of each element of the channel.

    """
    some = [r for r in recordings if len(r.standing)]
    if not some:
        return Trust(0.0, 0.0, 0, SEEDS)
    error = float(np.sum([r.errors.mean(1).sum() for r in some]))
    standing = float(np.sum([r.standing.sum() for r in some]))
    skill = 1 - error / standing if standing > 0 else 0.0
    sizes = np.asarray(scale, np.float64)
    scores = np.concatenate([np.nanmax(r.evidence / sizes, 2, initial=0.0) for r in some])
    own = np.maximum(scores[:, 0], np.finfo(np.float32).tiny)
    more = float(np.quantile(scores.max(1) / own - 1, QUANTILE, method='inverted_cdf'))
    return Trust(round(skill, DIGITS), round(more, DIGITS), len(scores), scores.shape[1])

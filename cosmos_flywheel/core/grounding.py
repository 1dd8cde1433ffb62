# SPDX-License-Identifier: Apache-2.0
"""Errors of predictions by true and by wrong actions → how much the true ones are needed.

The index is 1 − E(true) / E(wrong): of the error that is left to a model which knows all but what
the robot is told, the share that the true actions take away (a coefficient of partial
determination, the actions being permuted as in Breiman, "Random Forests", 2001). It is 0 for a
model that does not listen, however well it foretells, and 1 for one that the true actions make
perfect; what no action explains lowers it, as it lowers any skill. It needs no unit and no peer.

Wrong are the motion of another moment of the recording (shuffled), none at all (stay), and the
commands of the chunk before (shifted); E(wrong) is the mean of the three. Errors of neighbouring
chunks are alike, so the interval is a bootstrap over blocks of `BLOCK_S` (Künsch, 1989). It is not
clipped: a model that does better by wrong actions has an interval below zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = ('true', 'shuffled', 'stay', 'shifted')
"""Of actions; all but the first are wrong."""
WRONG = KINDS[1:]
NOISE = {'picture': 0.1, 'state': 2e-3}
"""By channel that rests on predictions, the size of an error that is noise: grey levels, root mean
square over a picture of which most stays as it is, and the floor of channel state, whose unit is
the element's own."""
BLOCK_S = 2.0
"""About; four times the furthest horizon of engine local."""
FEWEST_BLOCKS = 5
"""With fewer an interval says little, and nothing is called measured."""
CONFIDENCE = 0.95
RESAMPLES = 2000
SEED = 0
DIGITS = 4
LEAST = 0.05
"""What a model reaches by chance that was fitted on commands of other moments: what it makes of
actions is noise, and a little less of it where they are the usual ones (`bench/grounding.py`)."""

Errors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Index:
    """How much one channel's predictions need the true actions."""

    value: float
    """0 … 1."""
    interval: tuple[float, float]
    """With CONFIDENCE, both ends, not clipped."""
    against: Mapping[str, float]
    """By kind of wrong actions, the index against these alone, not clipped."""
    chunks: int
    blocks: int

    @property
    def holds_zero(self) -> bool:
        """Whether the predictions may as well have been made without the actions."""
        return not self.interval[0] > 0

    @property
    def is_about_zero(self) -> bool:
        """Whether true actions may take away so little that nothing rests on them."""
        return not self.interval[0] > LEAST

    def in_words(self) -> str:
        """The value and its interval."""
        low, high = self.interval
        return f'{self.value:.2f} ({low:.2f} … {high:.2f})'


@dataclass(frozen=True, slots=True)
class Grounding:
    """What is known of how an engine's predictions rest on actions."""

    follows_actions: bool
    """What the engine says of itself; one that does not follow them has index 0."""
    channels: Mapping[str, Index] = field(default_factory=dict)
    """By channel; empty where nothing was measured."""

    @property
    def index(self) -> Index | None:
        """The one to name first: what is seen, else what is felt."""
        return next((self.channels[c] for c in NOISE if c in self.channels), None)

    @property
    def value(self) -> float:
        """0 … 1; NaN where it is unknown."""
        if not self.follows_actions:
            return 0.0
        return math.nan if self.index is None else self.index.value

    def muted(self, channel: str) -> str:
        """Why a channel may not alarm; empty if it may.

        An engine that promises nothing of actions is judged for what it is: its thresholds hold.
        """
        known = self.channels.get(channel)
        if not self.follows_actions or known is None or not known.is_about_zero:
            return ''
        return (
            f'{channel} is muted: its predictions are hardly better by the true actions than by '
            f'wrong ones, action grounding {known.in_words()}; look at the order, units and frame '
            f'of the actions, and fit again'
        )

    def in_words(self) -> str:
        """One line for people."""
        if not self.follows_actions:
            return '0: this engine does not follow actions'
        if not self.channels:
            return 'not measured: `flywheel fit` measures it'
        return ', '.join(
            f'{name} {index.in_words()}' + (', muted' if self.muted(name) else '')
            for name, index in self.channels.items()
        )

    @property
    def muted_channels(self) -> tuple[str, ...]:
        """Names of the channels that may not alarm."""
        return tuple(name for name in self.channels if self.muted(name))

    def to_mapping(self) -> dict[str, Any]:
        """As the calibration file holds it."""
        return {
            'follows_actions': self.follows_actions,
            'channels': {
                name: {
                    'index': index.value,
                    'interval': list(index.interval),
                    'against': dict(index.against),
                    'chunks': index.chunks,
                    'blocks': index.blocks,
                }
                for name, index in self.channels.items()
            },
        }

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Grounding:
        """Read back what `to_mapping` wrote."""
        return cls(
            values['follows_actions'],
            {
                name: Index(
                    one['index'],
                    (one['interval'][0], one['interval'][1]),
                    dict(one['against']),
                    one['chunks'],
                    one['blocks'],
                )
                for name, one in values['channels'].items()
            },
        )


def known_or_none(value: float) -> float | None:
    """A grounding's value as files have it: None stands for unknown."""
    return None if math.isnan(value) else value


def say_value(value: float | None) -> str:
    """The same for people."""
    return 'not measured' if value is None else f'{value:.2f}'


@dataclass(frozen=True, slots=True, eq=False)
class Probed:
    """Chunks of one recording, each foretold by actions of all KINDS."""

    ticks: NDArray[np.int64]
    """(N,), the tick of the recording that each chunk leads to, ascending."""
    errors: Mapping[str, Errors]
    """By channel: (N, len(KINDS), E) squared errors of its elements, NaN where unknown."""

    def since(self, tick: int) -> Probed:
        """The chunks that lead to this tick or a later one."""
        kept = self.ticks >= tick
        return Probed(self.ticks[kept], {name: e[kept] for name, e in self.errors.items()})


def measure(recordings: Sequence[Probed], clock_hz: float) -> dict[str, Index]:
    """The index of every channel for which there is enough to say one.

    Args:
        recordings: none of which the engine was fitted on.
        clock_hz: ticks a second.

    """
    block_ticks = max(1, round(BLOCK_S * clock_hz))
    found = {}
    for name, noise in NOISE.items():
        some = [r for r in recordings if len(r.ticks) and name in r.errors]
        if not some:
            continue
        places = [_blocks(r.ticks, block_ticks) for r in some]
        firsts = np.cumsum([0, *(int(p[-1]) + 1 for p in places)])
        blocks = np.concatenate([p + first for p, first in zip(places, firsts, strict=False)])
        index = index_of(np.concatenate([r.errors[name] for r in some]), blocks, noise)
        if index is not None:
            found[name] = index
    return found


def index_of(errors: Errors, blocks: NDArray[np.int64], noise: float) -> Index | None:
    """The index of one channel; None where too little is known, or nothing was wrong.

    Every element counts by its own mean error under wrong actions, so that all count alike and
    one in which there is only noise hardly counts.

    Args:
        errors: (N, len(KINDS), E) squared errors.
        blocks: (N,) which block each chunk is of.
        noise: size of an error that says nothing, in the unit of the errors' root.

    """
    known = np.logical_and.reduce(np.isfinite(errors), axis=1)
    kept = np.logical_or.reduce(known, axis=1)
    values = np.where(known[:, None], errors, 0.0)[kept].astype(np.float64)
    wrong = values[:, 1:].mean(axis=1).sum(axis=0) / np.maximum(known[kept].sum(axis=0), 1)
    by_chunk = values @ (1 / (wrong + noise**2))
    names, place = np.unique(blocks[kept], return_inverse=True)
    count = len(names)
    sums = np.zeros((count, len(KINDS)))
    np.add.at(sums, place, by_chunk)
    if count < FEWEST_BLOCKS or not (sums.sum(axis=0) > 0).all():
        return None
    picks = np.random.default_rng(SEED).integers(0, count, (RESAMPLES, count))
    ends = np.quantile(_share(sums[picks].sum(axis=1)), _tails())
    total = sums.sum(axis=0)
    return Index(
        _plain(float(np.clip(_share(total), 0, 1))),
        (_plain(ends[0]), _plain(ends[1])),
        {kind: _plain(1 - total[0] / total[i]) for i, kind in enumerate(KINDS) if i},
        int(kept.sum()),
        count,
    )


def _blocks(ticks: NDArray[np.int64], block_ticks: int) -> NDArray[np.int64]:
    """Cut one recording's ticks into blocks of equal length, about as long as that: (N,) which."""
    span = int(ticks[-1] - ticks[0]) + 1
    blocks: NDArray[np.int64] = (ticks - ticks[0]) * max(1, round(span / block_ticks)) // span
    return blocks


def _share(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of summed errors (…, len(KINDS)), what the true actions take away."""
    wrong = sums[..., 1:].mean(axis=-1)
    # A resample may hold only blocks in which nothing was wrong: nothing was taken away either.
    share = np.divide(sums[..., 0], wrong, out=np.ones_like(wrong), where=wrong > 0)
    return np.asarray(1 - share)


def _tails() -> tuple[float, float]:
    return (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2


def _plain(value: float) -> float:
    """Rounded; never minus zero."""
    return round(float(value), DIGITS) + 0.0

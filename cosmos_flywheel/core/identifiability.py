# SPDX-License-Identifier: Apache-2.0
"""Commands of nominal recordings → which of their elements ever moved on their own.

What is learnt from recordings in which two joints only move together can't tell which of the two
moved the picture (persistent excitation: Ljung, System Identification, 1999, ch. 13). Elements are
judged by how they change within a chunk, and tied ones are found by regression of each on the
others: its tolerance is the share of its variance that they leave unexplained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

WITHIN_S = 0.5
"""The time over which commands are taken to change together."""
LEAST_TOLERANCE = 0.02
"""Below it an element is tied to others: what it does on its own moved it by less than a seventh
of what it moved."""
STILL_SHARE = 1e-6
"""Of the largest spread: less is rounding."""
MEMBER_SHARE = 0.05
"""Of a tied direction's square that an element must hold to be named."""
FEWEST_CHANGES = 30
"""For each element: from fewer, everything looks tied."""


@dataclass(frozen=True, slots=True)
class Identifiability:
    """What may be learnt of each element of a command."""

    tolerance: tuple[float, ...]
    """(A,) 0 … 1: the share of its changes' variance that the others do not explain."""
    still: tuple[str, ...]
    """Elements that never moved."""
    tied: tuple[tuple[str, ...], ...]
    """Groups that only moved together, a direction each."""
    directions: Numbers
    """(len(tied), A) unit vectors, in spreads of the changes, along which nothing ever moved."""
    spread: Numbers
    """(A,) standard deviation of the changes, in the command's units; 0 where still."""

    def in_words(self) -> tuple[str, ...]:
        """A sentence for each thing that cannot be learnt; none if all can be."""
        said = []
        if self.still:
            said.append(f'{_list(self.still)} never moved: what commanding it does is not learnt')
        for group in self.tied:
            said.append(
                f'{_list(group)} only moved together: what one of them does alone is not learnt'
            )
        return tuple(said)

    def together(self) -> str:
        """The groups that only moved together, in words."""
        return '; '.join(_list(group) for group in self.tied)

    def known(self, offsets: Numbers) -> Numbers:
        """Offsets of commands (N, A) without their part along which nothing ever moved."""
        scale = np.where(self.spread > 0, self.spread, np.inf)
        scaled = offsets / scale
        scaled -= scaled @ self.directions.T @ self.directions
        return np.asarray(scaled * self.spread)

    def to_mapping(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return {
            'tolerance': list(self.tolerance),
            'still': list(self.still),
            'tied': [list(group) for group in self.tied],
            'directions': np.round(self.directions, 9).tolist(),
            'spread': np.round(self.spread, 9).tolist(),
        }

    @classmethod
    def from_mapping(cls, found: Mapping[str, Any]) -> Identifiability:
        """Read what `to_mapping` gave."""
        spread = np.array(found['spread'], np.float64)
        return cls(
            tuple(found['tolerance']),
            tuple(found['still']),
            tuple(tuple(group) for group in found['tied']),
            np.array(found['directions'], np.float64).reshape(-1, len(spread)),
            spread,
        )


def identifiability(
    paths: Sequence[NDArray[np.floating[Any]]], names: tuple[str, ...], hz: float
) -> Identifiability | None:
    """Judge the commands of nominal recordings.

    Args:
        paths: (T, A) each, one command a tick; changes that touch a NaN are left out.
        names: of the A elements.
        hz: ticks a second.

    Returns:
        None where there are too few changes to tell.

    """
    steps = max(1, round(WITHIN_S * hz))
    parts = [np.asarray(p[steps:], np.float64) - p[:-steps] for p in paths if len(p) > steps]
    changes = np.concatenate([np.empty((0, len(names))), *parts])
    changes = changes[np.isfinite(changes).all(1)]
    if len(changes) < FEWEST_CHANGES * len(names):
        return None
    spread = changes.std(0)
    moves = spread > STILL_SHARE * max(float(spread.max()), 1e-12)
    scaled = (changes[:, moves] - changes[:, moves].mean(0)) / spread[moves]
    values, vectors = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    values = np.maximum(values, 1e-12)
    tolerance = np.zeros(len(names))
    tolerance[moves] = 1 / (vectors**2 / values).sum(1)
    directions = np.zeros((int((values < LEAST_TOLERANCE).sum()), len(names)))
    directions[:, moves] = vectors[:, values < LEAST_TOLERANCE].T
    tied = [
        tuple(n for n, share in zip(names, one**2, strict=True) if share >= MEMBER_SHARE)
        for one in directions
    ]
    still = tuple(n for n, moving in zip(names, moves, strict=True) if not moving)
    return Identifiability(
        tuple(np.round(tolerance, 6).tolist()), still, tuple(tied), directions, spread * moves
    )


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f'{", ".join(names[:-1])} and {names[-1]}'

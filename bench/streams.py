# SPDX-License-Identifier: Apache-2.0
"""Made-up evidence of a robot in which nothing goes wrong, of which the truth is known.

Three channels of several elements each; elements of a channel move together, every value remembers
the one before (AR), the upper tail is long, and whole bags may be louder than others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.blocks import BLOCK_S
from cosmos_flywheel.core.channels.base import Elementwise, Moment
from cosmos_flywheel.core.types import Vector

CLOCK_HZ = 10.0
BLOCK_TICKS = round(BLOCK_S * CLOCK_HZ)
ELEMENTS = {'picture': 4, 'state': 2, 'tracking_error': 2}
TOGETHER = 0.5
"""Share of an element's variance that its channel has in common."""
LOUDNESS = 0.5
"""Evidence is exp(LOUDNESS × a standard normal value): the tail of residuals is long."""
MOST_VALUES = 20_000_000
"""Of one array at a time."""
Evidence = Mapping[str, Vector]


class Given(Elementwise):
    """A channel whose evidence is made up elsewhere."""

    adaptive = True

    def __init__(self, name: str, elements: int) -> None:
        self.name = name
        self.elements = tuple(f'{name} {i}' for i in range(elements))
        self.floors = np.full(elements, 1e-3, np.float32)

    def evidence(self, moment: Moment) -> Vector:
        """Never asked."""
        raise NotImplementedError

    def reset(self) -> None:
        """Nothing is remembered."""


CHANNELS = tuple(Given(name, count) for name, count in ELEMENTS.items())


@dataclass(frozen=True, slots=True)
class World:
    """How nominal evidence comes about."""

    memory: float
    """Correlation of two ticks that follow one another."""
    bag_spread: float = 0.0
    """Standard deviation of the logarithm of a whole bag's loudness."""

    def bags(self, draw: np.random.Generator, count: int, length_s: float) -> list[Evidence]:
        """So many bags, each (T, n) by channel."""
        ticks, width = round(length_s * CLOCK_HZ), sum(ELEMENTS.values())
        found: list[Evidence] = []
        at_once = max(1, MOST_VALUES // (ticks * width))
        for begin in range(0, count, at_once):
            values = self._values(draw, min(at_once, count - begin), ticks)
            found += [_by_channel(values[:, i]) for i in range(values.shape[1])]
        return found

    def _values(self, draw: np.random.Generator, bags: int, ticks: int) -> NDArray[np.float32]:
        """(T, bags, n)."""
        owner = np.repeat(np.arange(len(ELEMENTS)), list(ELEMENTS.values()))
        shared = draw.standard_normal((ticks, bags, len(ELEMENTS)), np.float32)[..., owner]
        values = draw.standard_normal((ticks, bags, len(owner)), np.float32)
        values *= np.float32(np.sqrt(1 - TOGETHER))
        values += np.float32(np.sqrt(TOGETHER)) * shared
        values[1:] *= np.float32(np.sqrt(1 - self.memory**2))
        for tick in range(1, ticks if self.memory else 0):
            values[tick] += np.float32(self.memory) * values[tick - 1]
        values *= np.float32(LOUDNESS)
        values += self.bag_spread * draw.standard_normal((bags, 1), np.float32)
        return np.exp(values, out=values)


def _by_channel(values: NDArray[np.float32]) -> Evidence:
    borders = np.cumsum(list(ELEMENTS.values()))[:-1]
    return dict(zip(ELEMENTS, np.split(values, borders, axis=1), strict=True))


def element_maxima(bags: list[Evidence]) -> Iterator[NDArray[np.float32]]:
    """Of every block: the largest evidence of every element of all channels, (n,)."""
    for bag in bags:
        rows = np.concatenate([bag[name] for name in ELEMENTS], axis=1)
        for begin in range(0, max(1, len(rows) - BLOCK_TICKS + 1), BLOCK_TICKS):
            yield rows[begin : begin + BLOCK_TICKS].max(0)

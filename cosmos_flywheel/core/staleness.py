# SPDX-License-Identifier: Apache-2.0
"""Nominal scores as they come → whether the calibration still describes this robot.

A test martingale on conformal p-values (Vovk, Gammerman, Shafer: "Algorithmic Learning in a Random
World", 2005, ch. 7): the median score of each new block is ranked among those of the calibration
and of the blocks since. While they are exchangeable, the ranks are uniform, and capital that bets
on small ranks does not grow: by Ville's inequality (1939) it ever reaches 1 / FALSE_CHANCE with a
chance of at most FALSE_CHANCE, however long one watches. Medians move with light, wear and season
long before the largest scores do. Blocks in alarm are left out: they are failures, or for people
to call false alarms.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cosmos_flywheel.core.blocks import BLOCK_S, rounded
from cosmos_flywheel.core.calibration import Calibration
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import AnomalyScore

FALSE_CHANCE = 0.01
"""Chance that a calibration that still holds is ever called stale."""
POWERS = (0.1, 0.2, 0.35, 0.5, 0.7)
"""Bets: capital grows by power × rank^(power − 1); their mean is a martingale too."""
FEWEST = 4
"""With fewer reference blocks a channel has nothing to compare with."""
LEAST_BLOCK_S = 1.0
"""A recording shorter than this says nothing."""
WHOLE = 0.9
"""From this part of a block on, what is left of a recording is taken for one; shorter rests have
less steady medians than the calibration's blocks, and are forgotten."""


@dataclass(slots=True)
class _Channel:
    """One channel's references, the block that is being filled, and the capital."""

    reference: list[float]
    block: list[float] = field(default_factory=list)
    logs: list[float] = field(default_factory=lambda: [0.0] * (2 * len(POWERS)))
    """Logarithms of the capital of every bet, on large and on small medians."""

    @property
    def capital(self) -> float:
        """Mean of all bets."""
        return math.fsum(math.exp(min(one, 600.0)) for one in self.logs) / len(self.logs)

    def bet(self, value: float) -> None:
        """Rank a block among those before it, and join it to them."""
        count = len(self.reference)
        above = count - bisect.bisect_left(self.reference, value)
        below = bisect.bisect_right(self.reference, value)
        ranks = ((above + 1) / (count + 1), (below + 1) / (count + 1))
        for index, rank in enumerate(ranks):
            for number, power in enumerate(POWERS):
                gain = math.log(power) + (power - 1) * math.log(rank)
                self.logs[index * len(POWERS) + number] += gain
        bisect.insort(self.reference, value)


class StaleTest:
    """Give it every score of a robot in order; ask whether the calibration is stale.

    Args:
        calibration: whose references are the beginning.

    """

    def __init__(self, calibration: Calibration) -> None:
        self._channels = {
            name: _Channel(list(known.reference))
            for name, known in calibration.channels.items()
            if len(known.reference) >= FEWEST
        }
        self._begin_ns: int | None = None
        self._last_ns = 0
        self._first = True
        self._alarmed = False
        self.stale = False
        """Once true, it stays so: fit again."""
        self.blocks = 0
        """Blocks that counted."""

    @property
    def channel(self) -> str:
        """The channel that speaks loudest against the calibration; empty where none is known."""
        return max(self._channels, key=lambda n: self._channels[n].capital, default='')

    def observe(self, score: AnomalyScore) -> bool:
        """Take one score in; whether the calibration is stale by now."""
        values = {c.name: c.score for c in score.channels}
        return self.take(score.stamp_ns, values, alarm=bool(score.alarms))

    def take(self, stamp_ns: int, scores: Mapping[str, float], *, alarm: bool) -> bool:
        """The same, from plain scores by channel."""
        if self._begin_ns is not None and not 0 <= stamp_ns - self._last_ns < BLOCK_S * NS:
            self.end_block()
        if self._begin_ns is None:
            self._begin_ns = stamp_ns
        elif stamp_ns - self._begin_ns >= BLOCK_S * NS:
            self._close(BLOCK_S)
            self._begin_ns = stamp_ns
        self._last_ns = stamp_ns
        self._alarmed |= alarm
        for name, channel in self._channels.items():
            value = scores.get(name, math.nan)
            if not math.isnan(value):
                channel.block.append(value)
        return self.stale

    def end_block(self) -> None:
        """Close the block at the end of a recording; harmless when repeated."""
        if self._begin_ns is not None:
            self._close((self._last_ns - self._begin_ns) / NS)
        self._first = True

    def _close(self, length_s: float) -> None:
        least_s = LEAST_BLOCK_S if self._first else WHOLE * BLOCK_S
        # Rounded as the references are: what never changes must not seem to have grown.
        medians = {
            n: rounded(float(np.median(c.block))) for n, c in self._channels.items() if c.block
        }
        counts = length_s >= least_s and not self._alarmed
        for channel in self._channels.values():
            channel.block.clear()
        self._begin_ns, self._alarmed, self._first = None, False, False
        if counts:
            self._judge(medians)

    def _judge(self, medians: Mapping[str, float]) -> None:
        self.blocks += 1
        for name, median in medians.items():
            self._channels[name].bet(median)
        if self._channels and not self.stale:
            mean = math.fsum(c.capital for c in self._channels.values()) / len(self._channels)
            self.stale = mean >= 1 / FALSE_CHANCE

# SPDX-License-Identifier: Apache-2.0
"""Nominal scores as they come → whether the calibration still describes this robot.

A conformal test martingale (Vovk, Gammerman, Shafer: "Algorithmic Learning in a Random World",
2005, ch. 7): the median score of each new block is ranked among those of the calibration and of
the blocks since. While they are exchangeable every rank is equally likely, and capital that bets
on high or low ranks does not grow on average: by Ville's inequality (1939) it ever reaches
1 / FALSE_CHANCE with a chance of at most FALSE_CHANCE, however long one watches. Medians move with
light, wear and season long before the largest scores do, and so before the promise is broken.

Blocks in alarm are left out: they are failures, or for people to call false alarms. So a change
that is large enough to alarm all the time is told by alarms, not here.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from cosmos_flywheel.core.appearance import APPEARANCE
from cosmos_flywheel.core.blocks import BLOCK_S, rounded
from cosmos_flywheel.core.calibration import Calibration
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import AnomalyScore

FALSE_CHANCE = 0.01
"""Chance that a calibration that still holds is ever called stale."""
SHIFTS = (-2.5, -1.5, -0.75, 0.75, 1.5, 2.5)
"""Bets are on medians that have moved by so many standard deviations, were they normal."""
NORMAL = NormalDist()
MOST_CAPITAL = 1e100
FEWEST = 4
"""With fewer reference blocks a channel has nothing to compare with."""
LEAST_BLOCK_S = 1.0
"""A recording shorter than this says nothing."""
WHOLE = 0.9
"""From this part of a block on, what is left of a recording is taken for one; shorter rests have
less steady medians than the calibration's blocks, and are forgotten."""


@dataclass(slots=True)
class _Channel:
    """One channel's references, the block that is being filled, and what is at stake."""

    reference: list[float]
    block: list[float] = field(default_factory=list)
    stakes: list[float] = field(default_factory=lambda: [0.0] * len(SHIFTS))
    """What the money put on each shift so far has become."""
    bets: int = 0

    @property
    def capital(self) -> float:
        """All stakes, and what is not yet at stake: 1 / (n + 1) after n bets."""
        return math.fsum(self.stakes) + 1 / (self.bets + 1)

    def bet(self, value: float) -> None:
        """Rank a block among those before it, and join it to them.

        The n-th block puts 1 / n(n + 1) more at stake: the change may have begun with any block,
        and a long quiet past costs little.
        """
        self.bets += 1
        more = 1 / (self.bets * (self.bets + 1) * len(SHIFTS))
        count = len(self.reference) + 1
        least = bisect.bisect_left(self.reference, value) / count
        most = (bisect.bisect_right(self.reference, value) + 1) / count
        self.stakes = [
            min(MOST_CAPITAL, (stake + more) * _gain(least, most, shift))
            for stake, shift in zip(self.stakes, SHIFTS, strict=True)
        ]
        bisect.insort(self.reference, value)


def _gain(least: float, most: float, shift: float) -> float:
    """How a stake grows if the rank, as a share, lies between these; 1 on average over ranks.

    The likelihood of a normal variable that has shifted, against one that has not.
    """
    low, high = (_quantile(share) for share in (least, most))
    return (NORMAL.cdf(high - shift) - NORMAL.cdf(low - shift)) / (most - least)


def _quantile(share: float) -> float:
    if share <= 0:
        return -math.inf
    return NORMAL.inv_cdf(share) if share < 1 else math.inf


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
        if len(calibration.appearance) >= FEWEST:
            self._channels[APPEARANCE] = _Channel(list(calibration.appearance))
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

    def observe(self, score: AnomalyScore, brightness: float = math.nan) -> bool:
        """Take one score in; whether the calibration is stale by now."""
        values = {APPEARANCE: brightness, **{c.name: c.score for c in score.channels}}
        return self.take(score.stamp_ns, values, alarm=bool(score.alarms))

    def take(self, stamp_ns: int, scores: Mapping[str, float], *, alarm: bool) -> bool:
        """The same, from plain scores by channel; brightness is that of APPEARANCE."""
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

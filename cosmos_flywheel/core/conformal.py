# SPDX-License-Identifier: Apache-2.0
"""Counts of exchangeable blocks → what they prove of blocks to come.

A block is a stretch of nominal operation, long enough that blocks are about exchangeable although
ticks within one are not. All bounds are exact for exchangeable (independent) blocks, whatever the
distribution of scores.
"""

from __future__ import annotations

import math

HALVINGS = 60


def binomial_cdf(successes: int, trials: int, chance: float) -> float:
    """Probability of at most so many successes."""
    if successes < 0:
        return 0.0
    if successes >= trials or chance <= 0:
        return 1.0
    if chance >= 1:
        return 0.0
    logs = [
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * math.log(chance)
        + (trials - k) * math.log1p(-chance)
        for k in range(successes + 1)
    ]
    return min(1.0, math.fsum(math.exp(one) for one in logs))


def upper_chance(alarms: int, blocks: int, confidence: float) -> float:
    """Largest chance of an alarm in a block that so few alarms leave credible.

    The one-sided interval of Clopper and Pearson (Biometrika, 1934); 1 without any block.
    """
    if blocks < 1 or alarms >= blocks:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if binomial_cdf(alarms, blocks, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def credible_chance(alarms: int, blocks: int, confidence: float) -> tuple[float, float]:
    """The smallest and the largest chance that so many alarms leave credible, both at once.

    The two-sided interval of Clopper and Pearson (Biometrika, 1934); 0 … 1 without any block.
    """
    one_sided = (1 + confidence) / 2
    least = 1 - upper_chance(blocks - alarms, blocks, one_sided)
    return least, upper_chance(alarms, blocks, one_sided)


def most_above(blocks: int, chance: float, confidence: float) -> int | None:
    """How many calibration blocks may lie above a threshold that keeps a promise; None if none do.

    With the threshold at the largest block score but so many, a new block exceeds it with at most
    `chance`, with this confidence over the draw of the calibration blocks (Wilks, 1941; Vovk,
    "Conditional validity of inductive conformal predictors", 2012).
    """
    if binomial_cdf(0, blocks, chance) > 1 - confidence:
        return None
    above = 0
    while binomial_cdf(above + 1, blocks, chance) <= 1 - confidence:
        above += 1
    return above


def blocks_needed(chance: float, confidence: float) -> int:
    """Fewest blocks from which any threshold keeps such a promise."""
    if chance >= 1:
        return 1
    return math.ceil(math.log(1 - confidence) / math.log1p(-chance))

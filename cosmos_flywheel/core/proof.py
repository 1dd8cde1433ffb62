# SPDX-License-Identifier: Apache-2.0
"""Nominal blocks that decided nothing → thresholds that keep a budget, or what chosen ones keep.

What is normal is first learnt from one part of the recordings. Every block of the other part then
has one number for all channels together: the largest share that any channel reaches of its limit.
One number needs no budget for each channel, which a union bound would: channels that alarm
together count once, and a proof takes far fewer hours.

- Enough blocks: all limits are scaled by that share which keeps the budget. This is split
  conformal prediction with its confidence over the draw of the blocks (Wilks, 1941; Vovk,
  "Conditional validity of inductive conformal predictors", 2012).
- Too few: limits are chosen from all recordings, so that no block is left to test them. But what
  alarms above a limit alarms above a lower one too: the alarms of the other part under limits that
  are nowhere higher bound those of the chosen ones (Clopper and Pearson, 1934). Which of
  `TESTED_SHARES` of the first part's limits lies low enough is seen from the data, so the
  confidence is divided among them.

Both hold for blocks that are independent and alike, today's and tomorrow's; not after a change of
light or work, which is for `staleness` to notice, nor if whole recordings differ from one another
much more than their blocks do.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import numpy as np

from cosmos_flywheel.core.blocks import block_maxima, scores_of
from cosmos_flywheel.core.conformal import most_above, upper_chance
from cosmos_flywheel.core.types import Vector

TESTED_SHARES = (0.9, 0.75)
"""The highest that is low enough counts; below the last one nothing is proved."""

Limits = Mapping[str, Vector]
"""By channel: (n,) evidence above which it alarms, scale × threshold."""


def block_shares(
    limits: Limits, recordings: Sequence[Mapping[str, Vector]], block_ticks: int
) -> dict[str, Vector]:
    """By channel: (blocks,), the largest share of its limit that it reaches in each block.

    Args:
        limits: by channel; others are not looked at.
        recordings: (T, n) evidence by channel.
        block_ticks: length of a block.

    """
    return {
        name: np.array(
            [m for r in recordings for m in block_maxima(scores_of(r[name], limit), block_ticks)],
            np.float32,
        )
        for name, limit in limits.items()
    }


def factor_keeping(shares: Mapping[str, Vector], chance: float, confidence: float) -> float | None:
    """By which all limits are multiplied so that a block alarms with at most `chance`.

    None if the blocks are too few for any.
    """
    largest = np.max(list(shares.values()), axis=0)
    above = most_above(len(largest), chance, confidence)
    return None if above is None else float(np.sort(largest)[len(largest) - 1 - above])


def alarms_at_most(
    shares: Mapping[str, Vector], tested: Limits, chosen: Limits, fixed: Container[str]
) -> int | None:
    """How many blocks alarm under limits that are nowhere above the chosen ones.

    Args:
        shares: of the tested limits, from blocks that decided nothing about those.
        tested: what the shares are of.
        chosen: what is to be proved, of whatever origin.
        fixed: channels whose limits need no learning, so that none is lower for a part.

    Returns:
        None if the chosen limits lie too low somewhere to say anything.

    """
    for share in TESTED_SHARES:
        parts = {name: 1.0 if name in fixed else share for name in tested}
        if all(np.all(chosen[n] >= part * tested[n]) for n, part in parts.items()):
            return int(np.any([shares[n] > part for n, part in parts.items()], axis=0).sum())
    return None


def proved_chance(alarms: int, blocks: int, confidence: float) -> float:
    """What `alarms_at_most` proves: the largest credible chance of an alarm in a block."""
    return upper_chance(alarms, blocks, 1 - (1 - confidence) / len(TESTED_SHARES))

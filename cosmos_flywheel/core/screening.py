# SPDX-License-Identifier: Apache-2.0
"""Windows that a cheap model scored → which of them a dear one looks at, and what that tells.

Most are those that the screen scored highest: there the dear model finds most for its time. The
others are drawn by lot from those that the screen let pass: from them alone it can be said how
much it missed among the windows that nobody looks at.

One order serves every budget, so that a larger one looks at the same windows and at more. A lot
counts for the estimate only if it lies below the last window that its score called up. That is a
random sample of all such windows: where the calling stopped depends on higher scores and on the
budget, and not on what was seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cosmos_flywheel.core.conformal import credible_chance

LOT_SHARE = 0.3
"""Of the windows that are looked at, so many are drawn by lot, and the very first is."""
CONFIDENCE = 0.95
FEWEST = 10
"""Lots that an estimate asks for: of fewer, all quiet, every third window may still be missed."""
DIGITS = 4

Key = tuple[str, int]
"""Bag id and number of a window."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of one bag as the screen saw it."""

    bag_id: str
    number: int
    """From 0, counted from the bag's first message."""
    kind: str
    """`alarmed` by a channel that asks the model; `kept` in an episode without; `quiet`; `blind`
    where the model had nothing to compare."""
    share: float
    """The highest score in multiples of its threshold."""

    @property
    def key(self) -> Key:
        """Which one it is."""
        return self.bag_id, self.number


@dataclass(frozen=True, slots=True)
class Turn:
    """One window to look at, and why."""

    window: Window
    by_lot: bool
    rank: int
    """Its place by the screen's score, from 0."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the lots tell of the windows that nobody looked at."""

    lots: int
    """That count, see above."""
    above: int
    """How many of these the dear model puts above its threshold."""
    unseen: int
    """Windows that the screen let pass and nobody looked at."""

    @property
    def is_known(self) -> bool:
        """Whether anything can be said."""
        return self.lots >= FEWEST or not self.unseen

    @property
    def missed(self) -> float:
        """Windows, of the unseen ones."""
        return self.unseen * self.above / self.lots if self.lots else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Least and most that are missed, with CONFIDENCE.

        As if each lot were put back; they are not, which only makes the interval too wide.
        """
        low, high = credible_chance(self.above, self.lots, CONFIDENCE)
        return self.unseen * low, self.unseen * high

    def to_mapping(self) -> dict[str, Any]:
        """As a file holds it; what cannot be said is null."""
        low, high = self.interval
        return {
            'lots': self.lots,
            'above': self.above,
            'unseen': self.unseen,
            'missed': round(self.missed, DIGITS) if self.is_known else None,
            'least': round(low, DIGITS) if self.is_known else None,
            'most': round(high, DIGITS) if self.is_known else None,
            'confidence': CONFIDENCE,
        }

    def in_words(self) -> str:
        """One sentence for people."""
        if not self.unseen:
            return 'nothing that screening let pass was left unseen'
        if not self.is_known:
            return (
                f'what screening missed: cannot say, from {self.lots} windows drawn by lot '
                f'(at least {FEWEST}); give a larger budget'
            )
        low, high = self.interval
        return (
            f'screening missed an estimated {self.missed:.1f} of {self.unseen} windows that '
            f'nobody looked at (95 %: {low:.1f} to {high:.1f}): {self.above} of {self.lots} '
            f'windows drawn by lot were above'
        )


def turns_of(windows: Sequence[Window], seed: int) -> Iterator[Turn]:
    """All windows worth a look in the order in which a budget is spent on them."""
    asked = [w for w in windows if w.kind in ('alarmed', 'quiet')]
    ranked = sorted(asked, key=lambda w: (-w.share, w.key))
    ranks = {window.key: rank for rank, window in enumerate(ranked)}
    quiet = sorted((w for w in asked if w.kind == 'quiet'), key=lambda w: w.key)
    drawn = np.random.default_rng(seed).permutation(len(quiet)).tolist()
    taken: set[Key] = set()
    queues = {True: (quiet[i] for i in drawn), False: iter(ranked)}
    lots = 0
    while len(taken) < len(ranked):
        by_lot = lots < LOT_SHARE * (len(taken) + 1)
        window = _next(queues[by_lot], taken)
        if window is None:
            by_lot = not by_lot
            window = _next(queues[by_lot], taken)
        assert window is not None
        lots += by_lot
        taken.add(window.key)
        yield Turn(window, by_lot, ranks[window.key])


def _next(queue: Iterator[Window], taken: set[Key]) -> Window | None:
    return next((w for w in queue if w.key not in taken), None)


def estimate(
    windows: Sequence[Window], looked: Sequence[Turn], above: Mapping[Key, bool | None]
) -> Estimate:
    """What is missed among the windows that nobody looked at.

    Args:
        windows: all of them.
        looked: the turns that were taken, from the first on.
        above: whether the dear model puts a window above its threshold, None where it had
            nothing to compare; of every turn taken.

    """
    called = max((turn.rank for turn in looked if not turn.by_lot), default=-1)
    lots = [above[t.window.key] for t in looked if t.by_lot and t.rank > called]
    seen = {turn.window.key for turn in looked}
    unseen = sum(w.kind == 'quiet' and w.key not in seen for w in windows)
    return Estimate(len(lots) - lots.count(None), lots.count(True), unseen)

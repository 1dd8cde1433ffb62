# SPDX-License-Identifier: Apache-2.0
"""How long predictions took → which engine level may go on: the deadline ladder.

A level that needs more than a tick for a tick's predictions falls behind for good. It is left for
the next lower one, and tried again after a while; each time that fails the while is doubled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

WINDOW_S = 2.0
"""A level is judged by its predictions of so long."""
FEWEST = 5
"""And by no fewer of them."""
LIMIT = 1.0
"""Real-time factor, time needed over time there was, above which a level cannot keep up."""
FIRST_REST_S, LONGEST_REST_S = 20.0, 600.0
"""A level that failed rests so long before it is tried again."""
PROVED_S = 60.0
"""A level that has held so long begins with the first rest again when it fails."""


class Ladder:
    """Chooses the level; tell it what each tick's predictions cost.

    Args:
        levels: the best first; at least one.
        period_s: of the model's clock.

    """

    def __init__(self, levels: Sequence[str], period_s: float) -> None:
        if not levels or period_s <= 0:
            raise ValueError('a ladder needs a level and a period above 0 s')
        self.levels = tuple(levels)
        self.changes = 0
        """How often the level has changed."""
        self._period_s = period_s
        self._at = 0
        self._costs: deque[float] = deque(maxlen=max(FEWEST, round(WINDOW_S / period_s)))
        """Seconds a tick."""
        self._since_s: float | None = None
        self._rest_s = dict.fromkeys(self.levels, FIRST_REST_S)
        self._rested_s = dict.fromkeys(self.levels, 0.0)
        """By level, until when it rests."""

    @property
    def level(self) -> str:
        """The one in force."""
        return self.levels[self._at]

    @property
    def real_time_factor(self) -> float:
        """Time needed over time there was, of late; below 1 keeps up; NaN before the first."""
        if not self._costs:
            return float('nan')
        return sum(self._costs) / len(self._costs) / self._period_s

    def note(self, cost_s: float, now_s: float, ticks: int = 1) -> bool:
        """Predictions took so long, ending now; whether the level has changed.

        Args:
            cost_s: seconds.
            now_s: of a clock that never steps back.
            ticks: of how many ticks these were the predictions.

        """
        if self._since_s is None:
            self._since_s = now_s
        enough = max(FEWEST, round(WINDOW_S / self._period_s / ticks))
        self._costs.append(cost_s / ticks)
        if len(self._costs) > enough:
            self._costs.popleft()
        if len(self._costs) == enough and self.real_time_factor > LIMIT:
            return self.fail(now_s)
        if now_s - self._since_s >= PROVED_S:
            self._rest_s[self.level] = FIRST_REST_S
        above = self._at - 1
        if above >= 0 and now_s >= self._rested_s[self.levels[above]]:
            return self._move(above, now_s)
        return False

    def fail(self, now_s: float) -> bool:
        """The level cannot go on: too slow, raised, or hung; whether there is a lower one."""
        level = self.level
        self._rested_s[level] = now_s + self._rest_s[level]
        self._rest_s[level] = min(2 * self._rest_s[level], LONGEST_REST_S)
        if self._at + 1 == len(self.levels):
            return False
        return self._move(self._at + 1, now_s)

    def _move(self, to: int, now_s: float) -> bool:
        self._at = to
        self._since_s = now_s
        self._costs.clear()
        self.changes += 1
        return True

# SPDX-License-Identifier: Apache-2.0
"""Outcome: what the robot's own topics say of its task, by the rules of the robot file."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cosmos_flywheel.core.channels.base import Elementwise, Moment
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.field_path import Plain
from cosmos_flywheel.core.outcome import Outcome
from cosmos_flywheel.core.types import Vector

BROKEN = 4.0
"""Evidence of a rule that is broken: its limit is 1, and from 3 times that on a recording that is
called nominal is a suspect (`core/suspects.py`)."""
MOST_WAITED = 0.99
"""Evidence of a rule whose patience lasts; 1 would be its limit."""
MOST_WAITING = 10_000
"""Messages that may wait for their tick; a clock that runs ahead must not fill the memory."""


@dataclass(frozen=True, slots=True)
class _Word:
    """What one message says of one condition: at its stamp, and from then on."""

    segment: int
    stamp_ns: int
    watch: int
    condition: int
    now: bool | None
    after: bool | None


@dataclass(slots=True)
class _Watch:
    """One rule and what its conditions last said; None where nothing is known."""

    rule: Outcome
    verdicts: list[bool | None] = field(init=False)
    since_ns: int | None = None
    """Since when it is bad; None while it is not."""

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.verdicts = [None] * len(self.rule.conditions)
        self.since_ns = None

    def take(self, word: _Word) -> float:
        """The worst until this word, at it and just after it."""
        degrees = [self.judge(word.stamp_ns)]
        for verdict in dict.fromkeys((word.now, word.after)):
            self.verdicts[word.condition] = verdict
            degrees.append(self.judge(word.stamp_ns))
        return float(np.fmax.reduce(degrees))

    def judge(self, at_ns: int) -> float:
        """0 while it is good, below 1 while patience lasts, then `BROKEN`; NaN while unknown."""
        bad = self._is_bad()
        if not bad:
            self.since_ns = None
            return math.nan if bad is None else 0.0
        if self.since_ns is None:
            self.since_ns = at_ns
        bad_ns = max(0, at_ns - self.since_ns)
        if bad_ns >= self.rule.patience_ns:
            return BROKEN
        return min(bad_ns / self.rule.patience_ns, MOST_WAITED)

    def _is_bad(self) -> bool | None:
        own, *guards = self.verdicts
        if False in guards:
            return False
        if None in guards:
            return None
        if own is None:  # what must come within some time is also missed if nothing ever comes
            return True if self.rule.is_good and self.rule.patience_ns else None
        return own != self.rule.is_good


class OutcomeChannel(Elementwise):
    """One element a rule: 0 good, `BROKEN` broken, below 1 while its patience lasts.

    A value counts until the next one comes. Rules are limits by themselves: nothing is learnt.

    Args:
        outcomes: of the robot file; those without a condition are left out.
        topics: those that this source has; a rule that needs another one stays blind.

    """

    name = 'outcome'
    adaptive = False

    def __init__(self, outcomes: Sequence[Outcome], topics: Collection[str]) -> None:
        self._watches = [_Watch(o) for o in outcomes if o.condition is not None]
        self._blind = [not set(w.rule.topics) <= set(topics) for w in self._watches]
        self.elements = tuple(w.rule.name for w in self._watches)
        self.floors = np.ones(len(self.elements), np.float32)
        self._conditions = [
            (w, c, condition)
            for w, watch in enumerate(self._watches)
            for c, condition in enumerate(watch.rule.conditions)
        ]
        self._before: dict[tuple[int, int], tuple[int, Plain]] = {}
        """Segment and value of what each condition last read."""
        self._waiting: deque[_Word] = deque(maxlen=MOST_WAITING)

    @property
    def topics(self) -> frozenset[str]:
        """Whose messages it wants."""
        return frozenset(condition.topic for _, _, condition in self._conditions)

    def arrived(self, topic: str, stamp_ns: int, message: Any, segment: int) -> list[str]:
        """Take in a message of any topic; returns what was wrong with it, in sentences."""
        problems = []
        for watch, place, condition in self._conditions:
            if condition.topic != topic:
                continue
            key = watch, place
            try:
                value = condition.path.read(message)
            except ConfigError as error:
                if key not in self._before:  # else it is of another part of the robot
                    problems.append(f'outcome {self.elements[watch]!r}: {error}')
                continue
            now = after = None
            if value is not None and value == value:  # not NaN
                known, before = self._before.get(key, (segment, value))
                changed = known == segment and value != before
                self._before[key] = segment, value
                try:
                    now = condition.holds(value, changed=changed)
                    after = condition.holds(value, changed=False)
                except ConfigError as error:
                    problems.append(f'outcome {self.elements[watch]!r}: {error}')
            self._waiting.append(_Word(segment, stamp_ns, watch, place, now, after))
        return problems

    def evidence(self, moment: Moment) -> Vector:
        """The worst since the last tick; a message counts from the tick at or after its stamp."""
        tick = moment.tick
        worst = np.full(len(self.elements), np.nan, np.float32)
        for word in self._due(tick.segment, tick.stamp_ns):
            degree = self._watches[word.watch].take(word)
            worst[word.watch] = np.fmax(worst[word.watch], degree)
        now = [watch.judge(tick.stamp_ns) for watch in self._watches]
        worst = np.fmax(worst, np.array(now, np.float32))
        worst[self._blind] = np.nan
        return worst

    def reset(self) -> None:
        """Forget what was said; what waits is of the new clock, or is left out when it is due."""
        for watch in self._watches:
            watch.forget()

    def _due(self, segment: int, until_ns: int) -> Iterator[_Word]:
        """What was stamped up to now, in the order of arrival; the rest keeps waiting."""
        for _ in range(len(self._waiting)):
            word = self._waiting.popleft()
            if word.segment > segment or (word.segment == segment and word.stamp_ns > until_ns):
                self._waiting.append(word)
            elif word.segment == segment:
                yield word

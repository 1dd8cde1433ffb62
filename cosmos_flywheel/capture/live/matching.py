# SPDX-License-Identifier: Apache-2.0
"""Ticks here, predictions from another process → each tick with the predictions made for it.

A prediction names the instant that it was made from and those that it is about. A tick waits
until its predictions have come, or until it is known that they will not: a later one has come
(they arrive in order), or patience is over. Ticks leave in order.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cosmos_flywheel.core.stride import Stride
from cosmos_flywheel.core.timeline import RESET_NS, Tick
from cosmos_flywheel.core.types import Prediction

Matched = tuple[Tick, tuple[Prediction | None, ...]]
MOST_WAITING = 256
"""Predictions that are kept for ticks yet to come, and ticks for predictions."""


@dataclass(slots=True)
class _Waiting:
    tick: Tick
    inputs_ns: tuple[int | None, ...]
    """By horizon, the tick that the prediction starts from; None where there is no past."""
    since_ns: int


class Matcher:
    """Give it ticks and predictions in the order in which they come; take what is settled.

    Args:
        horizons: in ticks, by which a moment's predictions are ordered.
        period_ns: of the model's clock; a prediction is about the tick nearest to its instant,
            no further away than half of this.
        patience_ns: how long a tick waits, by the clock that `expect` and `settled` are told.
        stride: ticks between those that predictions start from.

    """

    def __init__(
        self, horizons: Sequence[int], period_ns: int, patience_ns: int, stride: int = 1
    ) -> None:
        self._horizons = tuple(horizons)
        self._stride = Stride(stride, period_ns)
        self._near_ns = period_ns // 2
        self._ahead_ns = max(horizons) * period_ns
        self._patience_ns = patience_ns
        self._stamps: deque[int] = deque(maxlen=max(horizons) + 1)
        self._starts: deque[int | None] = deque(maxlen=max(horizons) + 1)
        """The same stamps where predictions start, else None."""
        self._segment = 0
        self._waiting: deque[_Waiting] = deque()
        self._predictions: deque[Prediction] = deque(maxlen=MOST_WAITING)
        self.missed = 0
        """Predictions that a tick waited for in vain."""

    def expect(self, tick: Tick, now_ns: int) -> None:
        """A tick has come."""
        if tick.segment != self._segment:
            self._segment = tick.segment
            self._stamps.clear()
            self._starts.clear()
            self._forget_after(tick.stamp_ns + self._ahead_ns)
        before_ns = self._stamps[-1] if self._stamps else None
        self._stamps.append(tick.stamp_ns)
        begins = self._stride.begins(tick.stamp_ns, before_ns)
        self._starts.append(tick.stamp_ns if begins else None)
        starts = self._starts
        inputs = tuple(starts[-1 - h] if len(starts) > h else None for h in self._horizons)
        self._waiting.append(_Waiting(tick, inputs, now_ns))

    def give(self, prediction: Prediction) -> None:
        """A prediction has come."""
        self._forget_after(_about_ns(prediction))
        self._predictions.append(prediction)

    def take_over(self, older: Matcher) -> None:
        """The ticks that wait in another matcher."""
        for waiting in older._waiting:
            self.expect(waiting.tick, waiting.since_ns)
        older._waiting.clear()

    def settled(self, now_ns: int) -> Iterator[Matched]:
        """The ticks that need not wait any longer, oldest first."""
        while self._waiting:
            head = self._waiting[0]
            given = [self._find(head.tick.stamp_ns, start) for start in head.inputs_ns]
            over = (
                len(self._waiting) > MOST_WAITING
                or not 0 <= now_ns - head.since_ns < self._patience_ns
            )
            lacking = [
                start
                for start, found in zip(head.inputs_ns, given, strict=True)
                if start is not None and found is None
            ]
            if not over and not all(self._passed(head.tick.stamp_ns, s) for s in lacking):
                return
            self.missed += len(lacking)
            self._waiting.popleft()
            yield head.tick, tuple(given)

    def _forget_after(self, stamp_ns: int) -> None:
        """Drop what was predicted before the clock stepped back to here."""
        if any(_about_ns(p) > stamp_ns + RESET_NS for p in self._predictions):
            self._predictions.clear()

    def _find(self, stamp_ns: int, input_ns: int | None) -> Prediction | None:
        """What was predicted from one instant about another, as a prediction of one step."""
        for prediction in reversed(self._predictions):
            if prediction.input_stamp_ns != input_ns:
                continue
            stamps = prediction.stamps_ns.tolist()
            after = bisect.bisect_left(stamps, stamp_ns)
            near = [i for i in (after - 1, after) if 0 <= i < len(stamps)]
            step = min(near, key=lambda i: abs(stamps[i] - stamp_ns), default=None)
            if step is not None and abs(stamps[step] - stamp_ns) <= self._near_ns:
                return _one_step(prediction, step)
        return None

    def _passed(self, stamp_ns: int, input_ns: int) -> bool:
        """Whether a later prediction has come than the one from there about then would be."""
        return any(
            p.input_stamp_ns >= input_ns and _about_ns(p) > stamp_ns + self._near_ns
            for p in self._predictions
        )


def _about_ns(prediction: Prediction) -> int:
    """The last instant that it tells of."""
    return int(prediction.stamps_ns[-1]) if len(prediction.stamps_ns) else 0


def _one_step(prediction: Prediction, step: int) -> Prediction:
    if len(prediction.stamps_ns) == 1:
        return prediction
    part = slice(step, step + 1)
    return replace(
        prediction,
        stamps_ns=prediction.stamps_ns[part],
        frames=None if prediction.frames is None else prediction.frames[part],
        state=None if prediction.state is None else prediction.state[part],
        unsure=None if prediction.unsure is None else prediction.unsure[part],
    )

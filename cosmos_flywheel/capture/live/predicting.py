# SPDX-License-Identifier: Apache-2.0
"""Ticks → predictions, on a thread of their own: a slow engine never holds up the messages.

The queue holds one tick that is to be predicted. When a newer one comes before the engine is
free, the older is shown to the engine but nothing is asked about it. A level that cannot keep up,
raises or hangs is left for the next lower one of the ladder.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cosmos_flywheel.bags.wire import WireTypes
from cosmos_flywheel.capture.grounding import Probing
from cosmos_flywheel.capture.hindsight import Hindsight
from cosmos_flywheel.capture.live.feed import Feed, Heard
from cosmos_flywheel.capture.live.plan import Plan
from cosmos_flywheel.capture.model import Judge
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import FlywheelError
from cosmos_flywheel.core.grounding import Index, measure
from cosmos_flywheel.core.ladder import Ladder
from cosmos_flywheel.core.timeline import NS, Tick
from cosmos_flywheel.core.types import Prediction

HUNG_S = 5.0
"""An engine that takes longer for one tick is taken for hung."""
CLOSING_S = 2.0
"""A worker may finish its tick for so long when all ends: native code must not be cut off."""
COVERED_S = 10.0
"""The share of robot time covered by predictions is that of so long."""
PROBE_S = 2.0
"""Where there is time to spare, the engine is asked with wrong actions so often."""
SPARE = 0.8
"""Share of the time between two predictions that such asking, and the predictions, may take."""
LOOKAHEAD, HINDSIGHT = 'lookahead', 'hindsight'
MODES = (HINDSIGHT, LOOKAHEAD)


@dataclass(frozen=True, slots=True)
class Foretold:
    """What came of one tick."""

    predictions: tuple[Prediction, ...]
    engine_sha256: str
    seconds: float
    """Wall time that the engine took."""
    stride: int
    """Ticks since the tick before of which predictions were asked."""


@dataclass(slots=True)
class _Work:
    """A worker's engine and what waits for it."""

    hindsight: Hindsight
    sha256: str
    waiting: deque[Tick] = field(default_factory=deque)
    begun_s: float | None = None
    """When the tick in hand was begun; None while it waits."""
    spent_s: float = 0.0
    """What ticks took, since the last that was asked about, that were only shown."""
    newest: tuple[Tick, tuple[Prediction | None, ...]] | None = None
    """The newest tick, if it was foretold in hindsight and is not yet probed; by horizon."""
    is_over: bool = False


class Predicting:
    """Feed it messages; predictions come by a callback, from the worker's thread.

    Args:
        robot: which topics mean what.
        judges: by level, in the ladder's order.
        types: what deserializes.
        tell: called with what came of each tick.
        mode: HINDSIGHT or LOOKAHEAD.
        hung_s: how long an engine may take for one tick.

    Raises:
        ConfigError: a model is of another robot.

    """

    def __init__(
        self,
        robot: Robot,
        judges: Mapping[str, Judge],
        types: WireTypes,
        tell: Callable[[Foretold], None],
        *,
        mode: str = HINDSIGHT,
        hung_s: float = HUNG_S,
    ) -> None:
        self._judges = dict(judges)
        self.mode = mode
        self.ladder = Ladder(list(judges), 1 / robot.clock.hz)
        self.feed = Feed(robot, self._judges[self.ladder.level], types)
        for judge in judges.values():
            judge.check_robot(robot)
        self.problem = ''
        """What was wrong with the engine last, in words."""
        self.changed = ''
        """Why the level changed last."""
        self.skipped = 0
        """Ticks of which nothing was asked because a newer one had come."""
        self.grounding: Mapping[str, Index] = {}
        """By channel, how far predictions of late rest on actions; the calibration's decides."""
        self._tell = tell
        self._hung_s = hung_s
        self._plan: Plan | None = None
        self._lock = threading.Condition()
        self._work: _Work | None = None
        self._thread: threading.Thread | None = None
        self._beginnings = 0
        self._period_ns = round(NS / robot.clock.hz)
        self._leaving = ''
        """Why the level is to be left, said by the worker; the feed is the caller's."""
        self._asked: deque[bool] = deque(maxlen=max(1, round(COVERED_S * robot.clock.hz)))
        self._since = 0

    @property
    def coverage(self) -> float:
        """Share of the last ticks whose predictions were finished, 0 … 1; NaN before any."""
        asked = list(self._asked)
        return sum(asked) / len(asked) if asked else float('nan')

    @property
    def backlog(self) -> int:
        """Ticks that wait for the engine."""
        return len(self._work.waiting) if self._work else 0

    @property
    def is_busy(self) -> bool:
        """Whether the engine has a tick in hand."""
        return self._work is not None and self._work.begun_s is not None

    def wait(self, seconds: float) -> None:
        """Until no tick waits and none is in hand, but no longer than this."""
        with self._lock:
            self._lock.wait_for(lambda: not (self.backlog or self.is_busy), seconds)

    def take(self, heard: Heard) -> None:
        """One message in.

        Raises:
            ConfigError: the camera is not the one that the model was fitted to.

        """
        self._change_if_due()
        ticks = self.feed.take(heard)
        self.feed.take_losses()  # the monitor tells of them
        if self.feed.beginnings != self._beginnings:
            self._begin_work()
        if ticks:
            with self._lock:
                assert self._work is not None
                self._work.waiting.extend(ticks)
                self._lock.notify_all()

    def plan(self, plan: Plan) -> None:
        """What the robot is going to do, from now on."""
        self._plan = plan

    def begin_anew(self) -> None:
        """Let go of the past: the scene was changed by hand."""
        self.feed.begin_anew()
        self._begin_work()

    def look(self, now_s: float | None = None) -> None:
        """Leave an engine that hangs; call it now and then. `now_s` is of time.monotonic."""
        now_s = time.monotonic() if now_s is None else now_s
        with self._lock:
            work = self._work
            if work is not None and work.begun_s is not None:
                taken_s = now_s - work.begun_s
                if taken_s >= self._hung_s:
                    self._leave(work, f'{self.ladder.level} hung for {taken_s:.1f} s')
        self._change_if_due()

    def close(self) -> None:
        """End the worker and wait for it; one that hangs is left behind."""
        thread = self._thread
        self._end_work()
        if thread is not None:
            thread.join(CLOSING_S)

    def _begin_work(self) -> None:
        self._end_work()
        self._beginnings = self.feed.beginnings
        watcher = self.feed.watcher
        if watcher is None:
            return
        self.grounding = {}
        if self.mode == HINDSIGHT and watcher.engine.spec.follows_actions:
            every = max(1, round(PROBE_S * NS / self._period_ns))
            watcher.hindsight = Probing(self.feed.robot, watcher.engine, every)
        self._work = _Work(watcher.hindsight, watcher.engine.spec.sha256)
        self._since = 0
        self._thread = threading.Thread(target=self._run, args=(self._work,), daemon=True)
        self._thread.start()

    def _end_work(self) -> None:
        """Let go of the worker, and end its engine's session: what it asks elsewhere stops."""
        with self._lock:
            work, self._work = self._work, None
            if work is not None:
                work.is_over = True
                work.waiting.clear()
            self._lock.notify_all()
        if work is None:
            return
        try:
            work.hindsight.close()
        except Exception as error:  # as in `_run`
            self.problem = f'{type(error).__name__}: {error}'

    def _run(self, work: _Work) -> None:
        """The worker: until its work is over."""
        while True:
            with self._lock:
                self._lock.wait_for(lambda: work.is_over or work.waiting)
                if work.is_over:
                    return
                ticks = list(work.waiting)
                work.waiting.clear()
                work.begun_s = begun_s = time.monotonic()
            found: list[Prediction] = []
            problem, asked = '', 0
            try:
                asked, found = self._foretell(work, ticks)
            except FlywheelError as error:
                problem = str(error)
            except Exception as error:  # an engine is other people's code: it may raise anything
                problem = f'{type(error).__name__}: {error}'
            with self._lock:
                if work.is_over:
                    return
                work.begun_s = None
                if problem:
                    self._leave(work, f'{self.ladder.level}: {problem}')
                    return
                seconds = time.monotonic() - begun_s
                self._note(work, found, seconds, len(ticks), asked)
                if self._has_spare(work, seconds):
                    work.begun_s = time.monotonic()
                self._lock.notify_all()
            if work.begun_s is not None:
                self._probe(work)

    def _foretell(self, work: _Work, ticks: Sequence[Tick]) -> tuple[int, list[Prediction]]:
        """How many of the ticks were to be asked about, and what came of the last of these."""
        asked = work.hindsight.asked(ticks, ahead=self.mode == LOOKAHEAD)
        newest = asked[-1] if asked else len(ticks)
        found: list[Prediction] = []
        for index, tick in enumerate(ticks):
            if index == newest:
                found = self._ask(work, tick)
            else:
                work.hindsight.observe(tick)
                work.newest = None
        return len(asked), found

    def _ask(self, work: _Work, tick: Tick) -> list[Prediction]:
        if self.mode == HINDSIGHT:
            predictions = work.hindsight.foretell(tick)
            work.newest = tick, predictions
            return [p for p in predictions if p is not None]
        work.hindsight.observe(tick)
        ahead, plan = max(work.hindsight.horizons), self._plan
        planned = plan.chunk(tick.stamp_ns, self._period_ns, ahead) if plan else None
        return [] if planned is None else [work.hindsight.plan(tick, planned)]

    def _has_spare(self, work: _Work, seconds: float) -> bool:
        """Whether a probe, which takes some times as long, would be over before the next tick."""
        hindsight, spare_s = work.hindsight, SPARE * work.hindsight.stride.seconds
        if not isinstance(hindsight, Probing):
            return False
        is_due = hindsight.is_due and work.newest is not None
        is_free = not (work.is_over or work.waiting)
        return is_due and is_free and (1 + hindsight.asks) * seconds <= spare_s

    def _probe(self, work: _Work) -> None:
        """Ask the engine what it would have foretold by wrong actions; the lock is not held."""
        assert isinstance(work.hindsight, Probing)
        assert work.newest is not None
        problem = ''
        try:
            work.hindsight.compare(*work.newest)
            found = measure([work.hindsight.probed], NS / self._period_ns)
        except Exception as error:  # as above
            problem = f'{self.ladder.level}: {type(error).__name__}: {error}'
        with self._lock:
            work.newest = work.begun_s = None
            if work.is_over:
                return
            if problem:
                self._leave(work, problem)
            else:
                self.grounding = found
            self._lock.notify_all()

    def _note(
        self, work: _Work, found: list[Prediction], seconds: float, ticks: int, asked: int
    ) -> None:
        """Pass on what came of these ticks; the lock is held."""
        self._since += ticks
        if not asked:
            work.spent_s += seconds
            return
        self.skipped += asked - 1
        self._asked.extend([False] * (asked - 1) + [bool(found)])
        if found:
            self._tell(Foretold(tuple(found), work.sha256, seconds, self._since))
            self._since = 0
        level = self.ladder.level
        cost_s, work.spent_s = seconds + work.spent_s, 0.0
        if self.ladder.note(cost_s, time.monotonic(), work.hindsight.stride.ticks):
            slower = self.ladder.levels.index(level) < self.ladder.levels.index(self.ladder.level)
            self._leaving = f'{level} cannot keep up' if slower else f'{level} has rested'
            work.is_over = True

    def _leave(self, work: _Work, problem: str) -> None:
        """The level failed; the lock is held."""
        self.problem = problem
        self.ladder.fail(time.monotonic())
        self._leaving = problem
        work.is_over = True

    def _change_if_due(self) -> None:
        with self._lock:
            why, self._leaving = self._leaving, ''
        if why:
            self.changed = why
            self.feed.change_level(self._judges[self.ladder.level])
            self._begin_work()

# SPDX-License-Identifier: Apache-2.0
"""Stamped pictures, states and commands, in the order they arrive → ticks of one clock.

The rule: a tick is a picture of the primary camera, thinned to the model's rate; at a tick every
other stream counts with its newest value stamped at or before it (sample and hold, never
interpolated, never read ahead), unless that value is older than `max_age_ns`. A tick closes as
soon as no stream can change it any more: each has passed it, or one is `lateness_ns` beyond it.
Only header stamps rule; arrival times are never looked at. Where the primary camera is silent,
ticks go on at the model's period without a picture; a robot without a camera ticks with its
state, or with its commands.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from cosmos_flywheel.core.types import Picture, Vector

NS = 1_000_000_000
Value = np.ndarray[Any, Any]
"""A picture or a vector."""
EARLIEST_PERIODS = 0.75
"""A picture so long after the last tick is due: 30 Hz thinned to 10 Hz is every third picture."""
SILENCE_PERIODS = 2.5
"""After this many model periods without a primary picture, ticks go on without one."""
MAX_BLIND_NS = 5 * NS
"""At most this much silence at once is filled with ticks: a clock may jump by years."""
RESET_NS = NS
"""A stream that steps back further than this has begun anew (bag loop, simulator reset)."""


@dataclass(frozen=True, slots=True)
class Tick:
    """What was known at one instant of the model's clock."""

    stamp_ns: int
    picture: Picture | None
    """Of the primary camera, stamped at the tick itself; None at a blind tick."""
    pictures: dict[str, Picture]
    """By camera, others than the primary one held."""
    state: Vector
    action: Vector
    segment: int
    """Counts the times that the clock began anew; nothing may be carried over between segments."""
    seen: dict[str, list[Picture]] = field(default_factory=dict)
    """By camera: every picture since the last tick, also those that fall on no tick."""
    arrived: dict[str, list[int]] = field(default_factory=dict)
    """By topic: the stamps of all messages noted since the last tick."""


@dataclass(slots=True)
class _Stream:
    """The recent values of one source."""

    values: deque[tuple[int, Value]] = field(default_factory=deque)
    newest_ns: int | None = None

    def push(self, stamp_ns: int, value: Value) -> None:
        self.values.append((stamp_ns, value))
        self.newest_ns = stamp_ns

    def at(self, stamp_ns: int, max_age_ns: int) -> Value | None:
        """The newest value at or before the stamp; older ones are dropped for good."""
        while len(self.values) > 1 and self.values[1][0] <= stamp_ns:
            self.values.popleft()
        if not self.values or self.values[0][0] > stamp_ns:
            return None
        held_ns, value = self.values[0]
        return value if stamp_ns - held_ns <= max_age_ns else None

    def clear(self) -> None:
        self.values.clear()
        self.newest_ns = None


@dataclass(slots=True)
class Losses:
    """What one stream did not get through."""

    out_of_order: int = 0
    resets: int = 0


class Timeline:
    """Joins the streams of one robot; push in arrival order, take the ticks that close.

    Args:
        cameras: camera names, the primary one first; may be empty.
        state: (source name, width) pairs whose values are laid side by side as the state.
        action: the same for commands.
        clock_hz: rate of the model's clock.
        pacer: the source whose stamps are ticks; by default the first one.
        max_age_ns: how old a held value may be.
        lateness_ns: how much later than its stamp a message may come and still count.

    """

    def __init__(
        self,
        *,
        cameras: Iterable[str],
        state: Iterable[tuple[str, int]],
        action: Iterable[tuple[str, int]],
        clock_hz: float,
        pacer: str | None = None,
        max_age_ns: int = NS // 2,
        lateness_ns: int = NS // 5,
    ) -> None:
        self.cameras = tuple(cameras)
        self.state = tuple(state)
        self.action = tuple(action)
        self.period_ns = round(NS / clock_hz)
        self.max_age_ns = max_age_ns
        self.lateness_ns = lateness_ns
        self._early_ns = round(EARLIEST_PERIODS * self.period_ns)
        self._silence_ns = max(round(SILENCE_PERIODS * self.period_ns), lateness_ns)
        sources = [*self.cameras, *(name for name, _ in (*self.state, *self.action))]
        if not sources:
            raise ValueError('a timeline needs at least one camera, state or action source')
        self._streams = {name: _Stream() for name in sources}
        self.losses = {name: Losses() for name in sources}
        self._pacer = pacer or sources[0]
        self._waiting: deque[int] = deque()
        self._noted: list[tuple[int, str]] = []
        self._pictures: list[tuple[int, str, Picture]] = []
        self._ticked = False
        self._last_ns = 0
        self._paced_ns = 0
        self._newest_ns = 0
        self._started = False
        self.segment = 0

    def push(self, source: str, stamp_ns: int, value: Value) -> list[Tick]:
        """Take one value in; returns the ticks that it closes, oldest first."""
        stream = self._streams[source]
        closed: list[Tick] = []
        if stream.newest_ns is not None and stamp_ns <= stream.newest_ns:
            if stream.newest_ns - stamp_ns < RESET_NS:
                self.losses[source].out_of_order += 1
                return []
            self.losses[source].resets += 1
            closed = self._begin_anew(stamp_ns)
        stream.push(stamp_ns, value)
        if source in self.cameras:
            self._pictures.append((stamp_ns, source, cast('Picture', value)))
        self._pace(source, stamp_ns)
        return closed + self._close()

    def note(self, topic: str, stamp_ns: int) -> None:
        """A message of a watched topic came; the tick that covers its stamp will list it."""
        self._noted.append((stamp_ns, topic))

    def flush(self) -> list[Tick]:
        """Close whatever waits, as at the end of a recording."""
        ticks = [self._tick(stamp_ns) for stamp_ns in self._waiting]
        self._waiting.clear()
        return ticks

    def _begin_anew(self, stamp_ns: int) -> list[Tick]:
        """Forget everything but what was noted of the message that stepped back to this stamp."""
        noted = [n for n in self._noted if n[0] <= stamp_ns]
        self._noted = [n for n in self._noted if n[0] > stamp_ns]
        closed = self.flush()
        for stream in self._streams.values():
            stream.clear()
        self._noted = noted
        self._pictures.clear()
        self._started = self._ticked = False
        self.segment += 1
        return closed

    def _pace(self, source: str, stamp_ns: int) -> None:
        """Add the ticks that this message decides: its own, and those of a silence before."""
        if not self._started:
            self._started = True
            self._newest_ns = self._last_ns = stamp_ns
        self._newest_ns = max(self._newest_ns, stamp_ns)
        if not self._ticked:
            self._last_ns = self._paced_ns = min(self._last_ns, stamp_ns)
        if source == self._pacer:
            self._pace_blind(stamp_ns)
            if not self._ticked or stamp_ns - self._last_ns >= self._early_ns:
                self._waiting.append(stamp_ns)
                self._last_ns = stamp_ns
                self._ticked = True
            self._paced_ns = stamp_ns
        self._pace_blind(self._newest_ns - self.lateness_ns)

    def _pace_blind(self, until_ns: int) -> None:
        """Add ticks without a picture: the pacing stream is known to be silent until then."""
        if until_ns - self._paced_ns <= self._silence_ns:
            return
        due = range(self._last_ns + self.period_ns, until_ns - self._early_ns + 1, self.period_ns)
        if due:
            self._waiting.extend(due[: MAX_BLIND_NS // self.period_ns])
            self._last_ns = due[-1]
            self._ticked = True

    def _close(self) -> list[Tick]:
        ticks = []
        while self._waiting and self._is_settled(self._waiting[0]):
            ticks.append(self._tick(self._waiting.popleft()))
        return ticks

    def _is_settled(self, stamp_ns: int) -> bool:
        if self._newest_ns >= stamp_ns + self.lateness_ns:
            return True
        return all(
            s.newest_ns is not None and s.newest_ns >= stamp_ns for s in self._streams.values()
        )

    def _tick(self, stamp_ns: int) -> Tick:
        pictures: dict[str, Picture] = {}
        for camera in self.cameras:
            max_age_ns = 0 if camera == self._pacer else self.max_age_ns
            picture = self._streams[camera].at(stamp_ns, max_age_ns)
            if picture is not None:
                pictures[camera] = picture
        primary = pictures.get(self._pacer)
        return Tick(
            stamp_ns,
            primary,
            pictures,
            self._vector(self.state, stamp_ns),
            self._vector(self.action, stamp_ns),
            self.segment,
            self._take_seen(stamp_ns),
            self._take_arrived(stamp_ns),
        )

    def _take_seen(self, stamp_ns: int) -> dict[str, list[Picture]]:
        seen: dict[str, list[Picture]] = {}
        for at_ns, camera, picture in self._pictures:
            if at_ns <= stamp_ns:
                seen.setdefault(camera, []).append(picture)
        self._pictures = [p for p in self._pictures if p[0] > stamp_ns]
        return seen

    def _take_arrived(self, stamp_ns: int) -> dict[str, list[int]]:
        arrived: dict[str, list[int]] = {}
        for at_ns, topic in self._noted:
            if at_ns <= stamp_ns:
                arrived.setdefault(topic, []).append(at_ns)
        self._noted = [n for n in self._noted if n[0] > stamp_ns]
        return arrived

    def _vector(self, sources: tuple[tuple[str, int], ...], stamp_ns: int) -> Vector:
        """Lay the held values of several sources side by side; NaN where none is fresh."""
        parts = []
        for name, width in sources:
            value = self._streams[name].at(stamp_ns, self.max_age_ns)
            parts.append(np.full(width, np.nan, np.float32) if value is None else value)
        return np.concatenate(parts, dtype=np.float32) if parts else np.empty(0, np.float32)

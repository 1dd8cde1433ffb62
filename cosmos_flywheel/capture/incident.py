# SPDX-License-Identifier: Apache-2.0
"""Scores and trigger firings, tick by tick → incidents: one window each, every cause in it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import AnomalyScore, ChannelScore


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """When a capture opens and closes, and what it keeps around the alarm."""

    pre_roll_s: float = 3.0
    """Kept before the first alarm."""
    post_roll_s: float = 2.0
    """Kept after the last alarm has ended; an alarm within it belongs to the same incident."""
    clear_share: float = 0.8
    """An alarm ends only below this share of its threshold …"""
    clear_s: float = 0.5
    """… and only if it stays below for so long."""
    max_s: float = 60.0
    """A capture is closed after so long even if the alarm goes on."""

    @property
    def longest_s(self) -> float:
        """No capture is longer than this."""
        return self.pre_roll_s + self.max_s + self.post_roll_s + 1


@dataclass(frozen=True, slots=True)
class Cause:
    """One channel's or trigger's part in an incident."""

    name: str
    """A channel's name, or `trigger:NAME`."""
    onset_ns: int
    peak: float
    """Highest score; NaN for a trigger."""
    threshold: float
    """As it stood at the onset; NaN for a trigger."""
    guaranteed: bool
    detail: str
    """What was most surprising, at the peak."""
    alarms: tuple[tuple[int, int], ...]
    """Intervals in alarm, (start_ns, end_ns), in order."""


@dataclass(frozen=True, slots=True)
class Incident:
    """A stretch worth keeping."""

    onset_ns: int
    """When the first alarm was raised."""
    start_ns: int
    end_ns: int
    causes: tuple[Cause, ...]
    """In the order of their onsets."""
    cut: bool
    """Whether it was closed by its greatest length, the alarm still on."""


@dataclass(slots=True)
class _OpenCause:
    name: str
    onset_ns: int
    threshold: float
    guaranteed: bool
    peak: float = math.nan
    detail: str = ''
    alarms: list[list[int]] = field(default_factory=list)

    def close(self) -> Cause:
        intervals = tuple((a, b) for a, b in self.alarms)
        return Cause(
            self.name,
            self.onset_ns,
            self.peak,
            self.threshold,
            self.guaranteed,
            self.detail,
            intervals,
        )


@dataclass(slots=True)
class _Alarm:
    """The hysteresis of one channel."""

    on: bool = False
    last_high_ns: int = 0

    def update(self, score: ChannelScore, stamp_ns: int, settings: CaptureSettings) -> bool:
        """Whether the alarm is on after this score."""
        if score.alarm or (self.on and score.score > settings.clear_share * score.threshold):
            self.last_high_ns = stamp_ns
        if score.alarm:
            self.on = True
        elif stamp_ns - self.last_high_ns > settings.clear_s * NS:
            self.on = False
        return self.on


class IncidentTracker:
    """The alarm state machine; one per recording or live session, fed in the order of time."""

    def __init__(self, settings: CaptureSettings) -> None:
        self._settings = settings
        self._alarms: dict[str, _Alarm] = {}
        self._causes: dict[str, _OpenCause] = {}
        self._onset_ns: int | None = None
        self._begin_ns: int | None = None
        self._now_ns = 0
        self._last_on_ns = 0
        self._muted: dict[str, int] = {}
        """What a cut closed while it stood, and when that was last seen: a channel until its
        alarm ends, a trigger until it pauses."""

    @property
    def is_open(self) -> bool:
        """Whether an incident is being captured."""
        return self._onset_ns is not None

    def observe(self, score: AnomalyScore) -> Incident | None:
        """Take the scores of one tick; returns an incident if it closes with this tick."""
        now_ns = self._now_ns = score.stamp_ns
        if self._begin_ns is None:
            self._begin_ns = now_ns
        for channel in score.channels:
            alarm = self._alarms.setdefault(channel.name, _Alarm())
            if not alarm.update(channel, now_ns, self._settings):
                self._muted.pop(channel.name, None)
            elif channel.name not in self._muted:
                self._keep(channel, now_ns)
        return self._close_if_over(now_ns)

    def fire(self, name: str, stamp_ns: int, detail: str) -> None:
        """A trigger fired, or still holds, at this instant."""
        name = f'trigger:{name}'
        if self._still_muted(name, stamp_ns):
            return
        cause = self._cause(name, stamp_ns, math.nan, guaranteed=False)
        cause.detail = cause.detail or detail
        self._extend(cause, stamp_ns)

    def flush(self) -> Incident | None:
        """Close what is open, as at the end of a recording."""
        if not self.is_open:
            return None
        post_ns = round(self._settings.post_roll_s * NS)
        heard_ns = max(self._now_ns, self._last_on_ns)
        return self._close(min(self._last_on_ns + post_ns, heard_ns + 1), cut=False)

    def begin_anew(self) -> Incident | None:
        """The clock began anew: close what is open and forget every alarm."""
        incident = self.flush()
        self._alarms.clear()
        self._muted.clear()
        self._begin_ns = None
        return incident

    def _keep(self, channel: ChannelScore, now_ns: int) -> None:
        cause = self._cause(channel.name, now_ns, channel.threshold, channel.guaranteed)
        if not channel.score <= cause.peak:  # also when the peak is still NaN
            cause.peak, cause.detail = channel.score, channel.detail
        self._extend(cause, now_ns)

    def _cause(self, name: str, now_ns: int, threshold: float, guaranteed: bool) -> _OpenCause:
        if self._onset_ns is None:
            self._onset_ns = self._last_on_ns = now_ns
        self._onset_ns = min(self._onset_ns, now_ns)
        return self._causes.setdefault(name, _OpenCause(name, now_ns, threshold, guaranteed))

    def _extend(self, cause: _OpenCause, now_ns: int) -> None:
        """Prolong the cause's last interval, or begin another after a pause."""
        gap_ns = round(self._settings.clear_s * NS)
        if cause.alarms and now_ns - cause.alarms[-1][1] <= gap_ns:
            cause.alarms[-1][1] = max(now_ns, cause.alarms[-1][1])
        else:
            cause.alarms.append([now_ns, now_ns])
        self._last_on_ns = max(now_ns, self._last_on_ns)

    def _still_muted(self, name: str, now_ns: int) -> bool:
        """Whether this trigger still is what a cut closed; a pause makes it something new."""
        if name not in self._muted:
            return False
        if now_ns - self._muted[name] > self._settings.clear_s * NS:
            del self._muted[name]
            return False
        self._muted[name] = now_ns
        return True

    def _close_if_over(self, now_ns: int) -> Incident | None:
        if self._onset_ns is None:
            return None
        if now_ns - self._last_on_ns >= self._settings.post_roll_s * NS:
            post_ns = round(self._settings.post_roll_s * NS)
            return self._close(self._last_on_ns + post_ns, cut=False)
        if now_ns - self._onset_ns >= self._settings.max_s * NS:
            gap_ns = self._settings.clear_s * NS
            standing = {
                name: now_ns
                for name, cause in self._causes.items()
                if now_ns - cause.alarms[-1][1] <= gap_ns
            }
            self._muted |= standing
            return self._close(now_ns, cut=bool(standing))
        return None

    def _close(self, end_ns: int, *, cut: bool) -> Incident:
        assert self._onset_ns is not None
        pre_ns = round(self._settings.pre_roll_s * NS)
        begin_ns = self._onset_ns if self._begin_ns is None else self._begin_ns
        ordered = sorted(self._causes.values(), key=lambda c: (c.onset_ns, c.name))
        incident = Incident(
            self._onset_ns,
            max(begin_ns, self._onset_ns - pre_ns),
            end_ns,
            tuple(c.close() for c in ordered),
            cut,
        )
        self._causes, self._onset_ns = {}, None
        return incident

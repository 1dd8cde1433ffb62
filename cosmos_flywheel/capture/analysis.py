# SPDX-License-Identifier: Apache-2.0
"""One recorded bag, watched from end to end → incidents with evidence, and a trace of scores."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cosmos_flywheel.bags.picture import decode_picture
from cosmos_flywheel.bags.source import BagSource, RawMessage
from cosmos_flywheel.capture.incident import CaptureSettings, Incident, IncidentTracker
from cosmos_flywheel.capture.model import Judge
from cosmos_flywheel.capture.report.result import BagTrace, ChannelTrace, StripColumn
from cosmos_flywheel.capture.triggers.trigger import Firing, Triggers
from cosmos_flywheel.capture.watch import Loss, Watcher
from cosmos_flywheel.core.channels import Channel, Moment
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import BagError, ConfigError, PictureError
from cosmos_flywheel.core.scoring import Scorer, running_norms
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import AnomalyScore

STRIP_OFFSETS_S = (-0.4, 0.0, 0.3, 0.8, 1.5)
"""Instants of an episode's strip, from its onset."""
STRIP_MEMORY_S = 0.7
FIRST_PICTURES = 100
"""So many pictures are looked at to learn a camera's size before giving up."""
Progress = Callable[[float], None]
"""Told how many seconds of the bag are done."""


@dataclass(frozen=True, slots=True)
class Capture:
    """One incident with everything that its episode will hold, but for the clip."""

    incident: Incident
    log_offset_ns: int
    """Header clock minus recorder's clock: what turns the window into recording times."""
    strip: tuple[StripColumn, ...]
    """Times are header stamps in seconds from the onset."""
    peaks: dict[str, tuple[float, float]]
    """Highest score and its threshold by channel, over the window so far known."""
    losses: tuple[Loss, ...]
    firings: tuple[Firing, ...]


@dataclass(slots=True)
class _Trace:
    """Scores of every tick so far."""

    stamps_ns: list[int] = field(default_factory=list)
    log_ns: list[int] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)
    thresholds: list[list[float]] = field(default_factory=list)


class Analysis:
    """Watches one bag. Iterate `run` to its end, then ask for the trace.

    Args:
        source: an open bag.
        robot: which of its topics mean what.
        judge: engine and calibration.
        settings: when a capture opens and closes.
        triggers: further reasons to capture.

    Raises:
        ConfigError: none of the robot's topics is there, or the calibration does not fit.

    """

    def __init__(
        self,
        source: BagSource,
        robot: Robot,
        judge: Judge,
        settings: CaptureSettings,
        triggers: Triggers | None = None,
    ) -> None:
        judge.check_robot(robot)
        self.source = source
        self.robot = robot
        self.settings = settings
        self.triggers = triggers
        topics = {name for name, t in source.topics.items() if t.count and t.readable}
        self.engine = judge.make_engine(first_size(source, robot))
        self.watcher = Watcher(robot, self.engine, topics)
        channels = self.watcher.channels
        norms = (
            running_norms(channels, robot.clock.hz)
            if judge.calibration is None
            else judge.calibration.norms(channels)
        )
        self.calibration_id = judge.calibration_id
        self.scorer = Scorer(
            channels, norms, calibration_id=judge.calibration_id, level=self.engine.spec.level
        )
        self._tracker = IncidentTracker(settings)
        self._trace = _Trace()
        self._alarms: dict[str, list[tuple[float, float]]] = {}
        self._strip = _StripMaker()
        self._segment = 0
        self._log_offset_ns = 0
        self._losses: deque[Loss] = deque()
        self._firings: deque[Firing] = deque()
        self._faults: list[str] = []
        self.loss_counts: Counter[tuple[str, str]] = Counter()
        self.loss_examples: dict[tuple[str, str], str] = {}

    def run(self, progress: Progress | None = None) -> Iterator[Capture]:
        """Watch the whole bag; yields captures as they close."""
        wanted = set(self.watcher.topics)
        if self.triggers is not None:
            wanted |= set(self.triggers.topics) & set(self.source.topics)
        told_ns = 0
        for raw in self.source.messages(wanted):
            for moment in self._take(raw):
                yield from self._judge(moment)
            if progress is not None and raw.log_ns - told_ns >= NS:
                told_ns = raw.log_ns
                progress((raw.log_ns - self.source.start_ns) / NS)
        for moment in self.watcher.finish():
            yield from self._judge(moment)
        yield from self._captured(self._tracker.flush())

    def moments(self) -> Iterator[Moment]:
        """Watch the whole bag without judging it: what a calibration is made of."""
        for raw in self.source.messages(set(self.watcher.topics)):
            yield from self._take(raw)
        yield from self.watcher.finish()

    def trace(self, name: str) -> BagTrace:
        """The scores of all channels along the bag."""
        times_s = (np.array(self._trace.log_ns, np.int64) - self.source.start_ns) / NS
        scores = np.array(self._trace.scores, np.float32).reshape(len(times_s), -1)
        limits = np.array(self._trace.thresholds, np.float32).reshape(len(times_s), -1)
        channels = self.scorer.channels if len(times_s) else ()
        return BagTrace(
            bag=name,
            duration_s=self.source.duration_s,
            times_s=times_s,
            channels=tuple(
                ChannelTrace(
                    c.name, scores[:, i], limits[:, i], alarms=tuple(self._alarms.get(c.name, ()))
                )
                for i, c in enumerate(channels)
            ),
            notes=tuple(self.notes()),
            level=self.engine.spec.level,
            calibration_id=self.calibration_id,
            pictures=self.watcher.pictures,
            predictions=self.watcher.predictions,
        )

    def notes(self) -> Iterator[str]:
        """What a reader of the scores must know about this bag, in sentences."""
        if self.source.damage is not None:
            yield self.source.damage.what
        asked = set() if self.triggers is None else self.triggers.topics
        named = list(dict.fromkeys((*self.robot.topics, *sorted(asked))))
        missing = [t for t in named if t not in self.source.topics]
        if missing:
            yield f'not in this bag: {", ".join(missing)}'
        if not self.watcher.cameras:
            yield 'no camera: the picture channel is silent'
        held = [t for t in named if t in self.source.topics]
        unknown = [t for t in held if not self.source.topics[t].readable]
        if unknown:
            yield f'message type unknown, not looked at: {", ".join(unknown)}'
        yield from self._faults
        for (topic, reason), count in sorted(self.loss_counts.items()):
            example = self.loss_examples[topic, reason]
            yield f'{topic}: {count} × {reason.replace("_", " ")} (first: {example})'

    @property
    def watched_s(self) -> float:
        """Seconds of the bag that channels judged."""
        log_ns = self._trace.log_ns
        return (log_ns[-1] - log_ns[0]) / NS if log_ns else 0.0

    def _take(self, raw: RawMessage) -> list[Moment]:
        try:
            message = self.source.deserialize(raw)
        except BagError as error:
            self._lose(
                [Loss(raw.topic, raw.log_ns + self._log_offset_ns, 'unreadable', str(error))]
            )
            return []
        stamp_ns = self.watcher.stamp_ns(raw.topic, raw.log_ns, message)
        self._observe_triggers(raw.topic, stamp_ns, message)
        moments = self.watcher.take(raw.topic, stamp_ns, message)
        self._lose(self.watcher.take_losses())
        return moments

    def _judge(self, moment: Moment) -> Iterator[Capture]:
        """Score one moment, and let captures open and close."""
        if moment.tick.segment != self._segment:
            self._segment = moment.tick.segment
            yield from self._captured(self._tracker.begin_anew())
            self.scorer.reset()
        stamp_ns = moment.tick.stamp_ns
        log_ns = self.watcher.log_ns(moment)
        self._log_offset_ns = stamp_ns - log_ns
        self._tick_triggers(stamp_ns)
        score = self.scorer.score(moment)
        self._record(score, log_ns)
        incident = self._tracker.observe(score)
        self._strip.see(moment, capturing=self._tracker.is_open or incident is not None)
        yield from self._captured(incident)

    def _record(self, score: AnomalyScore, log_ns: int) -> None:
        trace = self._trace
        trace.stamps_ns.append(score.stamp_ns)
        trace.log_ns.append(log_ns)
        trace.scores.append([c.score for c in score.channels])
        trace.thresholds.append([c.threshold for c in score.channels])

    def _captured(self, incident: Incident | None) -> Iterator[Capture]:
        if incident is None:
            return
        begin_ns, end_ns = incident.start_ns, incident.end_ns
        for cause in incident.causes:
            self._alarms.setdefault(cause.name, []).extend(
                (
                    (a - self._log_offset_ns - self.source.start_ns) / NS,
                    (b - self._log_offset_ns - self.source.start_ns) / NS,
                )
                for a, b in cause.alarms
            )
        yield Capture(
            incident,
            self._log_offset_ns,
            self._strip.take(incident.onset_ns),
            self._peaks(begin_ns, end_ns),
            tuple(x for x in self._losses if begin_ns <= x.stamp_ns < end_ns),
            tuple(f for f in self._firings if begin_ns <= f.stamp_ns < end_ns),
        )

    def _peaks(self, begin_ns: int, end_ns: int) -> dict[str, tuple[float, float]]:
        """Each channel's highest score in a window and the threshold that it was held against."""
        peaks = {}
        stamps_ns = self._trace.stamps_ns
        first = len(stamps_ns)
        while first and begin_ns <= stamps_ns[first - 1]:
            first -= 1
        scores = np.array(self._trace.scores[first:], np.float64)
        limits = np.array(self._trace.thresholds[first:], np.float64)
        for index, channel in enumerate(self.scorer.channels):
            column = scores[:, index] if len(scores) else np.empty(0)
            if len(column) and not np.isnan(column).all():
                at = int(np.nanargmax(column))
                peaks[channel.name] = float(column[at]), float(limits[at, index])
        return peaks

    def _observe_triggers(self, topic: str, stamp_ns: int, message: Any) -> None:
        if self.triggers is None:
            return
        try:
            self._fire(self.triggers.observe(topic, stamp_ns, message))
        except ConfigError as error:
            self._faults.append(str(error))

    def _tick_triggers(self, stamp_ns: int) -> None:
        """Let time pass for the triggers; one that still holds keeps the capture open."""
        if self.triggers is None:
            return
        self._fire(self.triggers.tick(stamp_ns))
        for firing in self.triggers.open:
            if firing.ends_ns is None:  # one that pauses may be in a closed capture already
                self._tracker.fire(firing.name, stamp_ns, firing.detail)

    def _fire(self, firings: list[Firing]) -> None:
        """A firing comes twice: when it begins, and with its end when it is over."""
        for firing in firings:
            if firing.ends_ns is None:
                self._tracker.fire(firing.name, firing.stamp_ns, firing.detail)
            else:
                self._firings = deque(
                    f
                    for f in self._firings
                    if (f.name, f.subject, f.stamp_ns)
                    != (firing.name, firing.subject, firing.stamp_ns)
                )
            self._firings.append(firing)
        self._forget(self._firings)

    def _lose(self, losses: list[Loss]) -> None:
        for loss in losses:
            key = loss.topic, loss.reason
            self.loss_counts[key] += 1
            self.loss_examples.setdefault(key, loss.detail)
        self._losses.extend(losses)
        self._forget(self._losses)

    def _forget(self, events: deque[Any]) -> None:
        """Drop events that no capture can reach any more."""
        settings = self.settings
        keep_ns = (settings.pre_roll_s + settings.max_s + settings.post_roll_s + 1) * NS
        while events and events[-1].stamp_ns - events[0].stamp_ns > keep_ns:
            events.popleft()


class _StripMaker:
    """Keeps the few pictures around an onset that show what went wrong."""

    def __init__(self) -> None:
        self._recent: deque[Moment] = deque()
        self._chosen: list[Moment] = []
        self._capturing = False
        self._onset_ns = 0
        self._targets: list[float] = []

    def see(self, moment: Moment, *, capturing: bool) -> None:
        """Take one tick in; `capturing` while a capture is open."""
        if capturing and not self._capturing:
            self._open(moment)
        elif moment.tick.picture is not None:
            self._choose(moment)
        if moment.tick.picture is not None:
            self._recent.append(moment)
        while self._recent and self._age_s(moment, self._recent[0]) > STRIP_MEMORY_S:
            self._recent.popleft()

    def take(self, onset_ns: int) -> tuple[StripColumn, ...]:
        """The pictures chosen for the capture that closes now."""
        chosen, self._chosen, self._targets = self._chosen, [], []
        self._capturing = False
        return tuple(_column(m, onset_ns) for m in chosen)

    def _open(self, moment: Moment) -> None:
        onset_ns = moment.tick.stamp_ns
        self._onset_ns, self._capturing = onset_ns, True
        before = [
            m for m in self._recent if (m.tick.stamp_ns - onset_ns) / NS <= STRIP_OFFSETS_S[0]
        ]
        if before:
            self._chosen.append(before[-1])
        self._targets = list(STRIP_OFFSETS_S[1:])
        if moment.tick.picture is not None:
            self._choose(moment)

    def _choose(self, moment: Moment) -> None:
        offset_s = (moment.tick.stamp_ns - self._onset_ns) / NS
        if self._targets and offset_s >= self._targets[0] - 1e-3:
            self._chosen.append(moment)
            self._targets = [t for t in self._targets if t > offset_s + 1e-3]

    @staticmethod
    def _age_s(now: Moment, then: Moment) -> float:
        return abs(now.tick.stamp_ns - then.tick.stamp_ns) / NS


def _column(moment: Moment, onset_ns: int) -> StripColumn:
    assert moment.tick.picture is not None
    return StripColumn(
        (moment.tick.stamp_ns - onset_ns) / NS,
        moment.tick.picture,
        moment.predicted,
        moment.residual,
    )


def first_size(source: BagSource, robot: Robot) -> tuple[int, int] | None:
    """(H, W) of the primary camera's first sound picture; None without one."""
    for camera in robot.cameras:
        topic = source.topics.get(camera.topic)
        if topic is None or not topic.count or not topic.readable:
            continue
        for raw, _ in zip(source.messages({camera.topic}), range(FIRST_PICTURES), strict=False):
            try:
                picture = decode_picture(source.deserialize(raw))
            except (BagError, PictureError):
                continue
            return picture.shape[0], picture.shape[1]
    return None


def collect_evidence(analysis: Analysis) -> dict[str, tuple[Channel, np.ndarray[Any, Any]]]:
    """Every channel's evidence along a whole bag: (T, n) float32 by channel name."""
    rows: dict[str, list[np.ndarray[Any, Any]]] = {c.name: [] for c in analysis.scorer.channels}
    segment = 0
    for moment in analysis.moments():
        if moment.tick.segment != segment:
            segment = moment.tick.segment
            analysis.scorer.reset()
        for channel in analysis.scorer.channels:
            rows[channel.name].append(channel.evidence(moment))
    return {
        c.name: (c, np.array(rows[c.name], np.float32).reshape(-1, len(c.elements)))
        for c in analysis.scorer.channels
    }

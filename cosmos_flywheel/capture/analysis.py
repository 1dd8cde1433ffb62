# SPDX-License-Identifier: Apache-2.0
"""One recorded bag, watched from end to end → incidents with evidence, and a trace of scores."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass

import numpy as np

from cosmos_flywheel.bags.clip import latched_before
from cosmos_flywheel.bags.picture import decode_picture
from cosmos_flywheel.bags.source import BagSource, RawMessage
from cosmos_flywheel.capture.focus import Focus, Focused
from cosmos_flywheel.capture.incident import CaptureSettings, Incident, IncidentTracker
from cosmos_flywheel.capture.loss import Loss, LossLog
from cosmos_flywheel.capture.model import Judge, grounding_of
from cosmos_flywheel.capture.report.result import BagTrace, StripColumn
from cosmos_flywheel.capture.strip import StripMaker
from cosmos_flywheel.capture.trace import ScoreLog
from cosmos_flywheel.capture.triggers.trigger import Firing, Triggers
from cosmos_flywheel.capture.triggers.watch import TriggerWatch
from cosmos_flywheel.capture.watch import Watcher
from cosmos_flywheel.core.appearance import APPEARANCE, brightness
from cosmos_flywheel.core.channels import Moment
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import BagError, PictureError
from cosmos_flywheel.core.grounding import known_or_none
from cosmos_flywheel.core.outcome import blind_rules
from cosmos_flywheel.core.prior import Recording
from cosmos_flywheel.core.scoring import Scorer, running_norms
from cosmos_flywheel.core.timeline import NS, Tick
from cosmos_flywheel.core.types import ChannelScore, Vector
from cosmos_flywheel.engines import WorldModel

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
    peaks: dict[str, ChannelScore]
    """Each channel's highest score since the window's start."""
    losses: tuple[Loss, ...]
    firings: tuple[Firing, ...]


class Analysis:
    """Watches one bag. Iterate `run` to its end, then ask for the trace.

    Args:
        source: an open bag.
        robot: which of its topics mean what.
        judge: engine and calibration.
        settings: when a capture opens and closes.
        triggers: further reasons to capture.
        engine: the judge's, where it is made already.
        focus: a part of the bag, which alone is watched; by default all of it.
        only: channels that are listened to; by default all.

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
        *,
        engine: WorldModel | None = None,
        focus: Focus | None = None,
        only: Container[str] | None = None,
    ) -> None:
        judge.check_robot(robot)
        self.source = source
        self.robot = robot
        self.settings = settings
        topics = {name for name, t in source.topics.items() if t.count and t.readable}
        self.engine = engine or judge.make_engine(first_size(source, robot))
        self.watcher = Watcher(robot, self.engine, topics, judge.prior)
        self._focus = focus
        if focus is not None:
            self.watcher.hindsight = Focused(robot, self.engine, focus, self._tick_log_ns)
        channels = [c for c in self.watcher.channels if only is None or c.name in only]
        norms = (
            running_norms(channels, robot.clock.hz)
            if judge.calibration is None
            else judge.calibration.norms(channels)
        )
        self.calibration_id = judge.calibration_id
        self._trust = judge.calibration and judge.calibration.trust
        self.grounding = grounding_of(judge, self.engine)
        self.scorer = Scorer(
            channels,
            norms,
            calibration_id=judge.calibration_id,
            level=self.engine.spec.level,
            action_grounding=self.grounding.value,
        )
        self._tracker = IncidentTracker(settings)
        self._triggers = TriggerWatch(triggers, self._tracker, settings.longest_s)
        self._strip = StripMaker()
        self.losses = LossLog(settings.longest_s)
        self.scores = ScoreLog()
        self._segment = 0
        self._log_offset_ns = 0

    def run(self, progress: Progress | None = None) -> Iterator[Capture]:
        """Watch the whole bag; yields captures as they close."""
        wanted = set(self.watcher.topics) | self._triggers.topics
        told_ns = 0
        for raw in self._messages(wanted):
            for moment in self._take(raw):
                yield from self._judge(moment)
            if progress is not None and raw.log_ns - told_ns >= NS:
                told_ns = raw.log_ns
                progress((raw.log_ns - self.source.start_ns) / NS)
        for moment in self.watcher.finish():
            yield from self._judge(moment)
        if self.scores.stamps_ns:
            self._triggers.finish(self.scores.stamps_ns[-1])
        yield from self._captured(self._tracker.flush())

    def moments(self) -> Iterator[Moment]:
        """Watch the whole bag without judging it: what a calibration is made of."""
        for raw in self.source.messages(set(self.watcher.topics)):
            yield from self._take(raw)
        yield from self.watcher.finish()

    def trace(self, name: str) -> BagTrace:
        """The scores of all channels along the bag."""
        start_ns = self.source.start_ns
        return BagTrace(
            bag=name,
            duration_s=self.source.duration_s,
            times_s=self.scores.times_s(start_ns),
            channels=self.scores.channels(start_ns),
            notes=tuple(self.notes()),
            level=self.engine.spec.level,
            calibration_id=self.calibration_id,
            grounding=self.grounding.in_words(),
            action_grounding=known_or_none(self.grounding.value),
            pictures=self.watcher.pictures,
            predictions=self.watcher.predictions,
            brightness=np.array(self.scores.brightness, np.float32),
        )

    def notes(self) -> Iterator[str]:
        """What a reader of the scores must know about this bag, in sentences."""
        if self.source.damage is not None:
            yield self.source.damage.what
        named = list(dict.fromkeys((*self.robot.topics, *sorted(self._triggers.topics))))
        missing = [t for t in named if t not in self.source.topics]
        if missing:
            yield f'not in this bag: {", ".join(missing)}'
        if not self.watcher.cameras:
            yield 'no camera: the picture channel is silent'
        held = [t for t in named if t in self.source.topics]
        unknown = [t for t in held if not self.source.topics[t].readable]
        if unknown:
            yield f'message type unknown, not looked at: {", ".join(unknown)}'
        yield from filter(None, (self.grounding.muted(c.name) for c in self.scorer.channels))
        if self._trust is not None:
            yield from filter(None, (self._trust.muted(c.name) for c in self.scorer.channels))
        yield from blind_rules(self.robot.outcomes, self.watcher.topics)
        yield from self._triggers.notes()
        yield from self.losses.notes()

    def _messages(self, wanted: set[str]) -> Iterator[RawMessage]:
        """Those of the bag, or of the part that is watched, after what a late joiner got."""
        focus = self._focus
        if focus is None:
            yield from self.source.messages(wanted)
            return
        yield from latched_before(
            self.source, focus.read_ns, wanted.difference(self.watcher.watched)
        )
        yield from self.source.messages(wanted, focus.read_ns, focus.stop_ns)

    def _tick_log_ns(self, tick: Tick) -> int:
        return self.watcher.log_ns(Moment(tick))

    def _take(self, raw: RawMessage) -> list[Moment]:
        try:
            message = self.source.deserialize(raw)
        except BagError as error:
            stamp_ns = raw.log_ns + self._log_offset_ns
            self.losses.add([Loss(raw.topic, stamp_ns, 'unreadable', str(error))])
            return []
        stamp_ns = self.watcher.stamp_ns(raw.topic, raw.log_ns, message)
        self._triggers.observe(raw.topic, stamp_ns, message)
        moments = self.watcher.take(raw.topic, stamp_ns, message)
        self.losses.add(self.watcher.take_losses())
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
        self._triggers.tick(stamp_ns)
        score = self.scorer.score(moment)
        self.scores.add(score, log_ns, brightness(moment.tick.picture))
        incident = self._tracker.observe(score)
        self._strip.see(
            moment,
            capturing=self._tracker.is_open or incident is not None,
            show=self.watcher.show,
        )
        yield from self._captured(incident)

    def _captured(self, incident: Incident | None) -> Iterator[Capture]:
        """The closed incident with its evidence."""
        if incident is None:
            return
        offset_ns = self._log_offset_ns
        for cause in incident.causes:
            self.scores.mark(cause.name, [(a - offset_ns, b - offset_ns) for a, b in cause.alarms])
        begin_ns, end_ns = incident.start_ns, incident.end_ns
        yield Capture(
            incident,
            offset_ns,
            self._strip.take(incident.onset_ns),
            self.scores.peaks(begin_ns),
            self.losses.within(begin_ns, end_ns),
            self._triggers.within(begin_ns, end_ns),
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


def collect_evidence(analysis: Analysis) -> tuple[dict[str, Vector], Recording]:
    """Every channel's evidence along a whole bag, (T, n) by channel name, and its ticks.

    Beside the channels stands APPEARANCE, (T, 1).
    """
    channels = analysis.scorer.channels
    rows: dict[str, list[Vector]] = {channel.name: [] for channel in channels}
    light: list[float] = []
    ticks: list[Tick] = []
    segment = 0
    for moment in analysis.moments():
        ticks.append(moment.tick)
        light.append(brightness(moment.tick.picture))
        if moment.tick.segment != segment:
            segment = moment.tick.segment
            analysis.scorer.reset()
        for channel in channels:
            rows[channel.name].append(channel.evidence(moment))
    evidence = {
        c.name: np.array(rows[c.name], np.float32).reshape(-1, len(c.elements)) for c in channels
    }
    evidence[APPEARANCE] = np.array(light, np.float32).reshape(-1, 1)
    robot = analysis.robot
    recording = Recording(
        np.array([t.stamp_ns for t in ticks], np.int64),
        np.array([t.state for t in ticks], np.float32).reshape(-1, len(robot.state_names)),
        np.array([t.action for t in ticks], np.float32).reshape(-1, len(robot.action_names)),
    )
    return evidence, recording

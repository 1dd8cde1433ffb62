# SPDX-License-Identifier: Apache-2.0
"""A robot's messages and its scores → captures, each with the seconds before and after it.

What opens and closes a capture are the same objects as in a harvest. A capture is handed out when
the last message of its window has come; the ring must reach back as far as one can be long.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import asdict, dataclass, field, replace

from cosmos_flywheel.bags.snapshot import Snapshot
from cosmos_flywheel.bags.stamp import header_stamp_ns
from cosmos_flywheel.bags.wire import WireTypes
from cosmos_flywheel.capture.analysis import Capture
from cosmos_flywheel.capture.episode import Subject
from cosmos_flywheel.capture.incident import CaptureSettings, Cause, Incident, IncidentTracker
from cosmos_flywheel.capture.live.evidence import strip_of
from cosmos_flywheel.capture.loss import Loss
from cosmos_flywheel.capture.report.result import BagTrace
from cosmos_flywheel.capture.trace import ScoreLog
from cosmos_flywheel.capture.triggers.trigger import Triggers
from cosmos_flywheel.capture.triggers.watch import TriggerWatch
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import BagError
from cosmos_flywheel.core.grounding import known_or_none
from cosmos_flywheel.core.lineage import config_hash
from cosmos_flywheel.core.ring import Kept, Ring
from cosmos_flywheel.core.scoring import SCORING_REVISION
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import AnomalyScore
from cosmos_flywheel.store.records import WatchedBag

APART_NS = NS
"""Headers' clock and recorder's are taken for one unless they are further apart."""
SILENT_NS = NS
"""Without a score for so long, captures close by the recorder's clock."""
ASKED = 'trigger:service'
"""Cause of a capture that somebody asked for."""
JUMP_NS = 5 * NS
"""A clock that is told several times a second and moves so far ahead at once has jumped."""
MOST_LOST = 1000
"""Losses of one topic that are counted for one capture."""


@dataclass(frozen=True, slots=True)
class Session:
    """One run of a recorder."""

    id: str
    """64 hex digits; parents of its episodes."""
    name: str
    """What its episodes say they come from."""
    start_ns: int
    """On the recorder's clock."""


@dataclass(frozen=True, slots=True)
class Captured:
    """Everything that an episode is made of; nothing that comes later changes it."""

    subject: Subject
    capture: Capture
    config_hash: str


@dataclass(slots=True)
class _Waiting:
    """An incident whose window's last messages may still come."""

    incident: Incident
    offset_ns: int


@dataclass(slots=True)
class _Gap:
    topic: str
    log_ns: int
    lost: int


@dataclass(slots=True)
class _Engine:
    """What judged last, for the manifest."""

    level: str = 'none'
    calibration_id: str = ''
    sha256: str = ''
    action_grounding: float | None = None


@dataclass(slots=True)
class Recording:
    """Tell it messages, scores and the time; take captures when they are due.

    Args:
        robot: whose topics these are.
        session: this run.
        settings: when a capture opens and closes.
        ring: where messages are kept.
        triggers: further reasons to capture.
        types: what deserializes.

    """

    robot: Robot
    session: Session
    settings: CaptureSettings
    ring: Ring
    types: WireTypes
    triggers: Triggers | None = None
    lost: int = 0
    """Messages that never came, by gaps in their publishers' sequences."""
    captures: int = 0
    _tracker: IncidentTracker = field(init=False)
    _watch: TriggerWatch = field(init=False)
    _scores: deque[tuple[AnomalyScore, int]] = field(default_factory=deque)
    _sequences: dict[tuple[str, bytes], int] = field(default_factory=dict)
    _gaps: deque[_Gap] = field(default_factory=deque)
    _waiting: list[_Waiting] = field(default_factory=list)
    _engine: _Engine = field(default_factory=_Engine)
    _offset_ns: int = 0
    _scored_ns: int = 0
    _told_ns: int = 0
    """The last instant that the tracker was told of."""
    _watched_ns: int = 0
    _heard_ns: int = 0
    """The newest instant on the recorder's clock."""
    _qos: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tracker = IncidentTracker(self.settings)
        self._watch = TriggerWatch(self.triggers, self._tracker, self.settings.longest_s)

    @property
    def trigger_topics(self) -> frozenset[str]:
        """Topics that the triggers ask for, named as in the trigger file."""
        return self._watch.topics

    @property
    def is_open(self) -> bool:
        """Whether a capture is going on."""
        return self._tracker.is_open

    @property
    def waiting(self) -> int:
        """Captures that are closed and whose last messages are waited for."""
        return len(self._waiting)

    @property
    def config_hash(self) -> str:
        """64 hex digits of all that decides what is captured, but for the engine."""
        return config_hash(
            {
                'robot': self.robot.config_hash(),
                'capture': asdict(self.settings),
                'triggers': self.triggers.document if self.triggers else None,
                'calibration': self._engine.calibration_id,
                'engine': self._engine.sha256,
                'scoring_revision': SCORING_REVISION,
                'live': True,
            }
        )

    def watched(self) -> WatchedBag | None:
        """What this session adds to the operating hours so far; None before there is any.

        Its episodes are for who writes them to fill in.
        """
        if not self._watched_ns:
            return None
        return WatchedBag(
            bag_id=self.session.id,
            name=self.session.name,
            config_hash=self.config_hash,
            duration_s=(self._heard_ns - self.session.start_ns) / NS,
            watched_s=self._watched_ns / NS,
            robot=self.robot.name,
            start_ns=self.session.start_ns + self._offset_ns,
        )

    def latch(self, kept: Kept, qos: str) -> None:
        """A latched message that says nothing new: it is for the beginning of clips."""
        self.ring.push(kept, is_latched=True)
        self._qos[kept.topic] = qos

    def take(self, kept: Kept, *, is_latched: bool = False, qos: str = '') -> None:
        """One message, its topic named as in the robot file."""
        self._heard_ns = max(self._heard_ns, kept.log_ns)
        self.ring.push(kept, is_latched=is_latched)
        if qos:
            self._qos[kept.topic] = qos
        self._count_gap(kept)
        if kept.topic not in self._watch.topics:
            return
        try:
            message = self.types.deserialize(kept.topic, kept.msgtype, kept.log_ns, kept.data)
        except BagError:
            return
        stamp_ns = header_stamp_ns(message) or kept.log_ns + self._offset_ns
        self._watch.observe(kept.topic, stamp_ns, message)

    def score(self, score: AnomalyScore, log_ns: int, engine_sha256: str = '') -> None:
        """One score as it came."""
        self._heard_ns = max(self._heard_ns, log_ns)
        step_ns = score.stamp_ns - self._told_ns
        if not -APART_NS <= step_ns <= JUMP_NS:  # a clock jumped, or was guessed wrong
            self._close(self._tracker.begin_anew())  # by the clocks as they were
            self._scores.clear()
        apart_ns = score.stamp_ns - log_ns
        self._offset_ns = apart_ns if abs(apart_ns) > APART_NS else 0
        self._told_ns = score.stamp_ns
        grounding = known_or_none(score.action_grounding)
        self._engine = _Engine(score.level, score.calibration_id, engine_sha256, grounding)
        self._count_hours(score, log_ns)
        self._scored_ns = log_ns
        self._scores.append((score, log_ns))
        while log_ns - self._scores[0][1] > self.settings.longest_s * NS:
            self._scores.popleft()
        self._watch.tick(score.stamp_ns)
        self._close(self._tracker.observe(score))

    def ask(self, detail: str, log_ns: int) -> None:
        """Somebody asks for a capture now: an incident of its own, whatever else goes on."""
        now_ns = log_ns + self._offset_ns
        begin_ns = self.session.start_ns + self._offset_ns
        incident = Incident(
            now_ns,
            max(begin_ns, now_ns - round(self.settings.pre_roll_s * NS)),
            now_ns + round(self.settings.post_roll_s * NS),
            (Cause(ASKED, now_ns, math.nan, math.nan, False, detail, ((now_ns, now_ns),)),),
            cut=False,
        )
        self._close(incident)

    def pass_time(self, log_ns: int) -> None:
        """Time has passed; without scores, triggers and captures go by it."""
        self._heard_ns = max(self._heard_ns, log_ns)
        if log_ns - self._scored_ns < SILENT_NS:
            return
        stamp_ns = self._told_ns = log_ns + self._offset_ns
        self._watch.tick(stamp_ns)
        self._close(self._tracker.observe(AnomalyScore(stamp_ns, (), '', '')))

    def has_jumped(self, log_ns: int) -> bool:
        """Whether the recorder's clock cannot have come here by itself since it was last told.

        Such a session is over: flush it, and begin another.
        """
        step_ns = log_ns - (self._heard_ns or self.session.start_ns)
        return not -APART_NS <= step_ns <= JUMP_NS

    def flush(self) -> list[Captured]:
        """Close what is open, as at the end; windows end with the last that was heard."""
        self._close(self._tracker.flush())
        over, self._waiting = self._waiting, []
        return [self._captured(self._ended(waiting)) for waiting in over]

    def due(self, log_ns: int) -> list[Captured]:
        """The captures whose last message has come by now."""
        over, self._waiting = self._waiting, []
        found = []
        for waiting in over:
            if waiting.incident.end_ns - waiting.offset_ns <= log_ns:
                found.append(self._captured(waiting))
            else:
                self._waiting.append(waiting)
        return found

    def _ended(self, waiting: _Waiting) -> _Waiting:
        """Not beyond what was heard."""
        incident = waiting.incident
        last_ns = max(self._heard_ns + waiting.offset_ns + 1, incident.onset_ns)
        end_ns = min(incident.end_ns, last_ns)
        return _Waiting(replace(incident, end_ns=end_ns), waiting.offset_ns)

    def _close(self, incident: Incident | None) -> None:
        if incident is not None:
            # Time was passed on by the recorder's clock, and a score told of an instant before.
            start_ns = min(incident.start_ns, incident.onset_ns)
            incident = replace(incident, start_ns=start_ns)
            self._waiting.append(_Waiting(incident, self._offset_ns))

    def _captured(self, waiting: _Waiting) -> Captured:
        incident, offset_ns = waiting.incident, waiting.offset_ns
        start_ns, end_ns = incident.start_ns - offset_ns, incident.end_ns - offset_ns
        self.captures += 1
        source = Snapshot(
            self.session.id,
            self.ring.window(start_ns, end_ns),
            self.ring.latched(start_ns),
            self.types,
            self.session.start_ns,
            self._qos,
        )
        log = ScoreLog()
        for score, log_ns in self._alike():
            log.add(score, log_ns)
        for cause in incident.causes:
            log.mark(cause.name, [(a - offset_ns, b - offset_ns) for a, b in cause.alarms])
        capture = Capture(
            incident,
            offset_ns,
            strip_of(source, self.robot, incident.onset_ns, self.types),
            log.peaks(incident.start_ns),
            tuple(self._losses(start_ns, end_ns, offset_ns)),
            self._watch.within(incident.start_ns, incident.end_ns),
        )
        trace = BagTrace(
            bag=self.session.name,
            duration_s=(end_ns - self.session.start_ns) / NS,
            times_s=log.times_s(self.session.start_ns),
            channels=log.channels(self.session.start_ns),
            level=self._engine.level,
            calibration_id=self._engine.calibration_id,
            action_grounding=self._engine.action_grounding,
        )
        subject = Subject(source, trace, self.robot, self._engine.sha256)
        return Captured(subject, capture, self.config_hash)

    def _alike(self) -> list[tuple[AnomalyScore, int]]:
        """The scores that have the channels of the last one: a level change changes them."""
        if not self._scores:
            return []
        names = [c.name for c in self._scores[-1][0].channels]
        return [(s, at) for s, at in self._scores if [c.name for c in s.channels] == names]

    def _count_hours(self, score: AnomalyScore, log_ns: int) -> None:
        """Time between two scores was watched, if something could have alarmed."""
        step_ns = log_ns - self._scored_ns
        if 0 < step_ns <= SILENT_NS and any(c.threshold > 0 for c in score.channels):
            self._watched_ns += step_ns

    def _count_gap(self, kept: Kept) -> None:
        if kept.sequence is None:
            return
        key = kept.topic, kept.publisher
        before = self._sequences.get(key)
        self._sequences[key] = kept.sequence
        if before is not None and kept.sequence > before + 1:
            lost = kept.sequence - before - 1
            self.lost += lost
            self._gaps.append(_Gap(kept.topic, kept.log_ns, lost))
            while kept.log_ns - self._gaps[0].log_ns > self.settings.longest_s * NS:
                self._gaps.popleft()

    def _losses(self, start_ns: int, end_ns: int, offset_ns: int) -> list[Loss]:
        """What is known to be missing in a window."""
        counts: dict[tuple[str, str], int] = {}
        for gap in self._gaps:
            if start_ns <= gap.log_ns < end_ns:
                key = gap.topic, 'sequence_gap'
                counts[key] = counts.get(key, 0) + gap.lost
        for topic, count in self.ring.lost_in(start_ns, end_ns).items():
            counts[topic, 'ring_budget'] = count
        return [
            Loss(topic, start_ns + offset_ns, reason, '')
            for (topic, reason), count in counts.items()
            for _ in range(min(count, MOST_LOST))
        ]


def renamed(kept: Kept, topic: str) -> Kept:
    """The same message under the name that the robot file gives its topic."""
    return kept if kept.topic == topic else replace(kept, topic=topic)

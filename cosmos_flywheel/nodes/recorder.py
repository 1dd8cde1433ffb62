# SPDX-License-Identifier: Apache-2.0
"""The robot's topics in, failure episodes out: `flywheel node recorder`.

A lifecycle node: active it keeps the last seconds of every wanted topic, serialized, and writes
what was before and after an alarm, a trigger or a call as an episode. Writing is done on a thread
of its own; what the disk refuses is kept and tried again.
"""

from __future__ import annotations

import array
import contextlib
import hashlib
import math
import shutil
import sys
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import Trigger

from cosmos_flywheel.bags.wire import WireTypes
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.live.keeping import Keeping
from cosmos_flywheel.capture.live.recording import Captured, Recording, Session
from cosmos_flywheel.capture.triggers.shipped import find_triggers
from cosmos_flywheel.capture.triggers.trigger import Triggers
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.ring import Kept, Ring
from cosmos_flywheel.msg import FailureEpisode
from cosmos_flywheel.nodes.board import EPISODE, EPISODE_QOS, SCORE
from cosmos_flywheel.nodes.convert import from_score, to_episode
from cosmos_flywheel.nodes.diagnostics import Diagnostics, Status
from cosmos_flywheel.nodes.models import ROBOT, load_given_robot
from cosmos_flywheel.nodes.names import file_name, graph_name
from cosmos_flywheel.nodes.parameters import Parameter, Parameters
from cosmos_flywheel.nodes.predictor import PREDICTION
from cosmos_flywheel.nodes.publish import Publisher
from cosmos_flywheel.nodes.run import run_node
from cosmos_flywheel.nodes.streams import Received, Streams
from cosmos_flywheel.store.files import storing

USUAL = CaptureSettings()
SCORE_TYPE = 'cosmos_flywheel/msg/AnomalyScore'
PREDICTION_TYPE = 'cosmos_flywheel/msg/Prediction'
ALWAYS = ('/tf', '/tf_static', '/robot_description')
"""Recorded wherever somebody publishes them."""
LATCHED_QOS = '- durability: transient_local'
"""As a bag's channel writes the QoS of a latched topic."""
LOOK_S = 0.1
LATEST_NS = 2**62
NOTE_S = 60.0
"""Operating hours are written so often: who is killed loses no more of them."""
MEGABYTE = 1_000_000
PARAMETERS = (
    ROBOT,
    Parameter('out', 'flywheel-out', 'folder for episodes and their catalogue'),
    Parameter('topics', (), 'patterns of further topics to record, such as /camera/*'),
    Parameter('exclude', (), 'patterns of topics that are not recorded'),
    Parameter('triggers', '', 'trigger file, or estop, nav2, ... that are shipped'),
    Parameter('pre_roll_s', USUAL.pre_roll_s, 'kept before the first alarm', 's', 0.0, 600.0),
    Parameter('post_roll_s', USUAL.post_roll_s, 'kept after the last alarm', 's', 0.1, 600.0),
    Parameter('max_s', USUAL.max_s, 'no capture is longer', 's', 1.0, 3600.0),
    Parameter('ring_mb', 1000.0, 'memory for the last seconds', 'MB', 1.0, 1e6),
    Parameter(
        'ring_shares',
        (),
        'PATTERN=SHARE: of the memory, at most this share, 0 ... 1, for each such topic',
    ),
    Parameter('disk_mb', 0.0, 'for all episodes together; 0 for no limit', 'MB', 0.0, 1e9),
    Parameter('autostart', True, 'configure and activate at once'),
)


class Recorder(LifecycleNode):
    """See the module."""

    def __init__(self, **options: Any) -> None:
        super().__init__('recorder', **options)
        self._given = Parameters(self, PARAMETERS)
        self._robot = load_given_robot(self._given['robot'])
        self._out = Path(self._given['out'])
        self._types = WireTypes()
        given = self._given['triggers']
        self._triggers = Triggers.load(find_triggers(given)) if given else None
        self._shares = _shares(self._given['ring_shares'])
        self._settings = CaptureSettings(
            pre_roll_s=self._given['pre_roll_s'],
            post_roll_s=self._given['post_roll_s'],
            max_s=self._given['max_s'],
        )
        with storing(self._out):
            self._out.mkdir(parents=True, exist_ok=True)
        self._streams: Streams | None = None
        self._recording: Recording | None = None
        self._keeping: Keeping | None = None
        self._finished: SimpleQueue[tuple[Path, Mapping[str, Any]]] = SimpleQueue()
        self._published = 0
        self._noted_s = time.monotonic()
        self._jumps = 0
        self._before = 0
        """Captures of sessions that a jump of the clock ended."""
        self._engine_sha256 = ''
        self._episodes = Publisher(self, FailureEpisode, EPISODE, EPISODE_QOS)
        self.create_service(Trigger, '~/capture', self._capture)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(LOOK_S, self._look, clock=self._steady)
        self._diagnostics = Diagnostics(self, self._robot.name, self._status)
        if self._given['autostart']:
            self.trigger_configure()
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin a session: an empty ring, a thread that writes."""
        self._recording = self._begin_session(self._now_ns())
        disk_bytes = round(self._given['disk_mb'] * MEGABYTE) or None
        self._keeping = Keeping(self._out, self._hand_on, disk_bytes)
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to listen."""
        streams = self._streams = Streams(self, self._take)
        namespace = self.get_namespace()
        triggered = self._recording.trigger_topics if self._recording else frozenset()
        for topic in (*self._robot.topics, *sorted(triggered), *ALWAYS):
            streams.want(graph_name(topic, namespace))
        for topic in (SCORE, PREDICTION):
            streams.want(graph_name(topic, namespace))
        streams.want_matching(self._given['topics'], self._given['exclude'])
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen no more; what is open is written as far as it goes."""
        self._end_streams()
        self._flush()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the session."""
        self._end_session()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Write what is open, and end, whatever the state was."""
        self.close()
        return super().on_shutdown(state)

    def close(self) -> None:
        """Write what is open, and end."""
        self._end_streams()
        self._flush()
        self._end_session()

    def _take(self, received: Received) -> None:
        if self._recording is None or self._streams is None:
            return
        stream = self._streams.topics.get(received.topic)
        kept = Kept(
            file_name(received.topic, self.get_namespace()),
            received.type_name,
            received.received_ns,
            received.data,
            received.sequence,
            received.publisher,
        )
        self._mind_clock(received.received_ns)
        recording = self._recording
        latched = stream is not None and stream.is_latched
        if not kept.log_ns:  # no /clock yet: only what is latched may matter later
            if latched:
                recording.latch(kept, LATCHED_QOS)
            return
        recording.take(kept, is_latched=latched, qos=LATCHED_QOS if latched else '')
        if received.type_name == PREDICTION_TYPE and not self._engine_sha256:
            self._engine_sha256 = self._deserialize(kept).engine_sha256
        if received.type_name == SCORE_TYPE:
            score = from_score(self._deserialize(kept))
            recording.score(score, kept.log_ns, self._engine_sha256)

    def _deserialize(self, kept: Kept) -> Any:
        return self._types.deserialize(kept.topic, kept.msgtype, kept.log_ns, kept.data)

    def _capture(self, _: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        if self._recording is None or self._streams is None:
            answer.success, answer.message = False, 'the recorder is not active; activate it'
            return answer
        now_ns = self._now_ns()
        if not now_ns:
            answer.success, answer.message = False, 'use_sim_time is set and /clock has not come'
            return answer
        self._recording.ask('asked for by a call', now_ns)
        post_roll_s = self._given['post_roll_s']
        answer.success, answer.message = True, f'captured until {post_roll_s:g} s from now'
        return answer

    def _look(self) -> None:
        """Write what is due, publish what is written."""
        if self._recording is not None and self._streams is not None:
            now_ns = self._now_ns()
            self._mind_clock(now_ns)
            if now_ns:
                self._recording.pass_time(now_ns)
                self._write(self._recording.due(now_ns))
            if time.monotonic() - self._noted_s >= NOTE_S:
                self._note_hours()
        self._publish_finished()

    def _mind_clock(self, now_ns: int) -> None:
        """A clock that jumps ends the session; the next begins with what is latched."""
        past = self._recording
        if past is None or not past.has_jumped(now_ns):
            return
        self._flush()
        self._jumps += past.session.start_ns > 0
        self._before += past.captures
        self._recording = self._begin_session(now_ns)
        for kept in past.ring.latched(LATEST_NS):
            self._recording.latch(replace(kept, log_ns=now_ns), LATCHED_QOS)

    def _begin_session(self, now_ns: int) -> Recording:
        settings = self._settings
        ring = Ring(
            settings.longest_s + settings.pre_roll_s,
            round(self._given['ring_mb'] * MEGABYTE),
            self._shares,
        )
        session = Session(_session_id(self._robot.name), 'live', now_ns)
        return Recording(self._robot, session, settings, ring, self._types, self._triggers)

    def _write(self, captures: Iterable[Captured]) -> None:
        if self._keeping is not None:
            for captured in captures:
                self._keeping.put(captured)

    def _flush(self) -> None:
        if self._recording is not None:
            self._write(self._recording.flush())
            self._note_hours()

    def _note_hours(self) -> None:
        self._noted_s = time.monotonic()
        session = self._recording.watched() if self._recording is not None else None
        if session is not None and self._keeping is not None:
            self._keeping.note(session)

    def _hand_on(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        """Called from the writer's thread."""
        self._finished.put((folder, manifest))

    def _publish_finished(self) -> None:
        while True:
            try:
                folder, manifest = self._finished.get_nowait()
            except Empty:
                return
            message = to_episode(manifest, folder, self._now_ns())
            with contextlib.suppress(OSError):  # it has none, or was moved away already
                picture = (folder / 'thumbnail.jpg').read_bytes()
                message.thumbnail.format = 'jpeg'
                message.thumbnail.data = array.array('B', picture)
            self._published += self._episodes.publish(message)

    def _end_streams(self) -> None:
        if self._streams is not None:
            self._streams.close()
            self._streams = None

    def _end_session(self) -> None:
        if self._keeping is not None:
            self._keeping.close()
            self._publish_finished()
            self._keeping = None
        self._recording = None

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _status(self) -> Status:
        recording, keeping = self._recording, self._keeping
        if recording is None or keeping is None or self._streams is None:
            return Status('warn', 'not active; activate it, or start with autostart')
        problems = [*self._streams.problems()]
        level = 'warn'
        if keeping.problem:
            self.get_logger().error(keeping.problem, throttle_duration_sec=30.0)
            level = 'error'
            problems.insert(0, f'{keeping.waiting} captures wait: {keeping.problem}')
        if keeping.given_up:
            problems.append(f'{keeping.given_up} captures were lost: they could not be written')
        evicted = sum(recording.ring.evicted.values())
        if evicted:
            problems.append(
                f'the ring is too small for its {recording.settings.longest_s:g} s: {evicted} '
                f'messages left early; raise ring_mb, or record fewer topics'
            )
        streams = self._streams.topics.values()
        values = {
            'captures': self._before + recording.captures,
            'written': keeping.written,
            'published': self._published,
            'pending': keeping.waiting + recording.waiting,
            'capturing': recording.is_open,
            'ring_s': recording.ring.seconds,
            'ring_mb': recording.ring.size / MEGABYTE,
            'ring_cap_mb': recording.ring.most_bytes / MEGABYTE,
            'topics': sum(stream.count > 0 for stream in streams),
            'messages': sum(stream.count for stream in streams),
            'received_mb': sum(stream.bytes for stream in streams) / MEGABYTE,
            'lost': recording.lost,
            'clock_jumps': self._jumps,
            'evicted': evicted,
            'removed_from_disk': keeping.removed,
            'disk_free_mb': _free_mb(self._out),
            'last_write_s': keeping.seconds,
        }
        if not problems:
            return Status('ok', 'recording', values)
        return Status('error' if level == 'error' else 'warn', '; '.join(problems), values)


def make_node(**options: Any) -> Recorder:
    """The node, as `flywheel node recorder` runs it."""
    return Recorder(**options)


def _free_mb(folder: Path) -> float:
    """NaN where the folder is gone; it is made again with the next episode."""
    try:
        return shutil.disk_usage(folder).free / MEGABYTE
    except OSError:
        return math.nan


def _session_id(robot: str) -> str:
    """Never the same twice: two sessions hold different messages."""
    return hashlib.sha256(f'{robot} {uuid.uuid4()}'.encode()).hexdigest()


def _shares(given: tuple[str, ...]) -> dict[str, float]:
    shares = {}
    for entry in given:
        pattern, _, share = entry.rpartition('=')
        try:
            shares[pattern] = float(share)
        except ValueError:
            pattern = ''
        if not pattern or not 0 < shares[pattern] <= 1:
            raise ConfigError(
                f'parameter ring_shares holds {entry!r}; write PATTERN=SHARE: /camera/*=0.5'
            )
    return shares


if __name__ == '__main__':
    sys.exit(run_node(make_node))

# SPDX-License-Identifier: Apache-2.0
"""A bag in, its topics out, in the timing of the recording: `flywheel node player`.

Bytes are published as they were recorded. With an ordinary ROS 2, `ros2 bag play` serves as well.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock as ClockMessage
from std_srvs.srv import SetBool, Trigger

from cosmos_flywheel.bags.playback import Playback
from cosmos_flywheel.bags.records import RawMessage
from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.nodes.convert import to_time
from cosmos_flywheel.nodes.diagnostics import Diagnostics, Status
from cosmos_flywheel.nodes.names import graph_name
from cosmos_flywheel.nodes.parameters import Parameter, Parameters
from cosmos_flywheel.nodes.publish import Publisher
from cosmos_flywheel.nodes.run import Finished, run_node
from cosmos_flywheel.nodes.streams import message_class

DEPTH = 200
CLOCK_S = 0.01
"""/clock is published at least so often while it plays."""
SETTLE_S = 0.5
"""After the last listener was found: it is counted a little before it hears."""
LOOK_S = 0.1
FLUSH_S = 2.0
"""At the end it waits for listeners that are behind, but not for ever."""
PARAMETERS = (
    Parameter('bag', '', 'the bag to play'),
    Parameter('topics', (), 'only these topics; all if empty'),
    Parameter('rate', 1.0, 'seconds of the bag in a second', '', 0.01, 100.0, live=True),
    Parameter('loop', False, 'begin again at the end'),
    Parameter('clock', False, 'publish the time of the recording on /clock'),
    Parameter('start_offset_s', 0.0, 'where to begin, from the first message', 's', 0.0, 1e6),
    Parameter('wait_for', 0, 'begin when so many listen to each topic that is played', '', 0, 100),
    Parameter('paused', False, 'wait for a call of ~/pause or ~/step'),
    Parameter('exit_at_end', False, 'end the process at the end of the bag'),
)


class Player(Node):
    """See the module."""

    def __init__(self, **options: Any) -> None:
        super().__init__('player', **options)
        self._given = Parameters(self, PARAMETERS)
        if not self._given['bag']:
            raise ConfigError('parameter bag is not set; give the bag to play')
        self._path = Path(self._given['bag'])
        self._opened = open_bag(self._path)
        self._source = self._opened.__enter__()
        self._left_out: list[str] = []
        self._speakers = self._make_speakers()
        self._playback = Playback(
            self._source,
            self._speakers,
            rate=self._given['rate'],
            offset_s=self._given['start_offset_s'],
            loop=self._given['loop'],
        )
        self._time = Publisher(self, ClockMessage, '/clock', 10) if self._given['clock'] else None
        self._lock = threading.Condition()
        self._is_ending = False
        self._failure: Exception | None = None
        self._has_begun = False
        self._given.on_change(self._change)
        self.create_service(SetBool, '~/pause', self._pause)
        self.create_service(Trigger, '~/step', self._step)
        self.create_service(Trigger, '~/restart', self._restart)
        self._diagnostics = Diagnostics(self, self._path.name, self._status)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(LOOK_S, self._look, clock=steady)
        self._thread = threading.Thread(target=self._run_noting, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and close the bag."""
        with self._lock:
            self._is_ending = True
            self._lock.notify_all()
        self._thread.join(5.0)
        self._opened.__exit__(None, None, None)

    def _make_speakers(self) -> dict[str, Publisher]:
        """A publisher for each topic whose type has a Python package here."""
        wanted = set(self._given['topics'])
        unknown = sorted(wanted - set(self._source.topics))
        if unknown:
            raise ConfigError(f'{self._path}: holds no topic {", ".join(unknown)}')
        speakers = {}
        for name, topic in self._source.topics.items():
            if (wanted and name not in wanted) or not topic.count:
                continue
            kind = message_class(topic.msgtype)
            if kind is None:
                self._left_out.append(f'{name} ({topic.msgtype})')
                continue
            latched = DurabilityPolicy.TRANSIENT_LOCAL if topic.latched else None
            qos = QoSProfile(depth=DEPTH, **({'durability': latched} if latched else {}))
            speakers[name] = Publisher(self, kind, graph_name(name, self.get_namespace()), qos)
        if not speakers:
            raise ConfigError(f'{self._path}: holds nothing whose type has a Python package here')
        return speakers

    def _run_noting(self) -> None:
        try:
            self._run()
        except Exception as error:  # raised again by the executor's thread, which ends the node
            self._failure = error

    def _run(self) -> None:
        """Publish what is due, until the end."""
        told_s = 0.0
        while True:
            with self._lock:
                now_s = time.monotonic()
                messages = list(self._playback.due(now_s))
                position_ns = self._playback.position_ns(now_s)
                wait_s = self._playback.wait_s(now_s)
                if not messages:
                    self._lock.wait(CLOCK_S if wait_s is None else min(wait_s, CLOCK_S))
                if self._is_ending:
                    return
            if now_s - told_s >= CLOCK_S and self._has_begun:
                told_s = now_s
                self._tell_time(position_ns)
            for message in messages:
                self._publish(message)

    def _publish(self, message: RawMessage) -> None:
        self._speakers[message.topic].publish(bytes(self._source.to_cdr(message)))

    def _tell_time(self, position_ns: int) -> None:
        if self._time is not None:
            self._time.publish(ClockMessage(clock=to_time(position_ns)))

    def _look(self) -> None:
        """Begin once all listen; end when the bag has, or when it cannot be played on."""
        if self._failure is not None:
            raise self._failure
        if not self._has_begun:
            wanted = self._given['wait_for']
            if all(s.subscribers >= wanted for s in self._speakers.values()):
                self._has_begun = True
                begin_s = time.monotonic() + (SETTLE_S if wanted else 0.0)
                if not self._given['paused']:
                    with self._lock:
                        self._playback.play(begin_s)
        if self._playback.is_over and self._given['exit_at_end']:
            for speaker in self._speakers.values():
                speaker.flush(FLUSH_S)
            raise Finished

    def _change(self, name: str, value: Any) -> None:
        if name == 'rate':
            with self._lock:
                self._playback.set_rate(value, time.monotonic())
                self._lock.notify_all()

    def _pause(self, asked: SetBool.Request, answer: SetBool.Response) -> SetBool.Response:
        with self._lock:
            now_s = time.monotonic()
            if asked.data:
                self._playback.pause(now_s)
            elif self._playback.is_paused:
                self._playback.play(now_s)
            self._lock.notify_all()
        answer.success, answer.message = True, 'paused' if asked.data else 'playing'
        return answer

    def _step(self, _: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        with self._lock:
            if not self._playback.is_paused:
                answer.success, answer.message = False, 'it plays; pause it first'
                return answer
            messages = self._playback.step(time.monotonic())
        for message in messages:
            self._tell_time(message.log_ns)
            self._publish(message)
        answer.success, answer.message = bool(messages), f'{len(messages)} messages'
        return answer

    def _restart(self, _: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        with self._lock:
            self._playback.restart(time.monotonic())
            self._lock.notify_all()
        answer.success, answer.message = True, 'from the beginning'
        return answer

    def _status(self) -> Status:
        playback, now_s = self._playback, time.monotonic()
        position_s = (playback.position_ns(now_s) - self._source.start_ns) / 1e9
        state = 'over' if playback.is_over else 'paused' if playback.is_paused else 'playing'
        values = {
            'bag': self._path.name,
            'state': state if self._has_begun else 'waiting for listeners',
            'position_s': min(position_s, self._source.duration_s),
            'duration_s': self._source.duration_s,
            'rate': playback.rate,
            'rounds': playback.rounds,
            'published': sum(s.sent for s in self._speakers.values()),
            'refused': sum(s.refused for s in self._speakers.values()),
        }
        if self._left_out:
            missing = ', '.join(self._left_out)
            return Status('warn', f'no Python package for the type of {missing}', values)
        return Status('ok', state, values)


def make_node(**options: Any) -> Player:
    """The node, as `flywheel node player` runs it."""
    return Player(**options)


if __name__ == '__main__':
    sys.exit(run_node(make_node))

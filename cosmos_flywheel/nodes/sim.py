# SPDX-License-Identifier: Apache-2.0
"""A simulated robot that fails at will, in real time: `flywheel node sim`.

Publishes what `flywheel sim record` would record. What is true of it goes to the node's own
topics, `~/truth` and `~/objects`, to which no detector listens.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any

from geometry_msgs.msg import Point, Pose, PoseArray, Quaternion
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from rosgraph_msgs.msg import Clock as ClockMessage
from std_msgs.msg import Bool, Header, String
from std_srvs.srv import SetBool, Trigger

from cosmos_flywheel.bags.content import ContentWriter
from cosmos_flywheel.core.errors import ConfigError, SimError
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.nodes.diagnostics import Diagnostics, Status
from cosmos_flywheel.nodes.names import graph_name
from cosmos_flywheel.nodes.parameters import Parameter, Parameters
from cosmos_flywheel.nodes.publish import WATCH, WATCH_QOS, Publisher
from cosmos_flywheel.nodes.run import Finished, run_node
from cosmos_flywheel.nodes.streams import message_class
from cosmos_flywheel.sim import ROBOTS, find_robot
from cosmos_flywheel.sim.live import Event, Objects, Pace, Stage, Truth, Watch, Wish, check_wish
from cosmos_flywheel.sim.record import EPOCH_S
from cosmos_flywheel.sim.world import Said

TRUTH, OBJECTS = '~/truth', '~/objects'
DEPTH = 10
TRUTH_QOS = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""Whoever comes late gets all truths of the last hours."""
COMMAND_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
LOOKS = 6
"""Times in a control period that the node looks whether it is due."""
LEAST_KEPT = 0.95
"""A real-time factor below is worth a warning."""
WISHES = ('task', 'fault', 'strength')
PARAMETERS = (
    Parameter('robot', 'arm', 'which robot', choices=tuple(ROBOTS)),
    Parameter(
        'task', '', 'what it does, see `flywheel sim list`; empty: its first', live=True
    ),
    Parameter('fault', 'none', 'what goes wrong, from the next episode on', live=True),
    Parameter(
        'strength', 1.0, 'how much, above 0; from the next episode on', '', 0.0, 1.0, live=True
    ),
    Parameter('seed', 0, 'of the first episode; each has one more than the one before', least=0),
    Parameter('pause_s', 2.0, 'how long it stands between episodes', 's', 0.0, 3600.0),
    Parameter('episodes', 0, 'the node ends after so many; 0: never', least=0),
    Parameter(
        'rate', 1.0, 'seconds of the robot in a second of ours', '', 0.05, 20.0, live=True
    ),
    Parameter(
        'clock', 'wall', 'stamps of the wall clock, or of its own, published on /clock',
        choices=('wall', 'sim'),
    ),
    Parameter(
        'commands', 'scripted', 'who commands it: its script, or whoever publishes commands',
        choices=('scripted', 'topic'),
    ),
)  # fmt: skip


class Sim(Node):
    """See the module."""

    def __init__(self, **options: Any) -> None:
        super().__init__('sim', **options)
        self._given = Parameters(self, PARAMETERS)
        self._robot = find_robot(self._given['robot'])
        self._outside = self._given['commands'] == 'topic'
        self._check_clock()
        self._check('', '')
        self._given.check(self._check)
        self._given.on_change(self._changed)
        self._stage = Stage(
            self._robot,
            self._wish,
            seed=self._given['seed'],
            pause_s=self._given['pause_s'],
            outside=self._outside,
        )
        self._contents = ContentWriter()
        self._speakers: dict[str, Publisher | None] = {}
        self._left_out: set[str] = set()
        self._watch = Publisher(self, Bool, WATCH, WATCH_QOS)
        self._truths = Publisher(self, String, TRUTH, TRUTH_QOS)
        self._objects = Publisher(self, PoseArray, OBJECTS, DEPTH)
        self._has_own_clock = self._given['clock'] == 'sim'
        if self._has_own_clock:
            self._time = Publisher(self, ClockMessage, '/clock', DEPTH)
        self._is_paused = False
        self._deaf_to = ''
        self._periods = 0
        self._wall_offset_ns = 0
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_service(Trigger, '~/restart', self._restart)
        self.create_service(SetBool, '~/pause', self._pause)
        if self._outside:
            self._listen()
        self._timer: Any = None
        self._set_pace()
        self._say([Watch(False)])
        self._diagnostics = Diagnostics(self, f'sim_{self._robot.name}', self._status)

    def close(self) -> None:
        """Break the episode off, and say so."""
        self._say(self._stage.cut(self._stamp_ns(time.monotonic())))
        self._say([Watch(False)])

    def _wish(self) -> Wish:
        values = self._given
        task = values['task'] or next(iter(self._robot.tasks))
        return Wish(task, values['fault'], values['strength'])

    def _check(self, name: str, value: Any) -> None:
        """Refuse what this robot cannot do, while it still can be said to whoever asks for it."""
        wish = self._wish()
        wanted = {key: getattr(wish, key) for key in WISHES}
        if name in WISHES and value != '':
            wanted[name] = value
        try:
            check_wish(self._robot, Wish(**wanted), outside=self._outside)
        except SimError as error:
            raise ConfigError(str(error)) from error

    def _check_clock(self) -> None:
        if self._given['clock'] == 'wall' and self.get_parameter('use_sim_time').value:
            raise ConfigError(
                'clock is wall but use_sim_time is true; set clock to sim, and this node is '
                'the clock'
            )

    def _changed(self, name: str, _value: Any) -> None:
        if name == 'rate':
            self._set_pace()

    def _set_pace(self) -> None:
        rate = self._given['rate']
        self._pace = Pace(self._robot.control_hz, rate)
        self._begin_pace()
        if self._timer is not None:
            self.destroy_timer(self._timer)
        period_s = 1 / self._robot.control_hz / rate / LOOKS
        self._timer = self.create_timer(period_s, self._look, clock=self._steady)

    def _begin_pace(self) -> None:
        self._wall_offset_ns = time.time_ns() - time.monotonic_ns()
        self._pace.begin(time.monotonic())

    def _look(self) -> None:
        if self._is_paused:
            return
        if not self._stage.is_ready:
            self._prepare()
        due_s = self._pace.take(time.monotonic())
        if due_s is None:
            return
        stamp_ns = self._stamp_ns(due_s)
        self._periods += 1
        if self._has_own_clock:
            self._time.publish(ClockMessage(clock=Time(nanoseconds=stamp_ns).to_msg()))
        self._say(self._stage.go_on(stamp_ns))

    def _prepare(self) -> None:
        if 0 < self._given['episodes'] <= self._stage.number:
            raise Finished
        self._stage.prepare()
        self._begin_pace()

    def _stamp_ns(self, due_s: float) -> int:
        if self._has_own_clock:
            return EPOCH_S * NS + self._periods * NS // self._robot.control_hz
        return self._wall_offset_ns + round(due_s * NS)

    def _say(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Said):
                self._speak(event)
            elif isinstance(event, Watch):
                self._watch.publish(Bool(data=event.on))
            elif isinstance(event, Truth):
                self._truths.publish(String(data=event.text()))
            elif isinstance(event, Objects) and self._objects.subscribers:
                self._objects.publish(_pose_array(event))

    def _speak(self, said: Said) -> None:
        if said.topic not in self._speakers:
            self._speakers[said.topic] = self._speaker(said)
        speaker = self._speakers[said.topic]
        if speaker is not None:
            speaker.publish(self._contents.to_cdr(said.topic, said.msgtype, said.content))

    def _speaker(self, said: Said) -> Publisher | None:
        kind = message_class(said.msgtype)
        if kind is None:
            self._left_out.add(f'{said.topic} ({said.msgtype})')
            return None
        return Publisher(self, kind, graph_name(said.topic, self.get_namespace()), DEPTH)

    def _listen(self) -> None:
        kind = message_class(self._robot.command_type)
        if kind is None:
            raise ConfigError(
                f'commands of type {self._robot.command_type!r} cannot be taken: its package is '
                'not installed; install it, or set commands to scripted'
            )
        topic = graph_name(self._robot.command_topic, self.get_namespace())
        self.create_subscription(kind, topic, self._obey, COMMAND_QOS)

    def _obey(self, message: Any) -> None:
        try:
            self._stage.obey(message)
        except SimError as error:
            self._deaf_to = str(error)
        else:
            self._deaf_to = ''

    def _restart(self, _request: Any, response: Any) -> Any:
        self._say(self._stage.cut(self._stamp_ns(time.monotonic())))
        response.success = True
        response.message = f'episode {self._stage.number + 1} begins'
        return response

    def _pause(self, request: Any, response: Any) -> Any:
        response.success = True
        response.message = 'paused' if request.data else 'goes on'
        if request.data == self._is_paused:
            return response
        self._is_paused = bool(request.data)
        if not self._is_paused:
            self._begin_pace()
        under_way = self._stage.is_ready and not self._stage.is_resting
        self._say([Watch(not self._is_paused and under_way)])
        return response

    def _status(self) -> Status:
        factor = self._pace.real_time_factor()
        problems = []
        if factor is not None and factor < LEAST_KEPT:
            problems.append(
                f'the machine keeps {factor:.2f} of real time; set rate lower, or free a core'
            )
        if self._left_out:
            problems.append(
                f'not published, since their types are not installed: '
                f'{", ".join(sorted(self._left_out))}'
            )
        if self._deaf_to:
            problems.append(f'a command was not taken: {self._deaf_to}')
        setup = self._stage.setup
        fault = setup.fault.name if setup and setup.fault else 'none'
        speakers = [s for s in self._speakers.values() if s is not None]
        values = {
            'episode': self._stage.number,
            'task': setup.task if setup else '',
            'fault': fault,
            'seed': setup.seed if setup else '',
            'resting': self._stage.is_resting,
            'paused': self._is_paused,
            'real_time_factor': '' if factor is None else factor,
            'lost_s': self._pace.lost_s,
            'sent': sum(s.sent for s in speakers),
            'refused': sum(s.refused for s in speakers),
        }
        what = 'paused' if self._is_paused else 'acting'
        return Status('warn' if problems else 'ok', '; '.join(problems) or what, values)


def _pose_array(objects: Objects) -> PoseArray:
    poses = [[float(number) for number in pose] for pose in objects.poses]
    return PoseArray(
        header=Header(stamp=Time(nanoseconds=objects.stamp_ns).to_msg(), frame_id='world'),
        poses=[
            Pose(
                position=Point(x=x, y=y, z=z),
                orientation=Quaternion(w=qw, x=qx, y=qy, z=qz),
            )
            for x, y, z, qw, qx, qy, qz in poses
        ],
    )


def make_node(**options: Any) -> Sim:
    """The node, as `flywheel node sim` runs it."""
    return Sim(**options)


if __name__ == '__main__':
    sys.exit(run_node(make_node))

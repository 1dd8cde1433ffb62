# SPDX-License-Identifier: Apache-2.0
"""A published plan → the commands that it will come to, tick by tick.

Understood are trajectories (`trajectory_msgs/msg/JointTrajectory`, linear between its points),
chunks of a policy (`std_msgs/msg/Float32MultiArray` or `Float64MultiArray`, T rows of one command
each, a tick apart, held) and paths (`nav_msgs/msg/Path` with a stamp for each pose, for robots
that are told velocities: speed and turn between one pose and the next).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.bags.stamp import header_stamp_ns
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import ActionChunk

TRAJECTORY = 'trajectory_msgs/msg/JointTrajectory'
PATH = 'nav_msgs/msg/Path'
ARRAYS = ('std_msgs/msg/Float32MultiArray', 'std_msgs/msg/Float64MultiArray')
KINDS = (TRAJECTORY, PATH, *ARRAYS)


@dataclass(frozen=True, slots=True)
class Plan:
    """Commands and the instants from which they are in force."""

    stamps_ns: NDArray[np.int64]
    """(T,), ascending."""
    values: NDArray[np.float64]
    """(T, A), in the order of the robot file."""
    is_linear: bool
    """Whether commands between two instants lie on the line between; otherwise they are held."""
    end_ns: int
    """The plan says nothing of this instant and later ones."""

    def chunk(self, stamp_ns: int, period_ns: int, ticks: int) -> ActionChunk | None:
        """The commands of so many ticks from an instant on; None if the plan does not reach."""
        at_ns = stamp_ns + period_ns * np.arange(ticks)
        if at_ns[0] < self.stamps_ns[0] or at_ns[-1] >= self.end_ns:
            return None
        if self.is_linear:
            columns = [np.interp(at_ns, self.stamps_ns, column) for column in self.values.T]
            values = np.stack(columns, axis=1)
        else:
            values = self.values[np.searchsorted(self.stamps_ns, at_ns, side='right') - 1]
        return ActionChunk(at_ns + period_ns, values.astype(np.float32), is_plan=True)


def read_plan(message: Any, msgtype: str, robot: Robot, now_ns: int) -> Plan:
    """A message as a plan; without a stamp of its own it begins at `now_ns`.

    Raises:
        ConfigError: the type is none of KINDS, or what the message tells is not what the robot
            is told.

    """
    begin_ns = header_stamp_ns(message) or now_ns
    if msgtype == TRAJECTORY:
        return _trajectory(message, robot, begin_ns)
    if msgtype in ARRAYS:
        return _chunk(message, robot, begin_ns)
    if msgtype == PATH:
        return _path(message, robot)
    raise ConfigError(f'a plan of type {msgtype} is not understood; publish {" or ".join(KINDS)}')


def _trajectory(message: Any, robot: Robot, begin_ns: int) -> Plan:
    joints = [str(name) for name in message.joint_names]
    wanted = robot.action_names
    missing = [name for name in wanted if name not in joints]
    if missing or not len(message.points):
        what = f'lacks {", ".join(missing)}' if missing else 'has no points'
        raise ConfigError(
            f'the planned trajectory {what}; robot {robot.name!r} is told {", ".join(wanted)}'
        )
    order = [joints.index(name) for name in wanted]
    stamps = [
        begin_ns + int(p.time_from_start.sec) * NS + int(p.time_from_start.nanosec)
        for p in message.points
    ]
    if len(stamps) > 1 and min(np.diff(stamps)) <= 0:
        raise ConfigError('the planned trajectory goes back in time; give points in order')
    values = np.array([np.asarray(p.positions, np.float64)[order] for p in message.points])
    return Plan(np.array(stamps, np.int64), values, is_linear=True, end_ns=stamps[-1] + 1)


def _chunk(message: Any, robot: Robot, begin_ns: int) -> Plan:
    width = len(robot.action_names)
    data = np.asarray(message.data, np.float64)
    if not data.size or data.size % width:
        raise ConfigError(
            f'the planned chunk holds {data.size} numbers; give rows of {width}, one for each of '
            f'{", ".join(robot.action_names)}'
        )
    values = data.reshape(-1, width)
    period_ns = round(NS / robot.clock.hz)
    stamps = begin_ns + period_ns * np.arange(len(values))
    return Plan(stamps, values, is_linear=False, end_ns=int(stamps[-1]) + period_ns)


def _path(message: Any, robot: Robot) -> Plan:
    if len(robot.action_names) != 2:
        raise ConfigError(
            f'a path is a plan for robots that are told speed and turn; {robot.name!r} is told '
            f'{", ".join(robot.action_names)}: publish a trajectory or a chunk'
        )
    stamps = np.array([header_stamp_ns(pose) or 0 for pose in message.poses], np.int64)
    if len(stamps) < 2 or np.diff(stamps).min() <= 0:
        raise ConfigError('the planned path needs two poses at least, each with a later stamp')
    places = np.array([[p.pose.position.x, p.pose.position.y] for p in message.poses])
    angles = np.unwrap([_yaw(p.pose.orientation) for p in message.poses])
    seconds = np.diff(stamps) / NS
    ways = np.diff(places, axis=0)
    ahead = np.sign(ways[:, 0] * np.cos(angles[:-1]) + ways[:, 1] * np.sin(angles[:-1]))
    speeds = ahead * np.hypot(*ways.T) / seconds
    values = np.stack([speeds, np.diff(angles) / seconds], axis=1)
    return Plan(stamps[:-1], values, is_linear=False, end_ns=int(stamps[-1]))


def _yaw(q: Any) -> float:
    return float(np.arctan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y * q.y + q.z * q.z)))

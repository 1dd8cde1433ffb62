# SPDX-License-Identifier: Apache-2.0
"""Plans of three kinds become commands, tick by tick; wrong ones are told."""

from __future__ import annotations

from types import SimpleNamespace as Message

import numpy as np
import pytest

from cosmos_flywheel.capture.live.plan import ARRAYS, PATH, TRAJECTORY, read_plan
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.store.robots import load_robot

NS = 10**9
GANTRY, BASE = load_robot('mujoco_push'), load_robot('sim_base')


def stamped(at_s: float) -> Message:
    return Message(stamp=Message(sec=int(at_s), nanosec=round(at_s % 1 * NS)))


def trajectory(*points: tuple[float, list[float]], names=('gantry_y', 'gantry_x')) -> Message:
    return Message(
        header=stamped(100.0),
        joint_names=list(names),
        points=[
            Message(
                time_from_start=Message(sec=int(t), nanosec=round(t % 1 * NS)), positions=list(p)
            )
            for t, p in points
        ],
    )


def pose(at_s: float, x: float, y: float, yaw: float) -> Message:
    turn = Message(x=0.0, y=0.0, z=np.sin(yaw / 2), w=np.cos(yaw / 2))
    place = Message(position=Message(x=x, y=y, z=0.0), orientation=turn)
    return Message(header=stamped(at_s), pose=place)


def test_a_trajectory_is_linear_between_its_points_in_the_robots_order():
    plan = read_plan(trajectory((0.0, [0.0, 1.0]), (2.0, [2.0, 3.0])), TRAJECTORY, GANTRY, 0)
    chunk = plan.chunk(100 * NS, NS // 2, 4)
    assert chunk.values.tolist() == [[1.0, 0.0], [1.5, 0.5], [2.0, 1.0], [2.5, 1.5]]
    assert chunk.stamps_ns.tolist() == [round((100.5 + i / 2) * NS) for i in range(4)]


def test_a_plan_says_nothing_of_before_and_after():
    plan = read_plan(trajectory((0.0, [0.0, 1.0]), (2.0, [2.0, 3.0])), TRAJECTORY, GANTRY, 0)
    assert plan.chunk(99 * NS, NS // 2, 2) is None
    assert plan.chunk(101 * NS, NS, 3) is None


@pytest.mark.parametrize('kind', ARRAYS)
def test_a_chunk_of_commands_is_held_from_tick_to_tick(kind):
    plan = read_plan(Message(data=[1.0, 2.0, 3.0, 4.0]), kind, GANTRY, 50 * NS)
    period_ns = round(NS / GANTRY.clock.hz)
    chunk = plan.chunk(50 * NS + period_ns // 4, period_ns, 2)
    assert chunk.values.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert plan.chunk(50 * NS, period_ns, 3) is None


def test_a_path_becomes_speed_and_turn():
    path = Message(poses=[pose(10.0, 0, 0, 0), pose(11.0, 1, 0, 0), pose(13.0, 1, 2, np.pi / 2)])
    plan = read_plan(path, PATH, BASE, 0)
    chunk = plan.chunk(10 * NS, NS, 2)
    assert chunk.values[0].tolist() == [1.0, 0.0]
    assert chunk.values[1, 1] == pytest.approx(np.pi / 4)


def test_going_backwards_along_a_path_is_a_negative_speed():
    path = Message(poses=[pose(10.0, 0, 0, 0), pose(11.0, -0.5, 0, 0)])
    assert read_plan(path, PATH, BASE, 0).values.tolist() == [[-0.5, 0.0]]


@pytest.mark.parametrize(
    ('message', 'kind', 'robot', 'words'),
    [
        (trajectory((0.0, [1.0]), names=('elbow',)), TRAJECTORY, GANTRY, 'lacks gantry_x'),
        (trajectory(), TRAJECTORY, GANTRY, 'has no points'),
        (
            trajectory((1.0, [0, 0]), (0.5, [0, 0])), TRAJECTORY, GANTRY,
            'goes back in time',
        ),
        (Message(data=[1.0, 2.0, 3.0]), ARRAYS[0], GANTRY, 'holds 3 numbers; give rows of 2'),
        (Message(poses=[pose(1.0, 0, 0, 0)]), PATH, BASE, 'two poses at least'),
        (Message(poses=[]), PATH, load_robot('sim_arm'), 'told speed and turn'),
        (Message(), 'std_msgs/msg/String', GANTRY, 'is not understood'),
    ],
)  # fmt: skip
def test_wrong_plans_are_told(message, kind, robot, words):
    with pytest.raises(ConfigError, match=words):
        read_plan(message, kind, robot, 0)

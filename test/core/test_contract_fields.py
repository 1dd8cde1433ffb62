# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import SimpleNamespace as Message

import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.fields import planned_chunk, read_field

STORE = get_typestore(Stores.ROS2_JAZZY)


def ros(name: str, *values: object) -> object:
    package, kind = name.split('/')
    return STORE.types[f'{package}/msg/{kind}'](*values)


def header(sec: int = 3, frame: str = '') -> object:
    return ros('std_msgs/Header', ros('builtin_interfaces/Time', sec, 5), frame)


def joints(names: list[str], position: list[float]) -> object:
    empty = np.empty(0)
    return ros('sensor_msgs/JointState', header(), names, np.array(position), empty, empty)


def vector(x: float, y: float, z: float) -> object:
    return ros('geometry_msgs/Vector3', x, y, z)


def pose(yaw: float = 0.0) -> object:
    turned = ros('geometry_msgs/Quaternion', 0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2))
    return ros('geometry_msgs/Pose', ros('geometry_msgs/Point', 1.0, 2.0, 3.0), turned)


def odometry(yaw: float) -> object:
    nothing = np.zeros(36)
    twist = ros('geometry_msgs/Twist', vector(0.5, 0.0, 0.0), vector(0.0, 0.0, -0.2))
    return ros(
        'nav_msgs/Odometry', header(), 'base',
        ros('geometry_msgs/PoseWithCovariance', pose(yaw), nothing),
        ros('geometry_msgs/TwistWithCovariance', twist, nothing),
    )  # fmt: skip


def test_joints_are_found_by_name_in_any_order():
    wanted = ('elbow', 'wrist')
    assert read_field(joints(['wrist', 'elbow'], [1, 2]), 'position', wanted).tolist() == [2, 1]
    assert read_field(joints(['elbow', 'wrist'], [1, 2]), 'position', wanted).tolist() == [1, 2]


def test_a_missing_joint_and_a_missing_value_are_nan():
    values = read_field(joints(['elbow', 'wrist'], [1]), 'position', ('elbow', 'wrist', 'hip'))
    np.testing.assert_array_equal(values, [1, np.nan, np.nan])
    assert np.isnan(read_field(joints(['elbow'], [1]), 'velocity', ('elbow',))).all()


def test_nan_and_infinity_are_kept():
    values = read_field(joints(['a', 'b'], [np.nan, np.inf]), 'position', ('a', 'b'))
    np.testing.assert_array_equal(values, [np.nan, np.inf])


@pytest.mark.parametrize(
    'message', [pose(0.3), ros('geometry_msgs/PoseStamped', header(), pose(0.3)), odometry(0.3)]
)
def test_a_pose_is_read_bare_stamped_and_inside_odometry(message):
    values = read_field(message, 'pose', ('x', 'y', 'z', 'yaw'))
    np.testing.assert_allclose(values, [1, 2, 3, 0.3])


def test_a_twist_is_read_from_odometry_and_bare():
    components = ('linear.x', 'angular.z')
    assert read_field(odometry(0), 'twist', components).tolist() == [0.5, -0.2]
    bare = ros('geometry_msgs/Twist', vector(1.0, 0.0, 0.0), vector(0.0, 0.0, 2.0))
    assert read_field(bare, 'twist', components).tolist() == [1, 2]


def test_a_wrench_is_read():
    wrench = ros('geometry_msgs/Wrench', vector(1.0, 2.0, 3.0), vector(4.0, 5.0, 6.0))
    stamped = ros('geometry_msgs/WrenchStamped', header(), wrench)
    assert read_field(stamped, 'wrench', ('force.z', 'torque.x')).tolist() == [3, 4]


def trajectory(rows: list[list[float]]) -> object:
    empty = np.empty(0)
    points = [
        ros('trajectory_msgs/JointTrajectoryPoint', np.array(row), empty, empty, empty,
            ros('builtin_interfaces/Duration', 0, 100_000_000 * i))
        for i, row in enumerate(rows)
    ]  # fmt: skip
    return ros('trajectory_msgs/JointTrajectory', header(), ['a', 'b'], points)


def test_a_trajectory_commands_its_first_point():
    assert read_field(trajectory([[1, 2], [3, 4]]), 'trajectory', ('b', 'a')).tolist() == [2, 1]
    assert np.isnan(read_field(trajectory([]), 'trajectory', ('a',))).all()


def test_a_trajectory_is_also_a_whole_plan():
    offsets_ns, values = planned_chunk(trajectory([[1, 2], [3, 4]]), ['b', 'c'])
    assert offsets_ns.tolist() == [0, 100_000_000]
    np.testing.assert_array_equal(values, [[2, np.nan], [4, np.nan]])
    assert planned_chunk(trajectory([]), ['b'])[1].shape == (0, 1)


def test_an_array_is_read_by_index_and_its_missing_elements_are_nan():
    message = Message(data=np.array([1.0, 2.0]))
    np.testing.assert_array_equal(read_field(message, 'data', (1, 0, 5)), [2, 1, np.nan])


def test_a_dotted_path_reaches_nested_numbers():
    message = Message(motors=[Message(current=4, name='left')], speed=7)
    assert read_field(message, 'motors[0].current', (0,)).tolist() == [4]
    assert read_field(message, 'speed', (0,)).tolist() == [7]
    assert read_field(message, 'motors[0]', ('current',)).tolist() == [4]
    assert np.isnan(read_field(message, 'motors[3].current', (0,))).all()


def test_a_field_that_is_not_there_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="no field 'positions'; did you mean 'position'"):
        read_field(joints(['a'], [1]), 'positions', (0,))
    with pytest.raises(ConfigError, match='sensor_msgs/msg/JointState'):
        read_field(joints(['a'], [1]), 'pose', ('x',))


def test_a_field_that_holds_no_numbers_is_refused():
    with pytest.raises(ConfigError, match='no such numbers'):
        read_field(joints(['a'], [1]), 'name', (0,))

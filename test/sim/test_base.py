# SPDX-License-Identifier: Apache-2.0
"""The base does its tasks, and each fault does what it says and nothing before its onset."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from sim_help import Drive, drive, strays_m

from cosmos_flywheel.sim.base import IMU_TOPIC, ODOMETRY_TOPIC, RESULT_TOPIC, WHEELS_TOPIC
from cosmos_flywheel.sim.base_aisle import AISLE_HALF_M
from cosmos_flywheel.sim.base_drive import GAP_M, SECONDS, TASKS, plan_drive
from cosmos_flywheel.sim.base_faults import FAULTS, span_of
from cosmos_flywheel.sim.base_vehicle import FRONT_M, MOTOR_NM
from cosmos_flywheel.sim.world import QUIET_S, Setup

pytestmark = pytest.mark.usefixtures('mujoco')

MOVED = {
    'wheel_slip': 'robot',
    'fallen_carton': 'carton',
    'person': 'person',
    'blocked_aisle': 'cage',
    'relocated_pallet': 'pallet',
}
"""By fault, what it displaces."""
CASES = [(task, name) for name in MOVED for task in FAULTS[name].tasks]


@cache
def driven(task: str, seed: int = 0, fault: str = 'none', strength: float = 1.0) -> Drive:
    return drive('base', task, seed, fault, strength)


def yaw_rad(poses: np.ndarray) -> np.ndarray:
    return np.unwrap(2 * np.arctan2(poses[:, 6], poses[:, 3]))


def odometry_error_m(drove: Drive) -> np.ndarray:
    """How far the robot is from where its wheels say that it is: (N,)."""
    poses, yaw = drove.truth['pose_robot'], yaw_rad(drove.truth['pose_robot'])
    ahead, aside = (poses[:, :2] - poses[0, :2]).T
    turned = np.stack(
        [
            np.cos(yaw[0]) * ahead + np.sin(yaw[0]) * aside,
            np.cos(yaw[0]) * aside - np.sin(yaw[0]) * ahead,
        ],
        axis=-1,
    )
    return np.linalg.norm(turned - drove.truth['odometry'][:, :2], axis=1)


def contents(drove: Drive, topic: str) -> list:
    return [m.content for row in drove.said for m in row if m.topic == topic]


@pytest.mark.parametrize('seed', range(4))
def test_a_patrol_keeps_to_the_middle_of_the_aisle(seed):
    drove = driven('patrol', seed)
    robot = drove.truth['pose_robot']
    assert np.abs(robot[:, 1]).max() < 0.4
    assert robot[-1, 0] - robot[0, 0] > 2
    assert np.ptp(yaw_rad(robot)) > 0.05
    assert drove.last(RESULT_TOPIC) == 'succeeded'


@pytest.mark.parametrize('seed', range(4))
def test_docking_ends_before_the_pallet(seed):
    drove = driven('dock', seed)
    robot, pallet = drove.truth['pose_robot'][-1], drove.truth['pose_pallet'][-1]
    gap_m = abs(pallet[1] - robot[1]) - 0.6 - FRONT_M
    assert gap_m == pytest.approx(GAP_M, abs=0.06)
    assert abs(pallet[0] - robot[0]) < 0.06
    assert abs(yaw_rad(drove.truth['pose_robot'])[-1]) == pytest.approx(np.pi / 2, abs=0.05)
    assert drove.last(RESULT_TOPIC) == 'succeeded'


@pytest.mark.parametrize('task', TASKS)
def test_seeds_differ_in_way_side_and_pace(task):
    drives = [plan_drive(Setup(task, seed), 30) for seed in range(40)]
    assert {plan.side for plan in drives} == {-1, 1}
    assert np.std([plan.poses[0, 0] for plan in drives]) > 0.05
    assert np.std([plan.commands[:, 0].max() for plan in drives]) > 0.02
    assert max(plan.moving_s for plan in drives) <= SECONDS


@pytest.mark.parametrize('task', TASKS)
def test_on_dry_ground_odometry_is_right(task):
    drove = driven(task)
    assert odometry_error_m(drove).max() < 0.02
    told = contents(drove, ODOMETRY_TOPIC)[-1]['pose']['pose']['position']
    assert (told['x'], told['y']) == pytest.approx(drove.truth['odometry'][-1, :2])


def test_wheels_and_gyroscope_follow_the_commands():
    drove = driven('dock')
    speeds = [m['twist']['twist'] for m in contents(drove, ODOMETRY_TOPIC)]
    driven_m_s = np.array([speed['linear']['x'] for speed in speeds])
    assert np.abs(driven_m_s - drove.commands[:, 0]).max() < 0.08
    turned = np.array([m['angular_velocity']['z'] for m in contents(drove, IMU_TOPIC)])
    assert np.abs(turned - drove.commands[:, 1]).mean() < 0.02
    upwards = [m['linear_acceleration']['z'] for m in contents(drove, IMU_TOPIC)]
    assert np.mean(upwards) == pytest.approx(9.81, abs=0.05)


@pytest.mark.parametrize(('task', 'fault'), CASES)
def test_nothing_differs_before_the_onset(task, fault):
    drove, plain = driven(task, 2, fault, 0.7), driven(task, 2)
    assert drove.onset >= QUIET_S * drove.hz
    assert np.array_equal(drove.commands, plain.commands)
    before = slice(0, drove.onset + 1)
    for name, values in drove.truth.items():
        assert np.array_equal(values[before], plain.truth[name][before]), name
    assert repr(drove.said[: drove.onset]) == repr(plain.said[: drove.onset])
    assert strays_m(drove, plain, MOVED[fault]) > 0.1


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('seed', [3, 6])
def test_odometry_goes_wrong_when_wheels_slip_and_more_so_the_stronger(task, seed):
    errors = [
        odometry_error_m(driven(task, seed, 'wheel_slip', strength)) for strength in (0.2, 0.6, 1)
    ]
    assert errors[0][-1] > 0.05
    assert errors[0][-1] < errors[1][-1] < errors[2][-1]
    assert errors[2][-1] > 0.7
    onset = driven(task, seed, 'wheel_slip', 1).onset
    assert errors[2][onset] < 0.01
    assert (np.diff(errors[2][onset::15]) > -0.02).all()


def test_slipping_wheels_turn_as_commanded():
    slid = driven('patrol', 3, 'wheel_slip')
    assert slid.truth['odometry'][-1, 0] == pytest.approx(
        driven('patrol', 3).truth['odometry'][-1, 0], abs=0.15
    )
    assert slid.last(RESULT_TOPIC) == 'succeeded'


def test_one_slipping_wheel_turns_the_robot_towards_it():
    turned = []
    for seed in range(6):
        slid, plain = driven('patrol', seed, 'wheel_slip', 0.7), driven('patrol', seed)
        ends = [yaw_rad(drove.truth['pose_robot'])[slid.onset + 45] for drove in (slid, plain)]
        turned.append(ends[0] - ends[1])
    assert max(turned) > 0.15
    assert min(turned) < -0.15


@pytest.mark.parametrize('seed', range(3))
def test_a_carton_falls_into_the_aisle(seed):
    for strength in (0.1, 1.0):
        drove = driven('patrol', seed, 'fallen_carton', strength)
        carton = drove.truth['pose_carton'][drove.onset + 1 :]
        assert carton[0, 2] > 2
        landed = carton[30]
        assert landed[2] < 0.5
        assert abs(landed[1]) < (AISLE_HALF_M if strength < 1 else 0.6)
        camera = drove.truth['pose_robot'][drove.onset, 0]
        assert 1.5 < landed[0] - camera < 6


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('fault', ['person', 'blocked_aisle'])
def test_what_comes_out_of_the_passage_comes_further_the_stronger(task, fault):
    ends = []
    for strength in (0.05, 0.5, 1.0):
        drove = driven(task, 1, fault, strength)
        poses = drove.truth[f'pose_{MOVED[fault]}'][drove.onset + 1 :]
        side = np.sign(poses[0, 1])
        assert side * poses[0, 1] > AISLE_HALF_M
        ends.append(side * poses[-1, 1])
    assert AISLE_HALF_M + 0.2 > ends[0] > ends[1] > ends[2]
    assert ends[2] < 0.05


@pytest.mark.parametrize(('task', 'fault'), [('patrol', 'blocked_aisle'), ('dock', 'person')])
def test_a_robot_whose_way_is_blocked_bumps_and_stalls(task, fault):
    drove = driven(task, 1, fault)
    robot = drove.truth['pose_robot']
    assert drove.last(RESULT_TOPIC) == 'failed: bumped into something'
    assert strays_m(drove, driven(task, 1), 'robot') > 0.3
    assert np.abs(robot[-30:, :2] - robot[-1, :2]).max() < 0.05
    effort = np.array([m['effort'] for m in contents(drove, WHEELS_TOPIC)])
    assert np.abs(effort[: drove.onset]).max() < 0.7 * MOTOR_NM
    assert np.abs(effort).max() > 0.95 * MOTOR_NM


@pytest.mark.parametrize('seed', range(3))
def test_a_relocated_pallet_stands_elsewhere(seed):
    plain = driven('dock', seed)
    away = [
        strays_m(driven('dock', seed, 'relocated_pallet', strength), plain, 'pallet')
        for strength in (0.01, 0.5, 1.0)
    ]
    assert away[0] < 0.04
    assert away[0] < away[1] < away[2] <= 0.56
    assert away[2] > 0.38
    strong = driven('dock', seed, 'relocated_pallet')
    assert strong.last(RESULT_TOPIC).startswith('failed: ')
    assert np.array_equal(strong.truth['pose_robot'], plain.truth['pose_robot'])


@pytest.mark.parametrize('fault', FAULTS.values(), ids=lambda fault: fault.name)
def test_onsets_vary_and_leave_time_to_be_seen(fault):
    starts = []
    for seed in range(20):
        for task in fault.tasks:
            setup = Setup(task, seed, fault, 0.5)
            starts.append(span_of(setup, plan_drive(setup, 30), 15).start_s)
    assert max(starts) <= SECONDS - 2.4
    if fault.name == 'other_goods':
        assert set(starts) == {0.0}
    else:
        assert min(starts) >= QUIET_S
        assert np.std(starts) > 0.05

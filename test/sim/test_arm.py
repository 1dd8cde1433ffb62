# SPDX-License-Identifier: Apache-2.0
"""The arm does its tasks, and each fault does what it says and nothing before its onset."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from sim_help import Drive, drive, strays_m

from cosmos_flywheel.sim.arm import NAMES, RESULT_TOPIC, STATES_TOPIC
from cosmos_flywheel.sim.arm_faults import FAULTS, span_of
from cosmos_flywheel.sim.arm_plan import make_plan
from cosmos_flywheel.sim.arm_reach import FORE_M, HAND_M, SHOULDER_M, UPPER_M, Place, joints_at
from cosmos_flywheel.sim.arm_scene import draw_scene
from cosmos_flywheel.sim.world import QUIET_S, Setup

pytestmark = pytest.mark.usefixtures('mujoco')

OBJECT = {'push': 'box', 'pick_place': 'cube'}
MOVING = [f for f in FAULTS.values() if f.kind in ('world', 'policy') or f.changes_commands]
CASES = [(task, fault.name) for fault in MOVING for task in fault.tasks]


@cache
def nominal(task: str, seed: int = 0) -> Drive:
    return drive('arm', task, seed)


def strays(task: str, fault: str, strength: float, seed: int = 0) -> float:
    return strays_m(drive('arm', task, seed, fault, strength), nominal(task, seed), OBJECT[task])


def test_joint_angles_lead_to_the_place_asked_for():
    for x, y, z in [(0.4, 0.1, 0.02), (0.3, -0.2, 0.15), (0.45, 0.0, 0.2)]:
        base, shoulder, elbow, wrist, _ = joints_at(Place(x, y, z, 0.3))
        out = UPPER_M * np.sin(shoulder) + FORE_M * np.sin(shoulder + elbow)
        up = SHOULDER_M + UPPER_M * np.cos(shoulder) + FORE_M * np.cos(shoulder + elbow) - HAND_M
        assert (out * np.cos(base), out * np.sin(base), up) == pytest.approx((x, y, z))
        assert shoulder + elbow + wrist == pytest.approx(np.pi)


def test_the_model_has_the_lengths_that_the_joint_angles_are_for():
    drove = nominal('pick_place')
    at = -1  # standing still
    asked = make_plan(Setup('pick_place', 0), draw_scene(Setup('pick_place', 0))).place('end')
    assert drove.truth['hand'][at] == pytest.approx((asked.x, asked.y, asked.z), abs=0.003)


@pytest.mark.parametrize('seed', range(6))
def test_the_box_is_pushed_to_its_mark(seed):
    drove = nominal('push', seed)
    goal = draw_scene(Setup('push', seed)).positions['goal']
    box = drove.truth['pose_box']
    assert np.hypot(*(box[0, :2] - goal)) > 0.15
    assert np.hypot(*(box[-1, :2] - goal)) < 0.01
    assert drove.last(RESULT_TOPIC) == 'succeeded'


@pytest.mark.parametrize('seed', range(6))
def test_the_cube_is_lifted_and_placed_and_the_other_left(seed):
    drove = nominal('pick_place', seed)
    tray = draw_scene(Setup('pick_place', seed)).positions['tray']
    cube, other = drove.truth['pose_cube'], drove.truth['pose_other']
    assert cube[:, 2].max() > 0.14
    assert np.hypot(*(cube[-1, :2] - tray)) < 0.02
    assert cube[-1, 2] == pytest.approx(0.026, abs=0.002)
    assert np.abs(other - other[0]).max() < 1e-3
    assert drove.last(RESULT_TOPIC) == 'succeeded'


def test_seeds_differ_in_place_and_pace():
    drives = [nominal('pick_place', seed) for seed in range(6)]
    assert len({len(drove.commands) for drove in drives}) > 3
    assert np.std([drove.truth['pose_cube'][0, :2] for drove in drives], axis=0).min() > 0.02


def test_joint_states_tell_what_the_joints_do():
    drove = nominal('pick_place')
    states = [next(m.content for m in row if m.topic == STATES_TOPIC) for row in drove.said]
    assert tuple(states[0]['name']) == NAMES
    told = np.array([state['position'] for state in states])
    assert np.abs(told - drove.truth['joints']).max() < 2e-3
    effort = np.array([state['effort'] for state in states])
    gripped = (told[:, 5] > 0.015) & (drove.commands[:, 5] < 0.001)
    assert effort[gripped, 5].mean() == pytest.approx(-14, abs=1)


@pytest.mark.parametrize(('task', 'fault'), CASES)
def test_nothing_differs_before_the_onset(task, fault):
    drove, plain = drive('arm', task, 2, fault, 0.7), nominal(task, 2)
    assert drove.onset >= QUIET_S * drove.hz
    before = slice(0, drove.onset + 1)
    assert np.array_equal(drove.commands[before], plain.commands[before])
    for name, values in drove.truth.items():
        assert np.array_equal(values[before], plain.truth[name][before]), name
    after = slice(drove.onset, min(len(drove.commands), len(plain.commands)))
    assert not np.array_equal(drove.truth['joints'][after], plain.truth['joints'][after])


@pytest.mark.parametrize(('task', 'fault'), CASES)
def test_only_a_policy_changes_the_commands(task, fault):
    drove, plain = drive('arm', task, 1, fault, 1.0), nominal(task, 1)
    same = len(drove.commands) == len(plain.commands) and np.array_equal(
        drove.commands, plain.commands
    )
    assert same != FAULTS[fault].changes_commands


@pytest.mark.parametrize(
    ('task', 'fault', 'weak', 'strong'),
    [
        ('push', 'stall', 0.02, 0.08),
        ('push', 'slip', 0.03, 0.2),
        ('push', 'kick', 0.05, 0.08),
        ('push', 'lost', 0.01, 1.0),
        ('push', 'blocked', 0.04, 0.1),
        ('pick_place', 'stall', 0.04, 0.15),
        ('pick_place', 'slip', 0.02, 0.1),
        ('pick_place', 'kick', 0.02, 0.15),
        ('pick_place', 'lost', 0.005, 1.0),
        ('pick_place', 'weak_grip', 0.15, 0.12),
    ],
)
def test_a_fault_of_the_world_moves_the_object_more_when_it_is_stronger(task, fault, weak, strong):
    little, much = strays(task, fault, 0.1), strays(task, fault, 1.0)
    assert 0.001 < little < weak
    assert much > max(strong, little)


def test_a_wall_keeps_the_cube_out_of_the_tray():
    for strength in (0.2, 1.0):
        drove = drive('arm', 'pick_place', 0, 'blocked', strength)
        assert np.hypot(*(drove.truth['pose_cube'][-1, :2] - tray(0))) > 0.08
        assert drove.last(RESULT_TOPIC) == 'failed: the hand did not get there'


def test_a_lost_cube_leaves_the_gripper_empty():
    assert (
        drive('arm', 'pick_place', 0, 'lost').last(RESULT_TOPIC) == 'failed: the gripper is empty'
    )


@pytest.mark.parametrize('strength', [0.01, 0.5, 1.0])
@pytest.mark.parametrize('seed', [0, 3])
def test_a_missed_grasp_leaves_the_cube_untouched(seed, strength):
    drove = drive('arm', 'pick_place', seed, 'missed_grasp', strength)
    for name in ('cube', 'other'):
        poses = drove.truth[f'pose_{name}']
        assert np.abs(poses - poses[0]).max() < 1e-3
    assert drove.last(RESULT_TOPIC) == 'failed: the gripper is empty'


def test_the_wrong_object_is_taken_from_half_strength_on():
    half = drive('arm', 'pick_place', 1, 'wrong_object', 0.5)
    assert np.hypot(*(half.truth['pose_other'][-1, :2] - tray(1))) < 0.02
    assert np.abs(half.truth['pose_cube'] - half.truth['pose_cube'][0]).max() < 1e-3
    less = drive('arm', 'pick_place', 1, 'wrong_object', 0.4)
    assert np.hypot(*(less.truth['pose_cube'][-1, :2] - tray(1))) < 0.02
    assert len(less.commands) > len(nominal('pick_place', 1).commands) + 20


@pytest.mark.parametrize(('strength', 'height_m'), [(0.2, 0.028), (1.0, 0.1)])
def test_a_cube_picked_twice_is_lifted_set_down_and_placed(strength, height_m):
    cube = drive('arm', 'pick_place', 1, 'double_pick', strength).truth['pose_cube']
    high = cube[:, 2] > 0.02 + height_m / 3
    assert np.diff(high.astype(int)).tolist().count(1) == 2
    first = slice(0, int(np.argmax(np.diff(high.astype(int)) < 0)) + 1)
    assert cube[first, 2].max() == pytest.approx(0.02 + height_m, abs=0.006)
    assert np.hypot(*(cube[-1, :2] - tray(1))) < 0.02


def test_a_weak_grip_drops_the_cube_in_transit():
    drove = drive('arm', 'pick_place', 0, 'weak_grip', 0.7)
    cube = drove.truth['pose_cube']
    assert cube[drove.onset, 2] > 0.12
    assert cube[drove.onset + 24, 2] < 0.03
    assert np.hypot(*(cube[-1, :2] - tray(0))) > 0.05


def test_a_slower_pace_ends_in_the_same_place_but_later():
    slow, plain = drive('arm', 'push', 1, 'slower_pace'), nominal('push', 1)
    assert len(slow.commands) > 1.2 * len(plain.commands)
    assert slow.truth['pose_box'][-1, :2] == pytest.approx(
        plain.truth['pose_box'][-1, :2], abs=0.01
    )
    assert slow.last(RESULT_TOPIC) == 'succeeded'


@pytest.mark.parametrize('fault', FAULTS.values(), ids=lambda fault: fault.name)
def test_onsets_vary_and_leave_time_to_be_seen(fault):
    starts = []
    for seed in range(20):
        for task in fault.tasks:
            setup = Setup(task, seed, fault, 0.5)
            plan = make_plan(setup, draw_scene(setup))
            starts.append(span_of(setup, plan, 15).start_s)
            assert starts[-1] <= plan.seconds - 1.4
    if fault.name == 'texture':
        assert set(starts) == {0.0}
    else:
        assert min(starts) >= QUIET_S
        assert np.std(starts) > 0.05


def tray(seed: int) -> tuple[float, float]:
    return draw_scene(Setup('pick_place', seed)).positions['tray']

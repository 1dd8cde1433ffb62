# SPDX-License-Identifier: Apache-2.0
"""What can be otherwise in an episode without a fault, and who gets the task done after one."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from cosmos_flywheel.core.envelope import measure_envelope
from cosmos_flywheel.core.identifiability import identifiability
from cosmos_flywheel.sim import find_robot
from cosmos_flywheel.sim.record import rehearse
from cosmos_flywheel.sim.world import Change, Setup, draw_span, setup_of

ARM, BASE = find_robot('arm'), find_robot('base')
LOOKS = (
    Change(light=0.6),
    Change(surface=0.8),
    Change(camera_m=(0.0, 0.03, 0.02)),
)


TOPS = tuple(Change(material=material) for material in ('', 'wood', 'steel'))


def first(robot, setup):
    with closing(robot.start(setup)) as world:
        return world.picture().astype(int), world.truth(), world.command()


@pytest.mark.usefixtures('rendering')
@pytest.mark.parametrize('robot', [ARM, BASE], ids=lambda r: r.name)
def test_another_look_changes_the_picture_and_leaves_the_world(robot):
    setup = Setup(next(iter(robot.tasks)), 3)
    picture, truth, command = first(robot, setup)
    for change in LOOKS:
        seen, same, told = first(robot, replace(setup, change=change))
        assert np.abs(seen - picture).mean() > 1, change
        assert all(np.array_equal(same[name], truth[name]) for name in truth)
        assert np.array_equal(told, command)


@pytest.mark.usefixtures('rendering')
def test_a_top_of_wood_is_browner_than_a_board_and_one_of_steel_is_grey():
    setup = Setup('push', 3)
    corners = [first(ARM, replace(setup, change=top))[0][-60:, :60].mean((0, 1)) for top in TOPS]
    board, wood, steel = (corner[0] - corner[2] for corner in corners)
    assert wood > board + 10 > steel + 30
    assert abs(steel) < 20


@pytest.mark.usefixtures('mujoco')
def test_pace_makes_the_script_faster_or_slower():
    for robot, task in ((ARM, 'push'), (BASE, 'patrol')):
        speeds = []
        for pace in (0.9, 1.0, 1.1):
            with closing(robot.start(Setup(task, 2, change=Change(pace=pace)))) as world:
                commands = []
                for _ in range(90):
                    commands.append(world.command())
                    world.step(commands[-1])
            speeds.append(np.abs(np.diff(commands, axis=0)).mean() if robot is ARM else
                          np.mean(commands, 0)[0])  # fmt: skip
        assert speeds[0] < speeds[1] < speeds[2], robot.name


@pytest.mark.usefixtures('mujoco')
def test_a_share_of_the_window_makes_a_fault_begin_earlier_or_later():
    usual = setup_of(ARM, 'push', 5, 'kick', 1.0)
    spans = [
        draw_span(replace(usual, change=Change(onset=share)), (2.0, 6.0), 15)
        for share in ((0.0, 0.3), (0.0, 1.0), (0.7, 1.0))
    ]
    assert 2.0 <= spans[0].start_s <= 3.2
    assert 2.0 <= spans[1].start_s <= 6.0
    assert 4.8 <= spans[2].start_s <= 6.0


@pytest.mark.usefixtures('mujoco')
def test_nominal_episodes_end_well():
    for robot in (ARM, BASE):
        for task in robot.tasks:
            assert rehearse(robot, Setup(task, 11)).ends_well, (robot.name, task)


@pytest.mark.usefixtures('mujoco')
@pytest.mark.parametrize(
    ('robot', 'task', 'fault'),
    [
        (ARM, 'push', 'kick'),
        (ARM, 'pick_place', 'missed_grasp'),
        (ARM, 'pick_place', 'weak_grip'),
        (BASE, 'patrol', 'blocked_aisle'),
        (BASE, 'dock', 'person'),
    ],
    ids=lambda value: getattr(value, 'name', value),
)
def test_an_expert_that_sees_gets_done_what_the_script_fails_at(robot, task, fault):
    setup = setup_of(robot, task, 1, fault, 0.9)
    assert not rehearse(robot, setup).ends_well
    assert rehearse(robot, replace(setup, recovers=True)).ends_well


@pytest.mark.usefixtures('mujoco')
@pytest.mark.parametrize(
    ('robot', 'task', 'fault'),
    [(ARM, 'push', 'stall'), (BASE, 'dock', 'person')],
    ids=lambda value: getattr(value, 'name', value),
)
def test_the_expert_takes_over_no_harder_than_nominal_scripts_move(robot, task, fault):
    names = tuple(f'element {place}' for place in range(6 if robot is ARM else 2))
    scripts = [commands_of(robot, Setup(task, seed)) for seed in range(900, 905)]
    nominal = measure_envelope(names, names, robot.control_hz, scripts)
    setup = replace(setup_of(robot, task, 1, fault, 0.9), recovers=True)
    recovery = commands_of(robot, setup)
    left = [v for v in nominal.violations(recovery) if v.limit in ('speed', 'acceleration')]
    assert not left
    assert len(recovery) < robot.control_hz * 20


@pytest.mark.usefixtures('mujoco')
def test_joints_that_sway_can_be_told_apart_and_the_task_is_done_all_the_same():
    names = tuple('abcdef')
    usual = [Setup('pick_place', seed) for seed in (11, 12)]
    swaying = [replace(setup, change=Change(sway_rad=0.12)) for setup in usual]
    scripts, swayed = ([commands_of(ARM, one) for one in setups] for setups in (usual, swaying))
    assert identifiability(scripts, names, ARM.control_hz).tied == (('b', 'c', 'd'),)
    assert identifiability(swayed, names, ARM.control_hz).tied == ()
    assert 0.03 < np.abs(swayed[0] - scripts[0])[:, :4].max() < 0.12
    assert rehearse(ARM, swaying[0]).ends_well


def commands_of(robot, setup):
    """(N, A) at the control rate, until the task is done."""
    commands = []
    with closing(robot.start(setup)) as world:
        while len(commands) < round(world.seconds * robot.control_hz):
            commands.append(world.command())
            world.step(commands[-1])
    return np.array(commands)

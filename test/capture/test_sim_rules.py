# SPDX-License-Identifier: Apache-2.0
"""The rules of the shipped arm judge simulated episodes by their joints and messages alone."""

from __future__ import annotations

from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest

from cosmos_flywheel.core.channels import Moment, OutcomeChannel
from cosmos_flywheel.core.errors import SimError
from cosmos_flywheel.core.timeline import NS, Tick
from cosmos_flywheel.sim.arm import ROBOT
from cosmos_flywheel.sim.render import load_mujoco
from cosmos_flywheel.sim.world import setup_of
from cosmos_flywheel.store.robots import load_robot

NONE = np.empty(0, np.float32)
TASK, EMPTY = 'the task failed', 'the fingers close on nothing'
OPENS, HALF_OPEN = 'the hand opens away from the tray', 'the hand is half open away from the tray'


@pytest.fixture(autouse=True)
def _mujoco(need) -> None:
    try:
        load_mujoco()
    except SimError as error:
        need('render', str(error))


def broken(task: str, seed: int, fault: str = 'none', strength: float = 1.0) -> set[str]:
    """Rules that are broken at any time of an episode."""
    robot = load_robot('sim_arm')
    channel = OutcomeChannel(robot.outcomes, robot.topics)
    found: set[str] = set()
    with closing(ROBOT.start(setup_of(ROBOT, task, seed, fault, strength))) as world:
        for number in range(round(world.seconds * ROBOT.control_hz)):
            stamp_ns = NS + round(number * NS / ROBOT.control_hz)
            command = world.command()
            for said in world.messages(stamp_ns, command):
                message = SimpleNamespace(**said.content)
                assert channel.arrived(said.topic, stamp_ns, message, 0) == []
            evidence = channel.evidence(Moment(Tick(stamp_ns, None, {}, NONE, NONE, 0)))
            found |= {channel.elements[i] for i in np.flatnonzero(evidence > 1)}
            world.step(command)
    return found


@pytest.mark.parametrize('seed', range(60, 64))
@pytest.mark.parametrize('task', ROBOT.tasks)
def test_a_nominal_episode_breaks_no_rule(task: str, seed: int) -> None:
    assert broken(task, seed) == set()


@pytest.mark.parametrize('seed', [70, 71])
@pytest.mark.parametrize(
    ('fault', 'strength', 'rules'),
    [
        ('missed_grasp', 0.1, {TASK, EMPTY}),
        ('lost', 1.0, {TASK, EMPTY}),
        ('double_pick', 0.3, {OPENS}),
        ('weak_grip', 1.0, {HALF_OPEN}),
        ('slower_pace', 1.0, set()),
        ('wrong_object', 1.0, set()),
    ],
)
def test_each_rule_finds_what_it_names_and_no_more(
    fault: str, strength: float, rules: set[str], seed: int
) -> None:
    found = broken('pick_place', seed, fault, strength)
    assert found - {OPENS} == rules - {OPENS}
    assert OPENS in found or OPENS not in rules

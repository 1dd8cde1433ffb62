# SPDX-License-Identifier: Apache-2.0
"""What was asked of a robot is checked; what is left to chance is the seed's alone."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from cosmos_flywheel.core.errors import SimError
from cosmos_flywheel.sim import ROBOTS, find_robot
from cosmos_flywheel.sim.world import QUIET_S, Fault, Setup, Span, draw_span, setup_of

KICK = Fault('kick', 'world', ('push',), 'a blow', '1 m/s')
LIGHT = Fault('light', 'benign', ('push', 'pick'), 'darker', '30 %')
ROBOT = SimpleNamespace(
    name='toy', tasks={'push': 'push', 'pick': 'pick'}, faults={'kick': KICK, 'light': LIGHT}
)


def test_a_good_order_becomes_a_setup():
    assert setup_of(ROBOT, 'push', 3, 'kick', 0.5) == Setup('push', 3, KICK, 0.5)


def test_a_nominal_order_has_no_strength():
    assert setup_of(ROBOT, 'pick', 3, 'none', 7) == Setup('pick', 3, None, 0.0)


@pytest.mark.parametrize(
    ('order', 'reason'),
    [
        (('pusch', 0, 'none', 1), "toy has no task 'pusch'; did you mean 'push'"),
        (('push', -1, 'none', 1), 'seed -1 is negative'),
        (('push', 0, 'kik', 1), "toy push has no fault 'kik'; did you mean 'kick'"),
        (('pick', 0, 'kick', 1), r"toy pick has no fault 'kick'; known: none, light|did you mean"),
        (('push', 0, 'kick', 0), 'strength 0 is out of range'),
        (('push', 0, 'kick', 1.01), 'strength 1.01 is out of range'),
        (('push', 0, 'kick', float('nan')), 'strength nan is out of range'),
    ],
)
def test_a_bad_order_is_refused_with_what_is_known(order, reason):
    with pytest.raises(SimError, match=reason):
        setup_of(ROBOT, *order)


def test_an_unknown_robot_suggests_the_nearest():
    with pytest.raises(SimError, match="robot 'arn' is not simulated here; did you mean 'arm'"):
        find_robot('arn')


def test_only_what_is_not_benign_is_a_failure():
    assert KICK.is_failure
    assert not LIGHT.is_failure


@pytest.mark.parametrize('name', ROBOTS)
def test_every_robot_says_what_it_can_do(name, mujoco):
    robot = find_robot(name)
    assert robot.name == name
    assert robot.control_hz % robot.camera_hz == 0
    for key, fault in robot.faults.items():
        assert key == fault.name != 'none'
        assert fault.what
        assert fault.strength
        assert fault.tasks
        assert set(fault.tasks) <= set(robot.tasks)


def test_chance_is_the_seeds_alone():
    plain, kicked = Setup('push', 5), Setup('push', 5, KICK, 0.3)
    assert plain.chance('scene').random() == kicked.chance('scene').random()
    assert plain.chance('scene').random() != plain.chance('noise').random()
    assert plain.chance('scene').random() != Setup('push', 6).chance('scene').random()


def test_onsets_fall_on_frames_within_their_window():
    spans = [draw_span(Setup('push', seed, KICK, 1.0), (0.5, 3.0), 15) for seed in range(200)]
    starts = np.array([span.start_s for span in spans])
    assert starts.min() == pytest.approx(23 / 15)
    assert starts.min() >= QUIET_S
    assert starts.max() == pytest.approx(3.0)
    assert starts * 15 == pytest.approx(np.round(starts * 15))
    assert len(set(starts)) == 23
    assert all(span.stop_s - span.start_s == pytest.approx(22 / 15) for span in spans)


def test_a_fault_may_last_for_ever():
    assert draw_span(Setup('push', 1, KICK, 1.0), (2, 3), 15, None).stop_s == np.inf


@pytest.mark.parametrize(
    ('at_s', 'share', 'ramped'), [(1.9, 0, 0), (2.0, 1, 0), (2.2, 1, 0.5), (2.9, 1, 1), (3, 0, 0)]
)
def test_a_span_is_half_open_and_may_come_gradually(at_s, share, ramped):
    span = Span(2.0, 3.0)
    assert span.share(at_s) == share
    assert span.share(at_s, 0.4) == pytest.approx(ramped)

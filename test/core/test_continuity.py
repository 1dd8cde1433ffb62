# SPDX-License-Identifier: Apache-2.0
"""Angles and quaternions run on where their numbers jump and the robot does not."""

from __future__ import annotations

import numpy as np
import pytest

from cosmos_flywheel.core.continuity import Continuity

POSE = ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')
POSE_UNITS = ('m', 'm', 'm', '', '', '', '')


def test_a_quaternion_that_changes_its_sign_is_the_same_rotation() -> None:
    continuity = Continuity(POSE, POSE_UNITS)
    first = np.array([1.0, 2.0, 3.0, 0.6, 0.0, 0.0, 0.8])
    flipped = np.array([1.0, 2.0, 3.0, -0.6, 0.0, 0.0, -0.8])
    np.testing.assert_allclose(continuity.follow(first), first)
    np.testing.assert_allclose(continuity.follow(flipped), first)
    np.testing.assert_allclose(continuity.follow(first), first)


def test_an_angle_that_wraps_runs_on() -> None:
    continuity = Continuity(('yaw', 'x'), ('rad', 'm'))
    true = np.linspace(0.0, 20.0, 200)
    wrapped = (true + np.pi) % (2 * np.pi) - np.pi
    seen = [continuity.follow(np.array([w, w]))[0] for w in wrapped]
    np.testing.assert_allclose(seen, true, atol=1e-9)


def test_lengths_are_left_alone() -> None:
    continuity = Continuity(('x', 'y'), ('m', ''))
    continuity.follow(np.array([0.0, 0.0]))
    np.testing.assert_allclose(continuity.follow(np.array([100.0, -7.0])), [100.0, -7.0])


@pytest.mark.parametrize('unreal', [np.nan, np.inf])
def test_a_number_that_is_none_stays_visible_and_is_not_remembered(unreal: float) -> None:
    continuity = Continuity(('yaw',), ('rad',))
    continuity.follow(np.array([3.1]))
    assert not np.isfinite(continuity.follow(np.array([unreal]))[0])
    assert continuity.follow(np.array([-3.1]))[0] == pytest.approx(2 * np.pi - 3.1)


def test_a_lone_part_of_a_quaternion_is_a_plain_number() -> None:
    continuity = Continuity(('qx', 'qy'), ('', ''))
    continuity.follow(np.array([0.5, 0.5]))
    np.testing.assert_allclose(continuity.follow(np.array([-0.5, -0.5])), [-0.5, -0.5])

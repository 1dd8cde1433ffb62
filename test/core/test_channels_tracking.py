# SPDX-License-Identifier: Apache-2.0
"""Tracking error forgives a servo that lags, not one that stands."""

from __future__ import annotations

import numpy as np
import pytest
from moment_maker import HZ, moment, vector

from cosmos_flywheel.core.channels import TrackingChannel
from cosmos_flywheel.core.channels.tracking import LAG_S

WINDOW = 1 + round(LAG_S * HZ)


def errors(commands, states, pairs=((0, 0),)) -> np.ndarray:
    """(T, n) evidence along a run; rows of commands and states may be single numbers."""
    channel = TrackingChannel(pairs, [f'joint {s}' for _, s in pairs], HZ)
    rows = [
        channel.evidence(moment(i, vector(*np.atleast_1d(s)), vector(*np.atleast_1d(a))))
        for i, (a, s) in enumerate(zip(commands, states, strict=True))
    ]
    return np.array(rows)


def ramp(ticks: int = 20, lag: int = 0) -> np.ndarray:
    return np.maximum(np.arange(ticks) - lag, 0) * 0.1


@pytest.mark.parametrize('lag', range(1 + round(LAG_S * HZ)))
def test_a_servo_that_follows_within_the_lag_has_no_error(lag):
    assert np.nanmax(errors(ramp(), ramp(lag=lag))) == pytest.approx(0, abs=1e-6)


def test_a_servo_that_follows_later_than_the_lag_has_an_error():
    lag = 2 + round(LAG_S * HZ)
    assert errors(ramp(), ramp(lag=lag))[10:].min() > 0.15


def test_the_error_of_a_stalled_joint_grows_with_every_command():
    stalled = np.minimum(ramp(), 1.0)
    error = errors(ramp(), stalled)[:, 0]
    assert error[WINDOW - 1 : 10].max() == pytest.approx(0, abs=1e-6)
    assert (np.diff(error[14:]) > 0).all()


def test_every_pair_compares_its_own_command_with_its_own_state():
    both = errors([[1, 5]] * 4, [[7, 5, 1]] * 4, pairs=((0, 2), (1, 0)))
    assert both[-1].tolist() == [0, 2]


@pytest.mark.parametrize(('unit', 'error'), [('rad', 0.1), ('m', 2 * np.pi - 0.1)])
def test_a_whole_turn_is_no_error_of_an_angle_and_one_of_anything_else(unit, error):
    channel = TrackingChannel([(0, 0)], ['joint'], HZ, [unit])
    for tick in range(WINDOW):
        seen = channel.evidence(moment(tick, vector(2 * np.pi - 0.05), vector(0.05)))
    assert seen == pytest.approx(error, abs=1e-5)


def test_unknown_commands_and_states_are_no_error_but_unknown():
    nan = float('nan')
    assert np.isnan(errors([nan] * 5, [1.0] * 5)).all()
    assert np.isnan(errors([1.0] * 5, [nan] * 5)).all()


def test_a_command_unknown_for_a_moment_leaves_the_earlier_ones_to_compare_with():
    commands = [1] * WINDOW + [float('nan')]
    assert errors(commands, [1] * len(commands))[-2:, 0].tolist() == [0, 0]


def test_a_robot_joined_in_mid_motion_is_judged_once_its_lag_is_covered():
    error = errors(ramp()[8:], ramp(lag=WINDOW - 1)[8:])[:, 0]
    assert np.isnan(error[: WINDOW - 1]).all()
    assert error[WINDOW - 1 :].max() == pytest.approx(0, abs=1e-6)


def test_after_a_reset_earlier_commands_excuse_nothing():
    channel = TrackingChannel([(0, 0)], ['joint'], HZ)
    for tick in range(WINDOW):
        channel.evidence(moment(tick, vector(1), vector(0)))
    channel.reset()
    again = [channel.evidence(moment(t, vector(0), vector(1))).tolist() for t in range(WINDOW)]
    assert np.isnan(again[0]).all()
    assert again[-1] == [1]

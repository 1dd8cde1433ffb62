# SPDX-License-Identifier: Apache-2.0
"""The deadline ladder goes down when a level cannot keep up, and up again after a rest."""

from __future__ import annotations

import math

import pytest

from cosmos_flywheel.core.ladder import FIRST_REST_S, PROVED_S, Ladder

PERIOD_S = 0.1


def run(ladder: Ladder, cost_of: dict[str, float], from_s: float, seconds: float) -> float:
    """Tick on; returns when it ends."""
    for tick in range(round(seconds / PERIOD_S)):
        ladder.note(cost_of[ladder.level], from_s + tick * PERIOD_S)
    return from_s + seconds


def test_a_level_that_keeps_up_stays():
    ladder = Ladder(['local', 'flow'], PERIOD_S)
    assert math.isnan(ladder.real_time_factor)
    run(ladder, {'local': 0.09, 'flow': 0.01}, 0.0, 100)
    assert (ladder.level, ladder.changes) == ('local', 0)
    assert ladder.real_time_factor == pytest.approx(0.9)


def test_one_slow_prediction_changes_nothing():
    ladder = Ladder(['local', 'flow'], PERIOD_S)
    run(ladder, {'local': 0.02, 'flow': 0.01}, 0.0, 5)
    assert not ladder.note(1.0, 5.1)
    assert ladder.level == 'local'


def test_a_level_that_cannot_keep_up_is_left_within_two_seconds():
    ladder = Ladder(['cosmos', 'local', 'flow'], PERIOD_S)
    run(ladder, {'cosmos': 0.12, 'local': 0.03, 'flow': 0.01}, 0.0, 2.0)
    assert ladder.level == 'local'


def test_it_falls_to_the_level_that_holds_but_never_off_the_ladder():
    ladder = Ladder(['cosmos', 'local', 'flow'], PERIOD_S)
    run(ladder, {'cosmos': 1.0, 'local': 0.5, 'flow': 0.2}, 0.0, 10)
    assert ladder.level == 'flow'
    assert ladder.real_time_factor == pytest.approx(2.0)


def test_it_comes_back_after_a_rest_that_doubles_with_every_failure():
    ladder = Ladder(['local', 'flow'], PERIOD_S)
    costs = {'local': 0.2, 'flow': 0.01}
    back_s = []
    for tick in range(2000):
        before = ladder.level
        ladder.note(costs[before], tick * PERIOD_S)
        if (before, ladder.level) == ('flow', 'local'):
            back_s.append(tick * PERIOD_S)
    first, second, third = back_s[:3]
    assert first == pytest.approx(FIRST_REST_S + 2, abs=0.5)
    assert second - first == pytest.approx(2 * FIRST_REST_S + 2, abs=0.5)
    assert third - second == pytest.approx(4 * FIRST_REST_S + 2, abs=0.5)


def test_a_level_that_has_held_long_is_forgiven():
    ladder = Ladder(['local', 'flow'], PERIOD_S)
    slow, quick = {'local': 0.2, 'flow': 0.01}, {'local': 0.02, 'flow': 0.01}
    now_s = run(ladder, slow, 0.0, 3)
    now_s = run(ladder, quick, now_s, FIRST_REST_S + PROVED_S + 3)
    assert ladder.level == 'local'
    now_s = run(ladder, slow, now_s, 3)
    assert ladder.level == 'flow'
    run(ladder, quick, now_s, FIRST_REST_S + 1)
    assert ladder.level == 'local'


def test_a_failure_is_a_step_down_at_once():
    ladder = Ladder(['local', 'flow'], PERIOD_S)
    assert ladder.fail(1.0)
    assert ladder.level == 'flow'
    assert not ladder.fail(2.0)
    assert ladder.level == 'flow'


@pytest.mark.parametrize(('levels', 'period_s'), [([], 0.1), (['local'], 0.0)])
def test_nonsense_is_refused(levels, period_s):
    with pytest.raises(ValueError, match='a ladder needs'):
        Ladder(levels, period_s)


def test_a_level_that_predicts_once_a_stride_has_the_whole_stride_for_it():
    ladder = Ladder(['cosmos', 'flow'], PERIOD_S)
    for number in range(20):
        assert not ladder.note(0.7, number * 8 * PERIOD_S, 8)
    assert ladder.real_time_factor == pytest.approx(0.7 / 0.8)
    changed = [ladder.note(0.9, (20 + number) * 8 * PERIOD_S, 8) for number in range(5)]
    assert any(changed)
    assert ladder.level == 'flow'

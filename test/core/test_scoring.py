# SPDX-License-Identifier: Apache-2.0
"""Scores are multiples of what was normal so far, and never look ahead."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moment_maker import HZ, GivenChannel, moment, vector

from cosmos_flywheel.core.channels import (
    ClockChannel,
    PictureChannel,
    StateChannel,
    StreamChannel,
    TrackingChannel,
)
from cosmos_flywheel.core.scoring import (
    MEMORY_S,
    UNCALIBRATED,
    WARM_UP_S,
    FixedNorm,
    Scorer,
    element_quantile,
    largest,
    running_norms,
)
from cosmos_flywheel.core.types import ChannelScore

WARM = round(WARM_UP_S * HZ)
"""Ticks after which the warm-up is over."""
LIMIT = UNCALIBRATED['state'].threshold


def make_scorer(elements: int = 1, **channel) -> Scorer:
    """One uncalibrated channel that says what the state of a moment is."""
    given = GivenChannel(np.full(elements, 0.1, np.float32), **channel)
    norms = running_norms([given], HZ)
    return Scorer([given], norms, calibration_id='', level='none')


def score(rows, scorer: Scorer | None = None, first: int = 0) -> list[ChannelScore]:
    """Scores of the channel along rows of evidence; a row may be a single number."""
    scorer = scorer or make_scorer(np.size(rows[0]))
    moments = (moment(first + i, vector(*np.atleast_1d(row))) for i, row in enumerate(rows))
    return [scorer.score(m).channels[0] for m in moments]


def values(scores: list[ChannelScore]) -> list[float]:
    return [s.score for s in scores]


def test_while_warming_up_there_is_no_threshold_and_no_alarm():
    scores = score([1.0] * 5 + [1e6] + [1.0] * 40)
    assert all(math.isnan(s.threshold) and not s.alarm for s in scores[:WARM])
    assert all(s.threshold == LIMIT for s in scores[WARM:])


def test_what_is_ordinary_scores_about_one():
    assert values(score([1.0] * 60))[-1] == pytest.approx(1)


def test_what_is_far_beyond_the_past_alarms_at_once():
    scores = score([1.0] * 60 + [LIMIT + 1])
    assert [s.alarm for s in scores] == [False] * 60 + [True]
    assert scores[-1].score == pytest.approx(LIMIT + 1)


@given(st.lists(st.floats(0, 100, width=32), min_size=41, max_size=60))
def test_the_future_changes_no_earlier_score(future):
    past = [1.0 + 0.1 * math.sin(i) for i in range(40)]
    assert score(past + future)[:40] == score(past)


def test_evidence_in_alarm_does_not_become_normal():
    scores = score([1.0] * 60 + [20.0] * 300)
    assert all(s.alarm for s in scores[60:])
    assert values(scores)[-1] == pytest.approx(20)


def test_evidence_below_the_threshold_becomes_normal_with_time():
    scores = score([1.0] * 60 + [5.0] * round(2 * MEMORY_S * HZ))
    assert not any(s.alarm for s in scores)
    assert values(scores)[-1] == pytest.approx(1)


def test_what_lies_longer_back_than_the_memory_is_forgotten():
    scores = score([5.0] * 60 + [1.0] * round(MEMORY_S * HZ))
    assert values(scores)[100] == pytest.approx(0.2)
    assert values(scores)[-1] == pytest.approx(1)


def test_a_channel_that_knows_nothing_is_silent():
    nan = float('nan')
    *_, blind, after = score([1.0] * 60 + [nan, 1.0])
    assert math.isnan(blind.score)
    assert not blind.alarm
    assert blind.detail == ''
    assert after.score == pytest.approx(1)


def test_the_warm_up_counts_from_the_first_evidence():
    nan = float('nan')
    scores = score([nan] * 100 + [1.0] * 60)
    assert all(math.isnan(s.threshold) for s in scores[:130])
    assert scores[-1].threshold == LIMIT


def test_one_blind_element_does_not_blind_the_others():
    scores = score([[1.0, float('nan')]] * 60 + [[20.0, float('nan')]])
    assert scores[-1].alarm
    assert scores[-1].detail == 'element 0'


def test_the_most_surprising_element_is_named():
    assert score([[1.0, 50.0]] * 60 + [[20.0, 50.0]])[-1].detail == 'element 0'


def test_nothing_is_normal_below_the_floor_so_that_a_robot_at_rest_may_start():
    floor = 0.1 * UNCALIBRATED['state'].floor_factor
    assert values(score([0.0] * 60 + [floor]))[-1] == pytest.approx(1)


def test_a_clock_that_steps_back_by_years_does_not_mute_the_channel():
    scorer = make_scorer()
    score([1.0] * 60, scorer, first=10**9)
    scorer.reset()
    scores = score([1.0] * 60 + [20.0], scorer)
    assert scores[-1].alarm


def test_a_channel_with_limits_of_its_own_needs_no_warm_up():
    scorer = make_scorer(name='clock_health', adaptive=False)
    first, second = score([0.05, 0.11], scorer)
    assert (first.score, first.alarm) == (pytest.approx(0.5), False)
    assert (second.score, second.alarm) == (pytest.approx(1.1), True)


def test_a_reset_reaches_the_channels_and_leaves_what_is_normal():
    given = GivenChannel(vector(0.1))
    scorer = Scorer([given], running_norms([given], HZ), calibration_id='', level='none')
    score([3.0] * 60, scorer)
    scorer.reset()
    assert given.resets == 1
    assert values(score([3.0], scorer, first=60)) == [pytest.approx(1)]


def test_a_score_says_by_what_it_was_judged():
    given = GivenChannel(vector(0.1))
    norms = {'state': FixedNorm(vector(2), 1.5, guaranteed=False)}
    scorer = Scorer([given], norms, calibration_id='abc', level='flow')
    said = scorer.score(moment(7, vector(4)))
    assert (said.calibration_id, said.level, said.alarms) == ('abc', 'flow', ('state',))
    assert said.stamp_ns == moment(7).tick.stamp_ns
    assert said.channels[0] == ChannelScore('state', 2, 1.5, True, False, 'element 0')
    assert math.isnan(said.action_grounding)


@pytest.mark.parametrize('kind', [ClockChannel, PictureChannel, StateChannel, StreamChannel,
                                  TrackingChannel])  # fmt: skip
def test_every_channel_can_be_judged_without_a_calibration(kind):
    assert kind.name in UNCALIBRATED


def test_nothing_guarantees_an_uncalibrated_alarm():
    assert not any(s.guaranteed for s in score([1.0] * 60 + [50.0]))


def test_the_largest_of_nothing_is_unknown():
    assert math.isnan(largest(vector(), vector())[0])
    assert largest(vector(float('nan')), vector(1))[1] == -1


@pytest.mark.parametrize('hole', [False, True])
def test_an_elements_quantile_is_one_of_its_values_and_ignores_what_is_unknown(hole):
    evidence = np.arange(1, 101, dtype=np.float32).reshape(100, 1)
    if hole:
        evidence = np.vstack([evidence, vector(float('nan'))])
    assert element_quantile(evidence, 0.95).tolist() == [95]
    assert element_quantile(evidence, 1.0).tolist() == [100]

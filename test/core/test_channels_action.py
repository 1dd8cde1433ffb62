# SPDX-License-Identifier: Apache-2.0
"""Action surprise says of each tick what the prior says of the recording so far."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prior_maker import HZ, NAMES, nominal, recording

from cosmos_flywheel.core.channels import ActionChannel, Moment
from cosmos_flywheel.core.prior import Prior, Recording, fit_prior
from cosmos_flywheel.core.scoring import Scorer, running_norms
from cosmos_flywheel.core.timeline import Tick


@pytest.fixture(scope='module')
def prior() -> Prior:
    return fit_prior(nominal(), HZ)


def moments(recording: Recording) -> list[Moment]:
    rows = zip(recording.stamps_ns, recording.states, recording.actions, strict=True)
    return [Moment(Tick(int(t), None, {}, s, a, 0, {}, {})) for t, s, a in rows]


def watch(channel: ActionChannel, recording: Recording) -> np.ndarray:
    return np.stack([channel.evidence(moment) for moment in moments(recording)])


def test_elements_are_the_actions_and_the_course(prior):
    assert ActionChannel(NAMES, prior).elements == ('reach', 'hand', 'the last 4 s')


@settings(max_examples=15)
@given(st.lists(st.integers(0, 79), max_size=8), st.integers(100, 120))
def test_tick_by_tick_it_says_what_the_whole_recording_tells(lost, seed):
    prior = fit_prior(nominal(3), HZ)
    whole = recording(seed)
    kept = np.delete(np.arange(80), lost)
    holed = Recording(whole.stamps_ns[kept], whole.states[kept], whole.actions[kept])
    expected = prior.evidence(holed)
    found = watch(ActionChannel(NAMES, prior), holed)
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-3, equal_nan=True)


def test_after_a_reset_it_is_blind_as_at_the_beginning(prior):
    channel = ActionChannel(NAMES, prior)
    first = watch(channel, recording(100))
    channel.reset()
    assert np.array_equal(watch(channel, recording(100)), first, equal_nan=True)


def test_a_clock_that_steps_back_needs_no_reset(prior):
    channel = ActionChannel(NAMES, prior)
    first = watch(channel, recording(100))
    assert np.array_equal(watch(channel, recording(100)), first, equal_nan=True)


def test_without_a_calibration_it_alarms_on_what_is_unlike_nominal_only(prior):
    def alarms(recording: Recording) -> int:
        channel = ActionChannel(NAMES, prior)
        scorer = Scorer([channel], running_norms([channel], HZ), calibration_id='', level='x')
        scores = [scorer.score(moment).channels[0] for moment in moments(recording)]
        return sum(score.alarm for score in scores)

    assert alarms(recording(100)) == 0
    assert alarms(recording(100, (0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0))) > 0

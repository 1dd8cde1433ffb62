# SPDX-License-Identifier: Apache-2.0
"""A prior tells what nominal recordings do from what they do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prior_maker import HAND, HZ, PERIOD_NS, REACH, nominal, recording

from cosmos_flywheel.core import prior as module
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.prior import Prior, Recording, fit_prior, held_out_evidence

OPENS_ON_THE_WAY = (1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0)
TURNS_BACK = (0.0, 0.0, 1.0, 0.5, 1.0, 0.0, 0.0)


@pytest.fixture(scope='module')
def prior() -> Prior:
    return fit_prior(nominal(), HZ)


def peak(prior: Prior, recording: Recording) -> float:
    return float(np.nanmax(prior.evidence(recording)))


def cut(recording: Recording, ticks: slice) -> Recording:
    parts = recording.stamps_ns, recording.states, recording.actions
    return Recording(*(part[ticks] for part in parts))


def test_a_nominal_recording_that_it_never_saw_is_hardly_a_surprise(prior):
    assert max(peak(prior, recording(seed)) for seed in range(100, 110)) < 2


@pytest.mark.parametrize(
    ('reach', 'hand'), [(REACH, OPENS_ON_THE_WAY), (TURNS_BACK, HAND)], ids=['hand', 'way']
)
def test_commands_that_no_nominal_recording_gave_are_a_surprise(prior, reach, hand):
    assert min(peak(prior, recording(seed, reach, hand)) for seed in range(100, 110)) > 3


def slowed(recording: Recording, pace: float) -> Recording:
    """The same way from the second second on, `pace` times as slowly."""
    at = np.arange(round(20 + 60 * pace))
    wanted = np.where(at < 20, at, 20 + (at - 20) / pace)
    rows = [
        np.stack([np.interp(wanted, np.arange(80), column) for column in part.T], axis=1)
        for part in (recording.states, recording.actions)
    ]
    return Recording(at * PERIOD_NS, *(part.astype(np.float32) for part in rows))


@pytest.mark.parametrize('pace', [1.2, 1.4, 1.6])
def test_the_same_course_at_a_slower_pace_is_less_of_a_surprise(prior, monkeypatch, pace):
    slow = slowed(recording(100), pace)
    forgiven = np.nanmax(prior.evidence(slow)[:, 2])
    monkeypatch.setattr(module, 'PACES', (1.0,))
    assert forgiven < 0.9 * np.nanmax(prior.evidence(slow)[:, 2])


def test_a_step_is_told_of_the_action_that_took_it(prior):
    odd = recording(100)
    odd.actions[60, 1] += 0.5
    reach, hand, _ = prior.evidence(odd)[60]
    assert hand > 1.5 > 1 > reach


def test_held_out_recordings_are_about_as_unlike_as_1_and_known_ones_less():
    recordings = nominal()
    held_out = [np.nanmax(e) for e in held_out_evidence(recordings, HZ)]
    known = [peak(fit_prior(recordings, HZ), r) for r in recordings]
    assert max(held_out) > 0.5
    assert np.mean(held_out) > np.mean(known)


def test_held_out_evidence_knows_nothing_of_the_recording_it_is_of():
    recordings = [*nominal(), recording(9, hand=OPENS_ON_THE_WAY)]
    found = held_out_evidence(recordings, HZ)
    assert np.array_equal(
        found[-1], fit_prior(recordings[:-1], HZ).evidence(recordings[-1]), equal_nan=True
    )
    assert np.nanmax(found[-1]) > 3


def test_more_recordings_than_folds_are_all_held_out(monkeypatch):
    monkeypatch.setattr(module, 'MOST_OUTER_FOLDS', 3)
    recordings = nominal(7)
    found = held_out_evidence(recordings, HZ)
    assert [e.shape for e in found] == [(80, 3)] * 7
    others = [r for i, r in enumerate(recordings) if i % 3 != 1]
    assert np.array_equal(found[4], fit_prior(others, HZ).evidence(recordings[4]), equal_nan=True)


def test_it_is_blind_until_it_has_seen_enough(prior):
    evidence = prior.evidence(recording(100))
    assert np.isnan(evidence[:14, :2]).all()
    assert np.isfinite(evidence[14:, :2]).all()
    assert np.isnan(evidence[:39, 2]).all()
    assert np.isfinite(evidence[39:, 2]).all()


def test_a_gap_makes_it_blind_and_not_surprised(prior):
    whole = recording(100)
    gap = Recording(
        whole.stamps_ns + np.where(np.arange(80) >= 50, 20 * PERIOD_NS, 0),
        whole.states,
        whole.actions,
    )
    evidence = prior.evidence(gap)
    assert np.isnan(evidence[50:60]).all()
    assert peak(prior, gap) < 2


def test_a_clock_that_began_anew_separates_what_was_before(prior):
    whole = recording(100)
    twice = Recording(
        np.tile(whole.stamps_ns, 2), np.tile(whole.states, (2, 1)), np.tile(whole.actions, (2, 1))
    )
    expected = np.tile(prior.evidence(whole), (2, 1))
    assert np.allclose(prior.evidence(twice), expected, equal_nan=True)


def test_an_element_that_is_unknown_makes_it_blind(prior):
    whole = recording(100)
    states = whole.states.copy()
    states[60:] = np.nan
    evidence = prior.evidence(replace(whole, states=states))
    assert np.isfinite(evidence[59]).all()
    assert np.isnan(evidence[61:, :]).all()


def test_a_lost_tick_is_no_surprise(prior):
    whole = recording(100)
    kept = np.delete(np.arange(80), [35, 55])
    holed = Recording(whole.stamps_ns[kept], whole.states[kept], whole.actions[kept])
    assert peak(prior, holed) < 2


def test_an_element_that_no_nominal_recording_told_is_left_out():
    silent = [replace(r, states=np.full_like(r.states, np.nan)) for r in nominal()]
    prior = fit_prior(silent, HZ)
    assert np.isfinite(prior.evidence(silent[0])[-1]).all()
    assert peak(prior, recording(100, hand=OPENS_ON_THE_WAY)) > 3


def test_a_robot_that_never_moved_is_surprised_by_motion_and_not_by_noise():
    def still(seed: int) -> Recording:
        chance = np.random.default_rng(seed)
        whole = recording(seed)
        noise = 1e-5 * chance.standard_normal(whole.states.shape).astype(np.float32)
        return Recording(whole.stamps_ns, noise, np.zeros_like(whole.actions))

    prior = fit_prior([still(seed) for seed in range(4)], HZ)
    assert peak(prior, still(100)) < 2
    assert peak(prior, recording(100)) > 3


def test_a_recording_without_a_tick_neither_helps_nor_harms(prior):
    empty = cut(recording(0), slice(0, 0))
    assert prior.evidence(empty).shape == (0, 3)
    *found, last = held_out_evidence([*nominal(), empty], HZ)
    assert last.shape == (0, 3)
    for one, expected in zip(found, held_out_evidence(nominal(), HZ), strict=True):
        assert np.allclose(one, expected, rtol=1e-4, equal_nan=True)


@pytest.mark.parametrize('ticks', [1, 8])
def test_recordings_too_short_for_anything_are_refused(ticks):
    with pytest.raises(ConfigError, match='record longer'):
        held_out_evidence([cut(r, slice(0, ticks)) for r in nominal()], HZ)


def test_recordings_too_short_for_a_course_still_tell_of_steps():
    short = [cut(r, slice(0, 35)) for r in nominal()]
    evidence = fit_prior(short, HZ).evidence(recording(100))
    assert np.isnan(evidence[:, 2]).all()
    assert np.isfinite(evidence[20:, :2]).all()


def test_courses_are_capped(monkeypatch):
    monkeypatch.setattr(module, 'MOST_COURSES', 50)
    prior = fit_prior(nominal(), HZ)
    assert len(prior.courses) == 50
    assert peak(prior, recording(100, TURNS_BACK)) > 3


def test_the_newest_is_the_last_row(prior):
    odd = recording(100, TURNS_BACK)
    assert np.allclose(prior.newest(odd), prior.evidence(odd)[-1])


def test_it_comes_back_from_arrays_as_it_was(prior):
    again = Prior.from_arrays({k: v.copy() for k, v in prior.to_arrays().items()})
    assert again.past_ticks == prior.past_ticks
    odd = recording(100, TURNS_BACK)
    assert np.array_equal(again.evidence(odd), prior.evidence(odd), equal_nan=True)


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('weights', None, 'lacks weights'),
        ('weights', np.zeros((3, 2)), 'weights is'),
        ('scale', np.full(3, np.nan), 'not finite'),
        ('size', np.zeros(4), 'size of zero'),
        ('about', np.zeros(1), 'not finite'),
    ],
)
def test_arrays_that_do_not_hold_are_refused(prior, name, value, message):
    arrays = prior.to_arrays()
    if value is None:
        del arrays[name]
    else:
        arrays[name] = value
    with pytest.raises(ConfigError, match=message):
        Prior.from_arrays(arrays)


def test_too_few_recordings_are_refused():
    with pytest.raises(ConfigError, match='needs 3 nominal bags, these are 2'):
        held_out_evidence(nominal(2), HZ)


def test_recordings_of_two_robots_are_refused():
    other = replace(recording(0), states=np.zeros((80, 5), np.float32))
    with pytest.raises(ConfigError, match='same states and actions'):
        fit_prior([*nominal(), other], HZ)


def test_recordings_without_actions_are_refused():
    silent = [replace(r, actions=np.full_like(r.actions, np.nan)) for r in nominal()]
    with pytest.raises(ConfigError, match='no action'):
        fit_prior(silent, HZ)


@settings(max_examples=20)
@given(st.integers(0, 79), st.integers(0, 3), st.sampled_from([np.nan, 1e18, -1e18, 0.0]))
def test_no_value_makes_it_fail_or_be_negative(tick, element, value):
    prior = fit_prior(nominal(3), HZ)
    odd = recording(100)
    (odd.states if element < 2 else odd.actions)[tick, element % 2] = value
    evidence = prior.evidence(odd)
    assert not (evidence < 0).any()
    assert np.isfinite(evidence[tick - 1, :2]).all() or tick < 16

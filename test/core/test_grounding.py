# SPDX-License-Identifier: Apache-2.0
"""How much predictions need the true actions, from errors alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cosmos_flywheel.core.grounding import (
    FEWEST_BLOCKS,
    KINDS,
    LEAST,
    WRONG,
    Grounding,
    Index,
    Probed,
    index_of,
    measure,
)

HZ = 15.0
CHUNKS, APART = 60, 4


def make_errors(true: float, wrong: float, *, seed: int = 0, spread: float = 0.3) -> np.ndarray:
    """(CHUNKS, kinds, 1) squared errors of about these sizes."""
    draw = np.random.default_rng(seed)
    sizes = np.array([true, *([wrong] * len(WRONG))])[None, :, None]
    noise = np.exp(spread * draw.standard_normal((CHUNKS, len(KINDS), 1)))
    return (sizes * noise).astype(np.float32)


def make_probed(errors: np.ndarray, channel: str = 'state') -> Probed:
    return Probed(APART * np.arange(len(errors), dtype=np.int64), {channel: errors})


def found(*errors: np.ndarray, channel: str = 'state') -> Index:
    return measure([make_probed(one, channel) for one in errors], HZ)[channel]


def make_index(low: float, value: float = 0.0) -> Index:
    return Index(value, (low, value + 0.1), dict.fromkeys(WRONG, value), 60, 8)


def test_a_model_that_does_not_listen_has_index_zero_however_well_it_foretells():
    errors = np.repeat(make_errors(0.5, 0.5)[:, :1], len(KINDS), axis=1)
    index = found(errors)
    assert (index.value, index.interval) == (0, (0, 0))
    assert index.holds_zero


def test_an_index_is_the_share_of_the_error_that_true_actions_take_away():
    index = found(make_errors(0.25, 1.0))
    assert index.value == pytest.approx(0.75, abs=0.03)
    assert index.interval[0] < index.value < index.interval[1]
    assert not index.holds_zero
    assert index.chunks == CHUNKS
    assert index.blocks == 8


def test_a_model_that_true_actions_make_perfect_has_index_one():
    assert found(make_errors(1e-9, 1.0)).value == 1


def test_a_model_that_does_better_by_wrong_actions_has_index_zero_and_an_interval_below_it():
    index = found(make_errors(2.0, 1.0))
    assert index.value == 0
    assert index.interval[1] < 0
    assert index.holds_zero


def test_chance_alone_does_not_make_a_model_listen():
    """At most 2.5 % of deaf models may seem to listen; more than 6 of 60 would be no chance."""
    wrong = sum(not found(make_errors(1.0, 1.0, seed=seed)).holds_zero for seed in range(60))
    assert wrong <= 6


def test_each_kind_of_wrong_actions_has_an_index_of_its_own():
    errors = make_errors(0.5, 1.0, spread=0.0)
    errors[:, KINDS.index('shifted')] = 0.5
    index = found(errors)
    assert index.against == {'shuffled': 0.5, 'stay': 0.5, 'shifted': 0.0}
    assert index.value == pytest.approx(1 - 0.5 / (2.5 / 3), abs=1e-3)


@pytest.mark.parametrize('unit', [0.01, 3.0, 100.0])
def test_the_unit_changes_nothing_above_the_noise(unit):
    errors = make_errors(0.25, 1.0)
    blocks = np.arange(CHUNKS) // 6
    one, other = (index_of(errors * u, blocks, 0.0) for u in (1.0, unit))
    assert other.value == pytest.approx(one.value, abs=1e-3)


def test_elements_count_alike_whatever_their_size():
    errors = np.concatenate([make_errors(1e4, 1e4), make_errors(0.0, 1.0)], axis=2)
    assert found(errors).value == pytest.approx(0.5, abs=0.05)


def test_an_element_in_which_there_is_only_noise_hardly_counts():
    noise = make_errors(1e-9, 1e-8)
    assert found(noise).interval[0] > 0
    errors = np.concatenate([make_errors(1.0, 1.0, spread=0.0), noise], axis=2)
    assert found(errors).value < 0.01


def test_what_is_unknown_for_one_kind_counts_for_none():
    errors = np.concatenate([make_errors(0.25, 1.0), make_errors(0.25, 1.0)], axis=2)
    errors[::2, 0, 1] = np.nan
    assert found(errors).value == pytest.approx(0.75, abs=0.05)
    errors[:] = np.nan
    assert measure([make_probed(errors)], HZ) == {}


def test_too_short_a_recording_says_nothing():
    some = make_errors(0.25, 1.0)[: 2 * FEWEST_BLOCKS]
    assert measure([make_probed(some)], HZ) == {}
    assert measure([Probed(np.empty(0, np.int64), {})], HZ) == {}


def test_where_nothing_is_ever_wrong_there_is_no_index():
    assert measure([make_probed(np.zeros((CHUNKS, len(KINDS), 1), np.float32))], HZ) == {}


def test_blocks_are_of_one_recording_only():
    one, other = make_errors(0.25, 1.0), make_errors(0.25, 1.0, seed=1)
    assert found(one, other).blocks == 2 * found(one).blocks


def test_equal_errors_give_an_equal_index():
    assert found(make_errors(0.25, 1.0)) == found(make_errors(0.25, 1.0))


def test_what_an_engine_was_fitted_on_can_be_left_out():
    probed = make_probed(make_errors(0.25, 1.0))
    later = probed.since(APART * 20)
    assert later.ticks.tolist() == probed.ticks[20:].tolist()
    assert len(later.errors['state']) == CHUNKS - 20


@pytest.mark.parametrize(
    ('low', 'muted'), [(-0.2, True), (0.0, True), (LEAST, True), (LEAST + 0.01, False)]
)
def test_a_channel_for_which_it_is_about_zero_is_muted(low, muted):
    index = make_index(low, 0.3)
    assert index.is_about_zero == muted
    assert bool(Grounding(True, {'state': index}).muted('state')) == muted


def test_each_channel_is_muted_by_its_own_index():
    known = Grounding(True, {'picture': make_index(-0.1), 'state': make_index(0.4, 0.5)})
    assert 'picture is muted' in known.muted('picture')
    assert '0.00 (-0.10 … 0.10)' in known.muted('picture')
    assert known.muted('state') == ''
    assert known.muted('tracking_error') == ''
    assert known.in_words() == 'picture 0.00 (-0.10 … 0.10), muted, state 0.50 (0.40 … 0.60)'


def test_an_engine_that_promises_nothing_of_actions_is_zero_and_not_muted():
    known = Grounding(False)
    assert known.value == 0
    assert known.muted('picture') == ''
    assert 'does not follow actions' in known.in_words()


def test_what_was_not_measured_is_unknown_and_not_muted():
    known = Grounding(True)
    assert math.isnan(known.value)
    assert known.muted('picture') == ''
    assert 'not measured' in known.in_words()


def test_what_is_seen_is_named_before_what_is_felt():
    felt = {'state': make_index(0.4, 0.5)}
    assert Grounding(True, felt).value == 0.5
    assert Grounding(True, {**felt, 'picture': make_index(0.1, 0.2)}).value == 0.2


def test_a_grounding_comes_back_as_it_was_written():
    known = Grounding(True, {'picture': make_index(-0.1), 'state': make_index(0.4, 0.5)})
    assert Grounding.from_mapping(known.to_mapping()) == known

# SPDX-License-Identifier: Apache-2.0
"""Bounds from counts of blocks are exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmos_flywheel.core.conformal import (
    binomial_cdf,
    blocks_needed,
    most_above,
    upper_chance,
)


@given(st.integers(0, 12), st.integers(1, 12), st.floats(0.01, 0.99))
def test_the_binomial_distribution_is_summed_as_the_textbook_has_it(successes, trials, chance):
    plain = sum(
        math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k)
        for k in range(min(successes, trials) + 1)
    )
    assert binomial_cdf(successes, trials, chance) == pytest.approx(min(plain, 1), abs=1e-9)


@pytest.mark.parametrize(
    ('alarms', 'blocks', 'bound'),
    [(0, 10, 0.2589), (1, 10, 0.3942), (0, 59, 0.0495), (3, 20, 0.3437), (0, 300, 0.00994)],
)
def test_the_upper_bound_is_that_of_clopper_and_pearson(alarms, blocks, bound):
    assert upper_chance(alarms, blocks, 0.95) == pytest.approx(bound, abs=2e-4)


def test_nothing_is_proved_without_a_block_or_where_all_alarmed():
    assert upper_chance(0, 0, 0.95) == 1
    assert upper_chance(4, 4, 0.95) == 1


def test_three_hundred_blocks_prove_one_percent_with_95_percent_confidence():
    assert blocks_needed(0.01, 0.95) == 299  # Wilks' number
    assert most_above(298, 0.01, 0.95) is None
    assert most_above(299, 0.01, 0.95) == 0


def test_more_blocks_let_some_of_them_lie_above_the_threshold():
    assert most_above(2000, 0.01, 0.95) == 12


def test_the_promise_of_a_rank_holds_as_often_as_it_says():
    draw = np.random.default_rng(0)
    blocks, chance, confidence = 100, 0.05, 0.9
    above = most_above(blocks, chance, confidence)
    assert above is not None
    scores = np.sort(draw.uniform(size=(4000, blocks)), axis=1)
    true_chance = 1 - scores[:, blocks - 1 - above]
    assert float((true_chance <= chance).mean()) >= confidence - 0.015
    one_more = 1 - scores[:, blocks - 2 - above]
    assert float((one_more <= chance).mean()) < confidence  # as many as there may be

# SPDX-License-Identifier: Apache-2.0
"""Thresholds keep budgets, and what is proved is proved of the thresholds in force."""

from __future__ import annotations

import numpy as np
import pytest

from cosmos_flywheel.core.conformal import blocks_needed, upper_chance
from cosmos_flywheel.core.proof import (
    TESTED_SHARES,
    alarms_at_most,
    block_shares,
    factor_keeping,
    proved_chance,
)


def limits(**values: float) -> dict[str, np.ndarray]:
    return {name: np.array([value], np.float32) for name, value in values.items()}


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def test_every_block_says_how_near_each_channel_came_to_its_limit():
    recordings = [{'a': column(1, 2, 3, 4), 'b': column(0, 0, 8, 0)}, {'a': column(6, np.nan)}]
    recordings[1]['b'] = column(np.nan, np.nan)
    shares = block_shares(limits(a=2, b=4), recordings, 2)
    np.testing.assert_array_equal(shares['a'], [1, 2, 3])
    np.testing.assert_array_equal(shares['b'], [0, 2, 0])


def test_too_few_blocks_keep_no_budget():
    need = blocks_needed(0.1, 0.95)
    assert need == 29  # 0.9 ** 29 is the first power below 0.05
    few, enough = np.arange(need - 1.0), np.arange(need * 1.0)
    assert factor_keeping({'a': few}, 0.1, 0.95) is None
    assert factor_keeping({'a': enough}, 0.1, 0.95) == need - 1


def test_one_factor_serves_all_channels_together():
    shares = {'a': np.linspace(0, 1, 60), 'b': np.linspace(2, 0, 60)}
    # Of 60 blocks with 10 % each, at most 1 alarms in 1.4 % of cases, at most 2 in 5.3 %.
    assert factor_keeping(shares, 0.1, 0.95) == pytest.approx(
        np.sort(np.maximum(shares['a'], shares['b']))[-2]
    )


def test_alarms_are_counted_under_limits_that_the_chosen_ones_never_undercut():
    high, low = TESTED_SHARES
    shares = {'a': np.array([low - 0.01, high - 0.01, high + 0.01], np.float32)}
    tested = limits(a=10)
    assert alarms_at_most(shares, tested, limits(a=12), ()) == 1
    assert alarms_at_most(shares, tested, limits(a=10 * high - 0.1), ()) == 2
    assert alarms_at_most(shares, tested, limits(a=10 * low - 0.1), ()) is None


def test_one_low_element_spoils_the_proof():
    tested = {'a': np.array([1, 1], np.float32)}
    chosen = {'a': np.array([9, 0.1], np.float32)}
    assert alarms_at_most({'a': np.zeros(5, np.float32)}, tested, chosen, ()) is None


def test_fixed_limits_are_tested_as_they_are():
    shares = {'a': np.zeros(3, np.float32), 'b': np.array([0.8, 0.99, 1.01], np.float32)}
    tested = limits(a=10, b=1)
    assert alarms_at_most(shares, tested, limits(a=8, b=1), {'b'}) == 1
    assert alarms_at_most(shares, tested, limits(a=8, b=1), ()) == 3


def test_the_choice_between_shares_costs_confidence():
    assert proved_chance(0, 50, 0.95) == pytest.approx(upper_chance(0, 50, 0.975))
    assert proved_chance(0, 50, 0.95) == pytest.approx(1 - 0.025 ** (1 / 50))
    assert proved_chance(0, 0, 0.95) == 1

# SPDX-License-Identifier: Apache-2.0
"""Recordings fall into blocks without a rest."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cosmos_flywheel.core.blocks import (
    block_maxima,
    block_medians,
    borders,
    scores_of,
    thinned,
)

NAN = np.nan


@given(st.integers(1, 500), st.integers(1, 60))
def test_blocks_cover_every_tick_once_and_none_but_the_only_one_is_short(ticks, block_ticks):
    found = borders(ticks, block_ticks)
    assert [t for begin, end in found for t in range(begin, end)] == list(range(ticks))
    assert all(end - begin >= block_ticks for begin, end in found) or len(found) == 1
    assert all(end - begin < 2 * block_ticks for begin, end in found)


def test_a_score_is_the_largest_multiple_of_normal_and_blind_where_all_are():
    evidence = np.array([[1, 4], [NAN, 2], [NAN, NAN]], np.float32)
    np.testing.assert_array_equal(
        scores_of(evidence, np.array([1, 2], np.float32)), np.array([2, 1, NAN], np.float32)
    )


def test_maxima_and_medians_of_blocks_leave_blind_ticks_out():
    scores = np.array([1, 2, 9, NAN, NAN, NAN, 3, NAN, 5], np.float32)
    assert block_maxima(scores, 3) == [9, 0, 5]
    assert block_medians(scores, 3) == [2, 4]


def test_many_values_are_thinned_evenly_and_keep_their_ends():
    kept = thinned(list(range(1000, -1, -1)), 11)
    assert kept == list(range(0, 1001, 100))
    assert thinned([3, 1, 2], 11) == [1, 2, 3]

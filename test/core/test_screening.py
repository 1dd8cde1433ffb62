# SPDX-License-Identifier: Apache-2.0
"""Which windows are looked at again, and whether the estimate of what is missed holds."""

from __future__ import annotations

import numpy as np
import pytest

from cosmos_flywheel.core.conformal import credible_chance
from cosmos_flywheel.core.screening import (
    FEWEST,
    LOT_SHARE,
    Estimate,
    Turn,
    Window,
    estimate,
    turns_of,
)


def windows(count: int, seed: int = 0, alarmed: int = 3) -> list[Window]:
    """Some alarmed, some kept, one blind, the others quiet, in two bags."""
    shares = np.random.default_rng(seed).uniform(0, 1, count)
    kinds = ['alarmed'] * alarmed + ['kept'] * 4 + ['blind']
    kinds += ['quiet'] * (count - len(kinds))
    return [
        Window('ab'[i % 2], i, kind, 1.5 + share if kind == 'alarmed' else float(share))
        for i, (kind, share) in enumerate(zip(kinds, shares, strict=True))
    ]


def test_the_lot_goes_first_and_has_its_share_of_every_budget() -> None:
    turns = list(turns_of(windows(200), 0))
    assert turns[0].by_lot
    for budget in range(1, 100):
        lots = sum(turn.by_lot for turn in turns[:budget])
        assert LOT_SHARE * budget <= lots < LOT_SHARE * budget + 1


def test_every_window_worth_a_look_gets_one_turn_and_no_other_does() -> None:
    every = windows(60)
    taken = [turn.window.key for turn in turns_of(every, 3)]
    assert sorted(taken) == sorted(w.key for w in every if w.kind in ('alarmed', 'quiet'))


def test_what_is_called_up_for_its_score_comes_in_the_order_of_scores() -> None:
    called = [t for t in turns_of(windows(100), 1) if not t.by_lot]
    shares = [turn.window.share for turn in called]
    assert shares == sorted(shares, reverse=True)
    assert [t.window.kind for t in called[:3]] == ['alarmed'] * 3


def test_the_order_hangs_on_the_seed_and_not_on_the_order_of_bags() -> None:
    every = windows(80)
    assert [*turns_of(every, 5)] == [*turns_of(every[::-1], 5)]
    assert [*turns_of(every, 5)] != [*turns_of(every, 6)]


@pytest.mark.parametrize('budget', [30, 60, 120])
def test_the_interval_holds_the_truth_as_often_as_it_says(budget: int) -> None:
    """The screen is right about most: what it scores higher is more often above."""
    held, runs = 0, 300
    for seed in range(runs):
        every = windows(400, seed)
        draw = np.random.default_rng(1000 + seed)
        above = {w.key: bool(draw.uniform() < 0.15 * w.share) for w in every}
        looked = [t for t, _ in zip(turns_of(every, seed), range(budget), strict=False)]
        seen = {turn.window.key for turn in looked}
        truth = sum(above[w.key] for w in every if w.kind == 'quiet' and w.key not in seen)
        said = estimate(every, looked, {key: above[key] for key in seen})
        held += said.is_known is False or said.interval[0] <= truth <= said.interval[1]
    assert held / runs >= 0.95


def test_a_lot_above_the_last_called_window_does_not_count() -> None:
    every = [Window('a', i, 'quiet', 1 - i / 100) for i in range(20)]
    looked = [Turn(every[0], True, 0), Turn(every[1], False, 1), Turn(every[5], True, 5)]
    said = estimate(every, looked, {w.window.key: True for w in looked})
    assert (said.lots, said.above, said.unseen) == (1, 1, 17)


def test_a_window_in_which_the_model_is_silent_counts_as_no_lot() -> None:
    every = [Window('a', i, 'quiet', 0.5) for i in range(4)]
    said = estimate(every, [Turn(every[0], True, 0)], {every[0].key: None})
    assert said == Estimate(0, 0, 3)
    assert not said.is_known


def test_too_few_lots_say_nothing_and_none_unseen_says_all() -> None:
    few = Estimate(FEWEST - 1, 0, 100)
    assert 'cannot say' in few.in_words()
    assert few.to_mapping()['most'] is None
    assert Estimate(2, 1, 0).is_known
    assert 'left unseen' in Estimate(2, 1, 0).in_words()


def test_the_interval_is_that_of_clopper_and_pearson() -> None:
    assert credible_chance(0, 10, 0.95) == pytest.approx((0, 0.3085), abs=1e-4)
    assert credible_chance(3, 10, 0.95) == pytest.approx((0.0667, 0.6525), abs=1e-4)
    assert credible_chance(0, 0, 0.95) == (0.0, 1.0)

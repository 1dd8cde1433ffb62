# SPDX-License-Identifier: Apache-2.0
"""A calibration is called stale when it is, and seldom when it is not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from cosmos_flywheel.core.appearance import APPEARANCE
from cosmos_flywheel.core.blocks import BLOCK_S
from cosmos_flywheel.core.calibration import Calibration, ChannelCalibration
from cosmos_flywheel.core.staleness import StaleTest
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import AnomalyScore, ChannelScore

TICKS = 20


def calibration(seed: int, blocks: int = 40) -> Calibration:
    reference = tuple(sorted(np.random.default_rng(seed).normal(1, 0.1, blocks).tolist()))
    known = ChannelCalibration(('hip',), (1.0,), 3.0, 2.0, reference=reference)
    return Calibration('arm', {}, (8, 8), 2.0, '', {}, {'state': known, 'picture': known})


def watch(test: StaleTest, medians: np.ndarray, alarm: bool = False) -> int | None:
    """Feed blocks of ten seconds, all scores the median; the block at which it is stale."""
    for index, median in enumerate(medians.tolist()):
        for tick in range(TICKS):
            stamp_ns = round((index * 10 + tick / 2) * NS)
            if test.take(stamp_ns, {'state': median, 'picture': 1.0}, alarm=alarm):
                return index
    return None


def test_a_calibration_that_holds_is_seldom_called_stale():
    runs = 300
    wrong = 0
    for seed in range(runs):
        test = StaleTest(calibration(seed))
        draw = np.random.default_rng(10_000 + seed)
        for index in range(100):
            a, b = draw.normal(1, 0.1, 2)
            test.take(index * 10 * NS, {'state': a, 'picture': b}, alarm=False)
            test.take(index * 10 * NS + 9 * NS, {'state': a, 'picture': b}, alarm=False)
        wrong += test.stale
    assert wrong <= 8  # 3 are to be expected at most; 8 or fewer in 99 % of such trials


@pytest.mark.parametrize('shift', [0.3, -0.3])
def test_a_shift_of_three_spreads_is_noticed_within_a_dozen_blocks(shift):
    draw = np.random.default_rng(1)
    at = watch(StaleTest(calibration(0)), draw.normal(1 + shift, 0.1, 40))
    assert at is not None
    assert at <= 12


def test_stale_stays_stale_and_names_the_channel():
    test = StaleTest(calibration(0))
    watch(test, np.linspace(2, 3, 30))
    assert test.stale
    assert test.channel == 'state'
    test.take(10**15, {'state': 1.0, 'picture': 1.0}, alarm=False)
    assert test.stale


def test_blocks_in_alarm_do_not_count():
    test = StaleTest(calibration(0))
    assert watch(test, np.full(30, 2.0), alarm=True) is None
    assert test.blocks == 0


def test_with_very_few_references_it_says_nothing():
    test = StaleTest(calibration(0, blocks=3))
    assert watch(test, np.full(100, 9.0)) is None
    assert test.channel == ''


def test_a_silent_channel_is_no_evidence():
    test = StaleTest(calibration(0))
    for index in range(50):
        for at_s in (0, 9):
            values = {'state': math.nan, 'picture': 1.0}
            test.take((index * 10 + at_s) * NS, values, alarm=False)
    assert not test.stale
    assert test.blocks == 49  # the last one is still open


def test_whole_scores_are_taken_as_well():
    test = StaleTest(calibration(0))
    for index in range(400):
        channel = ChannelScore('state', 2 + index / 400, 3.0, alarm=False, guaranteed=False)
        test.observe(AnomalyScore(index * NS, (channel,), '', ''))
    assert test.stale


def test_what_never_changes_is_not_taken_for_new():
    """The file holds six digits, scores come as they are: 0.0020000001 is the 0.002 of before."""
    steady = ChannelCalibration(('gap',), (1.0,), 3.0, 2.0, reference=(0.002,) * 100)
    test = StaleTest(Calibration('arm', {}, (8, 8), 2.0, '', {}, {'clock_health': steady}))
    for index in range(60):
        for at_s in (0, 9):
            test.take((index * 10 + at_s) * NS, {'clock_health': 0.0020000001}, alarm=False)
    assert not test.stale


def test_a_short_rest_of_a_recording_is_forgotten_and_a_short_recording_is_not():
    test = StaleTest(calibration(0))
    for tick in range(13 * 2):
        test.take(tick * NS // 2, {'state': 1.0, 'picture': 1.0}, alarm=False)
    test.end_block()
    assert test.blocks == 1
    for tick in range(5 * 2):
        test.take(10**13 + tick * NS // 2, {'state': 1.0, 'picture': 1.0}, alarm=False)
    test.end_block()
    assert test.blocks == 2


def test_another_light_is_noticed_though_no_score_changes():
    draw = np.random.default_rng(3)
    light = tuple(sorted(draw.normal(0.4, 0.01, 20).tolist()))
    test = StaleTest(replace(calibration(0), appearance=light))
    usual = float(np.median(calibration(0).channels['picture'].reference))

    def block(index: int, brightness: float) -> bool:
        for at_s in (0.0, BLOCK_S - 0.1):
            scores = {'picture': usual, APPEARANCE: brightness}
            test.take(round((index * BLOCK_S + at_s) * NS), scores, alarm=False)
        test.end_block()
        return test.stale

    calm = [block(i, float(draw.normal(0.4, 0.01))) for i in range(60)]
    assert not any(calm)
    darker = [block(60 + i, float(draw.normal(0.3, 0.01))) for i in range(12)]
    assert darker[-1]
    assert test.channel == APPEARANCE

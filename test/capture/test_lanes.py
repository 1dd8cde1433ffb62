# SPDX-License-Identifier: Apache-2.0
"""Lanes keep every peak, break where nothing was said, and say which part is which."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from harvest_example import make_trace
from hypothesis import given
from hypothesis import strategies as st

from cosmos_flywheel.capture.report.lanes import (
    TOP_RATIO,
    height_of,
    lay_lane,
    lay_lanes,
    reduce_minmax,
    span_boxes,
    time_ticks,
)
from cosmos_flywheel.capture.report.result import ChannelTrace


def channel(scores: list[float], threshold: float = 1.0) -> ChannelTrace:
    """A channel with one threshold throughout."""
    values = np.array(scores, np.float32)
    return ChannelTrace('picture', values, np.full(len(values), threshold, np.float32))


def test_one_high_tick_in_an_hour_is_drawn_and_named() -> None:
    times_s = np.arange(54_000) / 15
    scores = np.full(54_000, 0.2, np.float32)
    scores[31_337] = 7
    lane = lay_lane(times_s, channel(list(scores)), 0, 3600, 480)
    assert lane.peak == pytest.approx(7)
    assert f' {height_of(np.array([7.0]))[0]:.4g}' in lane.path
    assert len(lane.path) < 20_000


@given(st.lists(st.floats(0, 50), min_size=1, max_size=400), st.integers(1, 40))
def test_thinning_keeps_highest_and_lowest_and_order(values: list[float], bins: int) -> None:
    x = np.linspace(0, 999, len(values))
    kept_x, kept = reduce_minmax(x, np.array(values), 1000 / bins)
    assert kept.max() == max(values)
    assert kept.min() == min(values)
    assert len(kept) <= 2 * bins
    assert (np.diff(kept_x) > 0).all()


def test_threshold_lies_in_the_middle_and_very_high_scores_at_the_top() -> None:
    heights = height_of(np.array([0.0, 0.5, 1.0, TOP_RATIO, 1e9]))
    assert heights == pytest.approx([100, 75, 50, 0, 0])


def test_silence_and_warm_up_are_told_apart_and_not_drawn_across() -> None:
    trace = channel([0.2, np.nan, np.nan, 0.2, 0.2, 0.3])
    thresholds = np.array([1, 1, 1, np.nan, 1, 1], np.float32)
    lane = lay_lane(np.arange(6) / 2, replace(trace, thresholds=thresholds), 0, 3, 100)
    assert lane.silent == ((166.7, 333.3),)
    assert lane.warming == ((500.0, 166.7),)
    assert lane.path.count('M') == 2


def test_missing_ticks_are_silence() -> None:
    times_s = np.concatenate((np.arange(0, 2, 0.1), np.arange(6, 8, 0.1)))
    lane = lay_lane(times_s, channel([0.5] * len(times_s)), 0, 10, 100)
    assert lane.silent == ((200.0, 400.0), (800.0, 200.0))
    assert lane.path.count('M') == 2


@pytest.mark.parametrize('scores', [[], [np.nan] * 5])
def test_a_channel_that_never_speaks_has_no_line(scores: list[float]) -> None:
    lane = lay_lane(np.arange(len(scores)) / 1.0, channel(scores), 0, 5, 100)
    assert lane.path == ''
    assert np.isnan(lane.peak)


@pytest.mark.parametrize('threshold', [0.0, -1.0, np.inf])
def test_a_threshold_that_is_none_gives_no_line(threshold: float) -> None:
    assert lay_lane(np.arange(4) / 1.0, channel([1, 2, 3, 4], threshold), 0, 4, 50).path == ''


def test_alarms_are_cut_to_the_window() -> None:
    assert span_boxes([(-1, 1), (4, 6), (9, 12), (20, 30)], 0, 10) == (
        (0.0, 100.0),
        (400.0, 200.0),
        (900.0, 100.0),
    )
    lanes = lay_lanes(make_trace(), 6, 8, 100)
    assert lanes[2].alarms == ((0.0, 500.0),)


def test_a_short_alarm_in_an_hour_can_be_seen_and_many_stay_few() -> None:
    times_s = np.arange(54_000) / 15
    flapping = replace(
        channel([0.5, np.nan] * 27_000),
        alarms=(*((t, t + 0.05) for t in np.arange(100, 200, 0.1)), (3000.0, 3000.01)),
    )
    lane = lay_lane(times_s, flapping, 0, 3600, 500)
    assert lane.alarms == ((27.8, 29.7), (833.3, 2.0))
    assert lane.silent == ()


@pytest.mark.parametrize(
    ('window', 'first', 'step', 'digits'),
    [((0, 5), 0, 1, 0), ((-2, 1.5), -2, 0.5, 1), ((0, 3600), 0, 600, 0), ((3, 3.1), 3, 0.02, 2)],
)
def test_ticks_are_round(
    window: tuple[float, float], first: float, step: float, digits: int
) -> None:
    ticks, shown = time_ticks(*window)
    assert ticks[0] == pytest.approx(first)
    assert np.diff(ticks) == pytest.approx(step)
    assert shown == digits

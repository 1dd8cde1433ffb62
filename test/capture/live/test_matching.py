# SPDX-License-Identifier: Apache-2.0
"""Each tick leaves with its own predictions, in order, and waits no longer than it must."""

from __future__ import annotations

import numpy as np

from cosmos_flywheel.capture.live.matching import Matcher
from cosmos_flywheel.core.timeline import Tick
from cosmos_flywheel.core.types import Prediction

PERIOD = 100
NONE = np.empty(0, np.float32)


def tick(number: int, segment: int = 0, off: int = 0) -> Tick:
    return Tick(number * PERIOD + off, None, {}, NONE, NONE, segment)


def prediction(begin: int, *about: int) -> Prediction:
    stamps = np.array([a * PERIOD for a in about], np.int64)
    states = np.array([[begin, a] for a in about], np.float32)
    return Prediction(begin * PERIOD, 'flow', stamps, state=states)


def said(matched) -> list[tuple[int, list]]:
    return [
        (t.stamp_ns // PERIOD, [None if p is None else p.state[-1].tolist() for p in predictions])
        for t, predictions in matched
    ]


def matcher(*horizons: int, patience: int = 1000) -> Matcher:
    return Matcher(horizons or (1, 2), PERIOD, patience)


def test_a_tick_without_a_past_does_not_wait():
    made = matcher()
    made.expect(tick(0), 0)
    assert said(made.settled(0)) == [(0, [None, None])]


def test_a_tick_waits_for_each_of_its_predictions():
    made = matcher()
    for number in range(3):
        made.expect(tick(number), 0)
    assert said(made.settled(0)) == [(0, [None, None])]
    made.give(prediction(0, 1))
    assert said(made.settled(1)) == [(1, [[0, 1], None])]
    made.give(prediction(1, 2))
    assert said(made.settled(2)) == []
    made.give(prediction(0, 2))
    assert said(made.settled(3)) == [(2, [[1, 2], [0, 2]])]
    assert made.missed == 0


def test_one_that_was_skipped_is_known_by_a_later_one():
    made = matcher(1)
    for number in range(3):
        made.expect(tick(number), 0)
    list(made.settled(0))
    made.give(prediction(1, 2))
    assert said(made.settled(1)) == [(1, [None]), (2, [[1, 2]])]
    assert made.missed == 1


def test_patience_ends():
    made = matcher(1, patience=50)
    made.expect(tick(0), 0)
    made.expect(tick(1), 0)
    list(made.settled(0))
    assert said(made.settled(49)) == []
    assert said(made.settled(50)) == [(1, [None])]


def test_predictions_may_come_before_their_tick():
    made = matcher(2)
    made.give(prediction(0, 1, 2, 3))
    for number in range(3):
        made.expect(tick(number), 0)
    assert said(made.settled(0)) == [(0, [None]), (1, [None]), (2, [[0, 2]])]


def test_a_plan_is_about_the_nearest_tick():
    made = matcher(1)
    made.give(prediction(0, 1))
    made.expect(tick(0), 0)
    made.expect(tick(1, off=40), 0)
    assert said(made.settled(0))[-1][1] == [[0, 1]]
    other = matcher(1)
    other.give(prediction(0, 1))
    other.expect(tick(0), 0)
    other.expect(tick(1, off=60), 0)
    assert said(other.settled(5000))[-1][1] == [None]


def test_nothing_is_carried_over_a_clock_that_begins_anew():
    made = matcher(1)
    made.expect(tick(50), 0)
    list(made.settled(0))
    made.expect(tick(1, segment=1), 0)
    assert said(made.settled(0)) == [(1, [None])]


def test_after_the_clock_stepped_back_only_new_predictions_count():
    second = 10**9
    made = Matcher((1,), second // 10, second)

    def at(stamp_ns: int, segment: int) -> Tick:
        return Tick(stamp_ns, None, {}, NONE, NONE, segment)

    def about(stamp_ns: int) -> Prediction:
        stamps = np.array([stamp_ns], np.int64)
        return Prediction(stamp_ns - second // 10, 'flow', stamps, state=np.zeros((1, 2)))

    for step in range(50):
        made.expect(at(100 * second + step * second // 10, 0), 0)
        made.give(about(100 * second + step * second // 10))
    assert len(list(made.settled(0))) == 50
    for step in range(3):
        made.expect(at(50 * second + step * second // 10, 1), 0)
    assert len(list(made.settled(0))) == 1, 'the others wait for theirs'
    made.give(about(50 * second + second // 10))
    ((tick_of, (found,)),) = made.settled(0)
    assert found.stamps_ns[0] == tick_of.stamp_ns


def test_with_a_stride_only_what_starts_at_its_beginning_is_waited_for():
    made = Matcher((2,), PERIOD, 1000, stride=4)
    for number in range(1, 7):
        made.expect(tick(number), 0)
    assert said(made.settled(0)) == [(n, [None]) for n in range(1, 6)]
    made.give(prediction(4, 6))
    assert said(made.settled(1)) == [(6, [[4, 6]])]
    assert made.missed == 0

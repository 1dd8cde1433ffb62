# SPDX-License-Identifier: Apache-2.0
"""Clock health tells clocks that disagree from topics that are silent."""

from __future__ import annotations

import pytest
from moment_maker import moment

from cosmos_flywheel.core.channels import ClockChannel

TOPICS = '/camera', '/joints'


def evidence(arrivals: list[tuple[str, float]], channel: ClockChannel | None = None):
    """By element, the worst that was seen in (topic, stamp in seconds) pairs as they arrive."""
    channel = channel or ClockChannel(TOPICS)
    for topic, stamp_s in arrivals:
        channel.arrived(topic, round(stamp_s * 10**9))
    values = channel.evidence(moment(0)).tolist()
    return dict(zip(channel.elements, map(pytest.approx, values), strict=True))


def together(behind_s: float, ticks: int = 20) -> list[tuple[str, float]]:
    """Both topics at 10 Hz, the joints' clock behind by so much."""
    return [pair for i in range(ticks) for pair in
            (('/camera', 10 + i / 10), ('/joints', 10 + i / 10 - behind_s))]  # fmt: skip


def test_topics_of_one_clock_are_no_further_apart_than_their_periods():
    values = evidence(together(0))
    assert max(v.expected for v in values.values()) <= 0.1


def test_a_clock_that_is_behind_is_found_by_what_comes_later_and_is_stamped_earlier():
    assert evidence(together(0.7))['offset of /joints'] == 0.7


def test_a_clock_that_is_ahead_is_found_as_the_reference_being_behind():
    assert evidence(together(-0.7))['offset of /joints'] == 0.6  # the camera is a period on


def test_silence_is_no_offset():
    silent = [*together(0), *(('/camera', 12 + i / 10) for i in range(50))]
    assert evidence(silent)['offset of /joints'].expected <= 0.1


def test_a_reference_that_is_silent_is_no_offset_either_once_it_speaks_again():
    back = [*together(0), *(('/joints', 12 + i / 10) for i in range(50)), ('/camera', 17)]
    assert evidence(back)['offset of /joints'].expected <= 0.1


def test_a_step_back_is_told_of_its_topic():
    values = evidence([*together(0), ('/joints', 11.0)])
    assert values['backwards of /joints'] == 0.9
    assert values['backwards of /camera'] == 0


def test_stamps_that_only_grow_are_no_step_back():
    assert evidence(together(0))['backwards of /joints'] == 0


def test_the_worst_is_told_once_and_then_forgotten():
    channel = ClockChannel(TOPICS)
    assert evidence([*together(0), ('/joints', 11.0)], channel)['backwards of /joints'] == 0.9
    assert evidence([], channel)['backwards of /joints'] == 0


def test_a_reset_does_not_hide_the_step_back_that_caused_it():
    channel = ClockChannel(TOPICS)
    for topic, stamp_s in [*together(0), ('/camera', 0.0)]:
        channel.arrived(topic, round(stamp_s * 10**9))
    channel.reset()
    assert evidence([], channel)['backwards of /camera'] == 11.9

# SPDX-License-Identifier: Apache-2.0
"""The outcome channel says what the robot's own topics say of its task."""

from __future__ import annotations

import math
from types import SimpleNamespace as Message
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moment_maker import moment

from cosmos_flywheel.core.channels import Moment, OutcomeChannel
from cosmos_flywheel.core.channels.outcome import BROKEN, MOST_WAITING
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.scoring import Scorer, running_norms
from cosmos_flywheel.core.timeline import NS

NAN = math.nan
FAILED = {'bad': {'starts_with': 'failed'}}


def make(topics: tuple[str, ...] = ('/x', '/y'), **rule: Any) -> OutcomeChannel:
    """One rule on the field `data` of /x."""
    return make_all({'topic': '/x', 'field': 'data', **rule}, topics=topics)


def make_all(*rules: dict[str, Any], topics: tuple[str, ...] = ('/x', '/y')) -> OutcomeChannel:
    document = {
        'schema': 'robot-v1',
        'name': 'r',
        'clock': {'hz': 10},
        'state': [{'topic': '/s', 'field': 'position', 'names': ['a']}],
        'outcome': list(rules),
    }
    return OutcomeChannel(Robot.from_mapping(document).outcomes, topics)


def say(channel: OutcomeChannel, at_s: float, data: Any, topic: str = '/x', segment: int = 0):
    return channel.arrived(topic, round(at_s * NS), Message(data=data), segment)


def tick(index: int, segment: int = 0) -> Moment:
    """At 10 Hz."""
    made = moment(index)
    return Moment(type(made.tick)(made.tick.stamp_ns, None, {}, made.tick.state,
                                  made.tick.action, segment))  # fmt: skip


def values(channel: OutcomeChannel, ticks: range, rule: int = 0) -> list[float]:
    return [float(channel.evidence(tick(i))[rule]) for i in ticks]


def same(found: list[float], expected: list[float]) -> bool:
    return found == pytest.approx(expected, nan_ok=True)


def test_a_rule_is_silent_until_its_topic_speaks_and_broken_while_it_is_bad():
    channel = make(**FAILED)
    for at_s, text in ((0.25, 'running'), (0.55, 'failed: empty'), (0.75, 'running')):
        say(channel, at_s, text)
    expected = [NAN, NAN, NAN, 0, 0, 0, BROKEN, BROKEN, BROKEN, 0]
    assert same(values(channel, range(10)), expected)


def test_what_was_bad_between_two_ticks_only_is_not_missed():
    channel = make(bad={'equals': True})
    for at_s, data in ((0.0, False), (0.11, True), (0.12, False)):
        say(channel, at_s, data)
    assert values(channel, range(4)) == [0, 0, BROKEN, 0]


def test_no_message_counts_before_its_stamp_whenever_it_arrives():
    channel = make(bad={'equals': 1})
    say(channel, 0.0, 0)
    say(channel, 0.35, 1)
    assert values(channel, range(5)) == [0, 0, 0, 0, BROKEN]


def test_what_must_last_counts_up_and_begins_anew_after_a_break():
    channel = make(bad={'below': 1.0, 'for_s': 0.4})
    for at_s, data in ((0.0, 0.5), (0.3, 2.0), (0.4, 0.5)):
        say(channel, at_s, data)
    expected = [0, 0.25, 0.5, 0.75, 0, 0.25, 0.5, 0.75, BROKEN]  # bad until 0.3 s
    assert same(values(channel, range(9)), expected)


def test_the_stretch_that_must_last_is_timed_by_stamps_and_not_by_ticks():
    channel = make(bad={'equals': 1, 'for_s': 0.1})
    for at_s, data in ((0.01, 1), (0.12, 1), (0.13, 0)):
        say(channel, at_s, data)
    assert values(channel, range(3))[2] == BROKEN


def test_what_should_hold_is_broken_while_it_does_not():
    channel = make(good={'one_of': [1, 2]})
    for at_s, data in ((0.05, 1), (0.15, 3), (0.25, 2)):
        say(channel, at_s, data)
    assert same(values(channel, range(5)), [NAN, 0, BROKEN, BROKEN, 0])


def test_what_should_come_in_time_is_missed_even_if_nothing_ever_comes():
    channel = make(good={'equals': 'succeeded', 'within_s': 0.4})
    assert same(values(channel, range(6)), [0, 0.25, 0.5, 0.75, BROKEN, BROKEN])
    say(channel, 0.55, 'succeeded')
    assert values(channel, range(6, 8)) == [BROKEN, 0]  # it was missing until 0.55 s


def test_a_rule_is_asked_only_while_all_its_guards_hold():
    guards = [{'topic': '/y', 'above': 0}, {'below': 10}]
    channel = make(bad={'above': 5}, **{'while': guards})
    say(channel, 0.0, 7)
    assert same(values(channel, range(2)), [NAN, NAN])  # nothing is known of the guard
    for at_s, data in ((0.15, 0), (0.25, 1)):
        say(channel, at_s, data, '/y')
    say(channel, 0.35, 12)
    assert values(channel, range(2, 5)) == [0, BROKEN, BROKEN]  # until 0.35 s
    assert values(channel, range(5, 6)) == [0]


def test_time_that_must_last_counts_from_when_the_guard_holds():
    channel = make(good={'equals': 1, 'within_s': 0.2}, **{'while': {'topic': '/y', 'equals': 1}})
    say(channel, 0.0, 0, '/y')
    say(channel, 0.3, 1, '/y')
    assert same(values(channel, range(6)), [0, 0, 0, 0, 0.5, BROKEN])


def test_a_change_is_an_instant_and_the_first_value_is_none():
    channel = make(bad={'changes': True})
    for at_s, data in ((0.05, 3), (0.15, 3), (0.25, 4)):
        say(channel, at_s, data)
    assert same(values(channel, range(5)), [NAN, 0, 0, BROKEN, 0])


@pytest.mark.parametrize('rule', [{'bad': {'stays': True, 'for_s': 0.2}},
                                  {'good': {'changes': True, 'within_s': 0.2}}])  # fmt: skip
def test_what_must_move_is_broken_when_it_stays_silence_included(rule: dict[str, Any]):
    channel = make(**rule)
    for at_s, data in ((0.0, 1), (0.1, 2), (0.2, 3), (0.3, 3)):
        say(channel, at_s, data)
    assert values(channel, range(6)) == [0, 0.5, 0.5, 0.5, BROKEN, BROKEN]


def test_a_value_that_is_no_number_blinds_the_rule_until_the_next():
    channel = make(bad={'above': 1})
    for at_s, data in ((0.0, 2.0), (0.1, NAN), (0.3, 2.0)):
        say(channel, at_s, data)
    assert same(values(channel, range(4)), [BROKEN, BROKEN, NAN, BROKEN])


@pytest.mark.parametrize(
    ('data', 'reason'),
    [
        ('high', 'cannot be compared with 1'),
        ('x' * 10**6, 'cannot be compared with 1'),
        ([1.0], 'add an index'),
        (Message(y=1), 'is not a single value'),
    ],
)
def test_a_value_of_another_kind_blinds_the_rule_and_is_said(data: Any, reason: str):
    channel = make(bad={'above': 1}, name='too hot')
    (problem,) = say(channel, 0.0, data)
    assert problem.startswith("outcome 'too hot': field 'data'")
    assert reason in problem
    assert len(problem) < 300
    assert same(values(channel, range(2)), [NAN, NAN])


def test_another_part_of_the_robot_on_the_same_topic_says_nothing():
    channel = make_all({'topic': '/x', 'field': 'position[a]', 'bad': {'above': 1}})
    assert channel.arrived('/x', 0, Message(name=['a'], position=[2.0]), 0) == []
    assert channel.arrived('/x', 1, Message(name=['b'], position=[0.0]), 0) == []
    assert values(channel, range(1, 2)) == [BROKEN]


def test_a_field_that_was_never_there_is_said():
    channel = make_all({'topic': '/x', 'field': 'position[c]', 'bad': {'above': 1}})
    (problem,) = channel.arrived('/x', 0, Message(name=['a'], position=[2.0]), 0)
    assert "there is no 'c'" in problem


def test_a_rule_without_its_topic_is_blind_and_keeps_its_place():
    rules = [{'topic': t, 'field': 'data', 'name': t, 'bad': {'equals': 1}} for t in ('/x', '/z')]
    waits = {'topic': '/z', 'field': 'data', 'name': 'w', 'good': {'equals': 1, 'within_s': 0.1}}
    channel = make_all(*rules, waits)
    say(channel, 0.0, 1)
    assert channel.elements == ('/x', '/z', 'w')
    for i in range(3):
        evidence = channel.evidence(tick(i)).tolist()
    assert same(evidence, [BROKEN, NAN, NAN])


def test_a_clock_that_begins_anew_forgets_what_was_said_and_not_what_is_new():
    channel = make(bad={'equals': 1})
    say(channel, 5.0, 1)
    say(channel, 5.3, 1)  # waits for a tick that never comes
    say(channel, 0.1, 0, segment=1)
    assert values(channel, range(50, 51)) == [BROKEN]
    channel.reset()
    found = [float(channel.evidence(tick(i, segment=1))[0]) for i in range(3)]
    assert same(found, [NAN, 0, 0])


def test_a_value_of_the_old_clock_is_no_change_on_the_new():
    channel = make(bad={'changes': True})
    say(channel, 5.0, 1)
    values(channel, range(50, 51))
    say(channel, 0.0, 2, segment=1)
    channel.reset()
    assert channel.evidence(tick(0, segment=1)).tolist() == [0]


def test_a_clock_that_runs_ahead_does_not_fill_the_memory():
    channel = make(bad={'equals': 1})
    for i in range(MOST_WAITING + 10):
        say(channel, 10**6 + i, 1)
    assert len(channel._waiting) == MOST_WAITING
    assert same(values(channel, range(1)), [NAN])


def test_the_scorer_alarms_on_a_broken_rule_without_warming_up_and_names_it():
    channel = make(name='task failed', **FAILED)
    scorer = Scorer([channel], running_norms([channel], 10), calibration_id='', level='flow')
    say(channel, 0.0, 'failed')
    (score,) = scorer.score(tick(0)).channels
    assert (score.alarm, score.detail, score.threshold) == (True, 'task failed', 1.0)


SAID = st.lists(
    st.tuples(
        st.integers(0, 3 * NS),
        st.sampled_from(['/x', '/y']),
        st.one_of(st.floats(), st.booleans(), st.text(max_size=5), st.integers(), st.none()),
    ),
    max_size=30,
)


@given(SAID)
def test_whatever_is_said_a_rule_is_good_waiting_broken_or_blind(said):
    channel = make_all(
        {'topic': '/x', 'field': 'data', 'name': '1', 'bad': {'above': 0, 'for_s': 0.3}},
        {'topic': '/x', 'field': 'data', 'name': '2', 'good': {'equals': 'a', 'within_s': 0.5},
         'while': {'topic': '/y', 'not_equals': 0}},
        {'topic': '/x', 'field': 'data', 'name': '3', 'bad': {'changes': True}},
    )  # fmt: skip
    for stamp_ns, topic, data in said:
        channel.arrived(topic, stamp_ns, Message(data=data), 0)
    for i in range(40):
        evidence = channel.evidence(tick(i))
        known = evidence[~np.isnan(evidence)]
        assert (((known >= 0) & (known < 1)) | (known == BROKEN)).all()
    assert not channel._waiting

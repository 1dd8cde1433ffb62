# SPDX-License-Identifier: Apache-2.0
"""Rules of the robot file on how the task goes; a wrong one says what is wrong with it."""

from __future__ import annotations

from types import SimpleNamespace as Message
from typing import Any

import numpy as np
import pytest
import yaml

from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.field_path import FieldPath
from cosmos_flywheel.core.outcome import blind_rules
from cosmos_flywheel.schemas import check

BASE = {
    'schema': 'robot-v1',
    'name': 'arm',
    'clock': {'hz': 10},
    'state': [{'topic': '/joint_states', 'field': 'position', 'names': ['a']}],
}
RULE = {'topic': '/task_result', 'field': 'data'}


def robot(*rules: dict[str, Any]) -> Robot:
    document = {**BASE, 'outcome': list(rules)}
    made = Robot.from_mapping(document, place='arm.yaml')
    check(document, 'robot-v1')
    return made


def test_the_words_of_the_docstring_are_a_robots_rules() -> None:
    from cosmos_flywheel.core import outcome

    text = (outcome.__doc__ or '').split('```')[1].removeprefix('yaml')
    failed, empty = robot(*yaml.safe_load(text)['outcome']).outcomes
    assert failed.name == 'task failed'
    assert failed.topics == ('/task_result',)
    assert empty.topics == ('/joint_states', '/joint_commands')
    assert empty.patience_ns == 300_000_000
    assert [c.limits for c in empty.conditions] == [{'below': 0.002}, {'below': 0.004}]


def test_a_robot_reads_every_topic_that_a_rule_needs() -> None:
    guard = {'topic': '/mode', 'equals': 'auto'}
    topics = robot({**RULE, 'bad': {'equals': 'failed'}, 'while': guard}).topics
    assert topics == ('/joint_states', '/task_result', '/mode')


def test_a_rule_is_named_by_topic_and_field_unless_it_says_otherwise() -> None:
    bad = {'bad': {'equals': 'failed'}}
    assert robot({**RULE, **bad}).outcomes[0].name == '/task_result data'
    assert robot({**RULE, **bad, 'name': 'gave up'}).outcomes[0].name == 'gave up'


def test_a_guard_is_about_the_rules_own_field_unless_it_says_otherwise() -> None:
    rule = {**RULE, 'bad': {'stays': True, 'for_s': 2}, 'while': [{'not_equals': 'idle'}]}
    _, guard = robot(rule).outcomes[0].conditions
    assert (guard.topic, guard.path.text) == ('/task_result', 'data')


def test_an_entry_of_earlier_versions_is_kept_and_a_note_says_that_it_is_not_judged() -> None:
    carried = robot({**RULE, 'rule': {'whatever': ['it', 'was']}})
    assert carried.topics == ('/joint_states', '/task_result')
    assert carried.outcomes[0].conditions == ()
    (note,) = blind_rules(carried.outcomes, carried.topics)
    assert 'kept but not judged' in note


def test_a_rule_without_its_topics_is_said_to_be_blind() -> None:
    guard = {'topic': '/mode', 'equals': 'auto'}
    outcomes = robot({**RULE, 'name': 'r', 'bad': {'equals': 'failed'}, 'while': guard}).outcomes
    assert list(blind_rules(outcomes, ['/task_result', '/mode'])) == []
    assert list(blind_rules(outcomes, ['/task_result'])) == ["outcome 'r' is blind without /mode"]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'badd': {}}, r"outcome\[0\]\.badd is no known key; did you mean 'bad'"),
        ({'bad': {'equal': 'x'}}, r"outcome\[0\]\.bad\.equal is no known key; .*'equals'"),
        ({'bad': {'equals': 'x', 'within_s': 1}}, r'bad\.within_s is no known key'),
        ({'good': {'equals': 'x', 'for_s': 1}}, r'good\.for_s is no known key'),
        ({'bad': {}}, r'outcome\[0\]\.bad asks for nothing; write one of equals'),
        ({'bad': {'for_s': 1}}, 'asks for nothing'),
        ({'bad': 'failed'}, "'failed' should be a mapping"),
        ({'bad': {'equals': 'a'}, 'good': {'equals': 'b'}}, 'beside "bad"'),
        ({'bad': {'equals': ['a']}}, r"bad\.equals is \['a'\]; write text, a number"),
        ({'bad': {'equals': float('nan')}}, 'is nan'),
        ({'bad': {'above': 'high'}}, r"bad\.above is 'high'; write a number"),
        ({'bad': {'below': True}}, r'bad\.below is True'),
        ({'bad': {'starts_with': 3}}, r'starts_with is 3; write text'),
        ({'bad': {'one_of': 'failed'}}, r"one_of is 'failed'; write a list"),
        ({'bad': {'one_of': ['a', 1]}}, 'holds text and numbers'),
        ({'bad': {'one_of': [[1]]}}, r'one_of is \[1\]'),
        ({'bad': {'equals': 'a', 'for_s': 0}}, r'for_s is 0; it must be greater'),
        ({'bad': {'equals': 'a', 'for_s': 'long'}}, r"for_s is 'long'"),
        ({'bad': {'changes': False}}, 'write true for one of changes and stays'),
        ({'bad': {'changes': True, 'stays': True}}, 'write true for one of'),
        ({'bad': {'stays': True}}, r'bad\.stays is never over; .*"for_s: 2.0"'),
        ({'good': {'changes': True}}, r'good\.changes is never over; .*"within_s: 2.0"'),
        ({'bad': {'equals': 'a'}, 'while': {}}, r'while asks for nothing'),
        ({'bad': {'equals': 'a'}, 'while': {'equals': 'b', 'for_s': 1}}, r'while\.for_s is no'),
        ({'bad': {'equals': 'a'}, 'while': {'equals': 'b', 'field': 'x..y'}}, 'is no path'),
        ({'while': {'equals': 'b'}}, 'has nothing to guard'),
        ({'bad': {'equals': 'a'}, 'field': 'data['}, r"field is wrong: field 'data\['"),
        ({'bad': {'equals': 'a'}, 'name': 'x' * 81}, 'write 1 to 80 characters'),
        ({'bad': {'equals': 'a'}, 'topic': None}, r'outcome\[0\]\.topic is missing'),
    ],
)
def test_a_wrong_rule_is_refused_with_file_key_value_and_remedy(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        robot({**RULE, **change})
    assert str(caught.value).startswith('arm.yaml: outcome[0]')


def test_two_rules_of_one_name_are_refused() -> None:
    rule = {**RULE, 'name': 'failed', 'bad': {'equals': 'failed'}}
    with pytest.raises(ConfigError, match=r"outcome\[1\]\.name 'failed' is taken"):
        robot(rule, rule)


@pytest.mark.parametrize('key', ['name', 'position'])
@pytest.mark.parametrize('kind', [list, tuple, np.array])
def test_a_path_finds_an_element_by_the_names_beside_it(key: str, kind: Any) -> None:
    message = Message(name=kind(['elbow', 'a.b/c']), position=kind([0.5, 1.5]))
    found = FieldPath.parse(f'{key}[a.b/c]').read(message)
    assert found == {'name': 'a.b/c', 'position': 1.5}[key]


def test_a_name_without_a_value_is_absent() -> None:
    message = Message(name=['elbow', 'knee'], effort=[0.5])
    assert FieldPath.parse('effort[knee]').read(message) is None


@pytest.mark.parametrize(
    ('path', 'reason'),
    [
        ('position[elbw]', "there is no 'elbw'; did you mean 'elbow'"),
        ('inner.values[elbow]', 'Namespace has no list of names; write an index'),
        ('position', 'is a list of 1; add an index'),
        ('inner[elbow]', r'there is no list at \[elbow\]'),
    ],
)
def test_a_name_that_leads_nowhere_is_said(path: str, reason: str) -> None:
    message = Message(name=['elbow'], position=[1.0], inner=Message(values=[1.0]))
    with pytest.raises(ConfigError, match=reason):
        FieldPath.parse(path).read(message)


@pytest.mark.parametrize(
    'path', ['a[--1]', 'a[-]', 'a[+1]', 'a[]', 'a[1x]', 'a[[b]]', 'a[b]c', 'a.[b]']
)
def test_wrong_signs_and_half_brackets_make_no_path(path: str) -> None:
    with pytest.raises(ConfigError, match='is no path'):
        FieldPath.parse(path)


@pytest.mark.parametrize(('path', 'value'), [('a[-1]', 3), ('a[-3]', 1), ('a[-4]', None)])
def test_negative_indices_count_from_the_end(path: str, value: int | None) -> None:
    assert FieldPath.parse(path).read(Message(a=[1, 2, 3])) == value

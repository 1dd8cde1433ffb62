# SPDX-License-Identifier: Apache-2.0
"""Trigger files say when to capture; a wrong one says what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from rosbags.typesys import Stores, get_typestore

from cosmos_flywheel.capture.triggers.shipped import find_triggers
from cosmos_flywheel.capture.triggers.trigger import Firing, Triggers
from cosmos_flywheel.core.errors import ConfigError

S = 10**9
CONFIG = Path(__file__).resolve().parents[2] / 'config'
TYPES = get_typestore(Stores.ROS2_JAZZY).types
NAN = float('nan')


def make(**entry: Any) -> Triggers:
    """One trigger on /x, which watches the field `data` unless told otherwise."""
    usual: dict[str, Any] = {'name': 'rule', 'kind': 'field', 'topic': '/x'}
    if entry.get('kind', 'field') == 'field':
        usual['field'] = 'data'
    return Triggers({'schema': 'triggers-v1', 'triggers': [usual | entry]})


def say(data: object) -> SimpleNamespace:
    return SimpleNamespace(data=data)


def play(triggers: Triggers, *values: object, every_s: float = 1.0) -> list[Firing]:
    """Messages on /x, one after another from zero, and what is over in the end."""
    firings = []
    for index, value in enumerate(values):
        firings += triggers.observe('/x', round(index * every_s * S), say(value))
    return firings + triggers.finish(round(len(values) * every_s * S))


def spans(firings: list[Firing]) -> list[tuple[float, float | None]]:
    """Begin and end of each firing in seconds, once it is over."""
    return [(f.stamp_ns / S, f.ends_ns / S) for f in firings if f.ends_ns is not None]


def diagnostics(*statuses: tuple[Any, str, str]) -> object:
    array, header, time, status = (
        TYPES[name]
        for name in (
            'diagnostic_msgs/msg/DiagnosticArray', 'std_msgs/msg/Header',
            'builtin_interfaces/msg/Time', 'diagnostic_msgs/msg/DiagnosticStatus',
        )
    )  # fmt: skip
    made = [
        status(level=level, name=name, message=text, hardware_id='', values=[])
        for level, name, text in statuses
    ]
    return array(header=header(stamp=time(sec=0, nanosec=0), frame_id=''), status=made)


@pytest.mark.parametrize(
    ('conditions', 'values', 'expected'),
    [
        ({'equals': True}, [False, True, True, False], [(1, 3)]),
        ({'equals': 'FAULT'}, ['OK', 'FAULT', 'OK'], [(1, 2)]),
        ({'not_equals': 0}, [0, 3, 0], [(1, 2)]),
        ({'above': 2.0}, [2.0, 2.1, 1.0], [(1, 2)]),
        ({'below': 2.0}, [2.0, 1.9, 3.0], [(1, 2)]),
        ({'above': 1, 'below': 3}, [1, 2, 3], [(1, 2)]),
        ({'changes': True}, [7, 7, 8, 8, 8], [(2, 2)]),
        ({'changes': True, 'equals': 2}, [1, 2, 2, 2, 1], [(1, 1)]),
        ({'equals': True}, [True], [(0, 1)]),
        ({'above': 1}, [NAN, float('inf'), NAN], [(1, 2)]),
        ({'not_equals': 1}, [1, NAN, 1], []),
        ({'changes': True}, [1.0, NAN, 1.0, 1.0], []),
        ({'above': 1}, [np.float32(0), np.float32(2), np.int64(0)], [(1, 2)]),
        ({'equals': True}, [np.bool_(False), np.bool_(True), np.bool_(False)], [(1, 2)]),
        ({'equals': 2}, [b'\x00', b'\x02', b'\x00'], [(1, 2)]),
    ],
)
def test_each_condition_fires_while_it_holds(
    conditions: dict[str, Any], values: list[Any], expected: list[tuple[float, float]]
) -> None:
    assert spans(play(make(**conditions), *values)) == expected


def test_a_firing_is_told_when_it_begins_and_when_it_is_over() -> None:
    triggers = make(above=1, hold_s=0)
    assert triggers.observe('/x', 0, say(0)) == []
    assert triggers.observe('/x', S, say(3)) == [Firing('rule', S, 'data = 3 (above 1)', None)]
    assert triggers.observe('/x', 2 * S, say(4)) == []
    assert triggers.observe('/x', 3 * S, say(0)) == []
    assert triggers.tick(4 * S) == [Firing('rule', S, 'data = 3 (above 1)', 3 * S)]
    assert triggers.finish(5 * S) == []


def test_open_firings_can_be_asked_for_at_any_time() -> None:
    triggers = make(above=1)
    triggers.observe('/x', S, say(3))
    assert [(f.stamp_ns, f.ends_ns) for f in triggers.open] == [(S, None)]
    triggers.observe('/x', 2 * S, say(0))
    assert [(f.stamp_ns, f.ends_ns) for f in triggers.open] == [(S, 2 * S)]  # a pause, so far
    triggers.tick(9 * S)
    assert triggers.open == ()


@pytest.mark.parametrize(('hold_s', 'expected'), [(1.0, [(1, 4)]), (0.5, [(1, 2), (3, 4)])])
def test_pauses_up_to_hold_s_are_one_firing(
    hold_s: float, expected: list[tuple[float, float]]
) -> None:
    firings = play(make(equals=1, hold_s=hold_s), 0, 1, 0, 1, 0, 0, 0)
    assert spans(firings) == expected


def test_a_flickering_value_is_one_firing() -> None:
    firings = play(make(equals=1, hold_s=0.2), *[0, 1] * 500, every_s=0.1)
    assert [f.ends_ns is None for f in firings] == [True, False]


@pytest.mark.parametrize('ticks', [(), (3.1, 3.2), (2.5, 3.0, 4.9)])
def test_for_s_counts_from_the_first_true_message_whenever_ticks_come(
    ticks: tuple[float, ...],
) -> None:
    triggers = make(equals=1, for_s=2.0)
    firings = triggers.observe('/x', S, say(1))
    for tick_s in ticks:
        firings += triggers.tick(round(tick_s * S))
    firings += triggers.observe('/x', 5 * S, say(0))
    firings += triggers.finish(9 * S)
    assert spans(firings) == [(3, 5)]


def test_for_s_begins_again_after_a_break() -> None:
    assert spans(play(make(equals=1, for_s=2.0), 1, 0, 1, 1, 0, 1, 1, 1, 0)) == [(4, 4), (7, 8)]
    assert spans(play(make(equals=1, for_s=2.5), 1, 1, 0, 1, 1, 0)) == []


def test_values_that_are_no_number_and_lists_that_are_short_are_counted() -> None:
    triggers = make(above=1, field='data[1]')
    assert play(triggers, [0, NAN], [0], [0, NAN]) == []
    assert triggers.counts == {'rule': {'not_a_number': 2, 'absent': 1}}


def test_a_field_deep_in_a_message_is_found() -> None:
    triggers = make(kind='field', field='status[1].level', equals=2)
    array = diagnostics((0, 'a', ''), (2, 'b', ''))
    assert [f.detail for f in triggers.observe('/x', 0, array)] == ['status[1].level = 2']


@pytest.mark.parametrize(
    ('field', 'reason'),
    [
        ('status[0].levle', r"DiagnosticStatus has no 'levle'; did you mean 'level'"),
        ('statu', r"DiagnosticArray has no 'statu'; did you mean 'status'"),
        ('status', r'is a list of 1; add an index'),
        ('status.level', r"a list of 1 has no 'level'"),
        ('header', r'is not a single value; add one of its fields: stamp, frame_id'),
        ('header[0]', r'there is no list at \[0\]'),
        ('header.ERROR', r"has no 'ERROR'"),
        ('status[0].name[0]', r'there is no list at \[0\]'),
    ],
)
def test_a_wrong_field_is_named_at_the_first_message_and_counted_after(
    field: str, reason: str
) -> None:
    triggers = make(field=field, equals=1)
    with pytest.raises(ConfigError, match=rf'\(rule\): topic /x: .*{reason}'):
        triggers.observe('/x', 0, diagnostics((0, 'a', '')))
    assert triggers.observe('/x', S, diagnostics((0, 'a', ''))) == []
    assert triggers.counts == {'rule': {'wrong': 2}}


@pytest.mark.parametrize(
    ('conditions', 'value'),
    [({'above': 1}, 'high'), ({'equals': True}, 'true'), ({'equals': 'on'}, 1)],
)
def test_what_cannot_be_compared_is_refused(conditions: dict[str, Any], value: object) -> None:
    with pytest.raises(ConfigError, match='cannot be compared with'):
        make(**conditions).observe('/x', 0, say(value))


@pytest.mark.parametrize(
    'field', ['__class__', 'data.__init__', 'a..b', 'data[x]', 'f()', '', 'a b']
)
def test_only_names_and_indices_make_a_path(field: str) -> None:
    with pytest.raises(ConfigError, match=r'triggers\[0\]\.field'):
        make(field=field, equals=1)


def test_fields_that_a_message_does_not_declare_are_out_of_reach() -> None:
    class Message:
        @classmethod
        def get_fields_and_field_types(cls) -> dict[str, str]:
            return {'data': 'boolean'}

        data = True
        secret = True

    assert make(equals=True).observe('/x', 0, Message())
    with pytest.raises(ConfigError, match="has no 'secret'"):
        make(equals=True, field='secret').observe('/x', 0, Message())


def test_one_wrong_trigger_does_not_stop_another_on_the_same_topic() -> None:
    entry = {'kind': 'field', 'topic': '/x', 'equals': 1}
    entries = [
        entry | {'name': 'wrong', 'field': 'dta'},
        entry | {'name': 'right', 'field': 'data'},
    ]
    triggers = Triggers({'schema': 'triggers-v1', 'triggers': entries})
    with pytest.raises(ConfigError, match="did you mean 'data'"):
        triggers.observe('/x', 0, say(1))
    assert [f.name for f in triggers.tick(0)] == ['right']


@pytest.mark.parametrize('is_bytes', [True, False])
@pytest.mark.parametrize(
    ('level', 'expected'),
    [('WARN', ['WARN', 'ERROR']), ('ERROR', ['ERROR']), ('STALE', ['STALE']),
     (['ERROR', 'STALE'], ['ERROR', 'STALE']), (None, ['ERROR'])],
)  # fmt: skip
def test_diagnostics_fire_by_level(level: Any, expected: list[str], is_bytes: bool) -> None:
    triggers = make(kind='diagnostics', **({'level': level} if level else {}))
    levels = [bytes([n]) if is_bytes else n for n in range(4)]
    message = diagnostics(*((level, f'part {n}', 'text') for n, level in enumerate(levels)))
    said = [f.detail.split()[0] for f in triggers.observe('/x', 0, message)]
    assert sorted(said) == sorted(expected)


def test_diagnostics_fire_by_name_and_each_status_is_its_own() -> None:
    triggers = make(kind='diagnostics', status_name='arm|base')
    error = ((2, 'arm: joint 1', 'hot'), (2, 'camera', 'dark'))
    first = triggers.observe('/x', 0, diagnostics(*error))
    assert [f.detail for f in first] == ['ERROR arm: joint 1: hot']
    more = triggers.observe('/x', S, diagnostics(*error, (2, 'base', 'stuck')))
    assert [(f.subject, f.detail) for f in more] == [('base', 'ERROR base: stuck')]
    assert sorted(spans(triggers.finish(2 * S))) == [(0, 1), (1, 1)]


def test_diagnostics_come_from_their_usual_topic() -> None:
    entry = {'name': 'd', 'kind': 'diagnostics'}
    assert Triggers({'schema': 'triggers-v1', 'triggers': [entry]}).topics == {'/diagnostics'}


def test_a_topic_that_is_not_diagnostics_is_refused() -> None:
    with pytest.raises(ConfigError, match='SimpleNamespace is no diagnostic_msgs/DiagnosticArray'):
        make(kind='diagnostics').observe('/x', 0, say(1))


def test_silence_fires_when_it_is_too_long_and_ends_with_a_message() -> None:
    triggers = make(kind='silence', longer_than_s=1.5, hold_s=0)
    assert triggers.tick(9 * S) == []  # nothing came yet: not armed
    assert triggers.observe('/x', 10 * S, None) == []
    assert triggers.tick(11 * S) == []
    assert triggers.tick(12 * S) == [
        Firing('rule', 11 * S + S // 2, 'no message on /x for 1.5 s', None)
    ]
    assert triggers.observe('/x', 13 * S, None) == []
    assert spans(triggers.tick(14 * S)) == [(11.5, 13)]
    assert triggers.finish(14 * S) == []


def test_silence_without_ticks_is_found_by_the_message_that_ends_it() -> None:
    triggers = make(kind='silence', longer_than_s=1.5)
    stamps = [0, 1, 2, 5, 6]
    firings = [f for s in stamps for f in triggers.observe('/x', s * S, None)]
    assert spans(firings + triggers.finish(6 * S)) == [(3.5, 5)]


def test_silence_armed_at_the_start_needs_no_message() -> None:
    triggers = make(kind='silence', longer_than_s=2, armed='start')
    firings = [f for s in range(100, 105) for f in triggers.tick(s * S)]
    assert [f.stamp_ns for f in firings] == [102 * S]


def test_each_mark_is_a_firing_with_its_text() -> None:
    triggers = make(kind='mark', text='data')
    firings = play(triggers, 'dropped it', 'again', 'x' * 1000)
    begun = [f.detail for f in firings if f.ends_ns is None]
    assert begun == ['dropped it', 'again', 'x' * 200]
    assert spans(firings) == [(0, 0), (1, 1), (2, 2)]


def test_marks_held_together_keep_all_their_texts() -> None:
    firings = play(make(kind='mark', text='data', hold_s=1), 'one', 'two', 'two', 'three')
    assert [f.detail for f in firings if f.ends_ns is not None] == ['one; two; three']


def test_a_mark_needs_no_text() -> None:
    assert [f.detail for f in make(kind='mark').observe('/x', 0, object())] == ['marked']


def test_a_clock_that_begins_anew_closes_what_is_open() -> None:
    triggers = make(equals=1, for_s=1.0)
    triggers.observe('/x', 100 * S, say(1))
    assert len(triggers.tick(102 * S)) == 1
    assert spans(triggers.observe('/x', 0, say(1))) == [(101, 102)]
    assert triggers.tick(0) == []
    assert [f.stamp_ns for f in triggers.tick(S)] == [S]


def test_a_tick_that_jumps_back_forgets_what_was_seen_before() -> None:
    triggers = make(kind='silence', longer_than_s=1.0)
    triggers.observe('/x', 100 * S, None)
    assert [f.stamp_ns for f in triggers.tick(102 * S)] == [101 * S]
    assert spans(triggers.tick(0)) == [(101, 102)]
    assert triggers.tick(9 * S) == []


def test_slight_disorder_is_not_a_new_clock() -> None:
    triggers = make(kind='mark', text='data')
    firings = triggers.observe('/x', 10 * S, say('one'))
    firings += triggers.observe('/x', 10 * S - S // 10, say('two'))
    firings += triggers.finish(11 * S)
    texts = '; '.join(f.detail for f in firings if f.ends_ns is not None)
    assert texts == 'one; two'


def test_an_early_tick_does_not_move_a_late_message() -> None:
    triggers = make(equals=1)
    triggers.tick(5 * S)
    assert [f.stamp_ns for f in triggers.observe('/x', 4 * S, say(1))] == [4 * S]


def test_other_topics_are_ignored() -> None:
    triggers = make(equals=1)
    assert triggers.topics == {'/x'}
    assert triggers.observe('/y', 0, say(1)) == []


@pytest.mark.parametrize(
    ('entry', 'reason'),
    [
        ({'equals': 1, 'for': 1}, r"triggers\[0\]\.for .*did you mean 'for_s'"),
        ({'kind': 'feild', 'equals': 1}, r"'feild'; did you mean 'field'"),
        ({'kind': 'silence', 'above': 1}, r'triggers\[0\]\.above is no known key'),
        ({}, r'triggers\[0\]'),
        ({'equals': 1, 'name': 'no spaces'}, r'triggers\[0\]\.name'),
        ({'above': 'high'}, r'triggers\[0\]\.above'),
        ({'above': 1, 'for_s': -1}, r'triggers\[0\]\.for_s'),
        ({'kind': 'silence'}, 'longer_than_s'),
        ({'kind': 'diagnostics', 'level': 'FATAL'}, r'triggers\[0\]\.level'),
        ({'kind': 'diagnostics', 'status_name': '('}, 'no regular expression'),
        ({'changes': True, 'for_s': 1}, 'leave out for_s'),
    ],
)
def test_a_wrong_file_says_what_is_wrong(
    tmp_path: Path, entry: dict[str, Any], reason: str
) -> None:
    usual = {'name': 'rule', 'kind': 'field', 'topic': '/x'}
    if entry.get('kind', 'field') == 'field':
        usual['field'] = 'data'
    path = tmp_path / 'triggers.yaml'
    path.write_text(yaml.safe_dump({'schema': 'triggers-v1', 'triggers': [usual | entry]}))
    with pytest.raises(ConfigError, match=rf'triggers\.yaml.*{reason}'):
        Triggers.load(path)


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('triggers: []', 'field "schema" is missing'),
        ('schema: triggers-v2\ntriggers: []', 'install a version'),
        ('schema: triggers-v1', 'triggers'),
        ('schema: triggers-v1\ntrigger: []', "did you mean 'triggers'"),
        ('schema: triggers-v1\ntriggers: 3', "'triggers'"),
        ('schema: triggers-v1\ntriggers: [3]', r'triggers\[0\]'),
        ('- a list', 'holds no fields'),
        ('a: [', 'is not YAML'),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / 'triggers.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=reason):
        Triggers.load(path)


def test_two_triggers_of_one_name_are_refused() -> None:
    entry = {'name': 'rule', 'kind': 'mark', 'topic': '/x'}
    with pytest.raises(ConfigError, match=r"triggers\[1\]: name 'rule' is taken"):
        Triggers({'schema': 'triggers-v1', 'triggers': [entry, entry]})


@pytest.mark.parametrize(
    'path', sorted((CONFIG / 'triggers').glob('*.yaml')), ids=lambda p: p.name
)
def test_shipped_trigger_files_load(path: Path) -> None:
    assert Triggers.load(path).topics


def test_the_shipped_example_shows_every_kind() -> None:
    triggers = Triggers.load(CONFIG / 'triggers' / 'example.yaml')
    kinds = {entry['kind'] for entry in triggers.document['triggers']}
    assert kinds == {'field', 'diagnostics', 'silence', 'mark'}


def goals(*states: int) -> object:
    """An action_msgs/GoalStatusArray: the newest goal comes last."""
    return SimpleNamespace(status_list=[SimpleNamespace(status=state) for state in states])


def tree(*events: tuple[str, str]) -> object:
    """A nav2_msgs/BehaviorTreeLog."""
    return SimpleNamespace(
        event_log=[
            SimpleNamespace(node_name=name, previous_status='IDLE', current_status=status)
            for name, status in events
        ]
    )


NAVIGATION = '/navigate_to_pose/_action/status'
PATH = '/joint_trajectory_controller/follow_joint_trajectory/_action/status'


@pytest.mark.parametrize(
    ('preset', 'topic', 'calm', 'told', 'name'),
    [
        ('estop', '/emergency_stop', say(False), say(True), 'emergency_stop'),
        (
            'estop', '/io_and_status_controller/safety_mode',
            SimpleNamespace(mode=1), SimpleNamespace(mode=3), 'protective_stop',
        ),
        ('takeover', '/control_mode', say('policy'), say('teleop'), 'operator_takeover'),
        ('nav2', NAVIGATION, goals(6, 2), goals(4, 6), 'navigation_aborted'),
        (
            'nav2', '/behavior_tree_log', tree(('Spin', 'RUNNING'), ('FollowPath', 'RUNNING')),
            tree(('FollowPath', 'RUNNING'), ('BackUp', 'RUNNING')), 'recovery_by_backing_up',
        ),
        (
            'nav2', '/behavior_tree_log', tree(('FollowPath', 'RUNNING')),
            tree(('FollowPath', 'FAILURE')), 'tree_failed',
        ),
        ('moveit', '/move_action/_action/status', goals(4), goals(6), 'move_aborted'),
        (
            'moveit', '/motion_result', SimpleNamespace(val=1), SimpleNamespace(val=-4),
            'move_error_code',
        ),
        ('ros2_control', PATH, goals(2), goals(2, 6), 'path_tolerance'),
        (
            'ros2_control', '/diagnostics', diagnostics((0, 'controller_manager: activity', '')),
            diagnostics((2, 'controller_manager: hardware', 'lost')), 'hardware_error',
        ),
    ],
)  # fmt: skip
def test_presets_fire_at_what_they_are_for(
    preset: str, topic: str, calm: object, told: object, name: str
) -> None:
    triggers = Triggers.load(CONFIG / 'triggers' / f'{preset}.yaml')
    quiet = [*triggers.observe(topic, S, calm), *triggers.tick(2 * S)]
    assert quiet == []
    fired = [*triggers.observe(topic, 3 * S, told), *triggers.tick(5 * S)]
    assert name in {firing.name for firing in fired}


def test_shipped_triggers_are_found_by_name_and_files_by_path(tmp_path: Path) -> None:
    assert find_triggers('nav2') == CONFIG / 'triggers' / 'nav2.yaml'
    assert find_triggers(tmp_path / 'mine.yaml') == tmp_path / 'mine.yaml'
    with pytest.raises(ConfigError, match="no triggers 'nav' are shipped; did you mean 'nav2'"):
        find_triggers('nav')

# SPDX-License-Identifier: Apache-2.0
"""A pack names cause, object and phase by its rules, and refuses what contradicts itself."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.facts import Facts, Motion, facts_of, motion_at
from cosmos_flywheel.core.pack import DATA_DOMAINS, WHOLE, Pack, region_of
from cosmos_flywheel.core.rules import has_word
from cosmos_flywheel.store.packs import PACKS, load_pack

EXAMPLE = Path(__file__).parents[1] / 'schemas' / 'examples' / 'episode-v1.json'
PICK, PUSH = 'Put the red cube in the tray.', 'Push the box to the mark.'

DOCUMENT = {
    'schema': 'pack-v1',
    'name': 'tiny',
    'title': 'A tiny one',
    'data_domain': 'driving',
    'depth': 'template',
    'robot': 'the car',
    'objects': {'lane': 'the lane'},
    'phases': [],
    'causes': [
        {
            'name': 'skid',
            'words': ['skid'],
            'object': 'task',
            'when': [{'alarmed': ['state'], 'quiet': ['picture']}],
            'happens': '{robot} slides.',
            'normal': [{'check': 'grip', 'effect': 'inverts', 'because': 'it is to slide'}],
            'families': [{'name': 'recovery', 'actions': 'nominal'}],
        },
        {'name': 'unknown', 'object': 'task', 'when': [{}], 'happens': 'Something happens.'},
    ],
    'checks': {'grip': 'Does it hold?'},
    'prompt': {'scene': 'A road.', 'before': '{task}'},
}


def facts(**changes) -> Facts:
    causes = changes.pop('causes', ('picture',))
    known = {
        'task': PUSH,
        'causes': causes,
        'details': dict.fromkeys(causes, ''),
        'ratios': dict.fromkeys(causes, 1.5),
        'lasts_s': dict.fromkeys(causes, 0.5),
        'firings': (),
    }
    return Facts(**known | changes)


@pytest.fixture(scope='module')
def robot_pack() -> Pack:
    return load_pack('embodied_robot')[0]


@pytest.fixture(scope='module')
def warehouse() -> Pack:
    return load_pack('warehouse')[0]


def test_every_data_domain_of_cosmos_has_one_pack_and_two_are_proved():
    packs = [load_pack(name)[0] for name in PACKS.names()]
    assert sorted(p.data_domain for p in packs) == sorted(DATA_DOMAINS)
    assert {p.name for p in packs if p.depth == 'proved'} == {'embodied_robot', 'warehouse'}
    assert sorted(PACKS.names()) == sorted(p.name for p in packs)


@pytest.mark.parametrize('name', PACKS.names())
def test_every_cause_orders_something_and_every_pack_ends_in_unknown(name):
    pack, _ = load_pack(name)
    assert all(cause.families for cause in pack.causes)
    assert pack.read(facts(causes=('clock_health',), task='')).cause.name == 'unknown'


def test_a_lost_cube_and_a_stalled_joint_are_told_apart(robot_pack):
    stall = facts(
        causes=('state', 'tracking_error'), details={'state': 'base', 'tracking_error': 'base'}
    )
    read = robot_pack.read(stall)
    assert (read.cause.name, read.object, read.phase) == ('actuator_stall', 'the robot', 'push')
    assert read.evidence == ('tracking_error: base (1.5 times its threshold)',)
    lost = facts(
        task=PICK,
        causes=('picture', 'outcome'),
        details={'picture': 'bottom centre', 'outcome': 'the fingers close on nothing'},
        motion=Motion(command={'gripper': 0.04}),
    )
    read = robot_pack.read(lost)
    assert (read.cause.name, read.object, read.phase) == ('object_lost', 'the cube', 'reach')


def test_a_cover_is_told_from_a_thing_that_moved_whatever_the_threshold_was(robot_pack):
    near = {'ratios': {'picture': 1.2}}
    covered = robot_pack.read(facts(**near, sight={'covered': 0.4}))
    assert (covered.cause.name, covered.object) == ('camera_occlusion', 'the camera')
    assert 'share of the picture that something hid at once: 0.40' in covered.evidence
    moved = robot_pack.read(facts(**near, sight={'covered': 0.02}))
    assert (moved.cause.name, moved.object) == ('object_moved', 'the box')


@pytest.mark.parametrize(
    ('most', 'thing', 'phase'), [(0.0, 'the box', 'push'), (0.04, 'the cube', 'reach')]
)
def test_of_two_tasks_in_one_text_the_commands_tell_which(robot_pack, most, thing, phase):
    both = 'Push the box to the mark, or put the red cube in the tray.'
    motion = Motion(command={'gripper': most}, command_most={'gripper': most})
    read = robot_pack.read(facts(task=both, motion=motion))
    assert (read.object, read.phase) == (thing, phase)
    assert read.task in both
    assert robot_pack.read(facts(task=both)).object == 'the box or the cube'


def test_a_task_about_something_unknown_names_no_object(robot_pack):
    assert robot_pack.object_of('Take the lid off the box') == ''
    assert robot_pack.object_of('Push against the box') == 'the box'
    assert robot_pack.object_of('Stop before the box beside the cup') == ''


def test_the_reason_of_a_label_goes_before_all_rules(robot_pack):
    read = robot_pack.read(facts(reason='somebody kicked it'))
    assert (read.cause.name, read.said_by) == ('object_moved', 'person')


def test_a_vehicle_that_leaves_its_commands_slips(warehouse):
    slip = facts(causes=('action_surprise', 'tracking_error'), task='Drive down the aisle.')
    assert warehouse.read(slip).cause.name == 'wheel_slip'
    came = {'causes': ('picture', 'state', 'tracking_error'), 'task': 'Drive down the aisle.'}
    details = {'state': 'linear.x', 'tracking_error': 'linear.x'}
    person = facts(**came, details={'picture': 'middle left', **details})
    assert warehouse.read(person).cause.name == 'person_in_way'
    fell = facts(**came, details={'picture': 'top left', **details})
    assert warehouse.read(fell).cause.name == 'fallen_goods'
    cage = facts(**came, details={'picture': 'middle left', **details}, sight={'filled': 0.9})
    assert warehouse.read(cage).cause.name == 'blocked_aisle'


@pytest.mark.parametrize(
    ('sign', 'value', 'cause'),
    [
        ('frozen_s', 1.0, 'camera_freeze'),
        ('missing', 0.5, 'camera_dropout'),
        ('stood_s', 0.4, 'camera_latency'),
        ('covered', 0.3, 'camera_occlusion'),
        ('plain', 0.5, 'dirty_lens'),
    ],
)
def test_what_the_camera_suffered_is_read_from_its_pictures(warehouse, sign, value, cause):
    seen = facts(task='Drive down the aisle.', sight={sign: value})
    assert warehouse.read(seen).cause.name == cause


def test_a_detail_counts_only_if_its_channel_spoke(robot_pack):
    silent = facts(details={'picture': '', 'outcome': 'the fingers close on nothing'})
    assert robot_pack.read(silent).cause.name == 'object_moved'


def test_facts_are_read_from_a_manifest_alone():
    read = facts_of(json.loads(EXAMPLE.read_text('utf-8')))
    assert read.causes == ('picture', 'trigger:emergency_stop')
    assert read.ratios['picture'] == pytest.approx(2.8)
    assert read.lasts_s['picture'] == pytest.approx(1.0)
    assert read.firings == ('data is True',)


def test_motion_is_that_of_the_onset_and_leaves_out_what_is_unknown():
    stamps = np.arange(10, dtype=np.int64) * 100_000_000
    states = np.stack([np.arange(10.0), np.full(10, np.nan)], 1)
    motion = motion_at(550_000_000, stamps, (('a', 'b'), states), ((), np.empty((10, 0))))
    assert motion.state == {'a': 5.0}
    assert motion.state_rate['a'] == pytest.approx(10.0)
    assert motion.command == {}
    gripper = np.array([0.0, np.nan, -0.5, *[0.1] * 7])[:, None]
    motion = motion_at(0, stamps, ((), np.empty((10, 0))), (('gripper',), gripper))
    assert motion.command_most == {'gripper': 0.5}


@pytest.mark.parametrize(
    ('text', 'words', 'holds'),
    [
        ('Put the red cube in the tray.', ('cube',), True),
        ('Input', ('put',), False),
        ('someone cut-in sharply', ('cut in',), True),
        ('', ('a',), False),
    ],
)
def test_words_are_found_where_words_begin(text, words, holds):
    assert has_word(text, words) is holds


def test_a_named_part_of_the_picture_is_a_third_with_a_margin():
    x0, y0, x1, y1 = region_of('bottom left 0.5 s ahead')
    assert (x0, y1) == (0, 1)
    assert x1 == pytest.approx(0.5)
    assert y0 == pytest.approx(0.5)
    assert region_of('of all') == region_of('') == WHOLE


def test_a_window_ends_with_the_clip(robot_pack):
    (one, *_) = robot_pack.cause('camera_freeze').normal
    assert one.at(1.0, 2.5, WHOLE).end_s == 2.5
    assert one.at(1.0, 9.0, WHOLE).end_s == 3.0
    assert replace(one, after_s=0).at(1.0, 9.0, WHOLE).end_s == 9.0


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda d: d['causes'].pop(), 'should end with unknown'),
        (lambda d: d['causes'][0].update(happens='{ghost}'), "slot 'ghost'; .*known: task"),
        (lambda d: d['causes'][0]['normal'][0].update(check='grap'), "did you mean 'grip'"),
        (lambda d: d['causes'][0]['when'][0].update(alarmd=['x']), "did you mean 'alarmed'"),
        (
            lambda d: d['causes'][0]['when'][0].update(sight={'coverd': {'above': 0.1}}),
            "did you mean 'covered'",
        ),
        (
            lambda d: d['causes'][0]['families'][0].update(actions='perturbed'),
            'recover by luck alone',
        ),
        (lambda d: d['causes'][0].update(name='unknown'), 'name one twice'),
        (
            lambda d: d['causes'][0]['when'][0].update(ratio={'state': {'above': 3, 'below': 2}}),
            'above being the smaller',
        ),
    ],
)
def test_a_pack_that_makes_no_sense_is_refused_by_place(change, words):
    document = copy.deepcopy(DOCUMENT)
    assert Pack.from_mapping(document).name == 'tiny'
    change(document)
    with pytest.raises(ConfigError, match=words):
        Pack.from_mapping(document)


def test_a_pack_that_is_not_shipped_is_told_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'warehouse'"):
        load_pack('warehose')

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest
from robot_bags import START_NS, image, joints, jpeg, odometry, stream, twist, write_bag

from cosmos_flywheel.cli.main import main

DATA = Path(__file__).resolve().parents[2] / '../shared/data'


@pytest.fixture
def arm(tmp_path):
    return write_bag(
        tmp_path / 'arm',
        {
            '/top/image_raw/compressed': stream(jpeg),
            '/top/image_raw': stream(image, count=5),
            '/top/depth/image_raw': stream(lambda ns: image(ns, '16UC1')),
            '/joint_states': stream(joints, 50, 21),
            '/joint_commands': stream(joints, 50, 21),
            '/other/joint_states': stream(joints, 100),
        },
    )


def inspect(capsys, *arguments: object) -> dict:
    assert main(['inspect', *map(str, arguments), '--json']) == 0
    return json.loads(capsys.readouterr().out)


def by_name(found: dict) -> dict[str, dict]:
    return {topic['name']: topic for topic in found['topics']}


def chosen(found: dict) -> dict[str, str]:
    return {choice['topic']: choice['role'] for choice in found['choices']}


def test_rates_gaps_and_picture_sizes_are_measured(arm, capsys):
    topics = by_name(inspect(capsys, arm))
    states = topics['/joint_states']
    assert (states['count'], states['by']) == (21, 'header')
    assert states['rate_hz'] == pytest.approx(20)
    assert states['largest_gap_s'] == pytest.approx(0.05)
    assert states['jitter_s'] == 0
    assert topics['/top/image_raw/compressed']['picture']['sizes'] == [[48, 64]]
    assert topics['/top/image_raw']['picture']['encoding'] == 'rgb8'


def test_cameras_states_and_commands_are_told_apart(arm, capsys):
    found = inspect(capsys, arm)
    assert chosen(found) == {
        '/top/image_raw/compressed': 'camera',
        '/top/image_raw': 'left out',
        '/top/depth/image_raw': 'left out',
        '/joint_states': 'state',
        '/joint_commands': 'action',
        '/other/joint_states': 'left out',
    }
    assert found['tracking_pairs'] == [['a', 'a'], ['b', 'b']]
    assert found['engine'] == 'no trained domain: local engine'


def test_a_gap_shows_and_does_not_change_the_proposed_clock(tmp_path, capsys):
    times = [*range(0, 1000, 100), *range(3000, 4000, 100)]
    messages = [(at, jpeg(START_NS + at * 1_000_000)) for at in times]
    topic = by_name(inspect(capsys, write_bag(tmp_path / 'gap', {'/camera': messages})))['/camera']
    assert topic['largest_gap_s'] == pytest.approx(2.1)
    assert topic['step_s'] == pytest.approx(0.1)


def test_clocks_that_disagree_step_back_or_were_never_set_are_named(tmp_path, capsys):
    back = stream(joints)
    back[5] = (500, joints(START_NS))
    bag = write_bag(
        tmp_path / 'clocks',
        {
            '/camera': stream(jpeg),
            '/late': stream(lambda ns: joints(ns, ('l',)), late_ms=3000),
            '/back': back,
            '/unset': [(0, joints(0, ('u',))), (100, joints(0, ('u',)))],
        },
    )
    assert main(['inspect', str(bag)]) == 0
    text = capsys.readouterr().out
    assert '/late: header clock 3 s behind the others' in text
    assert '"/late: 3.000" under clock.topic_offsets' in text
    assert '/back: 1 steps back in time' in text
    assert '/unset: 2 of 2 header stamps never set' in text


def test_a_base_with_odometry_and_cmd_vel_is_recognised(tmp_path, capsys):
    bag = write_bag(
        tmp_path / 'base',
        {
            '/camera/image_raw/compressed': stream(jpeg),
            '/odom': stream(odometry),
            '/cmd_vel': stream(twist),
        },
    )
    found = inspect(capsys, bag)
    assert chosen(found)['/odom'] == 'state'
    assert chosen(found)['/cmd_vel'] == 'action'
    assert found['tracking_pairs'] == [['linear.x', 'linear.x'], ['angular.z', 'angular.z']]
    assert found['fits'] == ['diff_drive']


def test_a_named_robot_says_which_topics_are_missing(arm, capsys):
    found = inspect(capsys, arm, '--robot', 'diff_drive')
    assert found['missing_topics'] == ['/camera/image_raw/compressed', '/odom', '/cmd_vel']
    assert main(['inspect', str(arm), '--robot', 'diff_drive']) == 0
    assert 'NO messages' in capsys.readouterr().out


def test_a_picture_size_that_changes_is_named(tmp_path, capsys):
    pictures = [*stream(jpeg, count=3), (300, jpeg(START_NS + 300_000_000, 96, 128))]
    bag = write_bag(tmp_path / 'sizes', {'/camera': pictures})
    assert main(['inspect', str(bag)]) == 0
    text = capsys.readouterr().out
    assert '64x48, 128x96 jpeg' in text
    assert '/camera: the picture size changes' in text


def test_control_characters_of_a_topic_name_never_reach_the_terminal(tmp_path, capsys):
    bag = write_bag(tmp_path / 'evil', {'/\x1b[2J/../../x': stream(joints)})
    assert main(['inspect', str(bag)]) == 0
    text = capsys.readouterr().out
    assert '\x1b' not in text
    assert '\\x1b[2J' in text


def test_a_bag_that_is_not_there_is_an_error(capsys, tmp_path):
    assert main(['inspect', str(tmp_path / 'gone')]) == 2
    assert 'no such bag' in capsys.readouterr().err


@pytest.mark.skipif(not DATA.exists(), reason='the shared recordings are not here')
@pytest.mark.parametrize(
    ('bag', 'fits', 'engine'),
    [
        ('g1_pick_bottle/bags/g1_ep029', ['g1'], 'no trained domain: local engine'),
        ('mujoco_push_faults/bags/push_1100', ['mujoco_push'], 'no trained domain: local engine'),
        ('cosmos3_action_samples/bags/droid_48330', ['droid'],
         'Cosmos domain droid_lerobot with --robot droid; else local engine'),
        ('odd_bags/cmd_vel_scan_no_camera', [], 'no trained domain: local engine'),
        ('odd_bags/ros1_turtlesim', [], 'no trained domain: local engine'),
        ('odd_bags/ros2_empty', [], 'no trained domain: local engine'),
        ('odd_bags/ros1_no_messages', [], 'no trained domain: local engine'),
    ],
)  # fmt: skip
def test_recordings_are_recognised(bag, fits, engine, capsys):
    folder = DATA / bag
    path = next(folder.glob('*.bag'), folder)
    found = inspect(capsys, path)
    assert found['fits'] == fits
    assert found['engine'] == engine

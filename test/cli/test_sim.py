# SPDX-License-Identifier: Apache-2.0
"""`flywheel sim` writes a bag and apart from it the truth, or says why not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cosmos_flywheel import schemas
from cosmos_flywheel.bags.source import find_bags, open_bag
from cosmos_flywheel.cli.main import main
from cosmos_flywheel.cli.sim import truth_folder
from cosmos_flywheel.core.errors import SimError
from cosmos_flywheel.sim import ROBOTS, find_robot
from cosmos_flywheel.sim.world import Setup
from cosmos_flywheel.video.decode import decode_video

ARM = ('--robot', 'arm', '--task', 'push')


def record(*arguments: object) -> int:
    return main(['sim', 'record', *map(str, arguments)])


@pytest.fixture(scope='module')
def rendering(need):
    """Skip, said aloud, where nothing can be rendered."""
    try:
        world = find_robot('arm').start(Setup('push', 0))
        world.picture()
        world.close()
    except SimError as error:
        need('render', str(error))


@pytest.fixture(scope='module')
def kicked(rendering, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('sim') / 'episode'
    asked = ('--fault', 'kick', '--strength', 0.8, '--seed', 2, '--seconds', 5)
    assert record(*ARM, *asked, '-o', path) == 0
    return path


def test_the_bag_has_every_topic(kicked):
    with open_bag(kicked) as bag:
        counts = {name: topic.count for name, topic in bag.topics.items()}
    assert counts == {
        '/camera/image_raw/compressed': 75,
        '/joint_states': 150,
        '/joint_commands': 150,
        '/task_result': 25,
    }


def test_the_truth_lies_beside_the_bag_and_out_of_a_harvests_sight(kicked):
    truth = truth_folder(kicked)
    assert sorted(path.name for path in truth.iterdir()) == [
        'label.json',
        'truth.npz',
        'twin.webm',
    ]
    assert find_bags([kicked.parent]) == [kicked]
    assert sorted(path.name for path in kicked.parent.iterdir()) == ['episode', 'episode.truth']


def test_the_label_says_what_was_done_and_when(kicked):
    label = schemas.load(truth_folder(kicked) / 'label.json', 'sim-label-v1')
    assert (label['fault'], label['strength'], label['seed']) == ('kick', 0.8, 2)
    assert label['is_failure']
    truth = np.load(truth_folder(kicked) / 'truth.npz', allow_pickle=False)
    apart = np.linalg.norm(truth['pose_box'] - truth['twin_pose_box'], axis=1)
    assert apart[: label['onset_frame'] + 1].max() == 0
    assert label['max_object_deviation_m'] > 0.05
    with open_bag(kicked) as bag:
        first = next(iter(bag.messages({'/camera/image_raw/compressed'})))
        assert bag.stamp_ns(first) == label['start_ns']


def test_the_film_has_a_picture_for_each_frame(kicked):
    _, frames = decode_video((truth_folder(kicked) / 'twin.webm').read_bytes())
    assert len(frames) == 75


def test_nothing_in_the_bag_betrays_the_fault(kicked):
    for file in kicked.iterdir():
        content = file.read_bytes().lower()
        for word in (b'kick', b'fault', b'strength', b'twin', b'sim-label'):
            assert word not in content
    assert [file.name for file in sorted(kicked.iterdir())] == ['episode.mcap', 'metadata.yaml']


def test_a_nominal_episode_without_film(rendering, tmp_path, capsys):
    assert record(*ARM, '--seconds', 1, '--no-twin', '-o', tmp_path / 'bag') == 0
    out = capsys.readouterr().out
    assert 'arm push, 1.0 s: nominal' in out
    assert f'bag: {tmp_path / "bag"}' in out
    truth = truth_folder(tmp_path / 'bag')
    assert sorted(path.name for path in truth.iterdir()) == ['label.json', 'truth.npz']


def test_the_same_order_gives_the_same_bytes(rendering, tmp_path):
    for place in ('a', 'b'):
        asked = ('--fault', 'light', '--strength', 0.5, '--seconds', 2.5, '--seed', 4)
        assert record(*ARM, *asked, '-o', tmp_path / place / 'bag') == 0
    files = sorted(p.relative_to(tmp_path / 'a') for p in (tmp_path / 'a').rglob('*.*'))
    assert len(files) >= 5
    for file in files:
        if (tmp_path / 'a' / file).is_file():
            assert (tmp_path / 'a' / file).read_bytes() == (tmp_path / 'b' / file).read_bytes()


@pytest.mark.parametrize(
    ('asked', 'reason'),
    [
        (('--robot', 'arn', '--task', 'push'), "robot 'arn' is not simulated here; did you mean"),
        (('--robot', 'arm', '--task', 'pick'), "no task 'pick'; did you mean 'pick_place'"),
        ((*ARM, '--fault', 'slipp'), "no fault 'slipp'; did you mean 'slip'"),
        ((*ARM, '--fault', 'missed_grasp'), "arm push has no fault 'missed_grasp'"),
        ((*ARM, '--fault', 'slip', '--strength', '1.5'), 'strength 1.5 is out of range'),
        ((*ARM, '--fault', 'slip', '--strength', '0'), 'strength 0 is out of range'),
        ((*ARM, '--seed', '-3'), 'seed -3 is negative'),
        ((*ARM, '--seconds', '0'), '0 seconds cannot be recorded'),
        ((*ARM, '--seconds', 'nan'), 'nan seconds cannot be recorded'),
        ((*ARM, '--fault', 'slip', '--seconds', '1'), 'after the end; record more than that'),
    ],
)
def test_a_wrong_order_is_one_line_and_leaves_nothing(asked, reason, tmp_path, capsys):
    assert record(*asked, '-o', tmp_path / 'bag') == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.count('\n') == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('taken', ['bag', 'bag.truth'])
def test_nothing_is_overwritten(taken, tmp_path, capsys):
    (tmp_path / taken).mkdir()
    assert record(*ARM, '-o', tmp_path / 'bag') == 2
    assert f'{taken}: exists; nothing is overwritten' in capsys.readouterr().err
    assert list((tmp_path / taken).iterdir()) == []


def test_the_list_names_every_robot_task_and_fault(capsys):
    assert main(['sim', 'list']) == 0
    out = capsys.readouterr().out
    for name in ROBOTS:
        robot = find_robot(name)
        assert f'robot {name}' in out
        for word in (*robot.tasks, *robot.faults):
            assert word in out
        for fault in robot.faults.values():
            assert fault.strength in out


def test_the_documents_name_every_fault(root):
    text = (root / 'docs' / 'sim.md').read_text('utf-8')
    for name in ROBOTS:
        for fault in find_robot(name).faults.values():
            assert f'`{fault.name}`' in text


def test_labels_are_plain_json(kicked):
    label = json.loads((truth_folder(kicked) / 'label.json').read_text('ascii'))
    assert label['schema'] == 'sim-label-v1'

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from robot_bags import image, joints, jpeg, odometry, stream, twist, write_bag

from cosmos_flywheel.cli.main import main
from cosmos_flywheel.store.robots import load_robot

PICTURES = {'/camera/image_raw/compressed': stream(jpeg, 33, 31)}
STATES = {'/joint_states': stream(joints)}
COMMANDS = {'/joint_commands': stream(joints)}
BASE = {'/odom': stream(odometry), '/cmd_vel': stream(twist)}


def init(tmp_path, topics: dict, *options: str):
    bag = write_bag(tmp_path / 'bag', topics)
    path = tmp_path / 'robot.yaml'
    assert main(['init', str(bag), '-o', str(path), *options]) == 0
    return load_robot(path)


def test_an_arm_with_a_camera_is_written_and_loads(tmp_path):
    robot = init(tmp_path, PICTURES | STATES | COMMANDS)
    assert robot.primary_camera.topic == '/camera/image_raw/compressed'
    assert robot.state_names == robot.action_names == ('a', 'b')
    assert robot.tracking_pairs == ((0, 0), (1, 1))
    # 30 Hz is thinned to every second picture.
    assert robot.clock.hz == pytest.approx(15.2)


def test_a_bag_with_states_only_is_a_robot(tmp_path):
    robot = init(tmp_path, STATES)
    assert (robot.cameras, robot.action_sources) == ((), ())
    assert robot.clock.hz == 10


def test_a_bag_with_pictures_only_is_a_robot(tmp_path):
    robot = init(tmp_path, PICTURES)
    assert (robot.state_names, robot.action_names) == ((), ())
    assert len(robot.cameras) == 1


def test_a_base_is_written_with_its_odometry(tmp_path):
    robot = init(tmp_path, PICTURES | BASE)
    assert robot.state_names == ('x', 'y', 'yaw', 'linear.x', 'angular.z')
    assert robot.tracking_pairs == ((0, 3), (1, 4))


def test_two_cameras_have_two_names_and_one_is_primary(tmp_path):
    wrist = {'/wrist/image_raw': stream(image, 100, 5)}
    robot = init(tmp_path, PICTURES | wrist)
    assert [(c.name, c.primary, c.view_point) for c in robot.cameras] == [
        ('camera', True, 'third_person_view'),
        ('wrist', False, 'wrist_view'),
    ]


def test_clocks_that_disagree_are_put_right(tmp_path):
    late = {'/joint_states': stream(joints, late_ms=3000)}
    robot = init(tmp_path, PICTURES | late)
    assert robot.clock.topic_offsets == {'/joint_states': pytest.approx(3)}


def test_odd_names_survive_the_way_through_yaml(tmp_path):
    names = ('on', '1e3', 'näme "x"', '#', 'a: b', '\x7f', '🤖', '')
    topic = '/joint states\n# name: evil'
    robot = init(tmp_path, {topic: stream(lambda ns: joints(ns, names[:-1]))})
    assert robot.state_names == names[:-1]
    assert robot.state_sources[0].topic == topic


def test_a_file_that_is_there_is_kept_unless_forced(tmp_path, capsys):
    path = tmp_path / 'robot.yaml'
    bag = write_bag(tmp_path / 'bag', STATES)
    path.write_text('mine')
    assert main(['init', str(bag), '-o', str(path)]) == 2
    assert '--force' in capsys.readouterr().err
    assert path.read_text() == 'mine'
    assert main(['init', str(bag), '-o', str(path), '--force']) == 0
    assert load_robot(path).state_names == ('a', 'b')


def test_a_bag_with_nothing_to_watch_writes_nothing(tmp_path, capsys):
    bag = write_bag(tmp_path / 'bag', {'/joint_states': stream(lambda ns: joints(ns, ()))})
    assert main(['init', str(bag), '-o', str(tmp_path / 'robot.yaml')]) == 2
    assert 'no topic can be a camera, state or action' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['bag']


def test_a_folder_that_is_not_there_is_an_error_and_leaves_nothing(tmp_path, capsys):
    bag = write_bag(tmp_path / 'bag', STATES)
    assert main(['init', str(bag), '-o', str(tmp_path / 'gone' / 'robot.yaml')]) == 2
    assert 'cannot be written' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['bag']


def test_what_it_writes_explains_itself(tmp_path):
    init(tmp_path, PICTURES | STATES | COMMANDS)
    lines = (tmp_path / 'robot.yaml').read_text().splitlines()
    assert max(map(len, lines)) <= 100
    comments = [line for line in lines if line.lstrip().startswith('#')]
    assert len(comments) > 15
    assert any("its name says 'commands'" in line for line in comments)

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import shutil
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import SimpleNamespace as Message

import numpy as np
import pytest

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.schemas import check
from cosmos_flywheel.store import shipped
from cosmos_flywheel.store.robots import load_robot, robot_from_text, robot_names
from cosmos_flywheel.store.shipped import find_config

DROID_BAG = (
    Path(__file__).resolve().parents[2]
    / '../shared/data/cosmos3_action_samples/bags/droid_48330'
)  # fmt: skip

ARM = {
    'schema': 'robot-v1',
    'name': 'arm',
    'clock': {'hz': 10, 'topic_offsets': {'/joint_states': -0.25}},
    'cameras': {
        'wrist': {'topic': '/wrist', 'view_point': 'wrist_view'},
        'top': {'topic': '/top', 'primary': True},
    },
    'state': [
        {'topic': '/joint_states', 'field': 'position', 'names': ['a', 'b'], 'unit': 'rad'},
        {'topic': '/odom', 'field': 'pose', 'names': ['x', 'yaw']},
    ],
    'action': {
        'sources': [
            {'topic': '/grip', 'field': 'data', 'names': ['gripper']},
            {'topic': '/cmd', 'field': 'position', 'names': ['b', 'a'], 'unit': 'rad'},
        ],
        'gripper': {'name': 'gripper', 'closed': 1, 'open': 0},
    },
}

OWN = {
    'name': 'my_arm',
    'id': 30,
    'width': 10,
    'tool_rotation': [[0, 1, 0], [-1, 0, 0], [0, 0, 1]],
}


def changed(path: str, value: object) -> dict:
    """ARM with one value replaced; None removes the key."""
    document = copy.deepcopy(ARM)
    *parents, last = (int(step) if step.isdigit() else step for step in path.split('.'))
    place = document
    for step in parents:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return document


def test_a_robot_lays_its_sources_side_by_side():
    robot = Robot.from_mapping(ARM)
    assert robot.state_names == ('a', 'b', 'x', 'yaw')
    assert robot.action_names == ('gripper', 'b', 'a')
    assert [source.slice for source in robot.state_sources] == [slice(0, 2), slice(2, 4)]
    assert robot.topics == ('/top', '/wrist', '/joint_states', '/odom', '/grip', '/cmd')
    assert robot.primary_camera.name == 'top'
    assert robot.clock.offset_ns('/joint_states') == -250_000_000
    assert robot.clock.offset_ns('/odom') == 0
    assert robot.clock.max_age_ns == 500_000_000


def test_commands_track_states_of_the_same_name_and_unit():
    assert Robot.from_mapping(ARM).tracking_pairs == ((1, 1), (2, 0))
    other_unit = changed('action.sources.1.unit', 'deg')
    assert Robot.from_mapping(other_unit).tracking_pairs == ()
    assert Robot.from_mapping(changed('action.kind', 'delta')).tracking_pairs == ()


def test_tracks_can_be_named_or_switched_off():
    assert Robot.from_mapping(changed('action.tracks', {'a': 'x'})).tracking_pairs == ((2, 2),)
    assert Robot.from_mapping(changed('action.tracks', {})).tracking_pairs == ()


def test_a_picture_only_robot_and_a_state_only_robot_are_robots():
    head = {'schema': 'robot-v1', 'name': 'r', 'clock': {'hz': 5}}
    seen = Robot.from_mapping({**head, 'cameras': {'c': {'topic': '/c', 'primary': True}}})
    assert (seen.state_names, seen.action_names, seen.tracking_pairs) == ((), (), ())
    felt = Robot.from_mapping({**head, 'state': [{'topic': '/o', 'field': 'twist'}]})
    assert felt.primary_camera is None
    assert len(felt.state_names) == 6


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        ('camera', {}, r"arm\.yaml: camera is no known key; did you mean 'cameras'"),
        ('name', None, r'arm\.yaml: name is missing'),
        ('schema', 'robot-v9', "'robot-v9'"),
        ('clock.hz', 0, r'clock\.hz is 0; it must be greater than 0'),
        ('clock.hz', '1e1', r"clock\.hz is '1e1'; write a number"),
        ('clock.hz', float('nan'), r'clock\.hz is nan'),
        ('clock.topic_offsets', {'/o': 'x'}, r'topic_offsets\./o'),
        ('cameras.top.primary', False, 'not 0: wrist, top'),
        ('cameras.wrist.primary', True, 'not 2: wrist, top'),
        ('cameras.top.view_point', 'egoview', "did you mean 'ego_view'"),
        ('cameras.top.topic', None, r'cameras\.top\.topic is missing'),
        ('state.0.field', 'positions[', 'position, velocity, effort'),
        ('state.0.names', ['a', 'a'], "holds 'a' twice"),
        ('state.0.names', [True, 'b'], 'quoted'),
        ('state.1.names', ['x', 'b'], "which pose has not"),
        ('state.1.names', ['x', 'a'], "which pose has not"),
        ('state.1', {'topic': '/v', 'field': 'velocity', 'names': ['a']}, 'an earlier source has'),
        ('state.0.components', ['a'], '1 for 2 names'),
        ('state.0.unit', ['rad'], 'one for each name'),
        ('state.0', {'topic': '/tf', 'field': 'transform'}, 'frame of transform is needed'),
        ('state', {'topic': '/x'}, 'write a list'),
        ('action.kind', 'absolut', "did you mean 'absolute'"),
        ('action.gripper.name', 'griper', "did you mean 'gripper'"),
        ('action.gripper.open', 1, 'two ends'),
        ('action.normaliser', 'quantile', 'the domain has none'),
        ('action.tracks', {'a': 'yow'}, "did you mean 'yaw'"),
        ('action.tracks', {'c': 'x'}, r"names 'c'"),
        ('cosmos', {'domain': 'droid'}, "did you mean 'droid_lerobot'"),
        ('cosmos', {'resolution_tier': 512}, '256, 480, 704, 720'),
        ('cosmos', {'pose': ['a', 'b']}, 'names 2 elements'),
        ('action.normaliser', {'q01': [0], 'q99': [1]}, r'1 numbers for actions of 3; compute'),
        ('cosmos', {'domain': {'name': 'av', 'id': 9, 'width': 2}}, 'write "domain: av"'),
        ('cosmos', {'domain': {'name': 'n', 'id': 32, 'width': 2}}, 'slots 1 to 31'),
        ('cosmos', {'domain': {'name': 'n', 'id': 9}}, r'cosmos\.domain\.width is missing'),
        ('cosmos', {'domain': {**OWN, 'width': 7}}, 'tool_rotation builds 10 numbers'),
        ('cosmos', {'domain': {**OWN, 'tool_rotation': [[1, 0, 0]]}}, 'three rows of a rotation'),
    ],
)  # fmt: skip
def test_an_error_names_the_file_the_key_the_value_and_the_remedy(path, value, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Robot.from_mapping(changed(path, value), place='arm.yaml')
    assert str(caught.value).startswith('arm.yaml: ')


def test_a_delta_action_tracks_nothing():
    document = changed('action.tracks', {'a': 'a'})
    document['action']['kind'] = 'delta'
    with pytest.raises(ConfigError, match='these are delta'):
        Robot.from_mapping(document)


def test_keys_of_the_writers_own_pass():
    assert Robot.from_mapping(changed('x_note', 'ours')).name == 'arm'


def test_the_hash_is_of_the_content_and_not_of_its_writing():
    reordered = dict(reversed(ARM.items()))
    spelled_out = changed('clock.max_age_s', 0.5)
    hashes = {Robot.from_mapping(d).config_hash() for d in (ARM, reordered, spelled_out)}
    assert len(hashes) == 1
    assert Robot.from_mapping(changed('clock.hz', 11)).config_hash() not in hashes


def test_a_gripper_is_open_at_one_whatever_the_robots_sense():
    gripper = Robot.from_mapping(ARM).action.gripper
    assert gripper.openness([1, 0, 0.25]).tolist() == [0, 1, 0.75]
    assert gripper.command(gripper.openness([0.3])) == pytest.approx([0.3])


def transform(parent: str, child: str, x: float) -> Message:
    return Message(
        header=Message(frame_id=parent),
        child_frame_id=child,
        transform=Message(
            translation=Message(x=x, y=0.0, z=0.0), rotation=Message(x=0.0, y=0.0, z=0.0, w=1.0)
        ),
    )


def pose_between(parent: str, child: str):
    source = {'topic': '/tf', 'field': 'transform', 'names': ['x', 'qw'],
              'frame': {'parent': parent, 'child': child}}  # fmt: skip
    return Robot.from_mapping({**ARM, 'state': [source]}).state_sources[0]


def test_a_transform_is_looked_up_along_its_chain_and_remembers_static_links():
    source = pose_between('base', 'tool')
    assert source.context_topics == ('/tf_static',)
    reader = source.reader()
    assert reader.read(Message(transforms=[transform('base', 'link', 1.0)])) is None
    reader.learn(Message(transforms=[transform('link', 'tool', 0.5)]))
    assert reader.read(Message(transforms=[transform('base', 'link', 2.0)])).tolist() == [2.5, 1]
    assert reader.read(Message(transforms=[transform('map', 'other', 2.0)])) is None


def test_a_transform_between_siblings_goes_by_their_common_parent():
    source = pose_between('left', 'right')
    both = Message(transforms=[transform('base', 'left', 1.0), transform('/base', 'right', 4.0)])
    assert source.read(both).tolist() == [3, 1]


URDF = """<robot name="one"><joint name="a" type="revolute"><parent link="base"/>
<child link="arm"/><axis xyz="0 0 1"/></joint><joint name="t" type="fixed"><origin xyz="2 0 0"/>
<parent link="arm"/><child link="tool"/></joint></robot>"""


def forward(urdf: dict) -> dict:
    source = {'topic': '/joint_states', 'field': 'kinematics', 'names': ['x', 'y', 'yaw'],
              'frame': {'parent': 'base', 'child': 'tool'}, 'urdf': urdf}  # fmt: skip
    return {**ARM, 'state': [source]}


def test_joints_become_a_pose_by_a_urdf_beside_the_robot_file(tmp_path):
    (tmp_path / 'arm.urdf').write_text(URDF)
    text = repr(forward({'file': 'arm.urdf'})).replace('True', 'true')
    robot = robot_from_text(text, tmp_path / 'arm.yaml')
    joints = Message(name=['a'], position=[np.pi / 2])
    expected = [0, 2, np.pi / 2]
    np.testing.assert_allclose(robot.state_sources[0].read(joints), expected, atol=1e-6)


def test_joints_become_a_pose_by_a_urdf_in_the_recording():
    source = Robot.from_mapping(forward({'topic': '/robot_description'})).state_sources[0]
    joints = Message(name=['a'], position=[0.0])
    reader = source.reader()
    assert np.isnan(reader.read(joints)).all()
    assert source.context_topics == ('/robot_description',)
    reader.learn(Message(data=URDF))
    assert reader.read(joints).tolist() == [2, 0, 0]


def test_a_urdf_that_is_not_there_is_named(tmp_path):
    text = repr(forward({'file': 'gone.urdf'})).replace('True', 'true')
    with pytest.raises(ConfigError, match=r'gone\.urdf: cannot be read'):
        robot_from_text(text, tmp_path / 'arm.yaml')


def test_an_error_while_reading_names_the_source():
    with pytest.raises(ConfigError, match=r"state\[1\] /odom: .* has no field 'position'"):
        Robot.from_mapping(ARM).state_sources[1].read(Message(orientation=1))


@pytest.mark.parametrize('name', robot_names())
def test_a_shipped_robot_loads_travels_between_processes_and_fits_its_schema(name):
    robot = load_robot(name)
    assert robot.name == name
    assert robot.tracking_pairs
    assert ForkingPickler.loads(ForkingPickler.dumps(robot)) == robot


def test_the_robots_are_shipped():
    shipped = {'diff_drive', 'droid', 'g1', 'mujoco_push', 'sim_arm', 'sim_base'}
    assert set(robot_names()) == shipped
    assert load_robot('droid').domain.id == 8
    assert load_robot('g1').domain is None
    assert len(load_robot('g1').tracking_pairs) == 26


def test_a_robot_file_defines_a_domain_of_its_own_with_statistics():
    flange = {'topic': '/pose', 'field': 'pose'}
    own = {**ARM, 'state': [flange], 'cosmos': {'domain': OWN, 'fps': 12}}
    own['action'] = {**ARM['action'], 'normaliser': {'q01': [-2.0] * 10, 'q99': [2.0] * 10}}
    check(own, 'robot-v1')
    robot = Robot.from_mapping(own)
    assert (robot.cosmos.domain, robot.domain.id, robot.domain.width) == ('my_arm', 30, 10)
    path = np.stack([np.eye(4)] * 2)
    path[1, :3, 3] = [0.01, 0.02, 0.03]
    built = robot.action.normaliser.forward(robot.domain_vector(path, [0]))
    np.testing.assert_allclose(built[0, [0, 1, 2, 9]], [-0.01, 0.005, 0.015, 0.5], atol=1e-6)
    assert ForkingPickler.loads(ForkingPickler.dumps(robot)) == robot


def test_the_same_robot_elsewhere_has_the_same_hash(tmp_path):
    copied = shutil.copy(find_config() / 'robots' / 'g1.yaml', tmp_path / 'gé 1.yaml')
    assert load_robot(copied).config_hash() == load_robot('g1').config_hash()


def test_shipped_robots_are_found_in_an_overlay_and_in_the_prefix(tmp_path, monkeypatch):
    installed = tmp_path / 'lib' / 'site-packages' / 'cosmos_flywheel' / 'store' / 'robots.py'
    monkeypatch.setattr(shipped, '__file__', str(installed))
    monkeypatch.setattr(shipped.sys, 'prefix', str(tmp_path))
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path / 'overlay'))
    with pytest.raises(ConfigError, match='install cosmos_flywheel again'):
        find_config()
    for prefix in (tmp_path, tmp_path / 'overlay'):
        config = prefix / 'share' / 'cosmos_flywheel' / 'config'
        (config / 'robots').mkdir(parents=True)
        assert find_config() == config


def test_a_misspelt_robot_is_told_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'droid'"):
        load_robot('driod')
    with pytest.raises(ConfigError, match=r'nowhere/g1\.yaml: no such robot file'):
        load_robot('nowhere/g1.yaml')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('name: a\nname: b\n', "key 'name' is written twice"),
        ('name: [', 'is not YAML'),
        ('- a', 'holds no keys'),
        ('', 'holds no keys'),
        ('!!python/object/apply:os.system [ls]', 'is not YAML'),
    ],
)
def test_a_file_that_is_no_robot_file_is_refused(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        robot_from_text(text, tmp_path / 'robot.yaml')


def test_what_the_contract_takes_the_schema_takes():
    check(ARM, 'robot-v1')
    assert Robot.from_mapping(ARM).name == ARM['name']


def test_a_robot_that_stands_still_maps_to_the_identity_of_its_domain():
    robot = load_robot('droid')
    still = np.broadcast_to(np.eye(4), (4, 4, 4))
    vector = robot.domain_vector(still, [1, 0, 0.25])
    assert vector.tolist() == [[0, 0, 0, 1, 0, 0, 0, 1, 0, g] for g in (0, 1, 0.75)]
    # From the published quantiles: r0 and r4 map to +1, translations to nearly 0.
    expected = [-0.011, 0.076, 0.023]
    model = robot.action.normaliser.forward(robot.domain_vector(still, [0, 0, 0]))
    np.testing.assert_allclose(model[0, :3], expected, atol=1e-3)
    assert model[0, [3, 7]].tolist() == [1, 1]


def test_the_fixed_rotation_turns_a_step_into_the_opencv_frame():
    path = np.stack([np.eye(4)] * 2)
    path[1, :3, 3] = [0.01, 0.02, 0.03]
    vector = load_robot('droid').domain_vector(path, [0])
    np.testing.assert_allclose(vector[0, :3], [0.02, -0.01, 0.03], atol=1e-7)


def test_shapes_that_do_not_join_and_missing_clauses_are_refused():
    with pytest.raises(ConfigError, match='T \\+ 1 poses'):
        load_robot('droid').domain_vector(np.stack([np.eye(4)] * 3), [0])
    with pytest.raises(ConfigError, match='no Cosmos domain'):
        load_robot('g1').domain_vector(np.stack([np.eye(4)] * 2), [0])
    with pytest.raises(ConfigError, match='not built here; built: droid_lerobot'):
        Robot.from_mapping({**ARM, 'cosmos': {'domain': 'av'}}).domain_vector(
            np.stack([np.eye(4)] * 2), [0]
        )
    with pytest.raises(ConfigError, match=r'name its elements in cosmos\.pose'):
        Robot.from_mapping(ARM).poses(np.zeros((1, 4)))


@pytest.mark.skipif(not DROID_BAG.exists(), reason='the DROID recording is not here')
def test_a_real_droid_path_leads_into_the_domain_and_back():
    robot = load_robot('droid')
    (state,), (action,) = robot.state_sources, robot.action_sources
    with open_bag(DROID_BAG) as bag:
        messages = {t: [bag.deserialize(m) for m in bag.messages([t])] for t in bag.topics}
    states = np.stack([state.read(message) for message in messages[state.topic]])
    actions = np.stack([action.read(message) for message in messages[action.topic]])
    poses = robot.poses(states)
    gripper = actions[:, robot.action_names.index('gripper')]
    vector = robot.domain_vector(poses, gripper)
    assert vector.shape == (721, 10)
    # The published quantiles leave out 2 % of the data set's steps.
    inside = (
        np.abs(robot.action.normaliser.forward(robot.domain_vector(poses, gripper))[:, :3]) < 1
    )
    assert inside.mean() > 0.9
    assert vector[:, 9].min() > -0.1
    assert vector[:, 9].max() < 1.1
    np.testing.assert_allclose(robot.domain.poses(poses[0], vector), poses, atol=1e-3)

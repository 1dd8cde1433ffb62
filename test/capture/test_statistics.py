# SPDX-License-Identifier: Apache-2.0
"""Bags of a new robot become the quantiles of its normaliser."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import yaml
from push_bags import CAMERA, COMMANDS, Row, joints, recording, ros, without, write

from cosmos_flywheel.capture.statistics import action_statistics
from cosmos_flywheel.cli.main import main
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.domains import VECTOR
from cosmos_flywheel.core.errors import BagError, ConfigError
from cosmos_flywheel.store.robots import load_robot
from cosmos_flywheel.store.shipped import find_config

ROBOT = load_robot('mujoco_push')
FLANGE = {
    'schema': 'robot-v1',
    'name': 'my_arm',
    'clock': {'hz': 20},
    'state': [{'topic': '/pose', 'field': 'pose'}],
    'action': {
        'sources': [{'topic': '/grip', 'field': 'data', 'names': ['gripper']}],
        'gripper': {'name': 'gripper', 'closed': 1, 'open': 0},
    },
    'cosmos': {
        'domain': {
            'name': 'my_arm', 'id': 30, 'width': 10,
            'tool_rotation': [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        }
    },
}  # fmt: skip


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp('stats') / 'bag', without(recording(20.0), CAMERA))


def test_quantiles_are_those_of_the_commands_at_the_models_ticks(bag):
    found = action_statistics([bag, bag], ROBOT)
    assert found.names == ROBOT.action_names
    assert found.steps > 500
    assert found.bags == 2
    np.testing.assert_allclose(found.q99, [0.2, 0.15], atol=0.002)
    np.testing.assert_allclose(found.q01, [-0.2, -0.15], atol=0.002)


def test_of_a_robot_with_a_domain_the_built_vector_is_counted(tmp_path):
    rows = []
    for tick in range(200):
        point = ros('geometry_msgs/Point', 0.01 * tick, 0.0, 0.0)
        turn = ros('geometry_msgs/Quaternion', 0.0, 0.0, 0.0, 1.0)
        rows.append(Row('/pose', tick / 20, ros('geometry_msgs/Pose', point, turn)))
        rows.append(Row('/grip', tick / 20, ros('std_msgs/Float64', float(tick > 100))))
    found = action_statistics([write(tmp_path / 'arm', rows)], Robot.from_mapping(FLANGE))
    assert found.names == VECTOR
    np.testing.assert_allclose(found.q99[:4], [0.01, 0, 0, 1], atol=1e-5)
    assert (found.q01[9], found.q99[9]) == (0, 1)


def test_what_is_printed_can_be_pasted_into_the_robot_file(bag, capsys):
    assert main(['fit', str(bag), '--robot', 'mujoco_push', '--stats']) == 0
    document = yaml.safe_load((find_config() / 'robots' / 'mujoco_push.yaml').read_text())
    document['action'] |= yaml.safe_load(capsys.readouterr().out)
    pasted = Robot.from_mapping(document)
    assert pasted.action.normaliser.q99 == pytest.approx((0.2, 0.15), abs=0.002)


def test_too_few_steps_or_no_commands_are_refused(tmp_path):
    short = write(tmp_path / 'short', without(recording(1.0), CAMERA))
    with pytest.raises(ConfigError, match=r'steps in which all 2 .* quantiles need 100'):
        action_statistics([short], ROBOT)
    silent = write(tmp_path / 'silent', without(recording(9.0), CAMERA, COMMANDS))
    with pytest.raises(ConfigError, match=r'^0 steps .* which topic is missing'):
        action_statistics([silent], ROBOT)
    with pytest.raises(BagError, match='no messages'):
        action_statistics([write(tmp_path / 'empty', [])], ROBOT)


def test_not_a_number_is_not_counted(tmp_path):
    rows = [
        Row(COMMANDS, n / 20, joints(n / 20, [np.nan, 1.0] if n % 2 else [0.5, 1.0]))
        for n in range(400)
    ]
    found = action_statistics([write(tmp_path / 'bag', rows)], ROBOT)
    assert found.q99 == (0.5, 1.0)
    assert 100 <= found.steps < 400


def test_a_width_that_is_not_the_domains_and_a_missing_gripper_are_named(bag):
    document = deepcopy(FLANGE)
    document['cosmos']['domain'] |= {'width': 4, 'tool_rotation': None}
    with pytest.raises(ConfigError, match='1 elements and domain my_arm 4'):
        action_statistics([bag], Robot.from_mapping(document))
    document = deepcopy(FLANGE)
    del document['action']['gripper']
    with pytest.raises(ConfigError, match=r'set action\.gripper'):
        action_statistics([bag], Robot.from_mapping(document))


def test_a_fit_without_a_folder_is_refused(bag, capsys):
    assert main(['fit', str(bag), '--robot', 'mujoco_push']) == 2
    assert 'name the model folder' in capsys.readouterr().err

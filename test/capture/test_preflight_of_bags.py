# SPDX-License-Identifier: Apache-2.0
"""Bags and a robot file in, a verdict out; a model that failed is not armed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from push_bags import CAMERA, COMMANDS, Row, changed, joints, recording, without, write

from cosmos_flywheel.bags.wire import WireTypes
from cosmos_flywheel.capture.live.comparing import Comparing
from cosmos_flywheel.capture.model import PREFLIGHT, Judge, load_judge
from cosmos_flywheel.capture.preflight import preflight_bags, read_logs
from cosmos_flywheel.cli.main import main
from cosmos_flywheel.core.errors import BagError, ConfigError
from cosmos_flywheel.core.types import AnomalyScore, ChannelScore
from cosmos_flywheel.store.robots import load_robot, robot_from_text
from cosmos_flywheel.store.shipped import find_config

TEXT = (find_config() / 'robots' / 'mujoco_push.yaml').read_text()
PUSHED = TEXT.replace('rate_hz: 15', 'rate_hz: 30')
"""The robot file of these bags."""
ROBOT = robot_from_text(PUSHED, Path('push.yaml'))
DATA = Path(__file__).resolve().parents[2] / '../shared/data'
REAL = {
    'droid': DATA / 'cosmos3_action_samples/bags/droid_48330',
    'g1': DATA / 'g1_pick_bottle/nominal/g1_ep011',
    'mujoco_push': DATA / 'mujoco_push_faults/nominal/push_4100',
}


def scaled(rows: list[Row], factor: float) -> list[Row]:
    """The same recording, commanded in another unit."""
    return changed(
        rows,
        COMMANDS,
        lambda row: replace(row, message=joints(row.at_s, factor * row.message.position)),
    )


@pytest.fixture(scope='module')
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp('good') / 'bag', recording(12.0))


@pytest.fixture(scope='module')
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp('bad') / 'bag', scaled(recording(12.0), 1000))


@pytest.fixture(scope='module')
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp('robots') / 'push.yaml'
    path.write_text(PUSHED)
    return str(path)


def test_a_true_contract_ends_with_0_and_a_wrong_one_with_1(good, bad, file, capsys):
    assert main(['preflight', str(good), '--robot', file]) == 0
    assert 'robot mujoco_push: ok' in capsys.readouterr().out
    assert main(['preflight', str(bad), '--robot', file]) == 1
    shown = capsys.readouterr().out
    assert 'units' in shown
    assert 'the action is in mm and the state in m' in ' '.join(shown.split())


def test_json_holds_what_the_table_shows(bad, file, capsys):
    assert main(['preflight', str(bad), '--robot', file, '--json']) == 1
    document = json.loads(capsys.readouterr().out)
    (wrong,) = (one for one in document['findings'] if one['verdict'] == 'wrong')
    assert wrong['check'] == 'units'
    assert wrong['numbers']['factor'] == pytest.approx(0.001, rel=0.05)


def test_bags_that_cannot_be_used_end_with_2(tmp_path, capsys):
    silent = write(tmp_path / 'silent', without(recording(2.0), COMMANDS))
    assert main(['preflight', str(silent), '--robot', 'mujoco_push']) == 2
    assert 'no commands in these recordings (/joint_commands)' in capsys.readouterr().err
    with pytest.raises(BagError, match='no messages'):
        preflight_bags([write(tmp_path / 'empty', [])], ROBOT)
    with pytest.raises(ConfigError, match='no action; name its topics'):
        preflight_bags([silent], replace(ROBOT, action_sources=()))


def test_numbers_that_are_none_and_missing_joints_are_survived(tmp_path):
    rows = changed(
        recording(12.0),
        COMMANDS,
        lambda row: replace(row, message=joints(row.at_s, [np.nan, row.message.position[1]])),
    )
    found = preflight_bags([write(tmp_path / 'bag', without(rows, CAMERA))], ROBOT).wrong
    assert [(one.check, one.elements) for one in found] == [('presence', ('gantry_x',))]


def test_a_clock_that_begins_anew_cuts_a_recording_in_two(tmp_path):
    def back(row: Row) -> Row:
        return replace(row, message=joints(row.at_s - 50, row.message.position))

    rows = without(recording(4.0), CAMERA)
    rows = [back(row) if row.at_s > 2 else row for row in rows]
    logs = read_logs(write(tmp_path / 'bag', rows), ROBOT)
    assert len(logs) == 2
    assert all(len(track.stamps_ns) > 10 for log in logs for track in log.tracks.values())


@pytest.mark.parametrize('name', REAL)
def test_a_shipped_robot_file_is_true_of_its_recording(name):
    if not REAL[name].exists():
        pytest.skip(f'{REAL[name].name} is not here')
    assert preflight_bags([REAL[name]], load_robot(name)).wrong == ()


def fitted(bag: Path, file: str, folder: Path, *more: str) -> Judge:
    words = ['fit', str(bag), '--robot', file, '--engine', 'flow', '-o', str(folder)]
    assert main([*words, '--workers', '1', *more]) == 0
    return load_judge(folder)


def test_a_fit_keeps_the_verdict_and_says_what_is_wrong(good, bad, file, tmp_path, capsys):
    assert fitted(good, file, tmp_path / 'good').disarmed == ''
    assert 'preflight: ok' in capsys.readouterr().out
    judge = fitted(bad, file, tmp_path / 'bad')
    assert 'live nodes will not arm' in capsys.readouterr().out
    assert judge.disarmed.startswith('preflight of the model failed: units')
    assert json.loads((tmp_path / 'bad' / PREFLIGHT).read_text())['verdict'] == 'wrong'
    again = fitted(bad, file, tmp_path / 'bad', '--force', '--no-preflight')
    assert again.preflight is None
    assert again.disarmed == ''


@pytest.mark.parametrize('despite', [False, True])
def test_a_model_whose_contract_is_wrong_does_not_alarm(bad, file, tmp_path, despite):
    judge = fitted(bad, file, tmp_path / 'model')
    comparing = Comparing(ROBOT, {judge.level: judge}, WireTypes(), arm_despite_preflight=despite)
    loud = ChannelScore('state', 9.0, 1.0, True, True)
    score = AnomalyScore(0, (loud,), judge.calibration_id, judge.level)
    assert comparing._allowed(score).alarms == (('state',) if despite else ())
    assert bool(comparing.disarmed) is not despite

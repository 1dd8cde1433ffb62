# SPDX-License-Identifier: Apache-2.0
"""Model folders come back as they were, and judge only what they were made for."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cosmos_flywheel.capture.model import (
    BLOCK_PX,
    CALIBRATION,
    WIDTH_PX,
    Judge,
    load_judge,
    require_free,
    save_judge,
    settings_hash,
    working_size,
)
from cosmos_flywheel.core.calibration import Calibration, ChannelCalibration
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError, EngineError, SchemaError, StoreError
from cosmos_flywheel.engines import make_engine

SIZE = 96, 160


def make_robot(name: str = 'arm', hz: float = 15, joint: str = 'hip') -> Robot:
    return Robot.from_mapping(
        {
            'schema': 'robot-v1',
            'name': name,
            'clock': {'hz': hz},
            'state': [{'topic': '/joints', 'field': 'position', 'names': [joint]}],
        }
    )


def make_calibration(**changes) -> Calibration:
    made = Calibration(
        robot='arm',
        engine={'level': 'flow', 'sha256': make_engine('flow', SIZE).spec.sha256},
        size=SIZE,
        clock_hz=15.0,
        settings_hash=settings_hash(make_robot()),
        nominal={'bags': ['1' * 16], 'bag_count': 1, 'hours': 0.1},
        channels={'state': ChannelCalibration(('hip',), (0.5,), 2.0, 1.5)},
    )
    return replace(made, **changes)


def judge_of(**changes) -> Judge:
    calibration = make_calibration(**changes)
    return Judge('flow', calibration, calibration.size)


def test_a_model_folder_comes_back_as_it_was_saved(tmp_path):
    path = save_judge(make_calibration(), tmp_path / 'model')
    assert path.name == CALIBRATION
    assert load_judge(tmp_path / 'model') == judge_of()


def test_a_folder_that_holds_a_model_is_not_free(tmp_path):
    require_free(tmp_path)
    save_judge(make_calibration(), tmp_path)
    with pytest.raises(ConfigError, match=r'exists; give another folder, or --force'):
        require_free(tmp_path)


def test_a_model_saved_over_another_replaces_it_whole(tmp_path):
    save_judge(make_calibration(), tmp_path)
    save_judge(make_calibration(clock_hz=5.0), tmp_path)
    assert load_judge(tmp_path).calibration == make_calibration(clock_hz=5.0)
    assert [p.name for p in tmp_path.iterdir()] == [CALIBRATION]


def test_a_folder_without_a_model_is_refused_with_the_way_to_make_one(tmp_path):
    with pytest.raises(ConfigError, match=r'no model here.*flywheel fit'):
        load_judge(tmp_path)


def test_an_edited_model_is_refused(tmp_path):
    path = save_judge(make_calibration(), tmp_path)
    document = json.loads(path.read_text())
    document['channels']['state']['threshold'] = 50.0
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match='was edited'):
        load_judge(tmp_path)


@pytest.mark.parametrize('text', ['', '{', '[]', '{"schema": "calibration-v1"}'])
def test_a_damaged_model_is_refused_by_name(tmp_path, text):
    (tmp_path / CALIBRATION).write_text(text)
    with pytest.raises((SchemaError, ConfigError), match=CALIBRATION):
        load_judge(tmp_path)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(StoreError, match='file'):
        save_judge(make_calibration(), tmp_path / 'file' / 'model')


def test_the_robot_that_was_fitted_passes():
    judge = judge_of()
    judge.check_robot(make_robot())
    assert judge.calibration_id == make_calibration().id


def test_another_robot_is_refused_with_both_names():
    with pytest.raises(ConfigError, match=r"is of robot 'arm', not of 'leg'.*--robot arm"):
        judge_of().check_robot(make_robot('leg'))


def test_another_clock_is_refused_with_both_rates():
    with pytest.raises(ConfigError, match=r'made at 15 Hz.*says 10 Hz.*flywheel fit'):
        judge_of().check_robot(make_robot(hz=10))


def test_other_joints_under_the_same_robots_name_are_refused():
    with pytest.raises(ConfigError, match=r"other topics or names of 'arm'.*flywheel fit"):
        judge_of().check_robot(make_robot(joint='knee'))


def test_a_robot_file_that_mends_a_clock_still_passes():
    robot = make_robot()
    clock = replace(robot.clock, topic_offsets={'/joints': 0.5})
    judge_of().check_robot(replace(robot, clock=clock, task='Push.'))


def test_a_calibration_of_another_scoring_is_refused():
    with pytest.raises(ConfigError, match='by another version'):
        judge_of(settings_hash='b' * 64).check_robot(make_robot())


def test_without_a_calibration_any_robot_passes():
    judge = Judge()
    judge.check_robot(make_robot('leg'))
    assert judge.calibration_id == ''


def test_another_revision_of_the_engine_is_refused():
    engine = {'level': 'flow', 'sha256': '0' * 64}
    with pytest.raises(ConfigError, match=r"another revision of engine 'flow'; fit again"):
        judge_of(engine=engine).make_engine(None)


def test_a_calibrated_judge_keeps_its_size_whatever_the_pictures_have():
    assert judge_of().make_engine((480, 640)).spec.size == SIZE


def test_an_uncalibrated_judge_follows_the_pictures():
    assert Judge().make_engine((480, 640)).spec.size == working_size((480, 640)) == (96, 128)


def test_an_unknown_level_is_refused():
    with pytest.raises(EngineError, match='unknown engine'):
        Judge('magic').make_engine(None)


@pytest.mark.parametrize('size', [(240, 320), (480, 640), (1080, 1920), (3, 5000), (5000, 3)])
def test_pictures_are_compared_at_whole_blocks(size):
    height, width = working_size(size)
    assert width == WIDTH_PX
    assert height % BLOCK_PX == 0
    assert BLOCK_PX <= height <= 4 * WIDTH_PX

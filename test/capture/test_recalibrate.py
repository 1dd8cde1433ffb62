# SPDX-License-Identifier: Apache-2.0
"""False alarms raise thresholds, and what that costs is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from episode_maker import harvest, make_manifest

from cosmos_flywheel.capture.model import load_judge, save_judge
from cosmos_flywheel.capture.recalibrate import recalibrate
from cosmos_flywheel.cli.main import main
from cosmos_flywheel.core.calibration import MARGIN, Calibration, ChannelCalibration
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.engines import make_engine
from cosmos_flywheel.store.labels import Label, append_label

SIZE = 96, 128


@pytest.fixture
def model(tmp_path) -> Path:
    known = ChannelCalibration(('hip',), (1.0,), 1.3, 1.0)
    calibration = Calibration(
        robot='mujoco_push',
        engine={'level': 'flow', 'sha256': make_engine('flow', SIZE).spec.sha256},
        size=SIZE,
        clock_hz=15.0,
        settings_hash='b' * 64,
        nominal={'bags': ['1' * 16], 'bag_count': 1, 'hours': 0.1, 'suspects': []},
        channels={'picture': known, 'state': known},
    )
    save_judge(calibration, tmp_path / 'model')
    (tmp_path / 'model' / 'weights.bin').write_bytes(b'more')
    return tmp_path / 'model'


def episodes(out: Path, calibration_id: str, *found: tuple[str, float]) -> list[str]:
    """One episode for each label and picture peak."""
    manifests = []
    for index, (_, peak) in enumerate(found):
        manifest = make_manifest(start_s=10.0 * index, calibration_id=calibration_id)
        manifest['causes'] = ['picture']
        manifest['channels']['picture'] |= {'peak': peak, 'threshold': 1.3}
        manifests.append(manifest)
    harvest(out, *manifests)
    for manifest, (label, _) in zip(manifests, found, strict=True):
        said = Label(manifest['id'], label, 'me', '', '2026-11-24T00:00:00+00:00')
        append_label(out / manifest['id'], said)
    return [m['id'] for m in manifests]


def calibration_of(model: Path) -> Calibration:
    known = load_judge(model).calibration
    assert known is not None
    return known


def test_a_surprise_that_was_a_false_alarm_alarms_no_more(tmp_path, model):
    known = calibration_of(model)
    first, second = episodes(
        tmp_path / 'out', known.id, ('false_alarm', 2.0), ('false_alarm', 1.5)
    )
    found = recalibrate(known, tmp_path / 'out')
    (change,) = found.changes
    assert (change.channel, change.before, change.episode) == ('picture', 1.3, first)
    assert found.calibration.channels['picture'].threshold == pytest.approx(2 * MARGIN, rel=1e-4)
    assert found.calibration.channels['picture'].nominal_max == 2
    assert found.calibration.channels['state'] == known.channels['state']
    assert set(found.used) == {first, second}
    assert found.calibration.id != known.id
    assert set(found.calibration.recalibrated) == {first, second}


def test_a_failure_that_would_be_missed_is_told(tmp_path, model):
    known = calibration_of(model)
    _, weak, _ = episodes(
        tmp_path / 'out', known.id, ('false_alarm', 2.0), ('failure', 1.8), ('failure', 9.0)
    )
    assert recalibrate(known, tmp_path / 'out').lost == (weak,)


@pytest.mark.parametrize('label', ['failure', 'anomaly_no_failure', 'sensor_fault', 'untriaged'])
def test_other_labels_raise_nothing(tmp_path, model, label):
    known = calibration_of(model)
    episodes(tmp_path / 'out', known.id, (label, 2.0))
    with pytest.raises(ConfigError, match='labelled false_alarm'):
        recalibrate(known, tmp_path / 'out')


def test_false_alarms_of_another_model_do_not_count(tmp_path, model):
    episodes(tmp_path / 'out', 'another', ('false_alarm', 2.0))
    with pytest.raises(ConfigError, match='1 of other calibrations'):
        recalibrate(calibration_of(model), tmp_path / 'out')


def test_the_command_writes_a_new_model_beside_the_old_one(tmp_path, model, capsys):
    before = (model / 'calibration.json').read_bytes()
    episodes(tmp_path / 'out', calibration_of(model).id, ('false_alarm', 2.0))
    words = ['recalibrate', '--model', str(model), '--episodes', str(tmp_path / 'out')]
    assert main([*words, '-o', str(tmp_path / 'new')]) == 0
    assert 'picture' in capsys.readouterr().out
    assert (model / 'calibration.json').read_bytes() == before
    assert (tmp_path / 'new' / 'weights.bin').read_bytes() == b'more'
    threshold = calibration_of(tmp_path / 'new').channels['picture'].threshold
    assert threshold == pytest.approx(2 * MARGIN, rel=1e-4)


def test_the_command_refuses_to_lose_failures_unless_forced(tmp_path, model, capsys):
    out = tmp_path / 'out'
    episodes(out, calibration_of(model).id, ('false_alarm', 2.0), ('failure', 1.8))
    words = ['recalibrate', '--model', str(model), '--episodes', str(out)]
    words += ['-o', str(tmp_path / 'new')]
    assert main(words) == 2
    assert not (tmp_path / 'new').exists()
    assert main([*words, '--force']) == 0
    assert 'MISSED' in capsys.readouterr().out

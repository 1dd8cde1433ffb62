# SPDX-License-Identifier: Apache-2.0
"""What a fitted engine foretells under other commands."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from nominal_episode import KEYFRAME, MISS, ROBOT

from cosmos_flywheel.bags.recording import read_recording
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.engines import LocalModel
from cosmos_flywheel.generate.local import LocalRollout, roll_out, skill_horizon
from cosmos_flywheel.generate.make import differences, make_candidate
from cosmos_flywheel.store.candidates import read_candidate

RECOVERY = Variation('recovery', 'nominal')


def test_frames_are_made_from_the_keyframe_to_the_skill_horizon(order, local):
    made = local.make(order())
    steps = len(made.frames) - made.begins_step
    assert 1 <= steps <= 16
    assert len(made.frames) == len(made.commands.values) + 1
    assert f'skill horizon {steps} ticks' in made.notes[-1]
    assert made.onset_s is None


def test_the_recorded_frames_and_commands_come_first(order, local):
    made = local.make(order())
    recording = read_recording(order().episode / 'clip.mcap', ROBOT)
    begin = KEYFRAME + 1 - made.begins_step
    assert np.array_equal(
        made.frames[: made.begins_step], recording.pictures[begin : KEYFRAME + 1]
    )
    recorded = recording.actions[begin:KEYFRAME]
    assert np.allclose(made.commands.values[: len(recorded)], recorded)


def test_other_commands_show_another_course(root, order):
    model = LocalModel.load(root / 'demo' / 'model')
    recording = read_recording(order().episode / 'clip.mcap', ROBOT)
    path = recording.actions[KEYFRAME : KEYFRAME + 8].astype(float)
    plain, still = (roll_out(model, recording, KEYFRAME, p) for p in (path, path[:1] + 0 * path))
    moved = roll_out(model, recording, KEYFRAME, path + np.linspace(0, 0.05, 8)[:, None])
    assert np.abs(moved[-1].astype(int) - plain[-1]).mean() > 0.1
    assert not np.array_equal(plain, still)


def test_a_recovery_follows_a_nominal_recording(order, local):
    made = local.make(order(RECOVERY))
    assert made.commands.source == 'nominal'
    assert 'commands of nominal recording' in made.notes[1]


def test_other_seeds_take_other_commands(order, local):
    for variation in (MISS, RECOVERY, Variation('slower', 'recorded')):
        paths = {local.make(order(variation, seed)).commands.values.tobytes() for seed in range(4)}
        assert len(paths) > 1, variation


@pytest.mark.parametrize('family', ['faster', 'slower', 'earlier', 'later', 'harder'])
def test_recorded_commands_varied_in_time_are_called_perturbed(order, local, family):
    made = local.make(order(Variation(family, 'recorded')))
    assert made.commands.source == 'perturbed'
    assert f'the recorded commands, {family}' in made.notes[1]


def test_commands_that_leave_the_envelope_are_refused(order, local):
    envelope = order().brief.envelope
    with pytest.raises(ConfigError, match='perturbed commands are refused'):
        local.make(order(envelope=replace(envelope, speed=(1e-3, 1e-3))))


def test_joints_that_only_moved_together_go_on_moving_together(root, bags, order, tmp_path):
    folder = shutil.copytree(root / 'demo' / 'model', tmp_path / 'model')
    file = folder / 'local.json'
    document = json.loads(file.read_text())
    document['fitted']['identifiability'] = {
        'tolerance': [0, 0], 'still': [], 'tied': [list(ROBOT.action_names)],
        'directions': [[0.5**0.5, -(0.5**0.5)]], 'spread': [1, 1],
    }  # fmt: skip
    file.write_text(json.dumps(document))
    tied = LocalRollout(folder)
    made = tied.make(order())
    steps = len(made.frames) - made.begins_step
    recorded = read_recording(bags[0], ROBOT).actions[KEYFRAME : KEYFRAME + steps]
    offsets = made.commands.values[-steps:] - recorded
    assert np.abs(offsets).max() > 1e-4
    np.testing.assert_allclose(offsets[:, 0], offsets[:, 1], atol=1e-6)
    assert any('together as in what was learnt' in note for note in made.notes)
    assert tied.parameters != LocalRollout(root / 'demo' / 'model').parameters


def test_made_again_every_byte_is_the_same(order, local, tmp_path):
    made = make_candidate(tmp_path, order(), local)
    manifest = read_candidate(made.folder, verify=True)
    assert manifest['kind'] == 'rollout'
    assert len(manifest['model']['revision']) == 64
    assert manifest['video']['begins_step'] > 0
    assert differences(made.folder, order(), local) == ()


def test_without_a_past_no_skill_is_claimed(root, order):
    model = LocalModel.load(root / 'demo' / 'model')
    recording = read_recording(order().episode / 'clip.mcap', ROBOT)
    with pytest.raises(ConfigError, match='chunks before the keyframe'):
        skill_horizon(model, recording, 8)


def test_an_engine_that_is_no_better_than_a_standing_picture_is_not_believed(root, order):
    model = LocalModel.load(root / 'demo' / 'model')
    recording = read_recording(order().episode / 'clip.mcap', ROBOT)
    still = replace(recording, pictures=np.repeat(recording.pictures[:1], len(recording), 0))
    with pytest.raises(ConfigError, match='no better than a standing picture'):
        skill_horizon(model, still, KEYFRAME)


def test_what_it_has_no_commands_for_is_refused(order, local):
    brief = order().brief
    assert 'no failures' in local.refusal(brief, Variation('same_failure_new_scene', 'recorded'))
    assert 'has no expert' in local.refusal(brief, Variation('recovery', 'expert'))
    other = replace(brief, origin=replace(brief.origin, robot='g1'))
    assert "not 'g1'" in local.refusal(other, MISS)

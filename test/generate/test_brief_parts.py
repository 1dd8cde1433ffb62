# SPDX-License-Identifier: Apache-2.0
"""What a brief begins from and keeps to: keyframes, controls, commands and their bounds."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from push_bags import Row, raw_image, recording, write

from cosmos_flywheel import schemas
from cosmos_flywheel.bags.recording import Recording, read_recording
from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.pack import Pack
from cosmos_flywheel.generate.actions import recorded_commands
from cosmos_flywheel.generate.commands import commands_npz, envelope_of, nominal_paths
from cosmos_flywheel.generate.pictures import blurred, controls, edges, keyframes
from cosmos_flywheel.store.packs import PACKS, load_pack
from cosmos_flywheel.store.robots import load_robot
from cosmos_flywheel.video.decode import decode_video

PUSH, DROID = load_robot('mujoco_push'), load_robot('droid')
TEMPLATES = [p.name for p in (load_pack(n)[0] for n in PACKS.names()) if p.depth == 'template']


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds, with a depth topic beside the camera: something comes nearer."""
    rows = recording(2.0)
    for number in range(20):
        depth = np.full((48, 64), 3000 - 100 * number, '<u2')
        message = raw_image(
            number / 10, depth.view(np.uint8), width=64, encoding='16UC1', step=128
        )
        rows.append(Row('/camera/depth', number / 10, message))
    rows.append(Row('/camera/colour', 0.0, raw_image(0.0, np.zeros((48, 64, 3), np.uint8))))
    return write(tmp_path_factory.mktemp('parts') / 'bag', rows)


@pytest.fixture(scope='module')
def clip(bag: Path) -> Recording:
    return read_recording(bag, PUSH)


def droid(ticks: int) -> Recording:
    """An arm that goes straight on, its gripper half closed all the while."""
    states = np.tile(np.float32([0.4, 0, 0.3, 1, 0, 0, 0]), (ticks, 1))
    states[:, 0] += 0.01 * np.arange(ticks)
    actions = np.tile(np.float32([0.4, 0, 0.3, np.pi, 0, 0, 0.5]), (ticks, 1))
    actions[:, 0] += 0.01 * np.arange(ticks)
    stamps = np.arange(ticks, dtype=np.int64) * 66_666_667
    return Recording(stamps, np.zeros((ticks, 8, 8, 3), np.uint8), states, actions)


def test_keyframes_are_the_pictures_before_the_onset_without_loss(clip):
    pictures, stamps = keyframes(clip, 10)
    assert stamps == tuple(clip.stamps_ns[6:10])
    last = cv2.imdecode(np.frombuffer(pictures[-1], np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(last[:, :, ::-1], clip.pictures[9])


def test_a_clip_that_begins_with_its_failure_has_its_first_picture(clip):
    assert keyframes(clip, 0)[1] == (int(clip.stamps_ns[0]),)


def test_edges_are_lines_and_blur_keeps_the_colours(clip):
    picture = clip.pictures[0]
    assert set(np.unique(edges(picture))) == {0, 255}
    assert not edges(np.full_like(picture, 90)).any()
    soft = blurred(np.kron(picture, np.ones((4, 4, 1), np.uint8)))
    assert np.abs(soft.mean((0, 1)) - picture.mean((0, 1))).max() < 2


def test_depth_becomes_a_control_where_it_was_recorded(bag, clip):
    films = controls(bag, clip, 15.0)
    assert set(films) == {'edge', 'blur', 'depth'}
    times_s, pictures = decode_video(films['depth'])
    assert len(pictures) >= 18
    assert pictures[-1].mean() > pictures[0].mean() + 20  # nearer is whiter
    assert max(times_s) < 2.0


def test_commands_of_a_domain_are_kept_in_the_models_units_too():
    kept = np.load(io.BytesIO(commands_npz(DROID, droid(9), 4, [])), allow_pickle=False)
    assert kept['rows'].shape == (8, 10)
    assert kept['onset'] == 4
    again = recorded_commands(droid(9), DROID, None)
    assert again is not None
    assert np.array_equal(again.model, kept['rows']), 'a candidate has them as its brief does'
    alone = np.load(io.BytesIO(commands_npz(PUSH, droid(9), 4, [])), allow_pickle=False)
    assert 'rows' not in alone


def test_the_grippers_bounds_are_those_of_the_robot_file():
    envelope = envelope_of(DROID, droid(20), 15, [])
    at = envelope.names.index('gripper')
    assert (envelope.low[at], envelope.high[at]) == (0.0, 1.0)
    assert envelope.source == 'the clip before its onset (1.0 s); gripper by the robot file'
    assert envelope.high[0] < droid(20).actions[-1, 0]  # nothing after the onset bounds it
    assert envelope.violations(droid(20).actions[15:])[0].limit == 'high'


def test_without_three_commands_there_is_no_envelope():
    assert envelope_of(DROID, droid(20), 2, []) is None


def test_nominal_commands_bound_each_dimension_with_some_room(bag):
    paths = nominal_paths([bag], PUSH)
    envelope = envelope_of(PUSH, droid(1), 0, paths)
    assert envelope.source == '1 nominal recording'
    values = paths[0][np.isfinite(paths[0]).all(1)]
    assert (values.min(0) > envelope.low).all()
    assert (values.max(0) < envelope.high).all()
    assert not envelope.violations(values)
    assert envelope.violations(2 * values[::3])


@pytest.mark.parametrize('name', TEMPLATES)
def test_the_compiled_example_of_a_template_is_of_todays_pack(root, name):
    path = root / 'docs' / 'briefs' / f'{name}.json'
    document = schemas.load(path, 'brief-v1')
    brief = Brief.from_document(document)
    pack, sha256 = load_pack(name)
    assert isinstance(pack, Pack)
    assert (brief.id, brief.pack) == (document['id'], name)
    assert brief.pack_sha256 == sha256, 'run docs/make_briefs.py'
    assert brief.failure.cause != 'unknown'
    assert brief.failure.phase
    assert f'"{brief.origin.task.rstrip(".")}"' in brief.prompt.actions[0][2]

# SPDX-License-Identifier: Apache-2.0
"""What leaves shows no face that was found, holds no topic that is to stay, and says so."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from episode_maker import RUN, make_manifest
from push_bags import CAMERA, STATES, Row, joints, jpeg, picture, raw_image, scene, text, write
from travelling import http, ids, serving, take_all

from cosmos_flywheel.bags.clip import write_clip
from cosmos_flywheel.bags.picture import decode_picture
from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.core.errors import TravelError
from cosmos_flywheel.core.lineage import sha256_file
from cosmos_flywheel.store.budget import FETCHED
from cosmos_flywheel.store.episodes import EpisodeWriter, read_episode
from cosmos_flywheel.travel.alter import alter
from cosmos_flywheel.travel.outbox import LEAVING, Outbox
from cosmos_flywheel.travel.policy import Policy, Redaction
from cosmos_flywheel.travel.redact import find_detector, hide

RAW, DEPTH, NOTE, BROKEN = '/raw', '/depth', '/note', '/broken'
TICKS = 12
PLACE = (slice(20, 36), slice(30, 46))
_FACE = np.random.default_rng(3).integers((200, 0, 0), (256, 60, 60), (16, 16, 3))
"""Something red with grain, on a table that is not red."""


def find_face(picture: np.ndarray) -> list[tuple[int, int, int, int]]:
    """A detector for what is red, and blind at every third look."""
    find_face.looks += 1  # type: ignore[attr-defined]
    red = (picture[..., 0] > 180) & (picture[..., 1] < 90)
    rows, columns = np.nonzero(red)
    if not len(rows) or find_face.looks % 3 == 0:  # type: ignore[attr-defined]
        return []
    left, top = int(columns.min()), int(rows.min())
    return [(left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1)]


find_face.looks = 0  # type: ignore[attr-defined]


def fail(picture: np.ndarray) -> list[tuple[int, int, int, int]]:
    raise RuntimeError('no model')


def face_policy(**more: object) -> Policy:
    return Policy(redaction=Redaction(detector='test_alter:find_face', **more))  # type: ignore[arg-type]


@pytest.fixture
def robot(tmp_path) -> Path:
    """One episode with two cameras, a depth camera, states and words."""
    rows = []
    for tick in range(TICKS):
        at_s = tick / 15
        pixels = scene(at_s)
        pixels[PLACE] = _FACE
        depth = raw_image(at_s, np.zeros((4, 4, 3), np.uint8), encoding='16UC1', width=6, step=12)
        rows += [
            Row(CAMERA, at_s, picture(at_s, jpeg(pixels))),
            Row(RAW, at_s, raw_image(at_s, pixels)),
            Row(DEPTH, at_s, depth),
            Row(STATES, at_s, joints(at_s, (0.0, 0.0))),
            Row(NOTE, at_s, text('hello')),
            Row(BROKEN, at_s, picture(at_s, b'\xff\xd8\xff no picture')),
        ]
    out = tmp_path / 'robot'
    with open_bag(write(tmp_path / 'bag', rows)) as bag:
        manifest = make_manifest()
        with EpisodeWriter(out, manifest['id']) as writer:
            clip = write_clip(
                writer.path / 'clip.mcap', bag, start_ns=bag.start_ns, end_ns=bag.end_ns
            )
            (writer.path / 'thumbnail.jpg').write_bytes(b'a face')
            (writer.path / 'evidence' / 'strip.png').write_bytes(b'a face')
            told = {'file': 'clip.mcap', 'messages': clip.messages}
            writer.finish({**manifest, 'clip': told}, RUN)
    return out


def altered(robot: Path, out: Path, policy: Policy) -> Path:
    (name,) = ids(robot)
    return alter(robot / name, read_episode(robot / name), policy, out)


def grain(clip: Path, topic: str) -> list[float]:
    """By picture, the usual step between neighbouring pixels where the face is."""
    steps = []
    with open_bag(clip) as bag:
        for raw in bag.messages([topic]):
            green = decode_picture(bag.deserialize(raw))[PLACE][..., 1].astype(int)
            steps.append(float(np.median(np.abs(np.diff(green, axis=1)))))
    return steps


def test_what_was_found_is_gone_from_every_picture_and_the_rest_is_there(robot, tmp_path):
    folder = altered(robot, tmp_path / 'copy', face_policy())
    (name,) = ids(robot)
    original = read_episode(robot / name)
    manifest = read_episode(folder, verify=True)
    for topic in (CAMERA, RAW):
        seen = min(grain(robot / name / 'clip.mcap', topic))
        assert seen > 8
        assert max(grain(folder / 'clip.mcap', topic)) < seen / 2
    assert manifest['clip']['messages'] == {CAMERA: TICKS, RAW: TICKS, STATES: TICKS, NOTE: TICKS}
    assert manifest['altered'] == {
        'detector': 'test_alter:find_face',
        'hidden': {CAMERA: TICKS, RAW: TICKS},
        'unsearchable': {DEPTH: TICKS, BROKEN: TICKS},
        'withheld': [BROKEN, DEPTH],
    }
    assert manifest['id'] == name
    assert original['clip']['sha256'] in manifest['provenance']['parents']
    assert manifest['clip']['sha256'] != original['clip']['sha256']
    assert (manifest['thumbnail'], manifest['evidence']) == (None, [])
    assert sorted(p.name for p in folder.rglob('*') if p.is_file()) == [
        'clip.mcap',
        'manifest.json',
    ]


def test_messages_that_are_not_pictures_stay_byte_for_byte(robot, tmp_path):
    folder = altered(robot, tmp_path / 'copy', face_policy())
    (name,) = ids(robot)
    with open_bag(robot / name / 'clip.mcap') as before, open_bag(folder / 'clip.mcap') as after:
        assert list(before.messages([STATES, NOTE])) == list(after.messages([STATES, NOTE]))


def test_what_cannot_be_searched_leaves_only_where_it_is_named(robot, tmp_path):
    folder = altered(robot, tmp_path / 'copy', face_policy(unsearched=('/dep*',)))
    messages = read_episode(folder)['clip']['messages']
    assert messages[DEPTH] == TICKS
    assert BROKEN not in messages


def test_withheld_topics_are_left_out_without_any_detector(robot, tmp_path):
    policy = Policy(redaction=Redaction(faces='keep'), topics=('/*',), withheld=(CAMERA, '/raw'))
    manifest = read_episode(altered(robot, tmp_path / 'copy', policy))
    assert manifest['altered']['withheld'] == [CAMERA, RAW]
    assert manifest['altered']['detector'] is None
    assert manifest['clip']['messages'][DEPTH] == TICKS


@pytest.mark.parametrize(
    ('detector', 'words'),
    [
        ('test_alter:fail', r'failed \(no model\)'),
        ('test_alter:nobody', 'cannot be imported'),
        ('no_such_module:f', 'cannot be imported'),
        ('face', 'cannot be imported'),
    ],
)
def test_a_detector_that_cannot_work_lets_nothing_leave(robot, tmp_path, detector, words):
    policy = Policy(redaction=Redaction(detector=detector))
    with pytest.raises(TravelError, match=words):
        altered(robot, tmp_path / 'copy', policy)
    outbox = Outbox(robot, None, policy, alter)
    assert outbox.prepare()
    assert not outbox.prepare()
    look = outbox.look()
    assert look.parcels == look.waiting == ()
    assert 'detector' in look.withheld[ids(robot)[0]]


def test_opencv_without_cascades_lets_nothing_leave_or_with_them_finds_none_in_noise():
    if hasattr(cv2, 'CascadeClassifier'):
        assert find_detector('haar')(np.full((64, 64, 3), 128, np.uint8)) == []
    else:
        with pytest.raises(TravelError, match=r'brings no Haar cascades.*nothing leaves'):
            find_detector('haar')


def test_only_the_copy_travels_and_the_original_is_kept(robot, tmp_path):
    desk, (name,) = tmp_path / 'desk', ids(robot)
    with serving(robot, face_policy()) as server:
        assert server.outbox.look().waiting in ((name,), ())
        tally = take_all(http(server), desk, wait=lambda _: server.ends.wait(0.05))
        assert tally.arrived == {name}
        assert server.outbox.look().received == (name,)
    seen = min(grain(robot / name / 'clip.mcap', CAMERA))
    assert max(grain(desk / name / 'clip.mcap', CAMERA)) < seen / 2
    clip = sha256_file(robot / name / 'clip.mcap')
    assert clip in read_episode(desk / name, verify=True)['provenance']['parents']
    assert not (robot / name / FETCHED).exists()
    assert not list((robot / LEAVING).glob('*/*'))


def test_a_box_beyond_the_picture_is_cut_and_an_empty_one_does_nothing():
    grey = np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)
    assert (hide(grey, [(100, 100, 5, 5), (-50, -50, 10, 10)]) == grey).all()
    hidden = hide(grey, [(-10, -10, 40, 40)])
    assert (hidden[40:] == grey[40:]).all()
    assert len(np.unique(hidden[:38, :38].reshape(-1, 3), axis=0)) <= 16

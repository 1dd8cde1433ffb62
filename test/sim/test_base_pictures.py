# SPDX-License-Identifier: Apache-2.0
"""What the base's camera publishes: equal bytes for equal setups, else only what was asked for."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from cosmos_flywheel.bags.picture import decode_picture
from cosmos_flywheel.bags.record import write_bag
from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.capture.watch import Watcher
from cosmos_flywheel.engines import make_engine
from cosmos_flywheel.sim.base import CAMERA_TOPIC, ROBOT
from cosmos_flywheel.sim.base_lens import Lens
from cosmos_flywheel.sim.record import Recording, record
from cosmos_flywheel.sim.world import setup_of
from cosmos_flywheel.store.robots import load_robot

SEED = 3

rendered = pytest.mark.usefixtures('rendering')


@cache
def recorded(task: str, fault: str = 'none', strength: float = 1.0) -> Recording:
    return record(ROBOT, setup_of(ROBOT, task, SEED, fault, strength), film=False)


def jpegs(recording: Recording) -> list[bytes]:
    return [m.content['data'].tobytes() for m in recording.messages if m.topic == CAMERA_TOPIC]


def rgb(data: bytes) -> np.ndarray:
    message = SimpleNamespace(format='jpeg', data=np.frombuffer(data, np.uint8))
    return decode_picture(message)


def others(recording: Recording) -> str:
    """All messages but the pictures, until the robot judges its task."""
    return repr([m for m in recording.messages if m.topic not in (CAMERA_TOPIC, '/task_result')])


def changed(one: Recording, other: Recording, frame: int) -> float:
    """The share of a frame's pixels that differ by more than noise does."""
    pictures = [cv2.GaussianBlur(rgb(jpegs(r)[frame]), (5, 5), 0) for r in (one, other)]
    return float((np.abs(pictures[0].astype(float) - pictures[1]).max(axis=2) > 12).mean())


@rendered
def test_equal_setups_give_equal_messages():
    first = recorded('patrol', 'fallen_carton')
    again = record(ROBOT, setup_of(ROBOT, 'patrol', SEED, 'fallen_carton', 1.0), film=False)
    assert first.label == again.label
    assert repr(first.messages) == repr(again.messages)
    assert jpegs(first) == jpegs(again)


@rendered
@pytest.mark.parametrize(
    ('task', 'fault'),
    [
        ('patrol', 'wheel_slip'),
        ('patrol', 'fallen_carton'),
        ('dock', 'person'),
        ('patrol', 'blocked_aisle'),
        ('dock', 'relocated_pallet'),
        ('patrol', 'dirty_lens'),
        ('patrol', 'light'),
    ],
)
def test_pictures_are_equal_before_the_onset_and_differ_after(task, fault):
    recording, plain = recorded(task, fault), recorded(task)
    onset = recording.label['onset_frame']
    assert jpegs(recording)[: onset + 1] == jpegs(plain)[: onset + 1]
    assert max(changed(recording, plain, onset + later) for later in (15, 25, 35)) > 0.01


@rendered
@pytest.mark.parametrize('fault', ['light', 'other_goods', 'white_balance'])
def test_benign_changes_are_seen_but_no_failure_and_change_nothing_else(fault):
    recording, plain = recorded('patrol', fault), recorded('patrol')
    assert recording.label['kind'] == 'benign'
    assert not recording.label['is_failure']
    assert changed(recording, plain, 110) > 0.04
    assert others(recording) == others(plain)


@rendered
def test_a_dirty_lens_is_a_fault_of_the_camera_alone():
    recording = recorded('patrol', 'dirty_lens')
    assert (recording.label['kind'], recording.label['is_failure']) == ('sensor', True)
    assert recording.label['max_object_deviation_m'] == 0
    assert others(recording) == others(recorded('patrol'))


@rendered
def test_other_goods_are_there_from_the_start():
    recording = recorded('patrol', 'other_goods')
    assert recording.label['onset_frame'] == 0
    assert changed(recording, recorded('patrol'), 0) > 0.04


@rendered
def test_the_camera_sees_its_own_motion_everywhere():
    frames = [cv2.cvtColor(rgb(data), cv2.COLOR_RGB2GRAY) for data in jpegs(recorded('patrol'))]
    one, other = frames[45], frames[48]
    for part in np.array_split(np.abs(one.astype(float) - other), 3):
        assert part.mean() > 4
    corners = cv2.goodFeaturesToTrack(one[96:], 60, 0.01, 5)
    assert len(corners) > 25


@rendered
def test_a_bag_of_the_base_is_watched_with_its_robot_file(tmp_path):
    write_bag(tmp_path / 'bag', recorded('patrol').messages)
    robot = load_robot('sim_base')
    with open_bag(tmp_path / 'bag') as bag:
        assert bag.damage is None
        assert set(robot.topics) <= set(bag.topics)
        watcher = Watcher(robot, make_engine('persistence', (96, 160)), tuple(bag.topics))
        moments = []
        for message in bag.messages(set(watcher.topics)):
            content = bag.deserialize(message)
            stamp_ns = watcher.stamp_ns(message.topic, message.log_ns, content)
            moments += watcher.take(message.topic, stamp_ns, content)
        moments += watcher.finish()
    assert len(moments) == 120
    assert watcher.take_losses() == []
    for moment in moments[1:]:
        assert moment.tick.picture is not None
        assert np.isfinite(moment.tick.state).all()
        assert np.isfinite(moment.tick.action).all()


def test_dirt_covers_more_the_stronger_and_leaves_the_rest_alone():
    stripes = np.zeros((96, 160, 3), np.uint8)
    stripes[:, ::8] = 255
    lost = []
    for strength in (0.05, 0.5, 1.0):
        lens = Lens(np.random.default_rng(4), strength, stripes.shape[:2])
        dirty = lens.through(stripes, 1.0)
        differs = np.abs(dirty.astype(int) - stripes).max(axis=2)
        lost.append(differs.mean())
        assert (differs == 0).mean() > 0.3
    assert lost[0] < 0.25 * lost[1] < 0.25 * lost[2]
    half = np.abs(lens.through(stripes, 0.5).astype(int) - stripes).mean()
    assert half == pytest.approx(np.abs(dirty.astype(int) - stripes).mean() / 2, rel=0.1)

# SPDX-License-Identifier: Apache-2.0
"""What the arm's camera publishes: the same bytes for a setup, and only what was asked differs."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from cosmos_flywheel.bags.picture import decode_picture
from cosmos_flywheel.bags.record import write_bag
from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.capture.watch import Watcher
from cosmos_flywheel.engines import make_engine
from cosmos_flywheel.sim.arm import CAMERA_TOPIC, ROBOT
from cosmos_flywheel.sim.record import Recording, record
from cosmos_flywheel.sim.world import setup_of
from cosmos_flywheel.store.robots import load_robot

pytestmark = pytest.mark.usefixtures('rendering')

SEED = 5


@cache
def recorded(task: str, fault: str = 'none', strength: float = 1.0, film: bool = False):
    setup = setup_of(ROBOT, task, SEED, fault, strength)
    return record(ROBOT, setup, film=film, seconds=6.0)


def jpegs(recording: Recording) -> list[bytes]:
    return [m.content['data'].tobytes() for m in recording.messages if m.topic == CAMERA_TOPIC]


def rgb(data: bytes) -> np.ndarray:
    message = SimpleNamespace(format='jpeg', data=np.frombuffer(data, np.uint8))
    return decode_picture(message).astype(float)


def red_pixels(picture: np.ndarray) -> int:
    red, green, blue = np.moveaxis(picture.astype(int), 2, 0)
    return int(((red > 90) & (red > 2 * green) & (red > 2 * blue)).sum())


def apart(fault: str, strength: float, frame: int, task: str = 'push') -> float:
    """Mean difference from the nominal episode's picture, of 255."""
    one, other = jpegs(recorded(task, fault, strength)), jpegs(recorded(task))
    return float(np.abs(rgb(one[frame]) - rgb(other[frame])).mean())


def test_equal_setups_give_equal_messages():
    first = recorded('pick_place', 'slip', 0.4)
    again = record(
        ROBOT, setup_of(ROBOT, 'pick_place', SEED, 'slip', 0.4), seconds=6.0, film=False
    )
    assert first.label == again.label
    assert jpegs(first) == jpegs(again)
    assert len(first.messages) == len(again.messages)
    for one, other in zip(first.messages, again.messages, strict=True):
        assert (one.topic, one.log_ns) == (other.topic, other.log_ns)
        assert repr(one.content) == repr(other.content)


@pytest.mark.parametrize(
    ('task', 'fault'),
    [('push', 'light'), ('push', 'kick'), ('pick_place', 'slip'), ('pick_place', 'missed_grasp')],
)
def test_pictures_are_equal_before_the_onset_and_differ_after(task, fault):
    strength = 0.4 if fault == 'slip' else 1.0
    recording = recorded(task, fault, strength)
    onset = recording.label['onset_frame']
    assert jpegs(recording)[: onset + 1] == jpegs(recorded(task))[: onset + 1]
    assert apart(fault, strength, onset + 8, task) > 0.1


def test_the_film_of_the_twin_shows_what_the_camera_sees_but_for_noise_until_the_fault():
    recording = recorded('push', 'kick', 1.0, film=True)
    onset = recording.label['onset_frame']
    pairs = list(zip(jpegs(recording), recording.twin_film, strict=True))
    errors = [np.mean((rgb(data) / 255 - clean / 255.0) ** 2) for data, clean in pairs]
    assert max(errors[: onset + 1]) < 4e-4
    assert max(errors[onset + 1 :]) > 2 * max(errors[: onset + 1])


def test_the_object_is_red_and_well_visible_until_it_is_lost():
    recording = recorded('push', 'lost')
    pictures = [rgb(data) for data in jpegs(recording)]
    assert min(red_pixels(p) for p in pictures[: recording.label['onset_frame']]) > 250
    assert red_pixels(pictures[-1]) < 10
    assert red_pixels(rgb(jpegs(recorded('pick_place'))[0])) > 80


def test_another_table_top_is_there_from_the_start():
    assert apart('texture', 0.1, 0) > 1
    assert apart('texture', 1.0, 0) > 4 * apart('texture', 0.1, 0)
    recording = recorded('push', 'texture')
    assert (recording.label['onset_frame'], recording.label['is_failure']) == (0, False)


@pytest.mark.parametrize('fault', ['light', 'white_balance', 'noise', 'slower_pace', 'texture'])
def test_benign_changes_are_seen_but_no_failure(fault):
    recording = recorded('push', fault, 0.5)
    assert recording.label['kind'] == 'benign'
    assert not recording.label['is_failure']
    assert apart(fault, 0.5, 85) > 0.4


@pytest.mark.parametrize('task', ['push', 'pick_place'])
def test_a_bag_of_the_arm_is_watched_with_its_robot_file(task, tmp_path):
    write_bag(tmp_path / 'bag', recorded(task).messages)
    robot = load_robot('sim_arm')
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
    assert len(moments) == 90
    assert watcher.take_losses() == []
    for moment in moments:
        assert moment.tick.picture is not None
        assert np.isfinite(moment.tick.state).all()
        assert np.isfinite(moment.tick.action).all()

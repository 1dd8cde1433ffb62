# SPDX-License-Identifier: Apache-2.0
"""Nominal bags become a calibration; bags that cannot teach are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from push_bags import AXES, CAMERA, COMMANDS, STATES, recording, text, without, write
from push_bags import Row as Message

from cosmos_flywheel.capture.fit import fit
from cosmos_flywheel.core.errors import BagError, ConfigError
from cosmos_flywheel.store.robots import load_robot

ROBOT = load_robot('mujoco_push')


@pytest.fixture(scope='module')
def bags(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp('nominal')
    return [write(folder / f'run {i}', recording(2.0, phase=i)) for i in range(2)]


def test_a_fit_says_what_it_was_made_of(bags):
    known = fit(bags, ROBOT, 'persistence')
    assert known.robot == 'mujoco_push'
    assert known.engine['level'] == 'persistence'
    assert known.size == (96, 128)
    assert known.clock_hz == 15
    assert known.nominal['bag_count'] == len(set(known.nominal['bags'])) == 2
    assert known.nominal['hours'] == pytest.approx(4 / 3600, rel=0.05)


def test_every_channel_that_the_bags_can_feed_is_calibrated(bags):
    known = fit(bags, ROBOT, 'persistence')
    assert set(known.channels) == {
        'picture', 'state', 'tracking_error', 'stream_health', 'clock_health'
    }  # fmt: skip
    assert known.channels['state'].elements == AXES
    assert not any(c.guaranteed for c in known.channels.values())


def test_the_order_of_the_bags_changes_nothing(bags):
    assert fit(bags, ROBOT, 'persistence') == fit(bags[::-1], ROBOT, 'persistence')


def test_workers_change_nothing(bags):
    assert fit(bags, ROBOT, 'persistence', workers=2) == fit(bags, ROBOT, 'persistence')


def test_another_engine_is_another_calibration(bags):
    assert fit(bags, ROBOT, 'flow').id != fit(bags, ROBOT, 'persistence').id


def test_a_robot_without_a_camera_can_be_fitted(tmp_path):
    path = write(tmp_path / 'blind', without(recording(2.0), CAMERA))
    known = fit([path], ROBOT, 'persistence')
    assert 'picture' not in known.channels
    assert 'tracking_error' in known.channels


def test_the_same_recording_given_twice_is_refused(bags):
    with pytest.raises(BagError, match=r'the same recording as .*give it once'):
        fit([bags[0], bags[0]], ROBOT, 'persistence')


@pytest.mark.parametrize('silent', [COMMANDS, STATES])
def test_bags_with_other_topics_are_refused(bags, tmp_path, silent):
    other = write(tmp_path / 'other', without(recording(2.0, 3.0), silent))
    with pytest.raises(ConfigError, match=r'other.*fit on bags with the same topics'):
        fit([*bags, other], ROBOT, 'persistence')


def test_bags_of_the_same_number_of_other_topics_are_refused_too(tmp_path):
    paths = [
        write(tmp_path / f'without {number}', without(recording(2.0, number), silent))
        for number, silent in enumerate((COMMANDS, CAMERA))
    ]
    with pytest.raises(ConfigError, match='fit on bags with the same topics'):
        fit(paths, ROBOT, 'persistence')


def test_a_bag_of_another_robot_is_refused_with_the_way_to_describe_it(tmp_path):
    path = write(tmp_path / 'other', [Message('/say', 0.0, text('hello'))])
    with pytest.raises(ConfigError, match=r"none of the topics of robot 'mujoco_push'.*init"):
        fit([path], ROBOT, 'persistence')


def test_an_empty_bag_is_refused_by_name(tmp_path):
    with pytest.raises(BagError, match=r'empty.*holds no messages'):
        fit([write(tmp_path / 'empty', [])], ROBOT, 'persistence')


def test_a_bag_in_which_nothing_can_be_decoded_is_refused_by_name(tmp_path):
    broken = [
        replace(row, message=replace(row.message, data=row.message.data[:20]))
        for row in recording(1.0)
        if row.topic == CAMERA
    ]
    with pytest.raises(BagError, match=r'broken.*nothing of robot.*was readable'):
        fit([write(tmp_path / 'broken', broken)], ROBOT, 'persistence')

# SPDX-License-Identifier: Apache-2.0
"""A bag as arrays: what was seen, measured and commanded at each tick."""

from __future__ import annotations

import numpy as np
import pytest
from push_bags import (
    CAMERA,
    CAMERA_HZ,
    HEIGHT,
    START_NS,
    WIDTH,
    position,
    recording,
    scene,
    write,
)

from cosmos_flywheel.bags.recording import read_recording
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.store.robots import load_robot

ROBOT = load_robot('mujoco_push')


def test_every_picture_is_a_tick_with_what_was_measured_and_commanded_then(tmp_path):
    found = read_recording(write(tmp_path / 'bag', recording(2.0)), ROBOT)
    assert found.pictures.shape == (2 * CAMERA_HZ, HEIGHT, WIDTH, 3)
    assert found.stamps_ns[0] == START_NS
    assert np.allclose(found.times_s, np.arange(30) / CAMERA_HZ, atol=1e-6)
    drawn = np.stack([scene(n / CAMERA_HZ) for n in range(30)]).astype(int)
    assert np.abs(drawn - found.pictures[20]).mean((1, 2, 3)).argmin() == 20
    assert np.allclose(found.states[20], position(20 / CAMERA_HZ), atol=1e-6)
    assert np.allclose(found.actions[20], position(20 / CAMERA_HZ + 0.05), atol=1e-6)


def test_pictures_come_at_the_size_that_is_asked_for(tmp_path):
    found = read_recording(write(tmp_path / 'bag', recording(0.5)), ROBOT, (24, 32))
    assert found.pictures.shape[1:] == (24, 32, 3)


def test_a_part_and_the_nearest_tick_are_counted_from_its_own_ticks(tmp_path):
    found = read_recording(write(tmp_path / 'bag', recording(1.0)), ROBOT)
    late = found.part(5)
    assert len(late) == len(found) - 5
    assert late.nearest(int(found.stamps_ns[7]) + 1000) == 2


def test_a_bag_without_a_picture_is_named(tmp_path):
    rows = [row for row in recording(0.5) if row.topic != CAMERA]
    with pytest.raises(ConfigError, match='no picture of camera'):
        read_recording(write(tmp_path / 'bag', rows), ROBOT)

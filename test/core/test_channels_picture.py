# SPDX-License-Identifier: Apache-2.0
"""Picture surprise looks at every region by itself."""

from __future__ import annotations

import numpy as np
import pytest
from moment_maker import moment, vector

from cosmos_flywheel.core.channels import PictureChannel
from cosmos_flywheel.core.channels.picture import BLOCK_PX, FLOOR_LEVELS, QUIET_SHARE

SIZE = 48, 64


def evidence(residual: np.ndarray | None, size: tuple[int, int] = SIZE) -> np.ndarray:
    return PictureChannel(size).evidence(moment(0, residual=residual))


def test_a_small_local_change_stands_out_of_its_block_alone():
    residual = np.zeros(SIZE, np.float32)
    residual[8:16, 40:48] = 100
    blocks = evidence(residual)
    assert blocks.max() == 100
    assert np.count_nonzero(blocks) == 1
    assert PictureChannel(SIZE).elements[int(blocks.argmax())] == 'top centre'


@pytest.mark.parametrize(
    ('row', 'column', 'words'),
    [(0, 0, 'top left'), (47, 63, 'bottom right'), (24, 32, 'middle centre')],
)
def test_a_block_is_named_by_its_place_in_the_picture(row, column, words):
    residual = np.zeros(SIZE, np.float32)
    residual[row, column] = 1
    assert PictureChannel(SIZE).elements[int(evidence(residual).argmax())] == words


def test_a_margin_that_fills_no_block_is_left_out():
    blocks = evidence(np.ones((21, 30), np.float32), (21, 30))
    assert blocks.tolist() == [1] * (21 // BLOCK_PX) * (30 // BLOCK_PX)


def test_without_a_prediction_every_block_is_unknown():
    blocks = evidence(None)
    assert np.isnan(blocks).all()
    assert blocks.shape == (48,)


def test_motion_that_was_normal_two_blocks_away_may_come_here():
    sizes = np.zeros((6, 8), np.float32)
    sizes[0, 0] = 50
    settled = PictureChannel(SIZE).settle(sizes.ravel()).reshape(6, 8)
    assert (settled[:3, :3] == 50).all()
    assert settled[3, 3] == QUIET_SHARE * 50


def test_where_nothing_ever_moved_a_share_of_the_largest_and_the_floor_are_normal():
    sizes = vector(*[0] * 48)
    assert (PictureChannel(SIZE).settle(sizes) == FLOOR_LEVELS).all()


def test_normal_sizes_that_nobody_measured_are_the_floors():
    channel = PictureChannel(SIZE)
    assert (channel.settle(np.full(48, np.nan, np.float32)) == channel.floors).all()


def test_no_normal_size_is_unknown_where_some_blocks_were_never_measured():
    sizes = np.ones(48, np.float32)
    sizes[0] = np.nan
    assert np.isfinite(PictureChannel(SIZE).settle(sizes)).all()

# SPDX-License-Identifier: Apache-2.0
"""Picture surprise looks at every region by itself."""

from __future__ import annotations

import numpy as np
import pytest
from moment_maker import moment, vector

from cosmos_flywheel.core.channels import PictureChannel
from cosmos_flywheel.core.channels.picture import FLOOR_LEVELS, NEIGHBOURS, QUIET_SHARE

SIZE = 48, 64


def evidence(residual: np.ndarray | None, size: tuple[int, int] = SIZE) -> np.ndarray:
    return PictureChannel(size, (0.1,)).evidence(moment(0, residuals=(residual,)))


def test_a_small_local_change_stands_out_in_its_own_block_and_less_in_those_that_overlap():
    residual = np.zeros(SIZE, np.float32)
    residual[8:16, 32:40] = 100
    blocks = evidence(residual)
    assert blocks.max() == 100
    assert sorted(blocks[blocks > 0].tolist()) == [25] * 4 + [50] * 4 + [100]
    assert PictureChannel(SIZE, (0.1,)).elements[int(blocks.argmax())] == 'top centre'


@pytest.mark.parametrize(
    ('row', 'column', 'words'),
    [(0, 0, 'top left'), (47, 63, 'bottom right'), (24, 32, 'middle centre')],
)
def test_a_block_is_named_by_its_place_in_the_picture(row, column, words):
    residual = np.zeros(SIZE, np.float32)
    residual[row, column] = 1
    assert PictureChannel(SIZE, (0.1,)).elements[int(evidence(residual).argmax())] == words


def test_a_margin_that_fills_no_block_is_left_out():
    blocks = evidence(np.ones((21, 30), np.float32), (21, 30))
    assert blocks.tolist() == [1] * 4 * 6


def test_without_a_prediction_every_block_is_unknown():
    blocks = evidence(None)
    assert np.isnan(blocks).all()
    assert blocks.shape == (11 * 15,)


def test_every_horizon_has_blocks_of_its_own():
    channel = PictureChannel(SIZE, (0.1, 0.8))
    near, far = np.zeros(SIZE, np.float32), np.zeros(SIZE, np.float32)
    far[24:32, 24:32] = 40
    blocks = channel.evidence(moment(0, residuals=(near, far)))
    assert blocks[: len(blocks) // 2].max() == 0
    assert channel.elements[int(blocks.argmax())] == 'middle centre 0.8 s ahead'


def test_a_horizon_without_a_prediction_is_unknown_beside_one_with():
    blocks = PictureChannel(SIZE, (0.1, 0.8)).evidence(
        moment(0, residuals=(np.zeros(SIZE, np.float32), None))
    )
    assert np.isnan(blocks).tolist() == [False] * 165 + [True] * 165


def test_motion_that_was_normal_two_blocks_away_may_come_here():
    sizes = np.zeros((11, 15), np.float32)
    sizes[0, 0] = 50
    settled = PictureChannel(SIZE, (0.1,)).settle(sizes.ravel()).reshape(11, 15)
    assert (settled[: NEIGHBOURS + 1, : NEIGHBOURS + 1] == 50).all()
    assert settled[NEIGHBOURS + 1, NEIGHBOURS + 1] == QUIET_SHARE * 50


def test_where_nothing_ever_moved_a_share_of_the_largest_and_the_floor_are_normal():
    sizes = vector(*[0] * 165)
    assert (PictureChannel(SIZE, (0.1,)).settle(sizes) == FLOOR_LEVELS).all()


def test_normal_sizes_that_nobody_measured_are_the_floors():
    channel = PictureChannel(SIZE, (0.1,))
    assert (channel.settle(np.full(165, np.nan, np.float32)) == channel.floors).all()


def test_no_normal_size_is_unknown_where_some_blocks_were_never_measured():
    sizes = np.ones(165, np.float32)
    sizes[0] = np.nan
    assert np.isfinite(PictureChannel(SIZE, (0.1,)).settle(sizes)).all()

# SPDX-License-Identifier: Apache-2.0
"""Normal sizes by the others are those that sorting all of the others would give."""

from __future__ import annotations

import numpy as np
import pytest
from moment_maker import GivenChannel

from cosmos_flywheel.core.sizes import normal_size, sizes_without_each

CHANNEL = GivenChannel(np.full(3, 0.1, np.float32))


def recordings(seed: int, blind: float) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    found = [
        draw.exponential(size=(draw.integers(1, 900), 3)).astype(np.float32)
        for _ in range(draw.integers(2, 7))
    ]
    for rows in found:
        rows[draw.random(rows.shape) < blind] = np.nan
    return found


@pytest.mark.parametrize('blind', [0.0, 0.2, 1.0])
def test_each_is_left_out_exactly(blind):
    for seed in range(40):
        found = recordings(seed, blind)
        for index, size in enumerate(sizes_without_each(CHANNEL, found)):
            others = [r for i, r in enumerate(found) if i != index]
            np.testing.assert_array_equal(size, normal_size(CHANNEL, np.concatenate(others)))


def test_an_element_that_only_one_recording_saw_has_its_floor_without_it():
    seen, blind = recordings(0, 0.0)[:2]
    blind[:, 1] = np.nan
    without_seen, without_blind = sizes_without_each(CHANNEL, [seen, blind])
    assert without_seen[1] == CHANNEL.floors[1]
    assert without_blind[1] == normal_size(CHANNEL, seen)[1]


def test_the_only_recording_is_measured_by_itself():
    alone = recordings(0, 0.0)[:1]
    np.testing.assert_array_equal(
        sizes_without_each(CHANNEL, alone)[0], normal_size(CHANNEL, alone[0])
    )


def test_limits_that_need_no_learning_are_the_floors():
    fixed = GivenChannel(np.full(3, 0.1, np.float32), adaptive=False)
    for size in sizes_without_each(fixed, recordings(0, 0.0)):
        np.testing.assert_array_equal(size, fixed.floors)

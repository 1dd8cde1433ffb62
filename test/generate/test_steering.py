# SPDX-License-Identifier: Apache-2.0
"""How pictures move under changed commands, and what is made of that."""

from __future__ import annotations

import numpy as np
import pytest

from cosmos_flywheel.generate.steering import Responses, agreement, flow, steering

AMOUNTS = np.array([-0.2, -0.1, 0.1, 0.2])


def responses(**slopes):
    """Flows in proportion to the amounts, by who shows them: px a unit, right and down."""
    flows = {name: np.outer(AMOUNTS, slope) for name, slope in slopes.items()}
    return Responses('lift', AMOUNTS, flows)


def test_a_picture_that_is_moved_aside_is_seen_to_move_so_far():
    noise = np.random.default_rng(3).uniform(0, 255, (12, 16, 3))
    picture = np.kron(noise, np.ones((8, 8, 1))).astype(np.uint8)
    right, down = flow(picture, np.roll(picture, (0, 2), (0, 1)))
    assert right == pytest.approx(2, abs=0.4)
    assert abs(down) < 0.2


def test_an_answer_is_split_into_what_is_along_and_what_is_across():
    found = steering('model', [responses(sim=(0, 8), model=(2, 4))], 'sim')
    assert (found.slope, found.share) == (pytest.approx(4), pytest.approx(0.5))
    assert found.leakage == pytest.approx(0.5)
    assert found.sign_right == 1


def test_the_wrong_way_round_is_told_by_its_sign():
    found = steering('model', [responses(sim=(8, 0), model=(-4, 0))], 'sim')
    assert (found.share, found.sign_right) == (pytest.approx(-0.5), 0)


def test_who_does_not_answer_leaks_nothing_and_has_no_sign():
    found = steering('model', [responses(sim=(8, 0), model=(0, 0))], 'sim')
    assert (found.slope, found.leakage, found.sign_right) == (0, 0, 0)


def test_the_tracker_agrees_with_a_truth_in_another_unit():
    one = responses(sim=(3, 4))
    assert agreement([one], 'sim', [AMOUNTS * 0.01]) == pytest.approx(1)
    assert agreement([one], 'sim', [AMOUNTS[::-1] * 0.01]) == pytest.approx(-1)

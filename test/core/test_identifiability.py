# SPDX-License-Identifier: Apache-2.0
"""Which elements of a command ever moved on their own."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cosmos_flywheel.core.identifiability import Identifiability, identifiability

NAMES = ('base', 'shoulder', 'elbow', 'wrist')
HZ = 15.0


@pytest.fixture
def free():
    """Four joints that each go their own way: recordings (T, 4)."""
    chance = np.random.default_rng(5)
    return [np.cumsum(chance.normal(0, 0.02, (120, 4)), axis=0) for _ in range(4)]


@pytest.fixture
def upright(free):
    """The same, with a hand that always points down."""
    return [np.column_stack([p[:, :3], np.pi - p[:, 1] - p[:, 2]]) for p in free]


def test_joints_that_go_their_own_way_are_all_learnable(free):
    found = identifiability(free, NAMES, HZ)
    assert found.in_words() == ()
    assert min(found.tolerance) > 0.5


def test_joints_that_only_move_together_are_named_and_no_other(upright):
    found = identifiability(upright, NAMES, HZ)
    assert found.tied == (('shoulder', 'elbow', 'wrist'),)
    assert found.tolerance[0] > 0.5 > 0.001 > max(found.tolerance[1:])
    (said,) = found.in_words()
    assert said.startswith('shoulder, elbow and wrist only moved together')


def test_what_is_known_of_an_offset_keeps_the_hand_upright_and_moves_it_still(upright):
    found = identifiability(upright, NAMES, HZ)
    elbow = np.array([[0.1, 0.0, 0.2, 0.0]])
    known = found.known(elbow)
    assert known[0, 1:].sum() == pytest.approx(0, abs=1e-6)
    assert known[0, 2] > 0.05
    assert known[0, 0] == pytest.approx(0.1, abs=0.02)
    np.testing.assert_allclose(found.known(known), known, atol=1e-9)


def test_a_joint_that_never_moved_is_named(free):
    held = [np.column_stack([p[:, :3], np.full(len(p), 0.7)]) for p in free]
    found = identifiability(held, NAMES, HZ)
    assert (found.still, found.tied) == (('wrist',), ())
    assert found.known(np.ones((2, 4)))[:, 3].tolist() == [0, 0]


def test_from_too_few_commands_nothing_is_told(free):
    assert identifiability([free[0][:60]], NAMES, HZ) is None
    gaps = [np.where(np.arange(len(p))[:, None] % 5, p, np.nan) for p in free]
    assert identifiability(gaps, NAMES, HZ).in_words() == ()


def test_it_is_read_as_it_was_written(upright):
    found = identifiability(upright, NAMES, HZ)
    again = Identifiability.from_mapping(json.loads(json.dumps(found.to_mapping())))
    assert (again.tied, again.tolerance) == (found.tied, found.tolerance)
    np.testing.assert_allclose(again.known(np.eye(4)), found.known(np.eye(4)), atol=1e-6)

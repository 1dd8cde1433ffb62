# SPDX-License-Identifier: Apache-2.0
"""How much nearer a prediction is than its peer, with what certainty."""

from __future__ import annotations

import numpy as np
import pytest

from cosmos_flywheel.core.skill import Errors, skill_of

COUNT = 60


def errors(share: float, noise: float = 0.0) -> Errors:
    """Of 30 s of chunks whose own error is a share of the peer's."""
    draw = np.random.default_rng(3)
    peer = draw.uniform(1, 2, COUNT)
    own = peer * np.clip(share + noise * draw.standard_normal(COUNT), 0, None)
    return Errors(np.arange(COUNT, dtype=np.int64) * 500_000_000, own, peer)


def test_half_the_error_is_a_skill_of_a_half_and_certain():
    found = skill_of([errors(0.5)])
    assert found.value == pytest.approx(0.5)
    assert found.interval == (pytest.approx(0.5), pytest.approx(0.5))
    assert found.is_proved
    assert (found.chunks, found.blocks) == (60, 15)


def test_what_is_hardly_better_is_not_proved():
    found = skill_of([errors(1.0, 0.5)])
    low, high = found.interval
    assert low < found.value < high
    assert not found.is_proved


def test_worse_than_the_peer_is_below_zero():
    assert skill_of([errors(3.0)]).value == pytest.approx(-2.0)


def test_unknown_chunks_are_left_out():
    known, unknown = errors(0.5), errors(0.5)
    unknown.own[::2] = np.nan
    assert skill_of([known, unknown]).chunks == 90


def test_too_little_or_nothing_that_moves_is_not_measured():
    one = errors(0.5)
    short = Errors(one.stamps_ns[:12], one.own[:12], one.peer[:12])
    assert skill_of([short]) is None
    assert skill_of([Errors(one.stamps_ns, one.own * 0, one.peer * 0)]) is None
    assert skill_of([]) is None

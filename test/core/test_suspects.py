# SPDX-License-Identifier: Apache-2.0
"""Nominal recordings that hold a failure are found, others are left in peace."""

from __future__ import annotations

import numpy as np
from moment_maker import GivenChannel

from cosmos_flywheel.core.suspects import find_suspects

CHANNEL = GivenChannel(np.full(3, 0.1, np.float32))


def recordings(count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    draw = np.random.default_rng(seed)
    return [
        {CHANNEL.name: np.abs(draw.normal(size=(80, 3))).astype(np.float32)} for _ in range(count)
    ]


def test_recordings_of_the_same_kind_are_no_suspects():
    for seed in range(30):
        assert find_suspects([CHANNEL], recordings(5 + seed % 20, seed)) == []


def test_one_failure_in_five_recordings_is_named_with_its_element():
    nominal = recordings(5)
    nominal[2][CHANNEL.name][40:44, 1] = 60
    (suspect,) = find_suspects([CHANNEL], nominal)
    assert (suspect.recording, suspect.channel) == (2, CHANNEL.name)
    assert suspect.element == CHANNEL.elements[1]
    assert suspect.times > 10


def test_a_fifth_of_the_recordings_may_fail_in_the_same_way():
    nominal = recordings(20)
    for index in (3, 8, 11, 19):
        nominal[index][CHANNEL.name][40:44, 1] = 60
    assert {s.recording for s in find_suspects([CHANNEL], nominal)} == {3, 8, 11, 19}


def test_never_more_than_a_fifth_are_suspected():
    nominal = recordings(10)
    for index in range(5):
        nominal[index][CHANNEL.name][40:44, index % 3] = 60 + index
    assert len(find_suspects([CHANNEL], nominal)) <= 2


def test_with_few_recordings_nobody_is_suspected():
    nominal = recordings(4)
    nominal[0][CHANNEL.name][:] = 60
    assert find_suspects([CHANNEL], nominal) == []

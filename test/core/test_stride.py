# SPDX-License-Identifier: Apache-2.0
"""Which ticks a chunk is predicted from hangs on their stamps alone."""

from __future__ import annotations

from itertools import pairwise

from cosmos_flywheel.core.stride import Stride

PERIOD = 100


def begun(stamps: list[int], stride: Stride) -> list[int]:
    return [b for a, b in pairwise(stamps) if stride.begins(b, a)]


def test_every_tick_begins_a_stride_of_one():
    assert Stride(1, PERIOD).begins(7, None)
    assert Stride(1, PERIOD).begins(8, 7)


def test_a_longer_one_begins_once_in_so_many_ticks_wherever_one_joins():
    stride, stamps = Stride(4, PERIOD), [PERIOD * n + 3 for n in range(17)]
    assert begun(stamps, stride) == [403, 803, 1203, 1603]
    assert begun(stamps[6:], stride) == [803, 1203, 1603]
    assert not stride.begins(403, None), 'of a first tick nobody knows'


def test_jitter_moves_a_beginning_but_never_loses_one():
    stamps = [PERIOD * n + (-9 if n % 2 else 9) for n in range(40)]
    assert len(begun(stamps, Stride(4, PERIOD))) == 9

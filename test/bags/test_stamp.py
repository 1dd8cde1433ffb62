# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import SimpleNamespace

import pytest

from cosmos_flywheel.bags.stamp import header_stamp_ns


def stamp(sec: int, nanosec: int) -> SimpleNamespace:
    return SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec))


def test_a_header_stamp_is_whole_nanoseconds() -> None:
    assert (
        header_stamp_ns(SimpleNamespace(header=stamp(1_700_000_000, 5)))
        == 1_700_000_000_000_000_005
    )


def test_a_bare_stamp_counts_too() -> None:
    assert header_stamp_ns(stamp(2, 1)) == 2_000_000_001


@pytest.mark.parametrize(
    'message',
    [
        SimpleNamespace(header=stamp(0, 0)),
        SimpleNamespace(header='text'),
        SimpleNamespace(stamp=3.5),
        SimpleNamespace(data='x'),
    ],
)
def test_no_stamp_or_zero_is_none(message: SimpleNamespace) -> None:
    assert header_stamp_ns(message) is None


def test_transforms_have_the_stamp_of_their_first() -> None:
    moved = SimpleNamespace(transforms=[SimpleNamespace(header=stamp(7, 1))])
    assert header_stamp_ns(moved) == 7_000_000_001
    assert header_stamp_ns(SimpleNamespace(transforms=[])) is None

# SPDX-License-Identifier: Apache-2.0
"""The ring keeps the last seconds within its bytes, and knows what it could not keep."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmos_flywheel.core.ring import OVERHEAD_BYTES, Kept, Ring

NS = 10**9


def said(topic: str, at_s: float, size: int = 100, publisher: bytes = b'p') -> Kept:
    return Kept(topic, 'std_msgs/msg/String', round(at_s * NS), bytes(size), None, publisher)


def filled(ring: Ring, topic: str, seconds: int, size: int = 100) -> Ring:
    for at_s in range(seconds):
        ring.push(said(topic, at_s, size))
    return ring


def test_a_window_holds_its_messages_once_in_order():
    ring = Ring(10, 10**6)
    for at_s in range(8):
        ring.push(said('/b', at_s + 0.5))
        ring.push(said('/a', at_s + 0.6))
    window = ring.window(2 * NS, 4 * NS)
    assert [(m.topic, m.log_ns / NS) for m in window] == [
        ('/b', 2.5), ('/a', 2.6), ('/b', 3.5), ('/a', 3.6),
    ]  # fmt: skip
    assert ring.window(2 * NS, 4 * NS) == window


def test_what_is_too_old_leaves_and_is_not_missed():
    ring = filled(Ring(3, 10**6), '/a', 10)
    assert [m.log_ns // NS for m in ring.window(0, 100 * NS)] == [6, 7, 8, 9]
    assert ring.seconds == 3
    assert not ring.evicted


def test_what_is_too_much_leaves_early_and_is_counted():
    room = 4 * (100 + OVERHEAD_BYTES)
    ring = filled(Ring(100, room), '/a', 10)
    assert len(ring.window(0, 100 * NS)) == 4
    assert ring.evicted == {'/a': 6}
    assert ring.lost_in(0, 3 * NS) == {'/a': 3}
    assert ring.lost_in(7 * NS, 100 * NS) == {}


def test_a_topic_over_its_share_makes_room_only_for_itself():
    size = 1000
    ring = Ring(100, 20 * (size + OVERHEAD_BYTES), {'/camera/*': 0.25})
    filled(ring, '/joints', 10, size)
    filled(ring, '/camera/left', 10, size)
    assert len([m for m in ring.window(0, 100 * NS) if m.topic == '/joints']) == 10
    assert len([m for m in ring.window(0, 100 * NS) if m.topic == '/camera/left']) == 5
    assert ring.evicted == {'/camera/left': 5}


def test_latched_messages_do_not_age_and_are_kept_once():
    ring = Ring(3, 10**6)
    ring.push(said('/tf_static', 0, 10), is_latched=True)
    ring.push(said('/tf_static', 1, 20), is_latched=True)
    ring.push(said('/tf_static', 2, 10), is_latched=True)
    ring.push(said('/tf_static', 2.5, 30, publisher=b'q'), is_latched=True)
    filled(ring, '/a', 50)
    assert [len(m.data) for m in ring.latched(40 * NS)] == [10, 20, 30]
    assert [len(m.data) for m in ring.latched(2 * NS)] == [10, 20]
    assert not [m for m in ring.window(0, 100 * NS) if m.topic == '/tf_static']


def test_a_clock_that_begins_anew_lets_go_of_the_past():
    ring = filled(Ring(3, 10**6), '/a', 100)
    ring.push(said('/a', 1))
    assert [m.log_ns // NS for m in ring.window(0, 1000 * NS)] == [1]
    assert ring.size == 100 + OVERHEAD_BYTES


@given(
    st.lists(
        st.tuples(st.sampled_from('abc'), st.integers(0, 3), st.integers(0, 900)), max_size=80
    )
)
def test_the_bytes_are_counted_exactly_and_never_too_many(steps):
    ring = Ring(5, 4000, {'a': 0.3})
    at_ns = 0
    for topic, step, size in steps:
        at_ns += step * NS
        ring.push(Kept(topic, 't', at_ns, bytes(size)))
        window = ring.window(0, at_ns + 1)
        assert ring.size == sum(m.size for m in window) <= 4000
        assert all(m.log_ns >= at_ns - 5 * NS for m in window)


def test_the_overhead_is_what_a_message_really_costs():
    ring = Ring(10**6, 10**9)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for at_s in range(5000):
        ring.push(said('/a', at_s, 1000))
    cost = (tracemalloc.get_traced_memory()[0] - before) / 5000
    tracemalloc.stop()
    assert cost <= 1000 + OVERHEAD_BYTES


@pytest.mark.parametrize(('seconds', 'size'), [(0, 1), (1, 0)])
def test_an_empty_ring_is_refused(seconds, size):
    with pytest.raises(ValueError, match='a ring keeps more'):
        Ring(seconds, size)

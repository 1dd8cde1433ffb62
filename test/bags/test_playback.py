# SPDX-License-Identifier: Apache-2.0
"""A bag is played in its own timing, at any rate, again and again."""

from __future__ import annotations

import pytest

from cosmos_flywheel.bags.playback import PICTURES, Playback
from cosmos_flywheel.bags.source import open_bag

NS = 10**9


@pytest.fixture(scope='module')
def source(root):
    bag = root / 'demo' / 'bags' / 'mujoco_push_faults' / 'bags' / 'push_1100'
    with open_bag(bag) as opened:
        yield opened


def test_messages_come_when_they_were_recorded(source):
    playback = Playback(source, source.topics)
    assert list(playback.due(100.0)) == []
    playback.play(100.0)
    first = list(playback.due(101.0))
    expected = list(source.messages(None, source.start_ns, source.start_ns + NS + 1))
    assert first == expected
    assert list(playback.due(101.0)) == []
    rest = list(playback.due(1000.0))
    assert len(first) + len(rest) == len(list(source.messages()))
    assert playback.is_over
    assert playback.rounds == 1


def test_the_rate_may_change_on_the_way(source):
    playback = Playback(source, source.topics, rate=2.0)
    playback.play(0.0)
    playback.set_rate(0.5, 1.0)
    assert playback.position_ns(1.0) - source.start_ns == 2 * NS
    assert playback.position_ns(3.0) - source.start_ns == 3 * NS


def test_nothing_comes_while_it_is_paused(source):
    playback = Playback(source, source.topics)
    playback.play(0.0)
    list(playback.due(1.0))
    playback.pause(1.0)
    assert list(playback.due(50.0)) == []
    assert playback.wait_s(50.0) is None
    playback.play(50.0)
    assert playback.position_ns(50.5) - source.start_ns == 3 * NS // 2


def test_a_step_goes_to_the_next_picture(source):
    playback = Playback(source, source.topics)
    steps = [playback.step(0.0) for _ in range(3)]
    assert all(step[-1].msgtype in PICTURES for step in steps)
    assert all(m.msgtype not in PICTURES for step in steps for m in step[:-1])
    assert playback.position_ns(9.0) == steps[-1][-1].log_ns


def test_it_begins_again_at_the_end(source):
    playback = Playback(source, {'/joint_states'}, loop=True)
    count = source.topics['/joint_states'].count
    playback.play(0.0)
    assert len(list(playback.due(100.0))) in (count, count + 1)
    assert playback.rounds == 1
    assert not playback.is_over
    assert len(list(playback.due(200.0))) in (count, count + 1)


def test_it_begins_where_it_is_told(source):
    playback = Playback(source, source.topics, offset_s=2.0)
    playback.play(0.0)
    assert next(playback.due(1.0)).log_ns >= source.start_ns + 2 * NS


def test_topics_that_are_not_there_give_nothing(source):
    playback = Playback(source, {'/nothing'})
    playback.play(0.0)
    assert list(playback.due(9.0)) == []
    assert playback.is_over

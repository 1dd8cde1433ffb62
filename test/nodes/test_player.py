# SPDX-License-Identifier: Apache-2.0
"""The player publishes a bag's bytes as they are, in its timing, and ends when told to."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.core.errors import BagError

pytestmark = [pytest.mark.ros, pytest.mark.timeout(200)]
CAMERA, STATES = '/camera/image_raw/compressed', '/joint_states'


@pytest.fixture
def bag(root: Path) -> Path:
    return root / 'demo' / 'bags' / 'mujoco_push_faults' / 'bags' / 'push_1100'


@pytest.fixture
def heard(graph):
    """What a listener hears of the bag, and the clock."""
    from rosgraph_msgs.msg import Clock

    from cosmos_flywheel.nodes.streams import Streams

    node = graph.node('listener')
    messages, clock = [], []
    streams = Streams(node, messages.append)
    for topic in (CAMERA, STATES):
        streams.want(topic)
    node.create_subscription(Clock, '/clock', lambda m: clock.append(m.clock.sec), 100)
    return messages, clock


def test_every_byte_comes_in_order_and_the_clock_is_that_of_the_recording(graph, bag, heard):
    messages, clock = heard
    topics = [CAMERA, STATES]
    player = graph.start(
        'player', bag=str(bag), topics=topics, clock=True, wait_for=1, rate=2.0, exit_at_end=True
    )
    graph.until(lambda: not player.runs, 'the end of the bag')
    assert player.wait() == 0
    with open_bag(bag) as source:
        count = len(list(source.messages(set(topics))))
        graph.until(lambda: clock and len(messages) >= count, 'what was said last')
        for topic in topics:
            sent = [bytes(m.data) for m in source.messages({topic})]
            got = [m.data for m in messages if m.topic == topic]
            assert len(got) == len(sent)
            # The middleware fills messages up to whole words.
            assert all(
                g[: len(s)] == s and len(g) - len(s) < 4 for g, s in zip(got, sent, strict=True)
            )
        seconds = source.start_ns // 10**9
    assert clock
    assert set(clock) <= set(range(seconds - 1, seconds + 7))
    arrived = [m.received_ns for m in messages if m.topic == CAMERA]
    assert (arrived[-1] - arrived[0]) / 1e9 > 2.0, 'half of the recording time'


def test_it_waits_steps_and_goes_on(graph, bag, heard):
    from std_srvs.srv import SetBool, Trigger

    messages, _ = heard
    graph.start('player', bag=str(bag), topics=[CAMERA, STATES], paused=True)
    node = graph.node('caller')
    graph.until(lambda: node.count_publishers(CAMERA) and node.count_subscribers(CAMERA), 'both')
    for _ in range(2):
        assert graph.call(node, Trigger, '/player/step').success
    graph.until(lambda: messages, 'the messages of a step')
    assert graph.call(node, SetBool, '/player/pause', SetBool.Request(data=False)).success
    assert not graph.call(node, Trigger, '/player/step').success
    graph.until(lambda: len({m.data for m in messages if m.topic == CAMERA}) > 20, 'more pictures')


@pytest.mark.parametrize(
    ('parameters', 'words'),
    [
        ({}, 'parameter bag is not set'),
        ({'bag': '/no/such/bag'}, '/no/such/bag'),
        ({'bag': 'BAG', 'topics': ['/nothing']}, 'holds no topic /nothing'),
        ({'bag': 'BAG', 'rate': 0.0}, 'parameter rate is 0.0; give at least 0.01'),
        ({'bag': 'BAG', 'lop': True}, "player has no parameter 'lop'; did you mean 'loop'?"),
    ],
)
def test_what_is_wrong_is_said_and_ends_the_process(graph, bag, parameters, words):
    given = {k: str(bag) if v == 'BAG' else v for k, v in parameters.items()}
    player = graph.start('player', **given)
    assert player.wait() == 2
    assert words in player.output
    assert 'Traceback' not in player.output


def test_a_bag_that_cannot_be_played_on_ends_the_node(graph, bag, monkeypatch):
    from cosmos_flywheel.nodes.player import make_node

    def spoilt(_self, message):
        raise BagError(f'{message.topic}: corrupt')

    monkeypatch.setattr('cosmos_flywheel.bags.source.BagSource.to_cdr', spoilt)
    graph.make(make_node, bag=str(bag))
    with pytest.raises(BagError, match='corrupt'):
        graph.until(lambda: False, 'the end')


def test_a_namespace_moves_the_topics_of_a_bag(graph, bag):
    player = graph.start('player', '-r', '__ns:=/r1', bag=str(bag), paused=True)
    node = graph.node()
    graph.until(lambda: node.count_publishers(f'/r1{CAMERA}'), 'the camera of /r1')
    assert not node.count_publishers(CAMERA)
    assert player.stop() == 0


def test_the_defaults_of_the_file_are_those_of_the_node(root):
    pytest.importorskip('rclpy')
    from cosmos_flywheel.nodes.player import PARAMETERS

    text = (root / 'config' / 'nodes' / 'player.yaml').read_text('utf-8')
    given = yaml.safe_load(text)['/**']['ros__parameters']
    defaults = {p.name: p.default for p in PARAMETERS}
    assert {**given, 'topics': ()} == defaults
    assert given['topics'] == ['']

# SPDX-License-Identifier: Apache-2.0
"""Streams hear publishers of every type and QoS, and say which they cannot hear."""

from __future__ import annotations

import sys

import pytest

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]


OTHER = """
import time, rclpy
from std_msgs.msg import Bool
rclpy.init()
speaker = rclpy.create_node('other').create_publisher(Bool, '/say', 1)
time.sleep(60)
"""


@pytest.fixture
def hear(graph):
    """Streams of a node, with what they heard."""
    from cosmos_flywheel.nodes.streams import Streams

    node = graph.node('listener')
    heard = []
    streams = Streams(node, heard.append)
    return streams, heard


def publisher(graph, topic, kind, **qos):
    from rclpy.qos import QoSProfile

    node = graph.node(f'speaker_{topic.strip("/").replace("/", "_")}_{len(qos)}')
    return node.create_publisher(kind, topic, QoSProfile(depth=10, **qos))


def test_bytes_come_as_they_were_sent(graph, hear):
    from rclpy.serialization import serialize_message
    from std_msgs.msg import String

    streams, heard = hear
    streams.want('/say')
    speaker = publisher(graph, '/say', String)
    graph.until(lambda: speaker.get_subscription_count() > 0, 'the graph')
    for number in range(3):
        speaker.publish(String(data=f'word {number}'))
    graph.until(lambda: len(heard) == 3, 'the graph')
    assert [h.data for h in heard] == [
        serialize_message(String(data=f'word {n}')) for n in range(3)
    ]
    first = heard[0]
    assert (first.topic, first.type_name) == ('/say', 'std_msgs/msg/String')
    assert abs(first.received_ns - first.source_ns) < 60 * 10**9
    sequences = [h.sequence for h in heard]
    assert sequences == list(range(sequences[0], sequences[0] + 3))
    assert len({h.publisher for h in heard}) == 1
    assert streams.topics['/say'].count == 3


@pytest.mark.parametrize('reliability', ['RELIABLE', 'BEST_EFFORT'])
@pytest.mark.parametrize('durability', ['VOLATILE', 'TRANSIENT_LOCAL'])
def test_any_offer_is_suited(graph, hear, reliability, durability):
    from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
    from std_msgs.msg import String

    streams, heard = hear
    speaker = publisher(
        graph,
        '/say',
        String,
        reliability=ReliabilityPolicy[reliability],
        durability=DurabilityPolicy[durability],
    )
    streams.want('/say')
    graph.until(lambda: speaker.get_subscription_count() > 0, 'the graph')
    speaker.publish(String(data='word'))
    graph.until(lambda: heard, 'the graph')
    assert streams.topics['/say'].is_latched == (durability == 'TRANSIENT_LOCAL')
    assert list(streams.problems()) == []


def test_what_was_said_before_is_heard_where_it_is_kept(graph, hear):
    from rclpy.qos import DurabilityPolicy
    from std_msgs.msg import String

    streams, heard = hear
    speaker = publisher(graph, '/map', String, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    speaker.publish(String(data='early'))
    streams.want('/map')
    graph.until(lambda: heard, 'the graph')


def test_a_publisher_that_offers_less_is_heard_too(graph, hear):
    from rclpy.qos import ReliabilityPolicy
    from std_msgs.msg import String

    streams, heard = hear
    streams.want('/say')
    first = publisher(graph, '/say', String)
    graph.until(lambda: first.get_subscription_count() > 0, 'the graph')
    second = publisher(graph, '/say', String, reliability=ReliabilityPolicy.BEST_EFFORT)
    graph.until(lambda: second.get_subscription_count() > 0, 'the graph')
    second.publish(String(data='second'))
    graph.until(lambda: heard, 'the graph')


def test_patterns_find_topics_that_come_later(graph, hear):
    from std_msgs.msg import String

    streams, heard = hear
    streams.want_matching(['/arm/*'], but=['*/secret'])
    speaker = publisher(graph, '/arm/words', String)
    secret = publisher(graph, '/arm/secret', String)
    graph.until(lambda: speaker.get_subscription_count() > 0, 'the graph')
    speaker.publish(String(data='word'))
    graph.until(lambda: heard, 'the graph')
    assert secret.get_subscription_count() == 0
    assert set(streams.topics) == {'/arm/words'}


def test_two_types_on_one_topic_are_told(graph, hear):
    from std_msgs.msg import String

    streams, _ = hear
    publisher(graph, '/say', String)
    graph.run(sys.executable, '-c', OTHER)
    streams.want('/say')
    graph.until(lambda: list(streams.problems()), 'the graph')
    assert 'different types (std_msgs/msg/Bool, std_msgs/msg/String)' in next(streams.problems())


def test_a_type_without_a_package_is_named():
    from cosmos_flywheel.nodes.streams import message_class

    assert message_class('std_msgs/msg/String') is not None
    assert message_class('rover_msgs/msg/Wheel') is None
    assert message_class('std_msgs/msg/Nothing') is None
    assert message_class('os/system') is None


def test_closed_streams_hear_nothing(graph, hear):
    from std_msgs.msg import String

    streams, _ = hear
    streams.want('/say')
    speaker = publisher(graph, '/say', String)
    graph.until(lambda: speaker.get_subscription_count() > 0, 'the graph')
    streams.close()
    graph.until(lambda: speaker.get_subscription_count() == 0, 'the graph')

# SPDX-License-Identifier: Apache-2.0
"""Two processes exchange messages of this package over DDS."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

pytestmark = [pytest.mark.ros, pytest.mark.timeout(90)]

QOS = """
from rclpy.qos import DurabilityPolicy, QoSProfile
KEPT = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""
PUBLISH = f"""
import array, sys, rclpy
from sensor_msgs.msg import CompressedImage
from cosmos_flywheel.msg import ChannelScore, FailureEpisode, TopicLoss
{QOS}
rclpy.init()
node = rclpy.create_node('captures')
episode = FailureEpisode(
    id='2026-01-01_0007', robot='g1', state=FailureEpisode.STATE_UNTRIAGED,
    start_ns=1_700_000_000_000_000_001, causes=['picture', 'stall'],
    channels=[ChannelScore(name='picture', score=7.25, threshold=3.5, alarm=True)],
    thumbnail=CompressedImage(format='jpeg', data=array.array('B', bytes(range(256)) * 200)),
    losses=[TopicLoss(topic='/camera', kept=300, lost=TopicLoss.UNKNOWN)],
)
node.create_publisher(FailureEpisode, '/flywheel/episodes', KEPT).publish(episode)
print('published', flush=True)
sys.stdin.read()
rclpy.shutdown()
"""
SUBSCRIBE = f"""
import rclpy
from cosmos_flywheel.msg import FailureEpisode
{QOS}
rclpy.init()
node = rclpy.create_node('listener')
received = rclpy.task.Future()
node.create_subscription(FailureEpisode, '/flywheel/episodes', received.set_result, KEPT)
rclpy.spin_until_future_complete(node, received, timeout_sec=30)
e = received.result()
print(e.id, e.state, e.start_ns, e.causes, e.channels[0].score, e.channels[0].alarm,
      bytes(e.thumbnail.data) == bytes(range(256)) * 200, e.losses[0].lost, sep='|')
rclpy.shutdown()
"""


@pytest.fixture
def dds(need: Callable[[str, str], NoReturn], environment) -> dict[str, str]:
    """Environment of one private DDS domain on this machine."""
    try:
        import rclpy  # noqa: F401

        from cosmos_flywheel.msg import FailureEpisode  # noqa: F401
    except ImportError as error:
        need('ros', f'the messages cannot be imported ({error}): make setup')
    return environment(
        ROS_DOMAIN_ID=str(1 + os.getpid() % 100),
        ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST',
        AMENT_PREFIX_PATH=os.environ.get('AMENT_PREFIX_PATH', sys.prefix),
    )


@pytest.fixture
def publisher(dds: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, '-c', PUBLISH],
        env=dds,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == 'published\n'
        yield process
        process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()


def test_a_late_subscriber_in_another_process_gets_the_whole_episode(publisher, dds, run):
    out = run([sys.executable, '-c', SUBSCRIBE], env=dds, timeout_s=60)

    assert out.splitlines()[-1] == (
        "2026-01-01_0007|untriaged|1700000000000000001|['picture', 'stall']|7.25|True|True|-1"
    )

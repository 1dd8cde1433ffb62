# SPDX-License-Identifier: Apache-2.0
"""The recorder survives being killed: what is listed is whole."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.store.episodes import iter_episodes, read_episode

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]
ROBOT = 'mujoco_push'


@pytest.fixture
def robot(graph):
    """Says something on the robot's joints, as often as it is asked."""
    from sensor_msgs.msg import JointState

    node = graph.node('robot')
    speaker = node.create_publisher(JointState, '/joint_states', 100)

    def talk(seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            message = JointState(name=['gantry_x', 'gantry_y'], position=[0.1, 0.2])
            message.header.stamp = node.get_clock().now().to_msg()
            speaker.publish(message)
            graph._executor.spin_once(timeout_sec=0.02)

    graph.until(lambda: True, 'the executor')
    return node, speaker, talk


def test_a_call_captures_what_was_before_and_after(graph, robot, tmp_path):
    from std_srvs.srv import Trigger

    node, speaker, talk = robot
    out = tmp_path / 'out'
    recorder = graph.start('recorder', robot=ROBOT, out=str(out), pre_roll_s=1.0, post_roll_s=1.0)
    graph.until(lambda: speaker.get_subscription_count() > 0, 'the recorder')
    talk(2.0)
    assert graph.call(node, Trigger, '/recorder/capture').success
    talk(3.0)
    graph.until(lambda: list(iter_episodes(out)), 'an episode')
    assert recorder.stop(signal.SIGTERM) == 0
    (folder,) = iter_episodes(out)
    manifest = read_episode(folder, verify=True)
    assert manifest['causes'] == ['trigger:service']
    with open_bag(folder / 'clip.mcap') as clip:
        assert clip.topics['/joint_states'].count > 20
        assert 1.5 < clip.duration_s < 3.5


def test_killed_at_any_moment_nothing_half_written_is_listed(graph, robot, tmp_path):
    from std_srvs.srv import Trigger

    node, speaker, talk = robot
    out = tmp_path / 'out'
    for late_s in (0.0, 0.03, 0.08):
        recorder = graph.start(
            'recorder', robot=ROBOT, out=str(out), pre_roll_s=0.5, post_roll_s=0.3
        )
        graph.until(lambda: speaker.get_subscription_count() > 0, 'the recorder')
        talk(1.0)
        graph.call(node, Trigger, '/recorder/capture')
        talk(1.0 + late_s)
        recorder.send(signal.SIGKILL)
        recorder.wait()
        for folder in iter_episodes(out):
            assert read_episode(folder, verify=True)['causes'] == ['trigger:service']
        graph.until(lambda: speaker.get_subscription_count() == 0, 'its end', 90)
    again = graph.start('recorder', robot=ROBOT, out=str(out), pre_roll_s=0.5, post_roll_s=0.3)
    graph.until(lambda: speaker.get_subscription_count() > 0, 'the recorder')
    talk(1.0)
    before = len(list(iter_episodes(out)))
    graph.call(node, Trigger, '/recorder/capture')
    talk(2.0)
    graph.until(lambda: len(list(iter_episodes(out))) == before + 1, 'one more episode')
    assert again.stop() == 0
    assert not list(Path(out).glob('.partial-*'))

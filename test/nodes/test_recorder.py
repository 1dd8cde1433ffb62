# SPDX-License-Identifier: Apache-2.0
"""The recorder survives being killed: what is listed is whole."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from playing import ROBOT, Played, Told

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.store.episodes import iter_episodes, read_episode

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]


@pytest.fixture
def bag(root: Path) -> Path:
    return root / 'demo' / 'bags' / 'mujoco_push_faults' / 'bags' / 'push_1104'


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


def test_killed_while_it_writes_nothing_half_written_is_listed(graph, bag, tmp_path):
    out = tmp_path / 'out'
    told = Told(graph)
    killed = start_in(graph, out, '/a')
    robot = Played(graph, bag, '/a')
    robot.begin(1)
    graph.until(lambda: robot.said > 45, 'a second of messages')
    while killed.runs:
        known = len(whole_in(out))
        ask(graph, told.node, '/a')
        graph.until(
            lambda n=known: killed_in_a_write(killed, out) or len(whole_in(out)) > n, 'a write'
        )
    known = len(whole_in(out))
    assert list(out.glob('.partial-*'))
    # In a namespace of its own: the dead one is counted as a listener for 20 s.
    again = start_in(graph, out, '/b')
    robot = Played(graph, bag, '/b')
    robot.begin(1)
    graph.until(lambda: robot.said > 45, 'a second of messages')
    ask(graph, told.node, '/b')
    graph.until(lambda: len(whole_in(out)) == known + 1, 'one more episode')
    assert again.stop() == 0
    assert len(whole_in(out)) == known + 1
    assert not list(out.glob('.partial-*'))


def start_in(graph, out: Path, namespace: str):
    given = {'robot': ROBOT, 'out': str(out), 'pre_roll_s': 0.5, 'post_roll_s': 0.3}
    return graph.start('recorder', '-r', f'__ns:={namespace}', **given)


def ask(graph, node, namespace: str) -> None:
    from std_srvs.srv import Trigger

    assert graph.call(node, Trigger, f'{namespace}/recorder/capture').success


def whole_in(out: Path) -> list[Path]:
    """What is listed, and it is whole."""
    found = list(iter_episodes(out))
    for folder in found:
        assert read_episode(folder, verify=True)['causes'] == ['trigger:service']
    return found


def killed_in_a_write(process, out: Path) -> bool:
    """Kill the recorder if it stands in the middle of writing."""
    if not any(out.glob('.partial-*')):
        return False
    process.send(signal.SIGSTOP)
    until(process.pid, 'T')
    if not any(out.glob('.partial-*')):  # that was its end
        process.send(signal.SIGCONT)
        return False
    process.send(signal.SIGKILL)
    process.wait()
    return True


def until(pid: int, state: str) -> None:
    end_s = time.monotonic() + 60
    while Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != state:
        assert time.monotonic() < end_s
        time.sleep(0.001)

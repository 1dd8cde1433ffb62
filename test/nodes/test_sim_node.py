# SPDX-License-Identifier: Apache-2.0
"""The simulated robot as a process of its own, over DDS."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import pytest

from cosmos_flywheel.core.errors import SimError
from cosmos_flywheel.sim.render import Eye, load_mujoco

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]
SCENE = '<mujoco><worldbody><camera name="c" pos="0 0 1"/></worldbody></mujoco>'
CAMERA = '/camera/image_raw/compressed'


@pytest.fixture(autouse=True)
def _renders(need) -> None:
    try:
        Eye(load_mujoco().MjModel.from_xml_string(SCENE), 'c').close()
    except SimError as error:
        need('render', str(error))


def stamp_ns(message) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


@pytest.fixture
def heard(graph):
    """Listens to a sim in a namespace: truths, watch, pictures, joints, states."""

    def listen(namespace: str = ''):
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import CompressedImage, JointState
        from std_msgs.msg import Bool, String

        from cosmos_flywheel.nodes.publish import WATCH_QOS
        from cosmos_flywheel.nodes.sim import TRUTH_QOS

        node = graph.node()
        kept = {
            name: [] for name in ('truth', 'watch', 'pictures', 'states', 'commands', 'diagnosed')
        }
        for name, kind, topic, qos in (
            ('truth', String, f'{namespace}/sim/truth', TRUTH_QOS),
            ('watch', Bool, f'{namespace}/flywheel/watch', WATCH_QOS),
            ('pictures', CompressedImage, f'{namespace}{CAMERA}', 100),
            ('states', JointState, f'{namespace}/joint_states', 100),
            ('commands', JointState, f'{namespace}/joint_commands', 100),
            ('diagnosed', DiagnosticArray, '/diagnostics', 10),
        ):
            node.create_subscription(kind, topic, kept[name].append, qos)
        return node, kept

    return listen


def truths(kept, event: str) -> list[dict]:
    told = (json.loads(message.data) for message in kept['truth'])
    return [content for content in told if content['event'] == event]


def test_episodes_follow_each_other_and_the_truth_is_told_apart(graph, heard):
    _, kept = heard('/r1')
    sim = graph.start(
        'sim', '-r', '__ns:=/r1', task='push', fault='kick', seed=3, pause_s=0.2, episodes=2,
        rate=2.0,
    )  # fmt: skip
    assert sim_ends(graph, sim, kept) == 0
    starts, ends = truths(kept, 'start'), truths(kept, 'end')
    assert [t['seed'] for t in starts] == [3, 4]
    assert [t['label']['is_failure'] for t in ends] == [True, True]
    onset = truths(kept, 'onset')[0]
    assert onset['stamp_ns'] == ends[0]['onset_ns']
    stamps = sorted(stamp_ns(picture) for picture in kept['pictures'])
    onsets = [t['stamp_ns'] for t in truths(kept, 'onset')]
    # A listener on a busy machine may have come after the first onset.
    heard_of = [stamp for stamp in onsets if stamp >= stamps[0]]
    assert heard_of
    assert set(heard_of) <= set(stamps)
    assert all(bytes(p.data[:2]) == b'\xff\xd8' for p in kept['pictures'])
    graph.until(lambda: watched_last(kept) is False, 'its last word')
    assert True in {w.data for w in kept['watch']}


def watched_last(kept) -> bool | None:
    """Whether the monitor was told last to watch; None before it was told anything."""
    return kept['watch'][-1].data if kept['watch'] else None


def sim_ends(graph, sim, kept) -> int:
    graph.until(lambda: len(truths(kept, 'end')) == 2, 'two episodes', patience_s=120)
    graph.until(lambda: not sim.runs, 'the end')
    return sim.wait()


def test_stamps_are_those_of_the_wall_clock_at_the_cameras_rate(graph, heard):
    _, kept = heard()
    graph.start('sim', robot='arm')
    graph.until(lambda: len(kept['pictures']) > 30, 'pictures')
    stamps = [stamp_ns(p) for p in kept['pictures']]
    assert abs(stamps[-1] - time.time_ns()) < 5e9
    steps = sorted(b - a for a, b in pairwise(stamps))
    assert steps[len(steps) // 2] == pytest.approx(1e9 / 15, rel=1e-3)
    graph.until(lambda: kept['diagnosed'], 'its state')
    names = {status.name for array in kept['diagnosed'] for status in array.status}
    assert names == {'cosmos_flywheel/sim'}


def test_its_own_clock_is_published_and_goes_on_from_episode_to_episode(graph, heard):
    from rosgraph_msgs.msg import Clock

    node, kept = heard()
    times = []
    node.create_subscription(
        Clock, '/clock', lambda m: times.append(m.clock.sec + m.clock.nanosec / 1e9), 100
    )
    graph.start('sim', clock='sim', rate=4.0, pause_s=0.0, episodes=2, use_sim_time=True)
    graph.until(lambda: len(truths(kept, 'start')) == 2, 'two episodes', patience_s=120)
    graph.until(lambda: len(times) > 60, 'the time')
    assert times == sorted(times)
    assert times[0] >= 1_700_000_000
    first, second = truths(kept, 'start')
    assert second['stamp_ns'] - first['stamp_ns'] == pytest.approx(
        first['seconds'] * 1e9, abs=2e9 / 30
    )


def test_services_restart_and_pause_and_parameters_hold_from_the_next_episode_on(graph, heard):
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter
    from std_srvs.srv import SetBool, Trigger

    node, kept = heard()
    graph.start('sim')
    graph.until(lambda: truths(kept, 'start'), 'an episode')

    def change(**values):
        asked = SetParameters.Request(
            parameters=[Parameter(k, value=v).to_parameter_msg() for k, v in values.items()]
        )
        return graph.call(node, SetParameters, '/sim/set_parameters', asked).results[0]

    assert 'did you mean' in change(fault='kik').reason
    assert change(fault='kick').successful
    assert graph.call(node, Trigger, '/sim/restart').success
    graph.until(lambda: len(truths(kept, 'start')) == 2, 'another episode')
    assert [t['fault'] for t in truths(kept, 'start')] == ['none', 'kick']
    assert truths(kept, 'end')[0]['cut'] is True

    graph.call(node, SetBool, '/sim/pause', SetBool.Request(data=True))
    graph.until(lambda: watched_last(kept) is False, 'it to pause')
    seen = len(kept['states'])
    told = len(kept['diagnosed'])
    graph.until(lambda: len(kept['diagnosed']) >= told + 2, 'two seconds')
    assert len(kept['states']) <= seen + 10  # what was on its way
    assert kept['diagnosed'][-1].status[0].message == 'paused'
    graph.call(node, SetBool, '/sim/pause', SetBool.Request(data=False))
    graph.until(lambda: len(kept['states']) > seen + 30, 'it to go on')
    graph.until(lambda: watched_last(kept) is True, 'it to be watched again')


def test_commands_may_come_from_a_topic(graph, heard):
    from sensor_msgs.msg import JointState

    node, kept = heard()
    graph.start('sim', commands='topic')
    graph.until(lambda: kept['states'], 'joints')
    before = kept['states'][-1].position[0]
    assert not kept['commands']
    speaker = node.create_publisher(JointState, '/joint_commands', 10)
    graph.until(lambda: speaker.get_subscription_count(), 'it to listen')

    def moved() -> bool:
        speaker.publish(JointState(name=['base'], position=[before + 0.3]))
        return abs(kept['states'][-1].position[0] - before - 0.3) < 0.02

    graph.until(moved, 'the base joint to move')


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({'fault': 'kik'}, "arm push has no fault 'kik'; did you mean 'kick'?"),
        ({'robot': 'leg'}, "parameter robot is 'leg'"),
        ({'strength': 0.0, 'fault': 'kick'}, 'strength 0 is out of range'),
        ({'fault': 'slower_pace', 'commands': 'topic'}, 'changes the commands'),
        ({'use_sim_time': True}, 'set clock to sim'),
        ({'sede': 4}, "sim has no parameter 'sede'; did you mean 'seed'?"),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(graph, values, words):
    sim = graph.start('sim', **values)
    assert sim.wait() == 2
    assert words in sim.output.splitlines()[-1]


def test_the_defaults_of_the_file_are_those_of_the_node(root):
    pytest.importorskip('rclpy')
    import yaml

    from cosmos_flywheel.nodes.sim import PARAMETERS

    text = (root / 'config' / 'nodes' / 'sim.yaml').read_text('utf-8')
    given = yaml.safe_load(text)['/**']['ros__parameters']
    assert given == {p.name: p.default for p in PARAMETERS}

# SPDX-License-Identifier: Apache-2.0
"""A deployer configures, activates, changes and stops live nodes by the services of ROS 2."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from playing import ROBOT, Played, Told

from cosmos_flywheel.bags.picture import decode_picture
from cosmos_flywheel.store.catalogue import Catalogue
from cosmos_flywheel.store.episodes import iter_episodes, read_episode

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]
CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE, SHUTDOWN = 1, 2, 3, 4, 7
"""Transitions, as lifecycle_msgs/Transition numbers them; the last is that from active."""
GIVEN_ELSEWHERE = {'robot', 'models', 'topics', 'exclude', 'ring_shares', 'plan_topic'}
"""Parameters whose default says that nothing is given."""


@pytest.fixture
def bag(root: Path) -> Path:
    return root / 'demo' / 'bags' / 'mujoco_push_faults' / 'bags' / 'push_1104'


@pytest.fixture
def told(graph) -> Told:
    return Told(graph)


@pytest.fixture
def change(graph, told):
    """Has a node make lifecycle transitions; each must succeed."""

    def change(name: str, *transitions: int) -> None:
        from lifecycle_msgs.srv import ChangeState

        for number in transitions:
            request = ChangeState.Request()
            request.transition.id = number
            answer = graph.call(told.node, ChangeState, f'/{name}/change_state', request)
            assert answer.success, (name, number)

    return change


def state_of(graph, told, name: str) -> str:
    from lifecycle_msgs.srv import GetState

    return graph.call(told.node, GetState, f'/{name}/get_state').current_state.label


def test_a_predictor_predicts_only_while_it_is_active(graph, told, change, root, bag):
    given = {'robot': ROBOT, 'models': [str(root / 'demo' / 'model')]}
    predictor = graph.start('predictor', autostart=False, **given)
    graph.start('monitor', **given)
    robot = Played(graph, bag)
    robot.begin(1)
    told.until_says('predictor', 'not active; activate it')
    assert state_of(graph, told, 'predictor') == 'unconfigured'
    told.until_says('monitor', 'no prediction for 5 s')
    assert not told.predictions

    change('predictor', CONFIGURE, ACTIVATE)
    told.until_seen()
    change('predictor', DEACTIVATE)
    graph.until(lambda: robot.speakers['/joint_states'].get_subscription_count() == 1, 'one less')
    told.more_scores(5)
    before = len(told.predictions)
    told.until_says('monitor', 'no prediction for 5 s; see whether the predictor runs and is act')
    assert len(told.predictions) == before

    change('predictor', CLEANUP, CONFIGURE, ACTIVATE)
    told.until_seen()
    assert state_of(graph, told, 'predictor') == 'active'
    change('predictor', SHUTDOWN)
    assert state_of(graph, told, 'predictor') == 'finalized'
    told.until_says('predictor', 'not active')
    assert predictor.stop() == 0
    assert 'Traceback' not in predictor.output


def test_a_recorder_captures_only_while_it_is_active(graph, told, change, bag, tmp_path):
    from std_srvs.srv import Trigger

    out = tmp_path / 'out'
    recorder = graph.start(
        'recorder', robot=ROBOT, out=str(out), autostart=False, pre_roll_s=1.0, post_roll_s=30.0
    )
    robot = Played(graph, bag)
    told.until_says('recorder', 'not active; activate it')
    answer = graph.call(told.node, Trigger, '/recorder/capture')
    assert (answer.success, 'activate it' in answer.message) == (False, True)

    change('recorder', CONFIGURE, ACTIVATE)
    robot.begin(1)
    for count in (1, 2):
        said = robot.said
        graph.until(lambda s=said: robot.said > s + 60, 'some messages')
        answer = graph.call(told.node, Trigger, '/recorder/capture')
        assert answer.success
        assert '30 s' in answer.message, 'the post-roll that was given'
        graph.until(lambda s=said: robot.said > s + 90, 'more messages')
        change('recorder', DEACTIVATE)  # long before the post-roll is over
        graph.until(lambda c=count: len(told.episodes) == c, 'the episode as far as it goes')
        assert not graph.call(told.node, Trigger, '/recorder/capture').success
        change('recorder', CLEANUP, CONFIGURE, ACTIVATE)
    assert recorder.stop() == 0
    folders = list(iter_episodes(out))
    assert len(folders) == 2
    for folder in folders:
        window = read_episode(folder, verify=True)['window']
        assert 1.0 < (window['end_ns'] - window['start_ns']) / 1e9 < 25.0


def test_what_may_change_while_it_runs_takes_effect(graph, told, root, bag):
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import CompressedImage

    graph.start('monitor', robot=ROBOT, models=[str(root / 'demo' / 'model')])
    widths = []
    told.node.create_subscription(
        CompressedImage,
        '/flywheel/overlay/compressed',
        lambda m: widths.append(decode_picture(m).shape[1]),
        qos_profile_sensor_data,
    )
    Played(graph, bag).begin(1)
    graph.until(lambda: 960 in widths, 'an overlay of the usual width')

    def give(name: str, value: object):
        parameter = Parameter(name, value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[parameter])
        (result,) = graph.call(
            told.node, SetParameters, '/monitor/set_parameters', request
        ).results
        return result

    assert give('overlay_width_px', 100).successful
    graph.until(lambda: widths[-1:] == [300], 'a narrower overlay')
    assert 'Min: 80' in give('overlay_width_px', 8).reason
    assert not give('patience_s', 1.0).successful
    told.more_scores()
    assert widths[-1] == 300


def test_one_process_runs_all_and_captures(graph, told, root, bag, tmp_path):
    model, out = root / 'demo' / 'model', tmp_path / 'out'
    judged = f"  ros__parameters: {{robot: {ROBOT}, models: ['{model}']}}"
    kept = f"  ros__parameters: {{robot: {ROBOT}, out: '{out}', post_roll_s: 0.5}}"
    file = tmp_path / 'all.yaml'
    file.write_text(f'predictor:\n{judged}\nmonitor:\n{judged}\nrecorder:\n{kept}\n')
    given = ['--ros-args', '--params-file', str(file)]
    words = ['-m', 'cosmos_flywheel.cli.main', 'node', 'predictor+monitor+recorder']
    process = graph.run(sys.executable, *words, *given)
    robot = Played(graph, bag)
    robot.begin(3)
    told.until_seen()
    told.more_scores(100)
    robot.is_quiet = True
    graph.until(lambda: told.episodes, 'an episode')
    assert process.stop() == 0
    assert 'Traceback' not in process.output
    for folder in iter_episodes(out):
        assert read_episode(folder, verify=True)['clip']['messages']['/flywheel/score'] > 0
    with Catalogue.open(out) as catalogue:
        hours = catalogue.watched_hours(ROBOT)
    assert 90 / 15 < 3600 * hours < 60, 'about a hundred scores at 15 Hz'


@pytest.mark.parametrize('name', ['predictor', 'monitor', 'recorder'])
def test_the_files_of_parameters_hold_the_defaults(graph, root, name):
    import importlib

    import yaml

    declared = importlib.import_module(f'cosmos_flywheel.nodes.{name}').PARAMETERS
    text = (root / 'config' / 'nodes' / f'{name}.yaml').read_text('utf-8')
    given = yaml.safe_load(text)['/**']['ros__parameters']
    assert given == {p.name: p.default for p in declared if p.name not in GIVEN_ELSEWHERE}

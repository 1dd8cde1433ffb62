# SPDX-License-Identifier: Apache-2.0
"""Node processes begin and end: codes, words, signals."""

from __future__ import annotations

import signal
import sys

import pytest

pytestmark = pytest.mark.ros

NODE = """
import os
import signal
import sys
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.nodes.run import Finished, run_node

def make():
    from rclpy.node import Node
    from cosmos_flywheel.nodes.diagnostics import Diagnostics, Status

    class Tried(Node):
        def __init__(self):
            super().__init__('tried')
            self.told = Diagnostics(self, 'toy', lambda: Status('warn', 'so so', {'x': 1.23456}))
            self.create_timer(0.01, self.tick)
        def tick(self):
            print('running', flush=True)
            if MODE == 'finish':
                raise Finished
            if MODE == 'wrong':
                raise ConfigError('it went wrong')
            if MODE == 'defect':
                raise ZeroDivisionError
        def close(self):
            print('closed', flush=True)
            if MODE == 'hang':
                while True: pass
    if MODE == 'refuse':
        raise ConfigError('nothing to run')
    if MODE == 'break off':
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException:
            raise ImportError('initialization failed') from None
    return Tried()

sys.exit(run_node(make, sys.argv[1:]))
"""


def tried(graph, mode: str, *arguments: str):
    return graph.run(sys.executable, '-c', f'MODE = {mode!r}\n{NODE}', *arguments)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_the_node_and_is_no_error(graph, number):
    process = tried(graph, 'run')
    graph.until(lambda: 'running' in process.output, 'the node to run')
    assert process.stop(number) == 0
    assert process.output.endswith('closed\n')
    assert 'Traceback' not in process.output


def test_a_signal_at_any_moment_of_the_start_is_no_error(graph):
    script = 'print("here", flush=True)\n' + NODE
    for wait_s in (0.0, 0.15, 0.3, 0.45, 0.6):
        process = graph.run(
            sys.executable, '-c',
            f'import time\nMODE = "run"\n{script}'.replace(
                'def make():', f'def make():\n    print("make", flush=True); time.sleep({wait_s})'
            ),
        )  # fmt: skip
        graph.until(lambda process=process: 'make' in process.output, 'the start')
        assert process.stop(signal.SIGTERM) == 0
        assert 'Traceback' not in process.output


def test_a_second_signal_ends_what_hangs(graph):
    process = tried(graph, 'hang')
    graph.until(lambda: 'running' in process.output, 'the node to run')
    process.send(signal.SIGTERM)
    graph.until(lambda: 'closed' in process.output, 'it to hang')
    assert process.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ('mode', 'code', 'words'),
    [
        ('finish', 0, 'closed\n'),
        ('break off', 0, ''),
        ('refuse', 2, 'flywheel: error: nothing to run\n'),
        ('wrong', 2, 'flywheel: error: it went wrong\n'),
        ('defect', 1, 'ZeroDivisionError\n'),
    ],
)
def test_the_code_says_how_it_ended(graph, mode, code, words):
    process = tried(graph, mode)
    assert process.wait() == code
    assert process.output.endswith(words)
    assert ('Traceback' in process.output) == (code == 1)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--ros-args', '--params-file', 'nowhere.yaml'], 'nowhere.yaml'),
        (['--ros-args', '-r', '__ns:=/a b'], 'ROS 2 refused the start'),
        (['rate:=1'], "'rate:=1' is no argument of a node"),
    ],
)
def test_wrong_arguments_are_one_line_and_code_2(graph, arguments, words):
    process = tried(graph, 'run', *arguments)
    assert process.wait() == 2
    last = process.output.splitlines()[-1]
    assert last.startswith('flywheel: error: ')
    assert words in last
    assert 'Traceback' not in process.output


def test_the_state_tells_how_far_predictions_rest_on_actions():
    from cosmos_flywheel.core.grounding import Grounding, Index
    from cosmos_flywheel.nodes.diagnostics import grounding_values

    seen, felt = Index(0.0, (-0.1, 0.1), {}, 60, 8), Index(0.5, (0.4, 0.6), {}, 60, 8)
    told = grounding_values(Grounding(True, {'picture': seen, 'state': felt}))
    assert told['action_grounding'] == 0
    assert told['action_grounding_interval'] == '-0.1 … 0.1'
    assert told['muted'] == 'picture'
    unknown = grounding_values(Grounding(True))
    assert (unknown['action_grounding_interval'], unknown['muted']) == ('', '')


def test_the_state_is_told_each_second(graph):
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

    told = []
    graph.node().create_subscription(DiagnosticArray, '/diagnostics', told.append, 10)
    tried(graph, 'run', '--ros-args', '-r', '__ns:=/r1')
    graph.until(lambda: len(told) > 1, 'two states')
    status = told[0].status[0]
    assert status.name == 'cosmos_flywheel/r1/tried'
    assert (status.level, status.message) == (DiagnosticStatus.WARN, 'so so')
    assert status.hardware_id == 'toy'
    assert [(v.key, v.value) for v in status.values] == [('x', '1.235')]

# SPDX-License-Identifier: Apache-2.0
"""Parameters as a node is given them, and as they change."""

from __future__ import annotations

import pytest

from cosmos_flywheel.core.errors import ConfigError

pytestmark = pytest.mark.ros


def declared():
    from cosmos_flywheel.nodes.parameters import Parameter

    return [
        Parameter('rate', 1.0, 'how fast', 'times', least=0.1, most=10.0, live=True),
        Parameter('task', 'push', 'what is done', choices=('push', 'pick'), live=True),
        Parameter('seed', 0, 'what decides', least=0),
        Parameter('topics', (), 'only these'),
        Parameter('loop', False, 'again and again'),
    ]


@pytest.fixture
def given(graph):
    """Makes a node with these values, and its Parameters."""

    def make(**values):
        from rclpy.node import Node

        from cosmos_flywheel.nodes.parameters import Parameters

        node = graph.make(lambda **options: Node('given', **options), **values)
        return node, Parameters(node, declared())

    return make


def change(node, **values):
    from rclpy.parameter import Parameter

    return node.set_parameters([Parameter(k, value=v) for k, v in values.items()])[0]


def test_defaults_and_given_values_have_the_types_of_the_declaration(given):
    _, parameters = given(rate=2, topics=['/a', ''])
    assert parameters['rate'] == 2.0
    assert type(parameters['rate']) is float
    assert parameters['topics'] == ('/a',)
    assert (parameters['task'], parameters['seed'], parameters['loop']) == ('push', 0, False)


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({'rat': 2.0}, r"given has no parameter 'rat'; did you mean 'rate'\?"),
        ({'rate': 11.0}, 'parameter rate is 11.0; give at most 10 times'),
        ({'rate': 'fast'}, "parameter rate is 'fast'; give a number"),
        ({'seed': -1}, 'parameter seed is -1; give at least 0'),
        ({'seed': 1.5}, 'parameter seed is 1.5; give a whole number'),
        ({'seed': True}, 'parameter seed is True; give a whole number'),
        ({'task': 'pich'}, r"parameter task is 'pich'; did you mean 'pick'\?"),
        ({'loop': 'yes'}, "parameter loop is 'yes'; give true or false"),
        ({'rate': float('nan')}, 'parameter rate is nan; give a finite number'),
    ],
)
def test_what_does_not_fit_is_refused_by_name(given, values, words):
    with pytest.raises(ConfigError, match=words):
        given(**values)


def test_ros_own_parameters_pass(given):
    node, _ = given(use_sim_time=True)
    assert node.get_parameter('use_sim_time').value is True


def test_live_ones_change_and_say_so(given):
    node, parameters = given()
    told = []
    parameters.on_change(lambda name, value: told.append((name, value)))
    assert change(node, rate=3).successful
    assert told == [('rate', 3.0)]
    assert parameters['rate'] == 3.0


def test_a_change_out_of_range_is_refused_and_nothing_changes(given):
    node, parameters = given()
    assert not change(node, rate=50.0).successful
    assert 'did you mean' in change(node, task='pik').reason
    assert (parameters['rate'], parameters['task']) == (1.0, 'push')


def test_the_others_stay(given):
    node, parameters = given()
    assert 'read-only' in change(node, seed=3).reason
    assert parameters['seed'] == 0


def test_a_check_refuses_in_its_own_words(given):
    node, parameters = given()

    def check(name, value):
        if value == 'pick':
            raise ConfigError('there is nothing to pick')

    parameters.check(check)
    assert change(node, task='pick').reason == 'there is nothing to pick'
    assert parameters['task'] == 'push'


def test_descriptions_tell_unit_range_and_choices(given):
    node, _ = given()
    rate, task = node.describe_parameter('rate'), node.describe_parameter('task')
    assert rate.description == 'how fast (times)'
    assert rate.floating_point_range[0].to_value == 10.0
    assert task.additional_constraints == 'one of: push, pick'
    assert node.describe_parameter('seed').read_only

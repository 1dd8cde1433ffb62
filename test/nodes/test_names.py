# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from cosmos_flywheel.nodes.names import file_name, graph_name


@pytest.mark.parametrize(
    ('topic', 'namespace', 'there'),
    [
        ('/joint_states', '/', '/joint_states'),
        ('/joint_states', '', '/joint_states'),
        ('/joint_states', '/r1', '/r1/joint_states'),
        ('/joint_states', '/a/b/', '/a/b/joint_states'),
        ('/clock', '/r1', '/clock'),
        ('/diagnostics', '/r1', '/diagnostics'),
        ('/rosout', '/r1', '/rosout'),
    ],
)
def test_names_go_below_the_namespace_and_come_back(topic, namespace, there):
    assert graph_name(topic, namespace) == there
    assert file_name(there, namespace) == topic


def test_a_name_without_a_slash_is_absolute_too():
    assert graph_name('odom', '/r1') == '/r1/odom'


def test_topics_of_another_robot_keep_their_names():
    assert file_name('/r10/odom', '/r1') == '/r10/odom'

# SPDX-License-Identifier: Apache-2.0
"""Topic names of robot files to names in a graph, and back.

A robot file writes its topics absolute. In a namespace they are meant below it, so that one file
serves each of several equal robots.
"""

from __future__ import annotations

EVERYWHERE = frozenset({'/clock', '/diagnostics', '/parameter_events', '/rosout'})
"""One for the whole graph, whatever the namespace."""


def graph_name(topic: str, namespace: str) -> str:
    """What a topic of a robot file is called in the graph, for a node in this namespace.

    `/joint_states` is `/r1/joint_states` in `/r1`, and itself in `/`.
    """
    topic = topic if topic.startswith('/') else f'/{topic}'
    if topic in EVERYWHERE:
        return topic
    return f'{_below(namespace)}{topic}'


def file_name(topic: str, namespace: str) -> str:
    """What a topic of the graph is called in a robot file: the inverse of `graph_name`.

    Topics of other namespaces, and those of the whole graph, keep their names.
    """
    below = _below(namespace)
    if below and topic not in EVERYWHERE and topic.startswith(f'{below}/'):
        return topic[len(below) :]
    return topic


def _below(namespace: str) -> str:
    """What is put before an absolute name: empty for the root."""
    return f'/{namespace.strip("/")}' if namespace.strip('/') else ''

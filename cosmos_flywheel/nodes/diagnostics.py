# SPDX-License-Identifier: Apache-2.0
"""A node's state to one DiagnosticStatus a second on /diagnostics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node

from cosmos_flywheel.core.grounding import Grounding
from cosmos_flywheel.nodes.publish import Publisher

PERIOD_S = 1.0
_LEVELS = {
    'ok': DiagnosticStatus.OK,
    'warn': DiagnosticStatus.WARN,
    'error': DiagnosticStatus.ERROR,
    'stale': DiagnosticStatus.STALE,
}


@dataclass(frozen=True, slots=True)
class Status:
    """How a node is, at one instant."""

    level: Literal['ok', 'warn', 'error', 'stale'] = 'ok'
    message: str = ''
    """One sentence; what is wrong and the remedy if something is."""
    values: Mapping[str, object] = field(default_factory=dict)
    """Figures by name; floats are written with four significant digits."""


class Diagnostics:
    """Asks a callable each second how the node is, and publishes what it says.

    Args:
        node: whose state it is; its name, and its namespace if it has one, name the status.
        hardware: the robot's name.
        told: gives the present state; called in the executor's thread.

    """

    def __init__(self, node: Node, hardware: str, told: Callable[[], Status]) -> None:
        self._node, self._hardware, self._told = node, hardware, told
        self._publisher = Publisher(node, DiagnosticArray, '/diagnostics', 10)
        namespace = node.get_namespace().strip('/')
        place = f'{namespace}/{node.get_name()}' if namespace else node.get_name()
        self._name = f'cosmos_flywheel/{place}'
        # A clock that nobody stops: without /clock, ROS time does not pass.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(PERIOD_S, self.publish, clock=steady)

    def publish(self) -> None:
        """Say now how the node is, without waiting for the second to pass."""
        status = self._told()
        array = DiagnosticArray()
        array.header.stamp = self._node.get_clock().now().to_msg()
        array.status = [
            DiagnosticStatus(
                level=_LEVELS[status.level],
                name=self._name,
                message=status.message,
                hardware_id=self._hardware,
                values=[KeyValue(key=k, value=_text(v)) for k, v in status.values.items()],
            )
        ]
        self._publisher.publish(array)


def grounding_values(known: Grounding) -> dict[str, object]:
    """How far predictions rest on actions, and what is muted for it."""
    index = known.index
    interval = '' if index is None else ' … '.join(f'{end:.4g}' for end in index.interval)
    return {
        'action_grounding': known.value,
        'action_grounding_interval': interval,
        'action_grounding_words': known.in_words(),
        'muted': ', '.join(known.muted_channels),
    }


def _text(value: object) -> str:
    if isinstance(value, bool):
        return 'true' if value else 'false'
    return f'{value:.4g}' if isinstance(value, float) else str(value)

# SPDX-License-Identifier: Apache-2.0
"""A publisher that counts what the middleware refused instead of ending the node."""

from __future__ import annotations

from typing import Any

from rclpy.duration import Duration
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

RCLError = rclpy_implementation.RCLError

WATCH = 'flywheel/watch'
"""False while the scene is being reset and nothing may be judged; no message means True."""
WATCH_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Publisher:
    """Publishes messages of one type on one topic.

    Args:
        node: whose publisher it is.
        kind: the message class.
        topic: its name, relative to the node's namespace unless it begins with a slash.
        qos: the offered QoS, or a depth.

    """

    def __init__(self, node: Node, kind: type[Any], topic: str, qos: QoSProfile | int) -> None:
        self._publisher = node.create_publisher(kind, topic, qos)
        self.sent = 0
        """Messages that went out."""
        self.refused = 0
        """Messages that did not: under back-pressure `publish` of large ones fails."""
        self.refusal = ''
        """What was said of the last one."""

    @property
    def topic(self) -> str:
        """Its full name."""
        return str(self._publisher.topic_name)

    @property
    def subscribers(self) -> int:
        """How many listen."""
        return int(self._publisher.get_subscription_count())

    def publish(self, message: Any) -> bool:
        """Send a message, or its serialized bytes; returns whether it went out."""
        try:
            self._publisher.publish(message)
        except RCLError as error:
            self.refused += 1
            self.refusal = ' '.join(str(error).split())
            return False
        self.sent += 1
        return True

    def flush(self, patience_s: float) -> bool:
        """Wait until all reliable listeners have everything; returns whether they do."""
        try:
            return bool(self._publisher.wait_for_all_acked(Duration(seconds=patience_s)))
        except RCLError:
            return False

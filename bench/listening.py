# SPDX-License-Identifier: Apache-2.0
"""What benches of the live graph listen with: a node that keeps whatever arrives."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from std_msgs.msg import String

from cosmos_flywheel.msg import AnomalyScore, FailureEpisode
from cosmos_flywheel.nodes.board import EPISODE, EPISODE_QOS, SCORE
from cosmos_flywheel.nodes.sim import TRUTH_QOS

PATIENCE_S = 30.0


class Ear:
    """Use it as a context; arrivals are in ns of the wall clock."""

    def __enter__(self) -> Ear:
        rclpy.init(args=[])
        self.node = rclpy.create_node('ear')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self.episodes: list[tuple[int, Any]] = []
        self.statuses: dict[str, Any] = {}
        self._truths: list[dict[str, Any]] = []
        self._scores: list[tuple[int, Any]] = []
        self._clients: dict[str, Any] = {}
        hear = self.node.create_subscription
        hear(String, '/sim/truth', lambda m: self._truths.append(json.loads(m.data)), TRUTH_QOS)
        hear(AnomalyScore, f'/{SCORE}', lambda m: self._scores.append((now_ns(), m)), 1000)
        hear(FailureEpisode, f'/{EPISODE}', lambda m: self.episodes.append((now_ns(), m)),
             EPISODE_QOS)  # fmt: skip
        hear(DiagnosticArray, '/diagnostics', self._take_status, 100)
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()

    def listen(self, seconds: float) -> None:
        """Take in what comes within so long."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def take_truths(self) -> list[dict[str, Any]]:
        """Truths that came since the last call."""
        taken, self._truths = self._truths, []
        return taken

    def take_scores(self) -> Iterator[tuple[int, Any]]:
        """Scores that came since the last call, and when."""
        taken, self._scores = self._scores, []
        return iter(taken)

    def set(self, node: str, **parameters: object) -> None:
        """Set parameters of a node, one after another; raises RuntimeError if one is refused."""
        client = self._clients.get(node)
        if client is None:
            client = self.node.create_client(SetParameters, f'{node}/set_parameters')
            self._clients[node] = client
        request = SetParameters.Request()
        request.parameters = [
            Parameter(k, value=v).to_parameter_msg() for k, v in parameters.items()
        ]
        end_s = time.monotonic() + PATIENCE_S
        client.wait_for_service(PATIENCE_S)
        future = client.call_async(request)
        while not future.done() and time.monotonic() < end_s:
            self._executor.spin_once(timeout_sec=0.1)
        if not future.done():
            raise RuntimeError(f'{node} does not answer')
        refused = [r.reason for r in future.result().results if not r.successful]
        if refused:
            raise RuntimeError(f'{node}: {refused[0]}')

    def _take_status(self, message: Any) -> None:
        for status in message.status:
            self.statuses[status.name] = status


def now_ns() -> int:
    """The wall clock."""
    return time.time_ns()

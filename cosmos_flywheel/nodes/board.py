# SPDX-License-Identifier: Apache-2.0
"""What the live graph says of itself, gathered: diagnostics, newest score, episodes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions

from cosmos_flywheel.core.types import AnomalyScore
from cosmos_flywheel.msg import AnomalyScore as AnomalyScoreMsg
from cosmos_flywheel.msg import FailureEpisode
from cosmos_flywheel.nodes.convert import from_score

SCORE, EPISODE = 'flywheel/score', 'flywheel/episode'
CANDIDATE = 'flywheel/candidate'
EPISODE_QOS = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
PREFIX = 'cosmos_flywheel/'
LEVELS = ('ok', 'warn', 'error', 'stale')


@dataclass(frozen=True, slots=True)
class Told:
    """A node's newest status."""

    level: str
    """One of LEVELS."""
    message: str
    values: Mapping[str, str]
    at_s: float
    """When it came, of time.monotonic."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An episode that was captured."""

    id: str
    causes: tuple[str, ...]
    onset_ns: int


@dataclass(slots=True)
class Board:
    """All that is known at present."""

    nodes: dict[str, Told] = field(default_factory=dict)
    """By node name."""
    score: AnomalyScore | None = None
    scores: int = 0
    episodes: dict[str, Kept] = field(default_factory=dict)
    """By id, in the order in which they came."""


class BoardNode(Node):
    """Listens; publishes nothing."""

    def __init__(self, board: Board, **options: Any) -> None:
        super().__init__('flywheel_board', **options)
        self._board = board
        namespace = self.get_namespace().strip('/')
        self._prefix = f'{PREFIX}{namespace}/' if namespace else PREFIX
        self.create_subscription(DiagnosticArray, '/diagnostics', self._take_status, 50)
        self.create_subscription(AnomalyScoreMsg, SCORE, self._take_score, 100)
        self.create_subscription(FailureEpisode, EPISODE, self._take_episode, EPISODE_QOS)

    def close(self) -> None:
        """Nothing is left to finish."""

    def _take_status(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if not status.name.startswith(self._prefix):
                continue
            name = status.name.removeprefix(self._prefix)
            if '/' in name:  # of another namespace
                continue
            level = LEVELS[min(status.level[0], len(LEVELS) - 1)]
            values = {v.key: v.value for v in status.values}
            self._board.nodes[name] = Told(level, status.message, values, time.monotonic())

    def _take_score(self, message: AnomalyScoreMsg) -> None:
        self._board.score = from_score(message)
        self._board.scores += 1

    def _take_episode(self, message: FailureEpisode) -> None:
        self._board.episodes[message.id] = Kept(
            message.id, tuple(message.causes), message.onset_ns
        )


class Listener:
    """A board that is kept up to date while it is told to listen."""

    def __init__(self, node: BoardNode, executor: SingleThreadedExecutor, board: Board) -> None:
        self.board = board
        self._node, self._executor = node, executor

    def listen(self, seconds: float) -> None:
        """Take in what comes within so long, one message at most."""
        self._executor.spin_once(timeout_sec=seconds)


@contextmanager
def listening(namespace: str) -> Iterator[Listener]:
    """A listener in the graph; signals stay the caller's."""
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    board = Board()
    node = BoardNode(board, namespace=namespace)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        yield Listener(node, executor, board)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()

# SPDX-License-Identifier: Apache-2.0
"""Graph → the state that `flywheel watch` shows; calls the recorder when somebody asks."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage
from std_srvs.srv import Trigger

from cosmos_flywheel.capture.live.watched import NodeWord, Shown, Watched
from cosmos_flywheel.msg import AnomalyScore, FailureEpisode
from cosmos_flywheel.nodes.board import EPISODE, EPISODE_QOS, LEVELS, PREFIX, SCORE
from cosmos_flywheel.nodes.convert import from_score
from cosmos_flywheel.nodes.diagnostics import Diagnostics, Status

OVERLAY = 'flywheel/overlay/compressed'
OVERLAY_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
CAPTURE = 'recorder/capture'
LOOK_S = 0.1
"""Requests, and whether somebody looks, are noticed after so long."""
PATIENCE_S = 5.0
"""The recorder has so long to answer."""


@dataclass(slots=True)
class _Asked:
    """A request to capture, and its answer once `done` is set."""

    done: threading.Event = field(default_factory=threading.Event)
    ok: bool = False
    words: str = 'The recorder did not answer.'


class Watching(Node):
    """Listens, and looks at the overlay only while a browser does.

    Args:
        watched: what is filled.
        on_close: called when the node ends.
        options: those of a Node.

    """

    def __init__(self, watched: Watched, on_close: Callable[[], None], **options: Any) -> None:
        super().__init__('watch', **options)
        self._watched, self._on_close = watched, on_close
        namespace = self.get_namespace().strip('/')
        self._prefix = f'{PREFIX}{namespace}/' if namespace else PREFIX
        self._asked: queue.SimpleQueue[_Asked] = queue.SimpleQueue()
        self._overlays: Any = None
        self.create_subscription(DiagnosticArray, '/diagnostics', self._take_status, 50)
        self.create_subscription(AnomalyScore, SCORE, self._take_score, 1000)
        self.create_subscription(FailureEpisode, EPISODE, self._take_episode, EPISODE_QOS)
        self._recorder = self.create_client(Trigger, CAPTURE)
        self._diagnostics = Diagnostics(self, '', self._status)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(LOOK_S, self._look, clock=steady)

    def close(self) -> None:
        """Stop serving."""
        self._on_close()

    def capture(self) -> tuple[bool, str]:
        """Ask the recorder for a capture and wait; called by other threads than the node's."""
        asked = _Asked()
        self._asked.put(asked)
        asked.done.wait(PATIENCE_S)
        return asked.ok, asked.words

    def _status(self) -> Status:
        return Status('ok', 'showing', {'browsers': self._watched.lookers})

    def _look(self) -> None:
        while not self._asked.empty():
            self._ask(self._asked.get())
        wanted = self._watched.lookers > 0
        if wanted and self._overlays is None:
            self._overlays = self.create_subscription(
                CompressedImage, OVERLAY, self._take_overlay, OVERLAY_QOS
            )
        elif not wanted and self._overlays is not None:
            self.destroy_subscription(self._overlays)
            self._overlays = None

    def _ask(self, asked: _Asked) -> None:
        if not self._recorder.service_is_ready():
            asked.words = 'There is no recorder.'
            asked.done.set()
            return

        def answered(future: Future) -> None:
            answer = future.result()
            if answer is not None:
                asked.ok, asked.words = bool(answer.success), str(answer.message)
            asked.done.set()

        self._recorder.call_async(Trigger.Request()).add_done_callback(answered)

    def _take_status(self, message: DiagnosticArray) -> None:
        for status in message.status:
            name = status.name.removeprefix(self._prefix)
            if name == status.name or '/' in name:  # of another package or namespace
                continue
            level = LEVELS[min(status.level[0], len(LEVELS) - 1)]
            values = {v.key: v.value for v in status.values}
            word = NodeWord(level, status.message, values, time.monotonic())
            self._watched.take_node(name, word)

    def _take_score(self, message: AnomalyScore) -> None:
        self._watched.take_score(from_score(message), time.monotonic())

    def _take_overlay(self, message: CompressedImage) -> None:
        self._watched.take_overlay(bytes(message.data), time.monotonic())

    def _take_episode(self, message: FailureEpisode) -> None:
        shown = Shown(
            message.id,
            tuple(message.causes),
            message.onset_ns,
            message.start_ns,
            message.end_ns,
            message.state,
        )
        self._watched.take_episode(shown, bytes(message.thumbnail.data))

# SPDX-License-Identifier: Apache-2.0
"""A robot for tests of the live graph: a bag said over DDS, faults of any kind laid over it."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.store.robots import load_robot

ROBOT = 'mujoco_push'
CAMERA, STATES, COMMANDS = '/camera/image_raw/compressed', '/joint_states', '/joint_commands'
NS = 10**9
Change = Callable[[bytes], bytes | None]


class Played:
    """Says a bag's messages again and again while the graph works, stamped with the wall clock.

    Args:
        graph: whose executor keeps it going.
        bag: what is said; all its messages begin with a header.
        namespace: of the robot.
        without: topics that never come, not even as publishers.

    """

    def __init__(
        self, graph: Any, bag: Path, namespace: str = '', without: tuple[str, ...] = ()
    ) -> None:
        from cosmos_flywheel.nodes.streams import message_class

        with open_bag(bag) as source:
            self._messages = list(source.messages(set(load_robot(ROBOT).topics) - set(without)))
        self._graph = graph
        self._node = graph.node('robot', namespace or '/')
        kinds = {m.topic: message_class(m.msgtype) for m in self._messages}
        self.speakers = {
            topic: self._node.create_publisher(kind, namespace + topic, 100)
            for topic, kind in kinds.items()
        }
        self.change: dict[str, Change] = {}
        """By topic, what is said instead; None for nothing."""
        self.ahead_ns = 0
        """How far the stamps of headers are beside the wall clock."""
        self.is_quiet = False
        """Whether nothing at all is said; time passes in the bag too."""
        self.said = 0
        self._began_ns, self._at = 0, 0

    def begin(self, listeners: int) -> None:
        """Wait for the listeners, then talk."""
        self.wait_for(listeners)
        self._began_ns = time.time_ns() + NS // 10
        self._node.create_timer(0.005, self._talk)

    def wait_for(self, listeners: int) -> None:
        """Until so many are matched with each topic; whoever is counted hears a little later."""
        counts = [s.get_subscription_count for s in self.speakers.values()]
        self._graph.until(lambda: all(c() >= listeners for c in counts), 'all listeners')

    def _talk(self) -> None:
        while (due_ns := self._due_ns()) <= time.time_ns():
            message = self._messages[self._at % len(self._messages)]
            self._at += 1
            if self.is_quiet:
                continue
            data = bytearray(message.data)
            stamp_ns = due_ns + self.ahead_ns
            struct.pack_into('<iI', data, 4, stamp_ns // NS, stamp_ns % NS)
            change = self.change.get(message.topic, bytes)
            said = change(bytes(data))
            if said is not None:
                self.speakers[message.topic].publish(said)
                self.said += 1

    def _due_ns(self) -> int:
        rounds, at = divmod(self._at, len(self._messages))
        first, last = self._messages[0].log_ns, self._messages[-1].log_ns
        round_ns = last - first + NS // 15
        return self._began_ns + rounds * round_ns + self._messages[at].log_ns - first


class Told:
    """What nodes say of themselves, and the scores."""

    def __init__(self, graph: Any, namespace: str = '', name: str = 'told') -> None:
        from diagnostic_msgs.msg import DiagnosticArray

        from cosmos_flywheel.msg import AnomalyScore, FailureEpisode, Prediction
        from cosmos_flywheel.nodes.board import EPISODE_QOS

        self._graph = graph
        self._words: dict[str, str] = {}
        self.values: dict[str, dict[str, str]] = {}
        """By node, its newest figures."""
        self.scores: list[Any] = []
        self.predictions: list[Any] = []
        self.episodes: list[Any] = []
        self.node = node = graph.node(name)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._take, 100)
        topic = f'{namespace}/flywheel/'
        node.create_subscription(AnomalyScore, topic + 'score', self.scores.append, 1000)
        node.create_subscription(Prediction, topic + 'prediction', self.predictions.append, 100)
        node.create_subscription(
            FailureEpisode, topic + 'episode', self.episodes.append, EPISODE_QOS
        )

    def _take(self, message: Any) -> None:
        for status in message.status:
            name = status.name.removeprefix('cosmos_flywheel/')
            self._words[name] = status.message
            self.values[name] = {v.key: v.value for v in status.values}

    def words(self, name: str) -> str:
        """What a node said last."""
        return self._words.get(name, '')

    def until_says(self, name: str, words: str, patience_s: float = 60.0) -> None:
        """Wait until a node says this."""
        try:
            self._graph.until(lambda: words in self.words(name), f'{name}: {words}', patience_s)
        except AssertionError as error:
            raise AssertionError(f'{error}; it says: {self.words(name)}') from None

    def more_scores(self, count: int = 15) -> list[Any]:
        """Wait for so many new scores; returns them."""
        begin = len(self.scores)
        self._graph.until(lambda: len(self.scores) >= begin + count, f'{count} more scores')
        return self.scores[begin:]

    def until_seen(self) -> None:
        """Wait until predictions are compared with pictures again."""
        begin = len(self.scores)
        self._graph.until(
            lambda: any(has_picture(s) for s in self.scores[begin:]), 'a score of the picture'
        )


def has_picture(score: Any) -> bool:
    """Whether the picture could be judged at this tick."""
    return any(c.name == 'picture' and c.score == c.score for c in score.channels)


def stamp_ns(message: Any) -> int:
    """Of its header."""
    return int(message.header.stamp.sec) * NS + int(message.header.stamp.nanosec)

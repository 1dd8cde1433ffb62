# SPDX-License-Identifier: Apache-2.0
"""What a graph says of itself → what the page of `flywheel watch` is told, as plain JSON.

Filled by one thread and read by others.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cosmos_flywheel.core.types import AnomalyScore

SPAN_S = 120.0
"""So much of the scores is shown."""
MOST_POINTS = 12_000
"""Scores that are held: 120 s of 100 Hz."""
MOST_EPISODES = 200
OWN = 'watch'
"""The node that serves the page."""
SILENT_S = 5.0
"""A node, the scores or the overlay, from which nothing came for so long, is called silent."""


@dataclass(frozen=True, slots=True)
class NodeWord:
    """A node's newest status."""

    level: str
    message: str
    values: Mapping[str, str]
    at_s: float
    """When it came, on a clock that never jumps."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An episode as the list shows it."""

    id: str
    causes: tuple[str, ...]
    onset_ns: int
    start_ns: int
    end_ns: int
    state: str = 'untriaged'
    has_picture: bool = False
    has_strip: bool = False
    has_video: bool = False

    def told(self) -> dict[str, Any]:
        """As JSON; instants in ms of Unix time, which is what browsers count in."""
        return {
            'id': self.id,
            'causes': list(self.causes),
            'onset_ms': self.onset_ns // 1_000_000,
            'seconds': round((self.end_ns - self.start_ns) / 1e9, 1),
            'state': self.state,
            'picture': self.has_picture,
            'strip': self.has_strip,
            'video': self.has_video,
        }


class Watched:
    """All that is known at present; each method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._nodes: dict[str, NodeWord] = {}
        self._points: deque[tuple[int, float, list[Any]]] = deque(maxlen=MOST_POINTS)
        self._count = 0
        self._episodes: dict[str, Shown] = {}
        self._thumbnails: dict[str, bytes] = {}
        self._overlay = b''
        self._overlay_number = 0
        self._overlay_s = -math.inf
        self._lookers = 0

    def take_node(self, name: str, word: NodeWord) -> None:
        """A node said how it is."""
        with self._lock:
            self._nodes[name] = word

    def take_score(self, score: AnomalyScore, now_s: float) -> None:
        """A tick was scored."""
        channels = [
            [c.name, _share(c.score, c.threshold), c.alarm, c.detail if c.alarm else '']
            for c in score.channels
        ]
        with self._lock:
            self._count += 1
            self._points.append((self._count, now_s, channels))
            while self._points[0][1] < now_s - SPAN_S:
                self._points.popleft()

    def take_episode(self, episode: Shown, thumbnail: bytes) -> None:
        """The recorder announced an episode."""
        with self._lock:
            self._episodes[episode.id] = replace(episode, has_picture=bool(thumbnail))
            self._thumbnails[episode.id] = thumbnail
            while len(self._episodes) > MOST_EPISODES:
                oldest = next(iter(self._episodes))
                del self._episodes[oldest], self._thumbnails[oldest]

    def take_overlay(self, jpeg: bytes, now_s: float) -> None:
        """The monitor drew an overlay."""
        with self._lock:
            self._overlay, self._overlay_s = jpeg, now_s
            self._overlay_number += 1
            self._lock.notify_all()

    def look(self, by: int) -> None:
        """One browser more (1) or less (-1) looks at the overlay."""
        with self._lock:
            self._lookers += by

    @property
    def lookers(self) -> int:
        """How many browsers look at the overlay."""
        return self._lookers

    def overlay_after(self, number: int, timeout_s: float) -> tuple[int, bytes]:
        """Wait for an overlay newer than that one; no bytes if none came in time."""
        with self._lock:
            if self._lock.wait_for(lambda: self._overlay_number > number, timeout_s):
                return self._overlay_number, self._overlay
        return number, b''

    def thumbnail(self, episode_id: str) -> bytes:
        """The JPEG that was announced with an episode; empty without one."""
        with self._lock:
            return self._thumbnails.get(episode_id, b'')

    def told(self, now_s: float, after: int, on_disk: Mapping[str, Shown]) -> dict[str, Any]:
        """The state of now; of the scores those after that number, the first being 1."""
        with self._lock:
            nodes = dict(self._nodes)
            points = [point for point in self._points if point[0] > after]
            newest_s = self._points[-1][1] if self._points else None
            count, overlay_s = self._count, self._overlay_s
            episodes = self._episodes | dict(on_disk)
        score_age_s = None if newest_s is None else now_s - newest_s
        level, words = _standing(nodes, score_age_s, now_s)
        newest = sorted(episodes.values(), key=lambda e: (-e.onset_ns, e.id))
        return {
            'now_s': now_s,
            'span_s': SPAN_S,
            'standing': {'level': level, 'words': words},
            'nodes': {name: _node(nodes[name], now_s) for name in sorted(nodes)},
            'count': count,
            'points': [[at_s, channels] for _, at_s, channels in points],
            'score_age_s': score_age_s,
            'overlay': now_s - overlay_s < SILENT_S,
            'recorder': _speaks(nodes, 'recorder', now_s),
            'episode_count': len(newest),
            'episodes': [episode.told() for episode in newest[:MOST_EPISODES]],
        }


def _standing(
    nodes: Mapping[str, NodeWord], score_age_s: float | None, now_s: float
) -> tuple[str, str]:
    """How the graph stands, in one sentence; the page's own node is no graph."""
    nodes = {name: word for name, word in nodes.items() if name != OWN}
    if not any(now_s - word.at_s <= SILENT_S for word in nodes.values()):
        if not nodes:
            return 'waiting', 'No graph is there yet. This page waits for it.'
        return 'error', 'The graph is silent. This page waits for it.'
    for name in ('predictor', 'monitor'):
        if not _speaks(nodes, name, now_s):
            gone = 'has gone silent' if name in nodes else 'is not there'
            newest = (
                '' if score_age_s is None else f' The newest score is {score_age_s:.0f} s old.'
            )
            return 'error', f'The {name} {gone}.{newest}'
    if score_age_s is None:
        return 'waiting', 'No score has come yet.'
    if score_age_s > SILENT_S:
        return 'warn', f'No score has come for {score_age_s:.0f} s.'
    if not _speaks(nodes, 'recorder', now_s):
        return 'warn', 'Scores come in. Without a recorder nothing is kept.'
    return 'ok', 'Scores come in, and the recorder listens.'


def _speaks(nodes: Mapping[str, NodeWord], name: str, now_s: float) -> bool:
    return name in nodes and now_s - nodes[name].at_s <= SILENT_S


def _node(word: NodeWord, now_s: float) -> dict[str, Any]:
    age_s = now_s - word.at_s
    level = 'silent' if age_s > SILENT_S else word.level
    return {'level': level, 'message': word.message, 'values': dict(word.values), 'age_s': age_s}


def _share(score: float, threshold: float) -> float | None:
    """A score in multiples of its threshold; None where there is nothing to say."""
    if not (math.isfinite(score) and math.isfinite(threshold) and threshold > 0):
        return None
    return round(score / threshold, 4)

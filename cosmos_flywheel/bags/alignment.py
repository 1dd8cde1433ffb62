# SPDX-License-Identifier: Apache-2.0
"""Messages of one robot → ticks of its clock: decoded, stamped and laid side by side."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from cosmos_flywheel.bags.picture import decode_picture, peek_size
from cosmos_flywheel.bags.stamp import header_stamp_ns
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError, PictureError
from cosmos_flywheel.core.source import Source, SourceReader
from cosmos_flywheel.core.timeline import NS, Tick, Timeline, Value

HEADERLESS_OFFSET_NS = NS
"""Messages without a header carry the time of recording; where that clock differs from the
headers' by more than this, the difference is taken off."""
TOO_LARGE = 1e18
"""No unit that robots use reaches it, and its square is still a float32."""

Lose = Callable[[str, int, str, str], None]
"""Told what could not be used: topic, stamp, reason and detail."""


class Alignment:
    """Lays the messages of one source on the robot's clock, in the order of arrival.

    Args:
        robot: which topics mean what.
        topics: those of the robot's topics that this source has.
        size: (H, W) to which pictures are brought; None leaves them as they are.
        lose: told of every message, or part of one, that could not be used.

    Raises:
        ConfigError: none of the robot's topics is there.

    """

    def __init__(
        self,
        robot: Robot,
        topics: Collection[str],
        size: tuple[int, int] | None = None,
        lose: Lose | None = None,
    ) -> None:
        self.robot = robot
        self.cameras = {c.topic: c.name for c in robot.cameras if c.topic in topics}
        self._readers = [(s, s.reader()) for s in (*robot.state_sources, *robot.action_sources)]
        self.topics = tuple(t for t in robot.topics if t in topics)
        watched = [*self.cameras, *(s.topic for s, _ in self._readers if s.topic in topics)]
        self.watched = tuple(dict.fromkeys(watched))
        """Topics whose values are on the timeline."""
        self.pictures = 0
        """Decoded so far."""
        self._size = size
        self._lose = lose or _forget
        self._sizes: dict[str, tuple[int, int]] = {}
        self._apart_ns = 0
        self._offsets_ns: dict[int, int] = {}
        """By segment: headers' clock minus recorder's, 0 if they are about the same."""
        self._timeline = self._make_timeline(topics)

    @property
    def segment(self) -> int:
        """Counts the times that the clock began anew."""
        return self._timeline.segment

    def stamp_ns(self, topic: str, log_ns: int, message: Any) -> int:
        """The header's stamp; for a message without one, the time of recording on that clock."""
        offset_ns = self.robot.clock.offset_ns(topic)
        stamp_ns = header_stamp_ns(message)
        segment = self.segment
        if stamp_ns is None:
            return log_ns + self._offsets_ns.get(segment, 0) + offset_ns
        if topic in self.watched:
            apart_ns = stamp_ns + offset_ns - log_ns
            self._apart_ns = apart_ns if abs(apart_ns) > HEADERLESS_OFFSET_NS else 0
        if topic == self.watched[0]:
            self._offsets_ns.setdefault(segment, self._apart_ns)
        return stamp_ns + offset_ns

    def take(self, topic: str, stamp_ns: int, message: Any) -> list[Tick]:
        """Take one message in, stamped by `stamp_ns`; returns the ticks that it closes."""
        ticks: list[Tick] = []
        segment = self.segment
        if topic in self.watched and topic not in self.cameras:
            self._timeline.note(topic, stamp_ns)
        if topic in self.cameras:
            ticks += self._take_picture(topic, stamp_ns, message)
        for source, reader in self._readers:
            if topic in source.context_topics:
                reader.learn(message)
            if topic == source.topic:
                ticks += self._take_values(source, reader, stamp_ns, message)
        if self.segment != segment:
            self._offsets_ns[self.segment] = self._apart_ns
        return ticks

    def flush(self) -> list[Tick]:
        """The ticks that still wait at the end of a recording."""
        return self._timeline.flush()

    def log_ns(self, tick: Tick) -> int:
        """When, on the recorder's clock, the tick's messages were recorded."""
        return tick.stamp_ns - self._offsets_ns.get(tick.segment, 0)

    def _make_timeline(self, topics: Collection[str]) -> Timeline:
        primary_first = sorted(
            (c for c in self.robot.cameras if c.topic in topics), key=lambda c: not c.primary
        )
        robot = self.robot
        sources = (*robot.state_sources, *robot.action_sources)
        present = [c.name for c in primary_first] + [s.key for s in sources if s.topic in topics]
        if not present:
            raise ConfigError(
                f'none of the topics of robot {robot.name!r} is here ({", ".join(robot.topics)}); '
                f'see what is with `flywheel inspect`, and write a robot file with `flywheel init`'
            )
        return Timeline(
            cameras=[c.name for c in primary_first],
            state=[(s.key, len(s.names)) for s in robot.state_sources],
            action=[(s.key, len(s.names)) for s in robot.action_sources],
            clock_hz=robot.clock.hz,
            pacer=present[0],
            max_age_ns=robot.clock.max_age_ns,
        )

    def _take_picture(self, topic: str, stamp_ns: int, message: Any) -> list[Tick]:
        """Decode a picture; one that cannot be decoded is counted and has not come."""
        try:
            picture = decode_picture(message, shrink_to=self._size)
        except PictureError as error:
            self._lose(topic, stamp_ns, 'undecodable', str(error))
            return []
        self._note_size(topic, stamp_ns, peek_size(message))
        self.pictures += 1
        self._timeline.note(topic, stamp_ns)
        return self._push(topic, self.cameras[topic], stamp_ns, picture)

    def _take_values(
        self, source: Source, reader: SourceReader, stamp_ns: int, message: Any
    ) -> list[Tick]:
        values = reader.read(message)
        if values is None:
            return []
        sound = np.abs(values) < TOO_LARGE
        if not sound.all():
            detail = f'NaN, inf, beyond {TOO_LARGE:g} or a missing name'
            self._lose(source.topic, stamp_ns, 'not_finite', detail)
            values = np.where(sound, values, np.float32(np.nan))
        return self._push(source.topic, source.key, stamp_ns, values)

    def _push(self, topic: str, key: str, stamp_ns: int, value: Value) -> list[Tick]:
        """Lay a value on the timeline, noticing what the timeline refuses."""
        losses = self._timeline.losses[key]
        before = losses.out_of_order, losses.resets
        ticks = self._timeline.push(key, stamp_ns, value)
        if losses.out_of_order > before[0]:
            self._lose(topic, stamp_ns, 'out_of_order', 'stamped before an earlier message')
        if losses.resets > before[1]:
            self._lose(topic, stamp_ns, 'clock_reset', 'stamps stepped back: the clock began anew')
        return ticks

    def _note_size(self, topic: str, stamp_ns: int, size: tuple[int, int]) -> None:
        before = self._sizes.setdefault(topic, size)
        if before != size:
            self._sizes[topic] = size
            self._lose(
                topic,
                stamp_ns,
                'resized',
                f'{before[1]}x{before[0]} px became {size[1]}x{size[0]} px',
            )


def _forget(_topic: str, _stamp_ns: int, _reason: str, _detail: str) -> None:
    """Mind no loss."""

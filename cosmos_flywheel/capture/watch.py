# SPDX-License-Identifier: Apache-2.0
"""Messages of one robot → moments: what was known at a tick beside what had been predicted for it.

The same objects serve a recorded bag and the live nodes; nothing here knows where messages come
from, and nothing reads ahead of the stamp that it judges.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from cosmos_flywheel.bags.picture import decode_picture, peek_size
from cosmos_flywheel.bags.stamp import header_stamp_ns
from cosmos_flywheel.capture.hindsight import Hindsight
from cosmos_flywheel.capture.loss import Loss
from cosmos_flywheel.core.channels import (
    ActionChannel,
    Channel,
    ClockChannel,
    Moment,
    OutcomeChannel,
    PictureChannel,
    StateChannel,
    StreamChannel,
    TrackingChannel,
)
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError, PictureError
from cosmos_flywheel.core.prior import Prior
from cosmos_flywheel.core.source import Source, SourceReader
from cosmos_flywheel.core.timeline import NS, Tick, Timeline, Value
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.engines.base import WorldModel

HEADERLESS_OFFSET_NS = NS
"""Messages without a header carry the time of recording; where that clock differs from the
headers' by more than this, the difference is taken off."""
TOO_LARGE = 1e18
"""No unit that robots use reaches it, and its square is still a float32."""


class Watcher:
    """Decodes, aligns and predicts; feed it messages in the order of arrival.

    Args:
        robot: which topics mean what.
        engine: a world model, opened here; the caller closes it.
        topics: those of the robot's topics that this source has.
        prior: what the robot is usually told; without one, actions surprise nobody.

    """

    def __init__(
        self,
        robot: Robot,
        engine: WorldModel,
        topics: Collection[str],
        prior: Prior | None = None,
    ) -> None:
        self.robot = robot
        self.engine = engine
        self.cameras = {c.topic: c.name for c in robot.cameras if c.topic in topics}
        self._readers = [(s, s.reader()) for s in (*robot.state_sources, *robot.action_sources)]
        self.topics = tuple(t for t in robot.topics if t in topics)
        watched = [*self.cameras, *(s.topic for s, _ in self._readers if s.topic in topics)]
        self.watched = tuple(dict.fromkeys(watched))
        self.pictures = 0
        self.predictions = 0
        self._losses: list[Loss] = []
        self._sizes: dict[str, tuple[int, int]] = {}
        self._clock = ClockChannel(self.watched)
        self._outcome = OutcomeChannel(robot.outcomes, topics)
        self._prior = prior
        self._apart_ns = 0
        self._offsets_ns: dict[int, int] = {}
        """By segment: headers' clock minus recorder's, 0 if they are about the same."""
        self._timeline = self._make_timeline(topics)
        self.hindsight = Hindsight(robot, engine)
        self.channels: tuple[Channel, ...] = tuple(self._make_channels())

    def stamp_ns(self, topic: str, log_ns: int, message: Any) -> int:
        """The header's stamp; for a message without one, the time of recording on that clock."""
        offset_ns = self.robot.clock.offset_ns(topic)
        stamp_ns = header_stamp_ns(message)
        segment = self._timeline.segment
        if stamp_ns is None:
            return log_ns + self._offsets_ns.get(segment, 0) + offset_ns
        if topic in self.watched:
            apart_ns = stamp_ns + offset_ns - log_ns
            self._apart_ns = apart_ns if abs(apart_ns) > HEADERLESS_OFFSET_NS else 0
        if topic == self.watched[0]:
            self._offsets_ns.setdefault(segment, self._apart_ns)
        return stamp_ns + offset_ns

    def take(self, topic: str, stamp_ns: int, message: Any) -> list[Moment]:
        """Take one message in, stamped by `stamp_ns`; returns the moments that it completes."""
        return self._moments(self.align(topic, stamp_ns, message))

    def align(self, topic: str, stamp_ns: int, message: Any) -> list[Tick]:
        """Take one message in, and leave its ticks to be foretold and compared elsewhere."""
        ticks: list[Tick] = []
        segment = self._timeline.segment
        if topic in self.watched:
            if header_stamp_ns(message) is not None:  # others tell nothing of clocks
                self._clock.arrived(topic, stamp_ns)
            if topic not in self.cameras:
                self._timeline.note(topic, stamp_ns)
        if topic in self.cameras:
            ticks += self._take_picture(topic, stamp_ns, message)
        for source, reader in self._readers:
            if topic in source.context_topics:
                reader.learn(message)
            if topic == source.topic:
                ticks += self._take_values(source, reader, stamp_ns, message)
        if self._timeline.segment != segment:
            self._offsets_ns[self._timeline.segment] = self._apart_ns
        for problem in self._outcome.arrived(topic, stamp_ns, message, self._timeline.segment):
            self._lose(topic, stamp_ns, 'not_judged', problem)
        return ticks

    def finish(self) -> list[Moment]:
        """The moments that still wait at the end of a recording."""
        return self._moments(self._timeline.flush())

    def show(self) -> Picture | None:
        """The newest moment's expected picture, for people."""
        return self.hindsight.show()

    def take_losses(self) -> list[Loss]:
        """What was lost since the last call."""
        losses, self._losses = self._losses, []
        return losses

    def log_ns(self, moment: Moment) -> int:
        """When, on the recorder's clock, the moment's messages were recorded."""
        return moment.tick.stamp_ns - self._offsets_ns.get(moment.tick.segment, 0)

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

    def _make_channels(self) -> Iterable[Channel]:
        """Those that this source can feed."""
        robot, present = self.robot, set(self.watched)
        has_state = any(s.topic in present for s in robot.state_sources)
        if self.cameras:
            yield PictureChannel(self.engine.spec.residual_size, self._ahead())
        if has_state and self.engine.spec.predicts_state:
            yield StateChannel(robot.state_names, self._ahead())
        has_action = any(s.topic in present for s in robot.action_sources)
        if has_state and has_action and robot.tracking_pairs:
            reached = [s for _, s in robot.tracking_pairs]
            units = [unit for source in robot.state_sources for unit in source.units]
            yield TrackingChannel(
                robot.tracking_pairs,
                [robot.state_names[s] for s in reached],
                robot.clock.hz,
                [units[s] for s in reached],
            )
        if has_action and self._prior is not None:
            yield ActionChannel(robot.action_names, self._prior)
        yield StreamChannel(self.watched, tuple(self.cameras.values()))
        yield self._clock
        if self._outcome.elements:
            yield self._outcome

    def _ahead(self) -> tuple[float, ...]:
        """How far ahead predictions are compared, in seconds."""
        return tuple(h / self.robot.clock.hz for h in self.engine.spec.horizons)

    def _take_picture(self, topic: str, stamp_ns: int, message: Any) -> list[Tick]:
        """Decode a picture; one that cannot be decoded is counted and has not come."""
        try:
            picture = decode_picture(message, shrink_to=self.engine.spec.size)
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

    def _lose(self, topic: str, stamp_ns: int, reason: str, detail: str) -> None:
        self._losses.append(Loss(topic, stamp_ns, reason, detail))

    def _moments(self, ticks: Iterable[Tick]) -> list[Moment]:
        moments = [self.hindsight.compare(t, self.hindsight.foretell(t)) for t in ticks]
        self.predictions += sum(
            any(p is not None for p in m.predicted_states) or m.predicted is not None
            for m in moments
        )
        return moments

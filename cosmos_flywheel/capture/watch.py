# SPDX-License-Identifier: Apache-2.0
"""Messages of one robot → moments: what was known at a tick beside what had been predicted for it.

The same objects serve a recorded bag and the live nodes; nothing here knows where messages come
from, and nothing reads ahead of the stamp that it judges.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from cosmos_flywheel.bags.alignment import Alignment
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
from cosmos_flywheel.core.prior import Prior
from cosmos_flywheel.core.timeline import Tick
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.engines.base import WorldModel


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
        self._alignment = Alignment(robot, topics, engine.spec.size, self._lose)
        self.cameras = self._alignment.cameras
        self.topics = self._alignment.topics
        self.watched = self._alignment.watched
        self.predictions = 0
        self._losses: list[Loss] = []
        self._clock = ClockChannel(self.watched)
        self._outcome = OutcomeChannel(robot.outcomes, topics)
        self._prior = prior
        self.hindsight = Hindsight(robot, engine)
        self.channels: tuple[Channel, ...] = tuple(self._make_channels())

    @property
    def pictures(self) -> int:
        """Decoded so far."""
        return self._alignment.pictures

    def stamp_ns(self, topic: str, log_ns: int, message: Any) -> int:
        """The header's stamp; for a message without one, the time of recording on that clock."""
        return self._alignment.stamp_ns(topic, log_ns, message)

    def take(self, topic: str, stamp_ns: int, message: Any) -> list[Moment]:
        """Take one message in, stamped by `stamp_ns`; returns the moments that it completes."""
        return self._moments(self.align(topic, stamp_ns, message))

    def align(self, topic: str, stamp_ns: int, message: Any) -> list[Tick]:
        """Take one message in, and leave its ticks to be foretold and compared elsewhere."""
        # Messages without a header tell nothing of clocks.
        if topic in self.watched and header_stamp_ns(message) is not None:
            self._clock.arrived(topic, stamp_ns)
        ticks = self._alignment.take(topic, stamp_ns, message)
        segment = self._alignment.segment
        for problem in self._outcome.arrived(topic, stamp_ns, message, segment):
            self._lose(topic, stamp_ns, 'not_judged', problem)
        return ticks

    def finish(self) -> list[Moment]:
        """The moments that still wait at the end of a recording."""
        return self._moments(self._alignment.flush())

    def show(self) -> Picture | None:
        """The newest moment's expected picture, for people."""
        return self.hindsight.show()

    def take_losses(self) -> list[Loss]:
        """What was lost since the last call."""
        losses, self._losses = self._losses, []
        return losses

    def log_ns(self, moment: Moment) -> int:
        """When, on the recorder's clock, the moment's messages were recorded."""
        return self._alignment.log_ns(moment.tick)

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

    def _lose(self, topic: str, stamp_ns: int, reason: str, detail: str) -> None:
        self._losses.append(Loss(topic, stamp_ns, reason, detail))

    def _moments(self, ticks: Iterable[Tick]) -> list[Moment]:
        moments = [self.hindsight.compare(t, self.hindsight.foretell(t)) for t in ticks]
        self.predictions += sum(
            any(p is not None for p in m.predicted_states) or m.predicted is not None
            for m in moments
        )
        return moments

# SPDX-License-Identifier: Apache-2.0
"""One robot's messages off the wire → ticks, as a harvest makes them of a bag.

A bag says at once which topics it has and how large its pictures are. Here that is waited for, a
little; a topic that comes later makes the watch begin anew with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cosmos_flywheel.bags.picture import decode_picture
from cosmos_flywheel.bags.wire import WireTypes
from cosmos_flywheel.capture.loss import Loss
from cosmos_flywheel.capture.model import Judge, grounding_of
from cosmos_flywheel.capture.watch import Watcher
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import BagError, ConfigError, PictureError
from cosmos_flywheel.core.grounding import Grounding
from cosmos_flywheel.core.timeline import NS, Tick
from cosmos_flywheel.engines import WorldModel

PATIENCE_NS = 2 * NS
"""So long after the first message, what has not come is done without."""


OF_THE_LEVEL = frozenset({'picture', 'state', 'action_surprise'})
"""Channels that judge by the engine's predictions, or by what was learnt with it."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One message as it came; `topic` is named as in the robot file."""

    topic: str
    msgtype: str
    received_ns: int
    data: bytes


class Feed:
    """Takes messages in the order of arrival, gives ticks; nothing is dropped.

    Args:
        robot: which topics mean what.
        judge: for whose engine pictures are decoded.
        types: what deserializes.
        patience_ns: how long to wait for the robot's topics, by the clock of `received_ns`.

    """

    def __init__(
        self, robot: Robot, judge: Judge, types: WireTypes, patience_ns: int = PATIENCE_NS
    ) -> None:
        judge.check_robot(robot)
        self.robot = robot
        self.judge = judge
        self.watcher: Watcher | None = None
        """None while topics are waited for."""
        self.beginnings = 0
        """How often a watcher was made: whoever keeps something of one must let go of it."""
        self._types = types
        self._patience_ns = patience_ns
        self._early: list[Heard] = []
        self._present: set[str] = set()
        self._losses: list[Loss] = []
        self._size: tuple[int, int] | None = None

    @property
    def engine(self) -> WorldModel:
        """Of the present watcher."""
        assert self.watcher is not None
        return self.watcher.engine

    @property
    def grounding(self) -> Grounding:
        """How far the engine's predictions rest on actions; unknown before there is one."""
        return Grounding(True) if self.watcher is None else grounding_of(self.judge, self.engine)

    @property
    def present(self) -> frozenset[str]:
        """The robot's topics that have come."""
        return frozenset(self._present)

    def take(self, heard: Heard) -> list[Tick]:
        """One message in; returns the ticks that it completes.

        Raises:
            ConfigError: the camera is not the one that the model was fitted to, or none of the
                robot's topics came.

        """
        if heard.topic not in self._present:
            self._present.add(heard.topic)
            if self.watcher is not None:
                self._begin([heard])
        if self.watcher is not None:
            return self._align(heard)
        self._early.append(heard)
        waited_ns = heard.received_ns - self._early[0].received_ns
        if not self._present >= set(self.robot.topics) and 0 <= waited_ns < self._patience_ns:
            return []
        early, self._early = self._early, []
        self._begin(early)
        return [tick for one in early for tick in self._align(one)]

    def begin_anew(self) -> None:
        """Let go of the past."""
        if self.watcher is not None:
            self._begin(())

    def change_level(self, judge: Judge) -> None:
        """Go on with another judge; what does not hang on predictions keeps its past."""
        self.judge = judge
        before = self.watcher
        if before is None:
            return
        self._begin(())
        fresh = self.watcher
        if fresh is None or fresh.engine.spec.size != before.engine.spec.size:
            return  # pictures that were kept do not fit the engine: all begins anew
        kept = {c.name: c for c in before.channels if c.name not in OF_THE_LEVEL}
        before.engine, before.hindsight = fresh.engine, fresh.hindsight
        before.channels = tuple(kept.get(c.name, c) for c in fresh.channels)
        self.watcher = before

    def take_losses(self) -> list[Loss]:
        """What was lost since the last call."""
        losses, self._losses = self._losses, []
        if self.watcher is not None:
            losses += self.watcher.take_losses()
        return losses

    def _begin(self, early: Sequence[Heard]) -> None:
        self._size = self._size_in(early) or self._size
        engine = self.judge.make_engine(self._size)
        self.watcher = Watcher(self.robot, engine, self._present, self.judge.prior)
        self.beginnings += 1

    def _size_in(self, early: Sequence[Heard]) -> tuple[int, int] | None:
        """(H, W) of the first sound picture of the robot's first camera that has one."""
        for camera in self.robot.cameras:
            for one in early:
                if one.topic != camera.topic:
                    continue
                try:
                    return decode_picture(self._deserialize(one)).shape[:2]
                except (BagError, PictureError):
                    continue
        return None

    def _align(self, heard: Heard) -> list[Tick]:
        assert self.watcher is not None
        try:
            message = self._deserialize(heard)
        except BagError as error:
            self._losses.append(Loss(heard.topic, heard.received_ns, 'unreadable', str(error)))
            return []
        stamp_ns = self.watcher.stamp_ns(heard.topic, heard.received_ns, message)
        try:
            return self.watcher.align(heard.topic, stamp_ns, message)
        except (ConfigError, AttributeError, TypeError, ValueError) as error:
            # A message of another type than the robot file means; the others go on.
            words = f'{heard.msgtype} is not what the robot file means: {error}'
            self._losses.append(Loss(heard.topic, heard.received_ns, 'not_understood', words))
            return []

    def _deserialize(self, heard: Heard) -> object:
        return self._types.deserialize(heard.topic, heard.msgtype, heard.received_ns, heard.data)

# SPDX-License-Identifier: Apache-2.0
"""A bag's messages through the live path, without its processes: both sides take turns."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from pathlib import Path

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.bags.wire import WireTypes
from cosmos_flywheel.capture.live.comparing import Compared, Comparing
from cosmos_flywheel.capture.live.feed import Heard
from cosmos_flywheel.capture.live.predicting import Foretold, Predicting
from cosmos_flywheel.capture.model import Judge
from cosmos_flywheel.core.contract import Robot

PATIENCE_S = 60.0
"""An engine may take so long for one message."""


def watched(bag: Path, robot: Robot, judges: Mapping[str, Judge]) -> list[Compared]:
    """What the live path makes of a bag; nothing comes late."""
    types = WireTypes([])
    told: queue.Queue[Foretold] = queue.Queue()
    predicting = Predicting(robot, judges, types, told.put, hung_s=PATIENCE_S)
    comparing = Comparing(robot, judges, types)
    found: list[Compared] = []
    try:
        for heard in heard_in(bag, robot):
            predicting.take(heard)
            predicting.wait(PATIENCE_S)
            while not told.empty():
                for prediction in told.get().predictions:
                    comparing.give(prediction)
            comparing.take(heard, heard.received_ns)
            found += comparing.settled(heard.received_ns)
    finally:
        predicting.close()
    assert not predicting.problem
    assert predicting.skipped == 0
    return found


def heard_in(bag: Path, robot: Robot) -> list[Heard]:
    """All messages of the robot's topics."""
    with open_bag(bag) as source:
        return [
            Heard(raw.topic, raw.msgtype, raw.log_ns, bytes(raw.data))
            for raw in source.messages(set(robot.topics))
        ]

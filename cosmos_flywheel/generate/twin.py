# SPDX-License-Identifier: Apache-2.0
"""The simulated twin under changed commands: what physics shows, and where everything truly is."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.generate.steering import Floats
from cosmos_flywheel.sim.world import Robot, Setup

TELLS: Mapping[str, str] = {'arm': 'hand', 'base': 'odometry'}
"""By robot, the true value that its commands move."""


@dataclass(frozen=True, slots=True)
class Course:
    """What came of one chunk."""

    picture: Picture
    """At its end."""
    truth: Floats
    """What `TELLS` names, at its end."""


def course(robot: Robot, setup: Setup, start: int, steps: int, offset: Floats) -> Course:
    """An episode up to the end of a chunk that is changed by a ramp.

    Args:
        robot: the twin.
        setup: its episode.
        start: camera tick at which the chunk begins.
        steps: of the chunk, in camera ticks.
        offset: (A,) what the ramp ends at.

    Raises:
        SimError: the simulator cannot run or render here.

    """
    periods = robot.control_hz // robot.camera_hz
    with closing(robot.start(setup)) as world:
        for _ in range(start * periods):
            world.step(world.command())
        for period in range(steps * periods):
            share = min(1.0, (period // periods + 1) / steps)
            world.step(world.command() + share * offset)
        return Course(world.picture(), np.asarray(world.truth()[TELLS[robot.name]], np.float64))

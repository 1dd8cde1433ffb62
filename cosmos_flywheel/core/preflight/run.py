# SPDX-License-Identifier: Apache-2.0
"""All checks in the order in which one explains another: the likeliest cause stands first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.lineage import config_hash
from cosmos_flywheel.core.preflight.belief import Belief
from cosmos_flywheel.core.preflight.clamp import CLAMPED, check_clamped
from cosmos_flywheel.core.preflight.finding import Finding, Report
from cosmos_flywheel.core.preflight.frame import FRAME, check_frame
from cosmos_flywheel.core.preflight.gripper import (
    RANGE,
    SENSE,
    check_gripper_range,
    check_gripper_sense,
)
from cosmos_flywheel.core.preflight.kind import KIND, check_kind
from cosmos_flywheel.core.preflight.log import Log
from cosmos_flywheel.core.preflight.match import matches
from cosmos_flywheel.core.preflight.normaliser import (
    NORMALISER,
    WIDTH,
    check_normaliser,
    check_width,
)
from cosmos_flywheel.core.preflight.order import ORDER, SIGN, check_order, check_sign
from cosmos_flywheel.core.preflight.presence import PRESENCE, check_presence
from cosmos_flywheel.core.preflight.rotation import ROTATION, check_rotation
from cosmos_flywheel.core.preflight.sight import (
    STILL,
    TIME,
    TOLD,
    check_picture_time,
    check_still,
    check_told,
)
from cosmos_flywheel.core.preflight.study import Study
from cosmos_flywheel.core.preflight.timing import OFFSET, RATE, check_offset, check_rate
from cosmos_flywheel.core.preflight.units import UNITS, check_units

CHECKS = (
    PRESENCE, WIDTH, RATE, TOLD, KIND, FRAME, ORDER, SIGN, UNITS, ROTATION, OFFSET, CLAMPED,
    RANGE, SENSE, NORMALISER, STILL, TIME,
)  # fmt: skip
"""The name of every check, in the order of a report."""


def preflight(robot: Robot, logs: Sequence[Log]) -> Report:
    """Check what a robot file says against recordings.

    Raises:
        ConfigError: the recordings hold no commands of the robot, or too few.

    """
    study = Study(robot, logs)
    if not study.stretches:
        topics = ', '.join(dict.fromkeys(s.topic for s in robot.action_sources)) or 'none named'
        raise ConfigError(
            f'robot {robot.name!r}: no commands in these recordings ({topics}); record them, or '
            f'name their topic in action.sources'
        )
    findings = tuple(_findings(Belief(study)))
    return Report(robot.name, contract_hash(robot), len(logs), findings)


def contract_hash(robot: Robot) -> str:
    """64 hex digits of all that a preflight looks at."""
    return config_hash(robot)


def _findings(belief: Belief) -> Iterator[Finding]:
    found = matches(belief)
    yield check_presence(belief)
    yield check_width(belief)
    yield check_rate(belief)
    yield check_told(belief)
    yield check_kind(belief)
    yield check_frame(belief, found)
    yield check_order(belief, found)
    yield check_sign(belief, found)
    yield check_units(belief, found)
    yield check_rotation(belief)
    yield check_offset(belief)
    yield check_clamped(belief, found)
    yield check_gripper_range(belief)
    yield check_gripper_sense(belief)
    yield check_normaliser(belief)
    yield check_still(belief)
    yield check_picture_time(belief)

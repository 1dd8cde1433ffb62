# SPDX-License-Identifier: Apache-2.0
"""Recordings of a new robot → the 1 % and 99 % quantiles that its normaliser asks for.

What is counted is what the model is fed: the domain's vector where this package builds it (steps
of the measured flange and the commanded gripper), else the action as it is recorded; at the ticks
of the model's clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.bags.source import BagSource, open_bag
from cosmos_flywheel.capture.watch import Watcher
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.domains import VECTOR
from cosmos_flywheel.core.errors import BagError, ConfigError
from cosmos_flywheel.core.timeline import Tick
from cosmos_flywheel.engines.persistence import Persistence

QUANTILES = (0.01, 0.99)
FEWEST_STEPS = 100
"""With fewer, a 1 % quantile is the smallest value, or next to it."""
SMALL = (32, 32)
"""(H, W) px: pictures pace the clock and are not looked at."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Quantiles of each element of the action."""

    names: tuple[str, ...]
    q01: tuple[float, ...]
    q99: tuple[float, ...]
    steps: int
    """How many actions were counted."""
    bags: int


def action_statistics(paths: Sequence[Path], robot: Robot) -> Statistics:
    """Count the actions of all bags.

    Raises:
        BagError: a bag cannot be read.
        ConfigError: the robot has no action, its width is not the domain's, or there is too
            little to count.

    """
    names = _names(robot)
    parts = [_vectors(ticks, robot) for path in paths for ticks in _segments(path, robot)]
    rows = np.concatenate([np.empty((0, len(names))), *parts])
    rows = rows[np.isfinite(rows).all(axis=1)]
    if len(rows) < FEWEST_STEPS:
        raise ConfigError(
            f'{len(rows)} steps in which all {len(names)} elements of the action of robot '
            f'{robot.name!r} are known, quantiles need {FEWEST_STEPS}; give more bags, or see '
            f'with `flywheel inspect --robot` which topic is missing'
        )
    low, high = np.quantile(rows, QUANTILES, axis=0)
    return Statistics(names, tuple(low.tolist()), tuple(high.tolist()), len(rows), len(paths))


def _names(robot: Robot) -> tuple[str, ...]:
    domain = robot.domain
    if not robot.action_names:
        raise ConfigError(f'robot {robot.name!r}: no action; name its topics in action.sources')
    if domain is None:
        return robot.action_names
    if domain.tool_rotation is not None:
        if robot.action.gripper is None:
            raise ConfigError(f'robot {robot.name!r}: no gripper; set action.gripper')
        return VECTOR
    if domain.width != len(robot.action_names):
        raise ConfigError(
            f'robot {robot.name!r}: the action has {len(robot.action_names)} elements and domain '
            f'{domain.name} {domain.width}; name as many in action.sources'
        )
    return robot.action_names


def _vectors(ticks: Sequence[Tick], robot: Robot) -> NDArray[np.float64]:
    """(T, A) of one stretch."""
    actions = np.array([tick.action for tick in ticks], np.float64)
    if robot.domain is None or robot.domain.tool_rotation is None:
        return actions
    assert robot.action.gripper is not None
    poses = robot.poses(np.array([tick.state for tick in ticks]))
    gripper = actions[:-1, robot.action_names.index(robot.action.gripper.name)]
    return robot.domain_vector(poses, gripper).astype(np.float64)


def _segments(path: Path, robot: Robot) -> Iterator[list[Tick]]:
    """A bag's ticks, cut where its clock began anew."""
    with open_bag(path) as source:
        if not source.message_count:
            raise BagError(f'{path}: holds no messages; leave it out')
        ticks: list[Tick] = []
        for tick in _ticks(source, robot):
            if ticks and tick.segment != ticks[-1].segment:
                yield ticks
                ticks = []
            ticks.append(tick)
        if ticks:
            yield ticks


def _ticks(source: BagSource, robot: Robot) -> Iterator[Tick]:
    topics = {name for name, topic in source.topics.items() if topic.count and topic.readable}
    watcher = Watcher(robot, Persistence(SMALL), topics)
    for raw in source.messages(set(watcher.topics)):
        try:
            message = source.deserialize(raw)
        except BagError:
            continue
        stamp_ns = watcher.stamp_ns(raw.topic, raw.log_ns, message)
        yield from watcher.align(raw.topic, stamp_ns, message)
    for moment in watcher.finish():
        yield moment.tick

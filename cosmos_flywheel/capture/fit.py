# SPDX-License-Identifier: Apache-2.0
"""Nominal bags → a calibration: what is normal for this robot with this engine."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.capture.analysis import Analysis, collect_evidence, first_size
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.model import Judge, settings_hash, working_size
from cosmos_flywheel.core.calibration import Calibration, calibrate_channel
from cosmos_flywheel.core.channels import Channel
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import BagError, ConfigError
from cosmos_flywheel.core.types import Vector


@dataclass(frozen=True, slots=True)
class Nominal:
    """One nominal bag's evidence."""

    bag_id: str
    watched_s: float
    evidence: dict[str, Vector]
    """(T, n) by channel name."""


def fit(paths: Sequence[Path], robot: Robot, level: str, *, workers: int = 1) -> Calibration:
    """Learn what is normal from recordings in which nothing went wrong.

    Raises:
        BagError: a bag cannot be read, or is given twice.
        ConfigError: the bags do not show the same topics, or none of the robot's.

    """
    judge = Judge(level, size=_size(paths, robot))
    arguments = [(path, robot, judge) for path in paths]
    if workers <= 1 or len(paths) <= 1:
        cv2.setNumThreads(1)
        nominal = [_watch(a) for a in arguments]
    else:
        with ProcessPoolExecutor(
            min(workers, len(paths)), get_context('spawn'), cv2.setNumThreads, (1,)
        ) as pool:
            nominal = list(pool.map(_watch, arguments))
    _require_distinct(paths, nominal)
    channels = _channels(paths, robot, judge)
    return Calibration(
        robot=robot.name,
        engine=_engine(judge),
        size=judge.size or working_size(None),
        clock_hz=robot.clock.hz,
        settings_hash=settings_hash(robot),
        nominal={
            'bags': sorted(n.bag_id for n in nominal),
            'bag_count': len(nominal),
            'hours': round(sum(n.watched_s for n in nominal) / 3600, 6),
        },
        channels={
            c.name: calibrate_channel(c, [n.evidence[c.name] for n in nominal]) for c in channels
        },
    )


def _size(paths: Sequence[Path], robot: Robot) -> tuple[int, int] | None:
    with open_bag(paths[0]) as source:
        size = first_size(source, robot)
    return None if size is None else working_size(size)


def _engine(judge: Judge) -> dict[str, str]:
    spec = judge.make_engine(None).spec
    return {'level': spec.level, 'sha256': spec.sha256}


def _analysis(source: Any, robot: Robot, judge: Judge) -> Analysis:
    return Analysis(source, robot, judge, CaptureSettings())


def _channels(paths: Sequence[Path], robot: Robot, judge: Judge) -> tuple[Channel, ...]:
    """The channels of the first bag; every other bag must have the same."""
    with open_bag(paths[0]) as source:
        return _analysis(source, robot, judge).scorer.channels


def _watch(arguments: tuple[Path, Robot, Judge]) -> Nominal:
    path, robot, judge = arguments
    with open_bag(path) as source:
        if not source.message_count:
            raise BagError(f'{path}: holds no messages; leave it out')
        try:
            analysis = _analysis(source, robot, judge)
        except ConfigError as error:
            raise ConfigError(f'{path}: {error}') from error
        evidence = {name: rows for name, (_, rows) in collect_evidence(analysis).items()}
        if not all(len(rows) for rows in evidence.values()):
            raise BagError(f'{path}: nothing of robot {robot.name!r} was readable; leave it out')
        return Nominal(source.bag_id, source.duration_s, evidence)


def _require_distinct(paths: Sequence[Path], nominal: Sequence[Nominal]) -> None:
    """Leave-one-out needs different recordings of the same topics."""
    known: dict[str, Path] = {}
    for path, one in zip(paths, nominal, strict=True):
        if one.bag_id in known:
            raise BagError(f'{path}: the same recording as {known[one.bag_id]}; give it once')
        known[one.bag_id] = path
        for name, rows in nominal[0].evidence.items():
            mine = one.evidence.get(name, np.empty((0, 0)))
            if mine.shape[1] != rows.shape[1]:
                raise ConfigError(
                    f'{path}: channel {name} watches {mine.shape[1]} things, but '
                    f'{rows.shape[1]} in {paths[0]}; fit on bags with the same topics'
                )

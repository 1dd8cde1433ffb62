# SPDX-License-Identifier: Apache-2.0
"""The commands around a failure, and the bounds that commands of its candidates keep to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.bags.recording import Recording, read_ticks
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.envelope import Actions, Envelope, measure_envelope
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.generate.actions import model_units

BEFORE_ONSET = 'the clip before its onset'


def nominal_paths(bags: Sequence[Path], robot: Robot) -> list[Actions]:
    """(T, A) commands of each stretch of bags in which nothing went wrong."""
    paths = []
    for bag in bags:
        runs: dict[int, list[NDArray[Any]]] = {}
        for tick in read_ticks(bag, robot):
            runs.setdefault(tick.segment, []).append(tick.action)
        paths += [np.asarray(run, np.float64) for run in runs.values()]
    return paths


def envelope_of(
    robot: Robot, clip: Recording, onset: int, nominal: Sequence[Actions]
) -> Envelope | None:
    """Bounds by nominal recordings, else by what was commanded before the onset.

    The gripper's are those of the robot file where it names them. None where no commands are
    recorded.

    Raises:
        ConfigError: nominal recordings hold no commands.

    """
    names = robot.action_names
    if not names:
        return None
    units = tuple(unit for source in robot.action_sources for unit in source.units)
    hz = robot.clock.hz
    if nominal:
        words = f'{len(nominal)} nominal recording{"s" * (len(nominal) > 1)}'
        return _by_contract(robot, measure_envelope(names, units, hz, list(nominal), source=words))
    before = np.asarray(clip.actions[:onset], np.float64)
    words = f'{BEFORE_ONSET} ({onset / hz:.1f} s)'
    try:
        return _by_contract(robot, measure_envelope(names, units, hz, [before], source=words))
    except ConfigError:  # no three commands are known
        return None


def commands_npz(robot: Robot, clip: Recording, onset: int, nominal: Sequence[Actions]) -> bytes:
    """The clip's commands: in the robot's units and, where a Cosmos domain exists, the model's.

    `stamps_ns` (T), `actions` (T, A), `states` (T, S), `action_names`, `state_names`, `onset`;
    `rows` (T - 1, width) in model space where they are known all the way; `nominal_mean` and
    `nominal_std` (A) where nominal recordings were given.
    """
    arrays: dict[str, Any] = {
        'stamps_ns': clip.stamps_ns,
        'actions': clip.actions,
        'states': clip.states,
        'action_names': np.array(robot.action_names, np.str_),
        'state_names': np.array(robot.state_names, np.str_),
        'onset': np.int64(onset),
    }
    rows = model_units(clip, robot)
    if rows is not None:
        arrays['rows'] = rows
    if nominal:
        values = np.concatenate(list(nominal))
        arrays['nominal_mean'] = np.nanmean(values, axis=0)
        arrays['nominal_std'] = np.nanstd(values, axis=0)
    buffer = BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _by_contract(robot: Robot, envelope: Envelope) -> Envelope:
    """Take the gripper's bounds from the robot file."""
    gripper = robot.action.gripper
    if gripper is None:
        return envelope
    at = envelope.names.index(gripper.name)
    low, high = list(envelope.low), list(envelope.high)
    low[at], high[at] = sorted((gripper.closed, gripper.open))
    return replace(
        envelope,
        low=tuple(low),
        high=tuple(high),
        source=f'{envelope.source}; {gripper.name} by the robot file',
    )

# SPDX-License-Identifier: Apache-2.0
"""Made-up recordings of robots whose contract is known, for the tests of preflight."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np

from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.preflight import Finding, Log, Report, Sight, Track, preflight
from cosmos_flywheel.core.rotation import (
    matrix_from_euler,
    pose_deltas,
    pose_from_parts,
    quaternion_from_matrix,
    rot6d_from_matrix,
)

HZ = 20.0
START_NS = 1_700_000_000_000_000_000
LAG_S = 0.1
POSE = ['x', 'y', 'z', 'qx', 'qy', 'qz', 'qw']
STATE, ACTION = 'state[0] /state', 'action.sources[0] /action'


def document(state: list[str], action: list[str], unit: Any = '', **contract: Any) -> dict:
    return {
        'schema': 'robot-v1',
        'name': 'made_up',
        'clock': {'hz': HZ},
        'cameras': {'top': {'topic': '/top', 'primary': True}},
        'state': [{'topic': '/state', 'field': 'data', 'names': state, 'unit': unit}],
        'action': {
            'rate_hz': HZ,
            'sources': [{'topic': '/action', 'field': 'data', 'names': action, 'unit': unit}],
            **contract,
        },
    }


JOINTS = document(['a', 'b', 'c', 'gripper'], ['a', 'b', 'c', 'gripper'], 'rad',
                  gripper={'name': 'gripper', 'closed': 0.0, 'open': 1.0},
                  tracks={'a': 'a', 'b': 'b', 'c': 'c'})  # fmt: skip
STEPS = document(POSE, ['tx', 'ty', 'tz', 'r0', 'r1', 'r2', 'r3', 'r4', 'r5'],
                 kind='delta', frame='tool', rotation='rot6d')  # fmt: skip


def track(values: Any, late_s: float = 0.0, hz: float = HZ) -> Track:
    stamps = START_NS + np.round((np.arange(len(values)) / hz + late_s) * 1e9).astype(np.int64)
    return Track(stamps, np.array(values, np.float64))


def wander(seconds: float, columns: int, seed: int, late_s: float = 0.0) -> np.ndarray:
    """(N, n) smooth motion, the same for one seed whatever its lateness."""
    draw = np.random.default_rng(seed)
    at = np.arange(round(seconds * HZ))[:, None] / HZ - late_s
    speeds = draw.uniform(0.4, 2.5, (6, columns))
    phases = draw.uniform(0, 6.3, (6, columns))
    waves = np.sin(at[:, None] * speeds + phases)
    return 0.2 * waves.sum(axis=1)


def joint_log(seconds: float = 30.0, seed: int = 1) -> Log:
    """Joints that follow by `LAG_S`; fingers that stop on an object when they close."""
    told, reached = (wander(seconds, 4, seed, late) for late in (0.0, LAG_S))
    closing = np.floor(np.arange(len(told)) / HZ / 3) % 2 == 1
    told[:, 3] = ~closing
    empty = np.floor(np.arange(len(told)) / HZ / 3) % 4 == 3
    reached[:, 3] = np.where(np.roll(closing, 4), np.where(np.roll(empty, 4), 0.0, 0.4), 1.0)
    noise = np.random.default_rng(seed).normal(0, 1e-3, reached.shape)
    speed = np.abs(np.diff(reached[:, :3], axis=0, prepend=reached[:1, :3])).sum(axis=1)
    stamps = track(told).stamps_ns
    sight = Sight(stamps, 20 * speed + 0.3, 100 * speed + 1.0)
    return Log('made up', {STATE: track(reached + noise), ACTION: track(told)}, sight)


def step_log(seconds: float = 20.0, seed: int = 2) -> Log:
    """A tool and its own steps, which lead from each row to the next."""
    turn = matrix_from_euler(wander(seconds, 3, seed))
    poses = pose_from_parts(wander(seconds, 3, seed + 1), turn)
    steps = pose_deltas(poses)
    told = np.concatenate([steps[:, :3, 3], rot6d_from_matrix(steps[:, :3, :3])], axis=1)
    quaternions = quaternion_from_matrix(turn)
    for row in range(1, len(quaternions)):
        if quaternions[row] @ quaternions[row - 1] < 0:
            quaternions[row] *= -1
    state = np.concatenate([poses[:, :3, 3], quaternions], axis=1)
    noise = np.random.default_rng(seed).normal(0, 2e-4, state.shape)
    return Log('made up', {STATE: track(state + noise), ACTION: track(told)})


def changed(told: dict, path: str, value: Any) -> dict:
    found = deepcopy(told)
    *parents, last = (int(step) if step.isdigit() else step for step in path.split('.'))
    place: Any = found
    for step in parents:
        place = place[step]
    place[last] = value
    return found


def checked(told: dict, *logs: Log) -> Report:
    return preflight(Robot.from_mapping(told), logs)


def finding(report: Report, check: str) -> Finding:
    return next(one for one in report.findings if one.check == check)

# SPDX-License-Identifier: Apache-2.0
"""Robot files that are right, each with recordings of its robot: real, published or simulated."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from common import OUT, SHARED, Bench

from cosmos_flywheel.bags.source import find_bags
from cosmos_flywheel.capture.preflight import read_logs
from cosmos_flywheel.cli.sim import record
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.preflight import Log, Track
from cosmos_flywheel.core.rotation import (
    compose_deltas,
    matrix_from_euler,
    matrix_from_rot6d,
    pose_from_parts,
    quaternion_from_matrix,
)
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.store.shipped import find_config

SAMPLES = SHARED / 'cosmos3_action_samples'
START_NS = 1_700_000_000 * NS
ROTATIONS = ('r0', 'r1', 'r2', 'r3', 'r4', 'r5')
POSE = ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')
STATE, ACTION = '/state', '/action'
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Set:
    """A robot file that is right, and recordings of the robot."""

    name: str
    document: Document
    logs: tuple[Log, ...]
    faulty: tuple[Log, ...] = ()
    """Episodes with an injected fault; the contract is true in them."""


def all_sets(bench: Bench) -> Iterator[Set]:
    """Those that are there and asked for; simulated ones are made."""
    for name, make in makers(bench):
        if bench.wants(name):
            yield make()


def makers(bench: Bench) -> Iterator[tuple[str, Callable[[], Set]]]:
    """By name, what reads or makes each set."""
    for folder in bench.sets():
        name, robot = ('g1', 'g1') if folder.name[0] == 'g' else ('gantry', 'mujoco_push')
        yield name, partial(of_bags, name, robot, folder / 'nominal', folder / 'bags')
    if SHARED.is_dir():
        yield 'droid', partial(of_bags, 'droid', 'droid', SAMPLES / 'bags' / 'droid_48330')
        yield 'umi', umi
        yield 'av', av
        yield 'bridge', bridge
    yield 'sim_arm', sim_arm
    yield 'sim_base', lambda: of_bags('sim_base', 'sim_base', simulated('base', 'patrol', 'dock'))


def of_bags(name: str, robot: str, bags: Path, faulty: Path | None = None) -> Set:
    """A shipped robot with its recordings."""
    text = (find_config() / 'robots' / f'{robot}.yaml').read_text()
    document = yaml.safe_load(text)
    read = Robot.from_mapping(document)
    logs, others = (
        tuple(log for bag in find_bags([folder]) for log in read_logs(bag, read)) if folder else ()
        for folder in (bags, faulty)
    )
    return Set(name, document, logs, others)


def simulated(robot: str, *tasks: str) -> Path:
    """A folder of four nominal episodes, made once."""
    folder = OUT / 'preflight' / robot
    for number in range(4):
        path = folder / f'{robot}_{number}'
        if not path.exists():
            record(path, robot=robot, task=tasks[number % 2], seed=9100 + number, film=False)
    return folder


def sim_arm() -> Set:
    """The simulated arm; its file is given the gripper's two ends."""
    one = of_bags('sim_arm', 'sim_arm', simulated('arm', 'push', 'pick_place'))
    return changed(one, 'action.gripper', {'name': 'gripper', 'closed': 0.0, 'open': 0.04})


def document_of(
    name: str, hz: float, state: Sequence[str], action: Sequence[str], **more: Any
) -> Document:
    """A robot file for numbers in two arrays."""
    return {
        'schema': 'robot-v1',
        'name': name,
        'clock': {'hz': hz},
        'state': [{'topic': STATE, 'field': 'data', 'names': list(state)}],
        'action': {
            'rate_hz': hz,
            'sources': [{'topic': ACTION, 'field': 'data', 'names': list(action)}],
            **more,
        },
    }


def umi() -> Set:
    """Steps of a hand-held gripper in its own frame."""
    names = ('tx', 'ty', 'tz', *ROTATIONS, 'width')
    told = document_of('umi', 20, POSE, names, kind='delta', frame='tool', rotation='rot6d')
    told['cosmos'] = {'domain': 'umi', 'fps': 20}
    return Set('umi', told, (summed('umi', 20, 0.0002),))


def av() -> Set:
    """Steps of a car's camera in its own frame."""
    names = ('tx', 'ty', 'tz', *ROTATIONS)
    told = document_of('av', 10, POSE, names, kind='delta', frame='camera', rotation='rot6d')
    told['cosmos'] = {'domain': 'av'}
    drives = (summed(name, 10, 0.01) for name in ('av_traj_forward', 'av_traj_left'))
    return Set('av', told, tuple(drives))


def bridge() -> Set:
    """Steps of an arm in its base's frame, and its gripper: fifteen clips of ten steps."""
    names = ('x', 'y', 'z', 'roll', 'pitch', 'yaw', 'gripper')
    told = document_of(
        'bridge', 5, names, names, kind='delta', frame='base', rotation='euler_xyz',
        gripper={'name': 'gripper', 'closed': 0.0, 'open': 1.0},
    )  # fmt: skip
    clips = sorted((SHARED / 'bridge_widowx_short').glob('*.npz'))
    return Set('bridge', told, tuple(clip_of(path) for path in clips))


def clip_of(path: Path) -> Log:
    """One clip."""
    clip = np.load(path)
    return log_of(path.stem, 5, clip['state'], clip['action'])


def summed(name: str, hz: float, noise_m: float) -> Log:
    """Published actions, and poses that are their sum."""
    actions = np.array(json.loads((SAMPLES / 'actions' / f'{name}.json').read_text()))
    steps = pose_from_parts(actions[:, :3], matrix_from_rot6d(actions[:, 3:9]))
    path = compose_deltas(np.eye(4), steps)
    draw = np.random.default_rng(5)
    turn = matrix_from_euler(draw.normal(0, np.radians(0.05), (len(path), 3)))
    position = path[:, :3, 3] + draw.normal(0, noise_m, (len(path), 3))
    quaternion = continuous(quaternion_from_matrix(path[:, :3, :3] @ turn))
    return log_of(name, hz, np.concatenate([position, quaternion], axis=1), actions)


def log_of(name: str, hz: float, states: Any, actions: Any) -> Log:
    """Two tracks of one rate that begin together; keys are those of the robot file."""

    def track(values: Any) -> Track:
        stamps = START_NS + np.round(np.arange(len(values)) * NS / hz).astype(np.int64)
        return Track(stamps, np.asarray(values, np.float64))

    return Log(
        name, {f'state[0] {STATE}': track(states), f'action.sources[0] {ACTION}': track(actions)}
    )


def continuous(quaternion: Any) -> Any:
    """Signs chosen as `SourceReader` does."""
    for row in range(1, len(quaternion)):
        if quaternion[row] @ quaternion[row - 1] < 0:
            quaternion[row:] *= -1
    return quaternion


def changed(one: Set, path: str, value: Any) -> Set:
    """Another value in the robot file; None takes the key away."""
    document = deepcopy(one.document)
    *parents, last = path.split('.')
    place = document
    for step in parents:
        place = place.setdefault(step, {})
    place[last] = value
    return replace(one, document=document)

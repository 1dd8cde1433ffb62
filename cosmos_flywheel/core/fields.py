# SPDX-License-Identifier: Apache-2.0
"""One field of a ROS message into numbers, by attributes alone: rosbags and rclpy alike.

A field is a kind that knows its message (`position`, `pose`, `twist`, …) or else a dotted path,
such as `status.motors[2].temperature`. Components say which numbers of it are wanted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.rotation import (
    euler_from_matrix,
    matrix_from_quaternion,
    quaternion_from_matrix,
)

Numbers = NDArray[np.float64]
Components = tuple[str | int, ...]

POSE = ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')
POSE_AND_EULER = (*POSE, 'roll', 'pitch', 'yaw')
"""Metres, a unit quaternion, and radians (extrinsic 'xyz')."""
TWIST = tuple(f'{part}.{axis}' for part in ('linear', 'angular') for axis in 'xyz')
"""m/s and rad/s."""
WRENCH = tuple(f'{part}.{axis}' for part in ('force', 'torque') for axis in 'xyz')
"""N and N·m."""


@dataclass(frozen=True, slots=True)
class FieldKind:
    """A field that knows the shape of its message."""

    read: Callable[[Any, Components], Numbers]
    known: tuple[str, ...] = ()
    """Every component that there is; empty where the message itself names them."""
    usual: tuple[str, ...] = ()
    """The components meant when none are named."""


def read_field(message: Any, field: str, components: Components) -> Numbers:
    """Numbers of one message: float64 (n,), NaN where it has none, inf as it stands.

    Raises:
        ConfigError: the message has no such field, or it holds no numbers.

    """
    kind = FIELD_KINDS.get(field)
    try:
        if kind is not None:
            return kind.read(message, components)
        return _read_path(message, field, components)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f'field {field!r} of {_type_name(message)} holds no such numbers ({error}); '
            'name a field that holds numbers'
        ) from error


def planned_chunk(
    message: Any, joints: Sequence[str], attribute: str = 'positions'
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """A whole JointTrajectory: nanoseconds after its start (P,) and values (P, n) by joint name.

    A joint that the trajectory does not move is NaN.
    """
    offsets = [_nanoseconds(point.time_from_start) for point in message.points]
    rows = [
        _by_name(message.joint_names, getattr(point, attribute), tuple(joints))
        for point in message.points
    ]
    values = np.asarray(rows, np.float32).reshape(len(rows), len(joints))
    return np.asarray(offsets, np.int64), values


def pose_numbers(pose: NDArray[np.float64], components: Components) -> Numbers:
    """Components of a pose (4, 4)."""
    quaternion = quaternion_from_matrix(pose[:3, :3])
    return _pick_pose([*pose[:3, 3], *quaternion], components)


def _read_joints(attribute: str) -> Callable[[Any, Components], Numbers]:
    def read(message: Any, components: Components) -> Numbers:
        return _by_name(_get(message, 'name'), _get(message, attribute), components)

    return read


def _read_trajectory(message: Any, components: Components) -> Numbers:
    points = _get(message, 'points')
    if not len(points):
        return np.full(len(components), np.nan)
    return _by_name(message.joint_names, points[0].positions, components)


def _read_pose(message: Any, components: Components) -> Numbers:
    pose = _unwrap(message, 'pose')
    p, q = _get(pose, 'position'), _get(pose, 'orientation')
    return _pick_pose([p.x, p.y, p.z, q.x, q.y, q.z, q.w], components)


def _read_parts(wrapper: str) -> Callable[[Any, Components], Numbers]:
    def read(message: Any, components: Components) -> Numbers:
        inner = _unwrap(message, wrapper)
        return np.array([_walk(inner, str(name)) for name in components], np.float64)

    return read


FIELD_KINDS: Mapping[str, FieldKind] = {
    'position': FieldKind(_read_joints('position')),
    'velocity': FieldKind(_read_joints('velocity')),
    'effort': FieldKind(_read_joints('effort')),
    'trajectory': FieldKind(_read_trajectory),
    'pose': FieldKind(_read_pose, POSE_AND_EULER, POSE),
    'twist': FieldKind(_read_parts('twist'), TWIST, TWIST),
    'wrench': FieldKind(_read_parts('wrench'), WRENCH, WRENCH),
}
"""`position`, `velocity`, `effort`: JointState, by joint name. `trajectory`: positions of the
first point of a JointTrajectory, by joint name. `pose`: Pose, PoseStamped, Odometry.
`twist`: Twist, TwistStamped, Odometry. `wrench`: Wrench, WrenchStamped."""


def _by_name(names: Sequence[str], values: Any, wanted: Components) -> Numbers:
    """Values in the order of `wanted`; NaN for a name that is missing or has no value."""
    given = np.asarray(values, np.float64)
    order = _order(tuple(names), wanted)
    known = order < len(given)
    numbers = np.full(len(wanted), np.nan)
    numbers[known] = given[order[known]]
    return numbers


@lru_cache(maxsize=256)
def _order(names: tuple[str, ...], wanted: Components) -> NDArray[np.intp]:
    """Where each wanted name stands, as an index past the end where it does not."""
    places: dict[str | int, int] = {name: place for place, name in reversed([*enumerate(names)])}
    return np.array([places.get(name, np.iinfo(np.intp).max) for name in wanted], np.intp)


def _pick_pose(seven: Sequence[float], components: Components) -> Numbers:
    numbers = dict(zip(POSE, seven, strict=True))
    if not numbers.keys() >= set(components):
        angles = euler_from_matrix(matrix_from_quaternion(seven[3:]))
        numbers.update(zip(('roll', 'pitch', 'yaw'), angles, strict=True))
    return np.array([numbers[str(name)] for name in components], np.float64)


def _read_path(message: Any, path: str, components: Components) -> Numbers:
    """Numbers under a dotted path: a scalar, elements of an array by index, or attributes."""
    try:
        found = _walk(message, path)
    except IndexError:
        return np.full(len(components), np.nan)
    if components == (0,) and np.ndim(found) == 0:
        return np.array([found], np.float64)
    return np.array([_element(found, component) for component in components], np.float64)


def _element(found: Any, component: str | int) -> Any:
    try:
        return found[component] if isinstance(component, int) else _walk(found, component)
    except IndexError:
        return np.nan


def _walk(message: Any, path: str) -> Any:
    for step in path_steps(path):
        message = message[step] if isinstance(step, int) else _get(message, step)
    return message


@lru_cache(maxsize=256)
def path_steps(path: str) -> Components:
    """Split `a.b[2]` into `('a', 'b', 2)`.

    Raises:
        ConfigError: it is no such path.

    """
    if not re.fullmatch(r'[A-Za-z]\w*(\[\d+\])*(\.[A-Za-z]\w*(\[\d+\])*)*', path):
        raise ConfigError(f'{path!r} is no field path; write one like status.motors[2].current')
    return tuple(int(s) if s.isdigit() else s for s in re.findall(r'\w+', path))


def _unwrap(message: Any, attribute: str) -> Any:
    """The innermost `attribute`: a Stamped or Odometry message holds one inside another."""
    while hasattr(message, attribute):
        message = getattr(message, attribute)
    return message


def _get(message: Any, attribute: str) -> Any:
    try:
        return getattr(message, attribute)
    except AttributeError:
        there = [name for name in dir(message) if not name.startswith('_')]
        near = get_close_matches(attribute, there, n=1)
        hint = f'did you mean {near[0]!r}?' if near else f'it has: {", ".join(there)}'
        raise ConfigError(f'{_type_name(message)} has no field {attribute!r}; {hint}') from None


def _type_name(message: Any) -> str:
    return str(getattr(message, '__msgtype__', type(message).__name__))


def _nanoseconds(time: Any) -> int:
    """Of a Time or a Duration."""
    return int(time.sec) * 1_000_000_000 + int(time.nanosec)

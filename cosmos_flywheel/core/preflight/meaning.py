# SPDX-License-Identifier: Apache-2.0
"""A robot file into what it claims: which elements move which, and which are a pose together.

Elements are known by their names. A position is x, y, z (or tx, ty, tz, or dx, dy, dz); a rotation
is by its form: roll, pitch, yaw; qx, qy, qz, qw; r0 … r5; rx, ry, rz (each also with d before).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import pi

from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.source import Source

SI = {
    'deg': pi / 180, 'degree': pi / 180, 'degrees': pi / 180, 'deg/s': pi / 180,
    'mm': 1e-3, 'mm/s': 1e-3, 'cm': 1e-2, 'cm/s': 1e-2, 'km/h': 1 / 3.6, '%': 1e-2,
}  # fmt: skip
"""What one of a unit is in m, rad, m/s, rad/s or 1; units not named here count as 1."""
POSITIONS = (('x', 'y', 'z'), ('tx', 'ty', 'tz'), ('dx', 'dy', 'dz'))
THREE_ANGLES = (
    ('roll', 'pitch', 'yaw'), ('droll', 'dpitch', 'dyaw'), ('rx', 'ry', 'rz'),
    ('drx', 'dry', 'drz'),
)  # fmt: skip
"""Names decide nothing here: which form three angles have is what is asked."""
ROTATIONS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    'euler_xyz': THREE_ANGLES,
    'quaternion_xyzw': (('qx', 'qy', 'qz', 'qw'), ('q0', 'q1', 'q2', 'q3')),
    'quaternion_wxyz': (('qw', 'qx', 'qy', 'qz'), ('q0', 'q1', 'q2', 'q3')),
    'rot6d': (('r0', 'r1', 'r2', 'r3', 'r4', 'r5'),),
    'axis_angle': THREE_ANGLES,
}
TOOL = frozenset((
    'tool', 'tcp', 'ee', 'eef', 'end_effector', 'hand', 'flange', 'gripper', 'camera', 'body',
    'ego', 'self', 'current',
))  # fmt: skip
"""Frames that move with the robot, for deltas."""
BASE = frozenset(('', 'base', 'world', 'map', 'odom', 'robot'))


@dataclass(frozen=True, slots=True)
class Pair:
    """An element of the action and the element of the state that it is said to move."""

    action: int
    state: int
    name: str
    """Of the action's element."""
    unit: str


@dataclass(frozen=True, slots=True)
class Meaning:
    """What is claimed, by index."""

    pairs: tuple[Pair, ...]
    """Single elements, without those of `position`."""
    position: tuple[tuple[int, ...], tuple[int, ...]] | None
    """Three elements of the action and three of the state."""
    rotation: tuple[int, ...]
    """Elements of the action that are a rotation together, in the order of `form`."""
    form: str
    measured_rotation: tuple[int, ...]
    """Elements of the state that are one."""
    measured_form: str
    frame: str
    """Of deltas: `tool`, `base`, or '' where the file's word decides nothing."""
    action_si: tuple[float, ...]
    """Factor to SI of each element of the action."""
    state_si: tuple[float, ...]


def meaning_of(robot: Robot) -> Meaning:
    """Read it off the robot file."""
    position = _position(robot)
    rotation, form = _rotation(robot.action_names, robot.action.rotation)
    measured, measured_form = _measured_rotation(robot)
    apart = {*(position[0] if position else ()), *rotation}
    return Meaning(
        pairs=tuple(pair for pair in _pairs(robot) if pair.action not in apart),
        position=position,
        rotation=rotation,
        form=form,
        measured_rotation=measured,
        measured_form=measured_form,
        frame=_frame(robot),
        action_si=_factors(robot.action_sources),
        state_si=_factors(robot.state_sources),
    )


def units(sources: Sequence[Source]) -> tuple[str, ...]:
    """Of all elements, in the order of the vector."""
    return tuple(unit for source in sources for unit in source.units)


def _factors(sources: Sequence[Source]) -> tuple[float, ...]:
    return tuple(SI.get(unit, 1.0) for unit in units(sources))


def _pairs(robot: Robot) -> list[Pair]:
    """Those of `tracks`, and else those of the same name, whatever their units.

    The gripper is left out: it is absolute beside deltas too, and stops on what it holds.
    """
    names, states = robot.action_names, robot.state_names
    gripper = robot.action.gripper.name if robot.action.gripper else ''
    named = set(robot.tracking_pairs) or {
        (place, states.index(name)) for place, name in enumerate(names) if name in states
    }
    unit = units(robot.state_sources)
    return [Pair(a, s, names[a], unit[s]) for a, s in sorted(named) if names[a] != gripper]


def _position(robot: Robot) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    told = next((_places(robot.action_names, n) for n in POSITIONS if _has(robot, n)), None)
    names = robot.cosmos.pose[:3] or POSITIONS[0]
    if told is None or not set(names) <= set(robot.state_names):
        return None
    return told, _places(robot.state_names, names)


def _has(robot: Robot, names: Sequence[str]) -> bool:
    return set(names) <= set(robot.action_names)


def _rotation(names: Sequence[str], form: str) -> tuple[tuple[int, ...], str]:
    for wanted in ROTATIONS.get(form, ()):
        if set(wanted) <= set(names):
            return _places(names, wanted), form
    return (), ''


def _measured_rotation(robot: Robot) -> tuple[tuple[int, ...], str]:
    if robot.cosmos.pose:
        return _places(robot.state_names, robot.cosmos.pose[3:]), 'quaternion_xyzw'
    for form in ('quaternion_xyzw', 'euler_xyz'):
        names = ROTATIONS[form][0]
        if set(names) <= set(robot.state_names):
            return _places(robot.state_names, names), form
    return (), ''


def _places(names: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...]:
    return tuple(list(names).index(name) for name in wanted)


def _frame(robot: Robot) -> str:
    word = robot.action.frame.lower()
    if word in BASE or word in {source.frame.lower() for source in robot.state_sources}:
        return 'base'
    return 'tool' if word in TOOL else ''

# SPDX-License-Identifier: Apache-2.0
"""Lies about actions, told of a right set: in its robot file, or in its messages' numbers."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from robot_sets import POSE, ROTATIONS, Set, changed

from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.rotation import (
    compose_deltas,
    euler_from_matrix,
    matrix_about_axis,
    matrix_from_euler,
    matrix_from_rot6d,
    pose_from_parts,
)
from cosmos_flywheel.core.timeline import NS

IN_FILE = 'in the file: '
AXES = ('x', 'y', 'z', 'tx', 'ty', 'tz')


@dataclass(frozen=True, slots=True)
class Lie:
    """One falsification, on the sets where it has a meaning."""

    name: str
    names: tuple[str, ...]
    """Checks that it may be called by."""
    sets: tuple[str, ...]
    tell: Callable[[Set], Set]


def in_file(path: str, value: Any) -> Callable[[Set], Set]:
    """The falsification that writes another value."""
    return lambda one: changed(one, path, value)


def in_actions(change: Callable[[Any, Robot], Any]) -> Callable[[Set], Set]:
    """The falsification that changes the commands (N, A) of each recording."""

    def tell(one: Set) -> Set:
        robot = Robot.from_mapping(one.document)
        logs = []
        for log in one.logs:
            tracks = dict(log.tracks)
            for source in robot.action_sources:
                track = tracks[source.key]
                values = change(track.values.copy(), robot)
                tracks[source.key] = replace(track, values=values)
            logs.append(replace(log, tracks=tracks))
        return replace(one, logs=tuple(logs))

    return tell


def in_stamps(role: str, change: Callable[[Any], Any]) -> Callable[[Set], Set]:
    """The falsification that changes the stamps of commands, or of pictures."""

    def tell(one: Set) -> Set:
        robot = Robot.from_mapping(one.document)
        logs = []
        for log in one.logs:
            tracks, sight = dict(log.tracks), log.sight
            if role == 'pictures' and sight is not None:
                sight = replace(sight, stamps_ns=change(sight.stamps_ns))
            if role == 'actions':
                for source in robot.action_sources:
                    track = tracks[source.key]
                    tracks[source.key] = replace(track, stamps_ns=change(track.stamps_ns))
            logs.append(replace(log, tracks=tracks, sight=sight))
        return replace(one, logs=tuple(logs))

    return tell


def moving(robot: Robot) -> list[int]:
    """Elements that are no rotation of more than three numbers and no gripper."""
    gripper = robot.action.gripper.name if robot.action.gripper else 'width'
    apart = {gripper, 'width', 'gripper', *ROTATIONS}
    return [i for i, name in enumerate(robot.action_names) if name not in apart]


def times(factor: float) -> Callable[[Any, Robot], Any]:
    """All moving elements in another unit."""

    def change(values: Any, robot: Robot) -> Any:
        values[:, moving(robot)] *= factor
        return values

    return change


def degrees(values: Any, robot: Robot) -> Any:
    """Roll, pitch and yaw, or all joints, in degrees."""
    angles = [i for i in moving(robot) if robot.action_names[i] not in AXES]
    values[:, angles] = np.degrees(values[:, angles])
    return values


def swapped(first: str, second: str) -> Callable[[Any, Robot], Any]:
    """Two elements in each other's place."""

    def change(values: Any, robot: Robot) -> Any:
        both = [robot.action_names.index(first), robot.action_names.index(second)]
        values[:, both] = values[:, both[::-1]]
        return values

    return change


def flipped(name: str) -> Callable[[Any, Robot], Any]:
    """One element the other way round."""

    def change(values: Any, robot: Robot) -> Any:
        values[:, robot.action_names.index(name)] *= -1
        return values

    return change


def turned(degrees_z: float) -> Callable[[Any, Robot], Any]:
    """The position in a frame turned about z."""
    turn = matrix_about_axis(np.array([0.0, 0.0, 1.0]), np.radians(degrees_z))

    def change(values: Any, _: Robot) -> Any:
        values[:, :3] = values[:, :3] @ turn.T
        return values

    return change


def moved_aside(values: Any, _: Robot) -> Any:
    """The position in a frame whose origin is 0.6 m away."""
    values[:, :3] += [0.6, 0.0, 0.3]
    return values


def transposed(values: Any, robot: Robot) -> Any:
    """Rot6d row by row instead of column by column."""
    place = [robot.action_names.index(name) for name in ROTATIONS]
    turn = matrix_from_rot6d(values[:, place])
    values[:, place] = np.concatenate([turn[:, 0], turn[:, 1]], axis=-1)
    return values


def other_order(values: Any, robot: Robot) -> Any:
    """Yaw, pitch, roll where roll, pitch, yaw is meant."""
    return swapped('roll', 'yaw')(values, robot)


def own_axes(values: Any, robot: Robot) -> Any:
    """Angles about the body's own x, then y, then z."""
    place = [robot.action_names.index(name) for name in ('roll', 'pitch', 'yaw')]
    turn = matrix_from_euler(values[:, place])
    back = euler_from_matrix(np.swapaxes(turn, -1, -2))
    values[:, place] = -back[:, [0, 1, 2]]
    return values


def differences(values: Any, robot: Robot) -> Any:
    """How far to move instead of where to be."""
    place = moving(robot)
    values[:, place] = np.diff(values[:, place], axis=0, prepend=values[:1, place])
    return values


def poses(values: Any, robot: Robot) -> Any:
    """Where to be instead of how far to move."""
    if robot.action.frame == 'base':
        place = moving(robot)
        values[:, place] = np.cumsum(values[:, place], axis=0)
        return values
    steps = pose_from_parts(values[:, :3], matrix_from_rot6d(values[:, 3:9]))
    path = compose_deltas(np.eye(4), steps)[1:]
    values[:, :3] = path[:, :3, 3]
    values[:, 3:9] = np.concatenate([path[:, :3, 0], path[:, :3, 1]], axis=-1)
    return values


def clipped(one: Set) -> Set:
    """All that moves cut off at its 15 and 85 % quantiles."""
    robot = Robot.from_mapping(one.document)
    (key,) = (source.key for source in robot.action_sources)
    limits = np.quantile(
        np.concatenate([log.tracks[key].values for log in one.logs]), (0.15, 0.85), axis=0
    )

    def change(values: Any, robot: Robot) -> Any:
        place = moving(robot)
        values[:, place] = np.clip(values, *limits)[:, place]
        return values

    return in_actions(change)(one)


def shifted(steps: int) -> Callable[[Any, Robot], Any]:
    """Each command in the row of another: later ones if positive."""

    def change(values: Any, _: Robot) -> Any:
        place = np.clip(np.arange(len(values)) - steps, 0, len(values) - 1)
        found: Any = values[place]
        return found

    return change


def gone(values: Any, robot: Robot) -> Any:
    """One element that no message has."""
    values[:, moving(robot)[-1]] = np.nan
    return values


def standing(values: Any, robot: Robot) -> Any:
    """Commands that never change: of steps and velocities none, of poses the first."""
    is_rate = robot.action.kind == 'delta' or 'linear.x' in robot.action_names
    values[:] = values[:1]
    if is_rate:
        values[:] = [1.0 if name in ('r0', 'r4') else 0.0 for name in robot.action_names]
    return values


def gripper_inverted(one: Set) -> Set:
    """Both ends in each other's place in the robot file."""
    written = one.document['action']['gripper']
    inverted = written | {'closed': written['open'], 'open': written['closed']}
    return changed(one, 'action.gripper', inverted)


def gripper_of_another_range(one: Set) -> Set:
    """The ends of a gripper that counts to 255."""
    written = one.document['action']['gripper']
    wide = {key: 255.0 * (written[key] > 0) for key in ('closed', 'open')}
    return changed(one, 'action.gripper', written | wide)


def state_wxyz(one: Set) -> Set:
    """A state whose quaternion begins with w."""
    logs = []
    for log in one.logs:
        tracks = dict(log.tracks)
        for key, track in log.tracks.items():
            if track.values.shape[1] == len(POSE) and key.startswith('state'):
                rolled = np.concatenate(
                    [track.values[:, :3], np.roll(track.values[:, 3:], 1, axis=1)], axis=1
                )
                tracks[key] = replace(track, values=rolled)
        logs.append(replace(log, tracks=tracks))
    return replace(one, logs=tuple(logs))


def frozen(one: Set) -> Set:
    """A camera that repeats one picture."""
    logs = []
    for log in one.logs:
        assert log.sight is not None
        still = np.zeros(len(log.sight.stamps_ns))
        logs.append(replace(log, sight=replace(log.sight, step=still, span=still)))
    return replace(one, logs=tuple(logs))


def rate_doubled(one: Set) -> Set:
    """A robot file that writes twice the rate."""
    return changed(one, 'action.rate_hz', 2 * one.document['action']['rate_hz'])


def slower(stamps: Any) -> Any:
    """Stamps twice as far apart."""
    found: Any = stamps[0] + (stamps - stamps[0]) * 2
    return found


def late(seconds: float) -> Callable[[Any], Any]:
    """Stamps that much later."""

    def change(stamps: Any) -> Any:
        return stamps + round(seconds * NS)

    return change


def kind_turned(one: Set) -> Set:
    """A robot file that writes the other kind."""
    other = 'absolute' if one.document['action'].get('kind') == 'delta' else 'delta'
    return changed(changed(one, 'action.kind', other), 'action.tracks', None)


def named_in_degrees(one: Set) -> Set:
    """A robot file that writes deg where the messages have rad."""
    document = deepcopy(one.document)
    (source,) = document['action']['sources']
    unit = source['unit']
    source['unit'] = 'deg' if unit == 'rad' else [u.replace('rad', 'deg') for u in unit]
    return replace(one, document=document)


def named_in_another_order(one: Set) -> Set:
    """A robot file that names two elements of an array in each other's place."""
    document = deepcopy(one.document)
    (source,) = document['action']['sources']
    first, second = SWAPS[one.name]
    places = {first: second, second: first}
    source['names'] = [places.get(name, name) for name in source['names']]
    return replace(one, document=document)


def clock_set_wrong(one: Set) -> Set:
    """A robot file that mends a clock which was right; the logs are read with it."""
    (source,) = one.document['action']['sources']
    told = changed(one, 'clock.topic_offsets', {source['topic']: 0.7})
    return in_stamps('actions', late(0.7))(told)


LINEAR = ('g1', 'droid', 'gantry', 'umi', 'av', 'bridge', 'sim_arm', 'sim_base')
ABSOLUTE = ('g1', 'droid', 'gantry', 'sim_arm')
DELTA = ('umi', 'av', 'bridge')
SEEN = ('g1', 'droid', 'gantry', 'sim_arm', 'sim_base')
SWAPS = {
    'g1': ('kRightShoulderPitch', 'kRightElbow'), 'droid': ('x', 'y'),
    'gantry': ('gantry_x', 'gantry_y'), 'umi': ('tx', 'tz'), 'av': ('tx', 'tz'),
    'bridge': ('x', 'z'), 'sim_arm': ('shoulder', 'elbow'), 'sim_base': ('linear.x', 'angular.z'),
}  # fmt: skip
FLIPS = {
    'g1': 'kRightElbow', 'droid': 'y', 'gantry': 'gantry_x', 'umi': 'tx', 'av': 'tz',
    'bridge': 'z', 'sim_arm': 'base', 'sim_base': 'angular.z',
}  # fmt: skip


def by_set(make: Callable[[str], Callable[[Set], Set]]) -> Callable[[Set], Set]:
    """A falsification that is another on each set."""
    return lambda one: make(one.name)(one)


LIES = (
    Lie('÷ 55', ('units', 'normaliser'), LINEAR, in_actions(times(1 / 55))),
    Lie('× 1000', ('units', 'normaliser'), LINEAR, in_actions(times(1000))),
    Lie('degrees for radians', ('units', 'rotation'), ('g1', 'droid', 'bridge', 'sim_arm'),
        in_actions(degrees)),
    Lie('two elements swapped', ('order',), LINEAR,
        by_set(lambda name: in_actions(swapped(*SWAPS[name])))),
    Lie('one sign', ('sign',), LINEAR, by_set(lambda name: in_actions(flipped(FLIPS[name])))),
    Lie('frame turned 90°', ('frame',), ('droid', 'umi', 'bridge'), in_actions(turned(90))),
    Lie('frame turned 30°', ('frame',), ('droid', 'umi', 'bridge'), in_actions(turned(30))),
    Lie('origin 0.6 m aside', ('frame',), ('droid',), in_actions(moved_aside)),
    Lie('deltas of the tool called the base\'s', ('frame',), ('umi', 'av'),
        in_file('action.frame', 'base')),
    Lie('absolute for delta', ('kind',), DELTA, in_actions(poses)),
    Lie('delta for absolute', ('kind',), ABSOLUTE, in_actions(differences)),
    Lie('rotation order yaw pitch roll', ('rotation', 'order'), ('droid', 'bridge'),
        in_actions(other_order)),
    Lie('rotation about own axes', ('rotation',), ('droid',), in_actions(own_axes)),
    Lie('transposed rot6d', ('rotation',), ('umi', 'av'), in_actions(transposed)),
    Lie('quaternion of the state begins with w', ('rotation', 'normaliser'), ('droid',),
        state_wxyz),
    Lie('gripper inverted', ('gripper sense',), ('droid', 'bridge', 'sim_arm'), gripper_inverted),
    Lie('gripper of another range', ('gripper range',), ('droid', 'bridge', 'sim_arm'),
        gripper_of_another_range),
    Lie('commands one step late', ('time offset',), LINEAR, in_actions(shifted(1))),
    Lie('commands one step early', ('time offset',), LINEAR, in_actions(shifted(-1))),
    Lie('commands 0.7 s late', ('time offset',), LINEAR, in_stamps('actions', late(0.7))),
    Lie('written rate × 2', ('rate',), LINEAR, rate_doubled),
    Lie('stamps of commands twice as far apart', ('rate', 'time offset'), LINEAR,
        in_stamps('actions', slower)),
    Lie('clipped at 15 and 85 %', ('clamped',), LINEAR, clipped),
    Lie('an element that no message has', ('presence',), LINEAR, in_actions(gone)),
    Lie('commands of a dead topic', ('told',), LINEAR, in_actions(standing)),
    Lie('camera repeats one picture', ('still pictures',), SEEN, frozen),
    Lie('pictures 0.7 s late', ('picture time',), SEEN, in_stamps('pictures', late(0.7))),
    Lie('normaliser left out', ('normaliser',), ('droid',), in_file('action.normaliser', 'none')),
    Lie('clock of another rate than the domain', ('rate',), ('droid', 'umi', 'av'),
        in_file('clock.hz', 5)),
    Lie('domain of another width', ('width',), ('umi', 'av'), in_file('cosmos.domain', 'pusht')),
    Lie(IN_FILE + 'the other kind', ('kind',), (*ABSOLUTE, *DELTA), kind_turned),
    Lie(IN_FILE + 'deg for rad', ('units',), ('g1', 'sim_arm'), named_in_degrees),
    Lie(IN_FILE + 'two names swapped', ('order',), ('droid', 'umi', 'av', 'bridge'),
        named_in_another_order),
    Lie(IN_FILE + 'axis_angle for euler_xyz', ('rotation',), ('droid',),
        in_file('action.rotation', 'axis_angle')),
    Lie(IN_FILE + 'clock of commands 0.7 s off', ('time offset',), LINEAR, clock_set_wrong),
)  # fmt: skip

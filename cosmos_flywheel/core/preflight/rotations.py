# SPDX-License-Identifier: Apache-2.0
"""The forms in which a rotation may be written, also those that no robot file should use."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from cosmos_flywheel.core.preflight.log import Floats
from cosmos_flywheel.core.rotation import (
    QuaternionOrder,
    matrix_about_axis,
    matrix_from_euler,
    matrix_from_quaternion,
    matrix_from_rot6d,
)

EULER_NAMES = ('roll', 'pitch', 'yaw')


def rotations(values: Floats, form: str) -> Floats:
    """(N, 3, 3) of numbers (N, n) in one of the contract's forms."""
    if form == 'euler_xyz':
        return matrix_from_euler(values)
    if form == 'rot6d':
        return matrix_from_rot6d(values)
    if form == 'axis_angle':
        return _from_vector(values)
    return matrix_from_quaternion(values, 'wxyz' if form == 'quaternion_wxyz' else 'xyzw')


def readings(values: Floats, form: str) -> dict[str, Floats]:
    """Every other way to read the numbers: by what is wrong, (N, 3, 3)."""
    found = {'transposed (the inverse is meant)': _inverse(rotations(values, form))}
    if form == 'rot6d':
        found |= _other_rot6d(values)
    if form in ('euler_xyz', 'axis_angle'):
        found['in degrees'] = rotations(np.radians(values), form)
        found['in radians, read as degrees'] = rotations(np.degrees(values), form)
    if form == 'euler_xyz':
        found |= _other_euler(values)
        found['axis_angle'] = _from_vector(values)
    if form == 'axis_angle':
        found['euler_xyz'] = matrix_from_euler(values)
    if form.startswith('quaternion'):
        other: QuaternionOrder = 'xyzw' if form == 'quaternion_wxyz' else 'wxyz'
        found[f'w at the other end ({other})'] = matrix_from_quaternion(values, other)
    return found


def turned_by(rotation: Floats) -> Floats:
    """Angles (N,) of rotations in radians."""
    trace = np.trace(rotation, axis1=-2, axis2=-1)
    angle: Floats = np.arccos(np.clip((trace - 1) / 2, -1, 1))
    return angle


def nearest_rotation(matrix: Floats) -> Floats:
    """The rotation (3, 3) that is nearest to a matrix, reflections left out."""
    u, _, v = np.linalg.svd(matrix)
    near: Floats = u @ np.diag([1.0, 1.0, np.linalg.det(u @ v)]) @ v
    return near


def _inverse(rotation: Floats) -> Floats:
    return np.swapaxes(rotation, -1, -2)


def _other_rot6d(values: Floats) -> dict[str, Floats]:
    pairs = values.reshape(*values.shape[:-1], 3, 2)
    interleaved = np.concatenate([pairs[..., 0], pairs[..., 1]], axis=-1)
    return {'row by row of two columns': matrix_from_rot6d(interleaved)}


def _other_euler(values: Floats) -> dict[str, Floats]:
    x, y, z = (
        matrix_about_axis(np.broadcast_to(axis, values.shape), values[..., place])
        for place, axis in enumerate(np.eye(3))
    )
    found = {'turned about its own x, then y, then z': x @ y @ z}
    for order in permutations(range(3)):
        if order != (0, 1, 2):
            said = ', '.join(EULER_NAMES[place] for place in order)
            found[f'in the order {said}'] = matrix_from_euler(values[..., np.argsort(order)])
    return found


def _from_vector(values: Floats) -> Floats:
    angle = np.linalg.norm(values, axis=-1)
    axis = np.where(angle[..., None] > 0, values, [1.0, 0.0, 0.0])
    return matrix_about_axis(axis, angle)

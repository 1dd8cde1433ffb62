# SPDX-License-Identifier: Apache-2.0
"""Rotations and poses from one form into another, in inverse pairs; leading axes are batches.

A rotation is float64 (…, 3, 3), a pose float64 (…, 4, 4) with metres in its last column. NaN in
gives NaN out, so that an unknown pose stays unknown.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
QuaternionOrder = Literal['xyzw', 'wxyz']


def matrix_from_quaternion(quaternion: ArrayLike, order: QuaternionOrder = 'xyzw') -> Array:
    """Turn quaternions (…, 4) of any length but zero into rotations; length zero gives NaN."""
    q = np.asarray(quaternion, np.float64)
    q = q if order == 'xyzw' else np.roll(q, -1, axis=-1)
    x, y, z, w = np.moveaxis(_unit(q), -1, 0)
    return _stack(
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    )


def quaternion_from_matrix(rotation: ArrayLike, order: QuaternionOrder = 'xyzw') -> Array:
    """Turn rotations into unit quaternions (…, 4) with w >= 0."""
    r = np.asarray(rotation, np.float64)
    mirrored = np.swapaxes(r, -1, -2)
    odd, even = r - mirrored, r + mirrored
    xx, yy, zz = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    xy, xz, yz = even[..., 0, 1], even[..., 0, 2], even[..., 1, 2]
    sx, sy, sz = odd[..., 2, 1], odd[..., 0, 2], odd[..., 1, 0]
    # Each row is the quaternion times four of its own elements: the longest row loses no digits.
    rows = _stack(
        [1 + xx - yy - zz, xy, xz, sx],
        [xy, 1 - xx + yy - zz, yz, sy],
        [xz, yz, 1 - xx - yy + zz, sz],
        [sx, sy, sz, 1 + xx + yy + zz],
    )
    longest = np.argmax(np.linalg.norm(rows, axis=-1), axis=-1)
    q = _unit(np.take_along_axis(rows, longest[..., None, None], axis=-2)[..., 0, :])
    q = np.where(q[..., 3:] < 0, -q, q)
    return q if order == 'xyzw' else np.roll(q, 1, axis=-1)


def matrix_from_euler(angles: ArrayLike) -> Array:
    """Turn (…, 3) roll, pitch, yaw in radians, extrinsic 'xyz', into rotations Rz · Ry · Rx."""
    roll, pitch, yaw = np.moveaxis(np.asarray(angles, np.float64), -1, 0)
    (cr, sr), (cp, sp), (cy, sy) = ((np.cos(a), np.sin(a)) for a in (roll, pitch, yaw))
    return _stack(
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    )


def euler_from_matrix(rotation: ArrayLike) -> Array:
    """Turn rotations into (…, 3) roll, pitch, yaw in radians, extrinsic 'xyz', pitch in ±π/2.

    At pitch ±π/2 only the sum of roll and yaw is known: yaw is then given as 0.
    """
    r = np.asarray(rotation, np.float64)
    horizontal = np.hypot(r[..., 0, 0], r[..., 1, 0])
    locked = horizontal < 1e-9
    roll = np.where(
        locked,
        np.arctan2(-r[..., 1, 2], r[..., 1, 1]),
        np.arctan2(r[..., 2, 1], r[..., 2, 2]),
    )
    yaw = np.where(locked, 0.0, np.arctan2(r[..., 1, 0], r[..., 0, 0]))
    return np.stack([roll, np.arctan2(-r[..., 2, 0], horizontal), yaw], axis=-1)


def matrix_about_axis(axis: ArrayLike, angle_rad: ArrayLike) -> Array:
    """Rotation by an angle about an axis (…, 3) of any length but zero (Rodrigues' formula)."""
    x, y, z = np.moveaxis(_unit(np.asarray(axis, np.float64)), -1, 0)
    angle = np.asarray(angle_rad, np.float64)
    zero = np.zeros_like(x)
    cross = _stack([zero, -z, y], [z, zero, -x], [-y, x, zero])
    sine, versine = np.sin(angle)[..., None, None], (1 - np.cos(angle))[..., None, None]
    turned: Array = np.eye(3) + sine * cross + versine * (cross @ cross)
    return turned


def rot6d_from_matrix(rotation: ArrayLike) -> Array:
    """Turn rotations into (…, 6): the first column, then the second; identity is 1 0 0 0 1 0.

    The order of Cosmos 3 (cosmos-framework, `pose_utils.py`).
    """
    r = np.asarray(rotation, np.float64)
    return np.concatenate([r[..., 0], r[..., 1]], axis=-1)


def matrix_from_rot6d(rot6d: ArrayLike) -> Array:
    """Turn (…, 6) into rotations; columns not orthonormal are made so, the first one first."""
    values = np.asarray(rot6d, np.float64)
    first = _unit(values[..., :3])
    second = values[..., 3:]
    second = _unit(second - np.sum(first * second, axis=-1, keepdims=True) * first)
    return np.stack([first, second, np.cross(first, second)], axis=-1)


def pose_from_parts(position_m: ArrayLike, rotation: ArrayLike) -> Array:
    """Join positions (…, 3) and rotations (…, 3, 3) into poses."""
    position, turned = np.asarray(position_m, np.float64), np.asarray(rotation, np.float64)
    batch = np.broadcast_shapes(position.shape[:-1], turned.shape[:-2])
    pose = np.zeros((*batch, 4, 4))
    pose[..., :3, :3] = turned
    pose[..., :3, 3] = position
    pose[..., 3, 3] = 1.0
    return pose


def inverse_pose(pose: ArrayLike) -> Array:
    """Inverse of rigid poses."""
    p = np.asarray(pose, np.float64)
    back = np.swapaxes(p[..., :3, :3], -1, -2)
    return pose_from_parts(-(back @ p[..., :3, 3:])[..., 0], back)


def pose_deltas(poses: ArrayLike) -> Array:
    """Steps T_i⁻¹ · T_{i+1} of a path (T + 1, 4, 4) → (T, 4, 4), each in its own first frame."""
    p = np.asarray(poses, np.float64)
    deltas: Array = inverse_pose(p[:-1]) @ p[1:]
    return deltas


def compose_deltas(start: ArrayLike, deltas: ArrayLike) -> Array:
    """Inverse of `pose_deltas`: a first pose (4, 4) and T steps → the path (T + 1, 4, 4)."""
    path = [np.asarray(start, np.float64)]
    for step in np.asarray(deltas, np.float64):
        path.append(path[-1] @ step)
    return np.stack(path)


def _unit(vector: Array) -> Array:
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    unit: Array = vector / np.where(length > 0, length, np.nan)
    return unit


def _stack(*rows: list[Any]) -> Array:
    """Rows of equally shaped elements → (…, rows, columns)."""
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)

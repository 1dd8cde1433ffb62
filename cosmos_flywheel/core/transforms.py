# SPDX-License-Identifier: Apache-2.0
"""Transforms as they are heard on /tf and /tf_static into the pose of one frame in another.

The rule: each transform counts with the newest value heard, without interpolation, so that what
is known at an instant never depends on what came later.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.rotation import inverse_pose, matrix_from_quaternion, pose_from_parts

Pose = NDArray[np.float64]


class TransformTree:
    """The newest transform from each frame to its parent; grows with the number of frames only."""

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, Pose]] = {}

    def learn(self, message: Any) -> set[str]:
        """Take in a TFMessage; returns the child frames that it moved."""
        for transform in message.transforms:
            parent, child = _frame(transform.header.frame_id), _frame(transform.child_frame_id)
            self._parents[child] = (parent, _pose(transform.transform))
        return {_frame(transform.child_frame_id) for transform in message.transforms}

    def lookup(self, parent: str, child: str) -> Pose | None:
        """Pose (4, 4) of `child` in `parent` by a common ancestor; None if none is known."""
        above_parent, above_child = self._climb(_frame(parent)), self._climb(_frame(child))
        for ancestor, child_pose in above_child.items():
            if ancestor in above_parent:
                pose: Pose = inverse_pose(above_parent[ancestor]) @ child_pose
                return pose
        return None

    def between(self, parent: str, child: str) -> set[str]:
        """The frames whose transforms decide `lookup(parent, child)`; may hold a few above it."""
        return {*self._climb(_frame(parent)), *self._climb(_frame(child))}

    def _climb(self, frame: str) -> dict[str, Pose]:
        """Pose of `frame` in itself and in each of its ancestors, nearest first."""
        poses = {frame: np.eye(4)}
        pose = poses[frame]
        while frame in self._parents:
            frame, step = self._parents[frame]
            if frame in poses:
                break  # two publishers disagree and form a loop
            pose = step @ pose
            poses[frame] = pose
        return poses


def _frame(name: str) -> str:
    """Frame names of ROS 1 may begin with a slash, those of ROS 2 may not."""
    return name.lstrip('/')


def _pose(transform: Any) -> Pose:
    t, q = transform.translation, transform.rotation
    return pose_from_parts([t.x, t.y, t.z], matrix_from_quaternion([q.x, q.y, q.z, q.w]))

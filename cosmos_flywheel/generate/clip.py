# SPDX-License-Identifier: Apache-2.0
"""The clip of an order's failure, checked and laid on the robot's clock."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cosmos_flywheel.bags.recording import Recording, read_recording
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import OrderError, seedless
from cosmos_flywheel.core.lineage import sha256_file
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.generate.base import Order
from cosmos_flywheel.store.episodes import CLIP


@dataclass(frozen=True, slots=True)
class FailureClip:
    """What was recorded of a failure."""

    recording: Recording
    onset_s: float
    """From the first picture."""
    keyframe: int
    """The tick that a candidate goes on from: the brief's last keyframe."""


def read_clip(order: Order) -> FailureClip:
    """Read the clip that the order's brief was made from; the last few are remembered.

    Raises:
        OrderError: the episode or its clip is gone, or is not the one that the brief names, or
            holds no pictures of the robot.

    """
    brief = order.brief
    path = order.episode / CLIP
    if not path.is_file():
        raise OrderError(
            f'{path}: is missing; harvest the bag again, or give the folder that holds episode '
            f'{brief.origin.id}'
        )
    changed_ns = path.stat().st_mtime_ns
    robot = ByContent(order.robot)
    recording = _read(path, changed_ns, brief.origin.clip_sha256, robot)
    onset_ns = int(recording.stamps_ns[0]) + round(brief.failure.onset_s * NS)
    stamps_ns = brief.scene.keyframe_stamps_ns or (onset_ns,)
    return FailureClip(recording, brief.failure.onset_s, recording.nearest(stamps_ns[-1]))


@lru_cache(maxsize=2)
def _read(path: Path, _changed_ns: int, sha256: str, robot: ByContent) -> Recording:
    if sha256_file(path) != sha256:
        raise OrderError(
            f'{path}: is not the clip that the brief was made from (its sha256 differs); copy or '
            'harvest the episode again, or make the brief again with `flywheel brief`'
        )
    with seedless():
        return read_recording(path, robot.robot)


class ByContent:
    """A robot that is equal to another one with the same file."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        self._hash = robot.config_hash()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByContent) and other._hash == self._hash

    def __hash__(self) -> int:
        return hash(self._hash)

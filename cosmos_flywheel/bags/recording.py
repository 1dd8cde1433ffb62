# SPDX-License-Identifier: Apache-2.0
"""A whole bag, such as an episode's clip, as arrays: pictures, states and commands by tick."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.bags.alignment import Alignment
from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import BagError, ConfigError
from cosmos_flywheel.core.timeline import NS, Tick
from cosmos_flywheel.core.types import Picture

MOST_BYTES = 2 << 30
"""Pictures of one recording that are held in memory; a clip of a minute has a tenth of it."""


@dataclass(frozen=True, slots=True)
class Recording:
    """T ticks of one robot's clock, in a row; every one has a picture of the primary camera."""

    stamps_ns: NDArray[np.int64]
    """(T,), ascending."""
    pictures: NDArray[np.uint8]
    """(T, H, W, 3) RGB."""
    states: NDArray[np.float32]
    """(T, S), NaN where nothing is known."""
    actions: NDArray[np.float32]
    """(T, A), the command in force at each tick; NaN where nothing is known."""

    def __len__(self) -> int:
        return len(self.stamps_ns)

    @property
    def times_s(self) -> NDArray[np.float64]:
        """(T,) seconds since the first tick."""
        return np.asarray((self.stamps_ns - self.stamps_ns[0]) / NS, np.float64)

    def part(self, begin: int, end: int | None = None) -> Recording:
        """The ticks from `begin` up to, not with, `end`."""
        kept = slice(begin, end)
        return Recording(
            self.stamps_ns[kept], self.pictures[kept], self.states[kept], self.actions[kept]
        )

    def nearest(self, stamp_ns: int) -> int:
        """The tick nearest to an instant."""
        return int(np.abs(self.stamps_ns - stamp_ns).argmin())


def read_recording(path: Path, robot: Robot, size: tuple[int, int] | None = None) -> Recording:
    """Read a bag's longest stretch in which the clock did not begin anew.

    Ticks without a picture of the primary camera are left out.

    Args:
        path: any bag.
        robot: which of its topics mean what.
        size: (H, W) to which pictures are brought; None leaves them as the camera gave them.

    Raises:
        BagError: the bag cannot be read.
        ConfigError: the robot has no camera, or the bag holds no picture of it.

    """
    if robot.primary_camera is None:
        raise ConfigError(f'robot {robot.name!r}: no camera; name one in cameras')
    runs: dict[int, list[Tick]] = {}
    held_bytes = 0
    for tick in read_ticks(path, robot, size):
        if tick.picture is not None:
            runs.setdefault(tick.segment, []).append(tick)
            held_bytes += tick.picture.nbytes
        if held_bytes > MOST_BYTES:
            raise BagError(f'{path}: over {MOST_BYTES} bytes of pictures; give a shorter bag')
    run = max(runs.values(), key=len, default=[])
    if not run:
        raise ConfigError(
            f'{path}: no picture of camera {robot.primary_camera.name!r} '
            f'({robot.primary_camera.topic}) can be read; check the robot file'
        )
    pictures = _of_one_size(path, [t.picture for t in run if t.picture is not None])
    return Recording(
        np.array([t.stamp_ns for t in run], np.int64),
        np.stack(pictures),
        np.stack([t.state for t in run]),
        np.stack([t.action for t in run]),
    )


def read_ticks(path: Path, robot: Robot, size: tuple[int, int] | None = None) -> Iterator[Tick]:
    """The ticks of a bag, those without a picture too; messages that are damaged are left out."""
    with open_bag(path) as source:
        topics = {name for name, t in source.topics.items() if t.count and t.readable}
        alignment = Alignment(robot, topics, size)
        for raw in source.messages(set(alignment.topics)):
            try:
                message = source.deserialize(raw)
            except BagError:
                continue
            stamp_ns = alignment.stamp_ns(raw.topic, raw.log_ns, message)
            yield from alignment.take(raw.topic, stamp_ns, message)
        yield from alignment.flush()


def _of_one_size(path: Path, pictures: list[Picture]) -> list[Picture]:
    sizes = sorted({p.shape[:2] for p in pictures})
    if len(sizes) > 1:
        told = ', '.join(f'{w}x{h}' for h, w in sizes)
        raise BagError(f'{path}: pictures of {told} px in one recording; cut it where they change')
    return pictures

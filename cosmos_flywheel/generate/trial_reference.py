# SPDX-License-Identifier: Apache-2.0
"""What should move in the picture when a command is changed: by physics, or as was recorded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.bags.record import write_bag
from cosmos_flywheel.bags.recording import Recording, read_recording
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.identifiability import LEAST_TOLERANCE
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.generate.clip import FailureClip
from cosmos_flywheel.generate.steering import Floats, flow
from cosmos_flywheel.generate.twin import Course, course
from cosmos_flywheel.sim import find_robot
from cosmos_flywheel.sim.record import record
from cosmos_flywheel.sim.world import Robot as Twin
from cosmos_flywheel.sim.world import Setup

STEPS = 8
"""Ticks of a chunk."""
SHARES = (0.3, 0.45, 0.6)
"""Of a recording: where chunks begin."""
TWIN_SEED = 90_001
"""Of the twin's scene; not one of those that models are fitted to."""
LEAST_TICKS = 4
"""Of a past before a chunk."""
APART = 2
"""Ticks between pictures whose recorded motion is tracked."""
SURE = 3.0
"""A recorded slope of so many standard errors is one."""


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """What a changed chunk should move."""

    flow: Floats
    """(2,) px of the instant's pictures, right and down."""
    moved: float
    """How far something truly moves, in its own unit; NaN where nobody knows."""
    picture: Picture | None
    """How it should look; None where nobody knows."""


@dataclass(frozen=True, slots=True, eq=False)
class Instant:
    """One chunk that can be changed."""

    recording: Recording
    keyframe: int
    """Its last tick before the chunk."""
    path: Floats
    """(STEPS, A) commands as they were."""
    ask: Callable[[Floats], Reply]
    """Of the (A,) offsets at which a ramp on the path ends."""
    shows: NDArray[np.bool_]
    """(A,) whether the reference knows what an element moves."""


def twin_instants(robot: str, task: str, file: Robot) -> Iterator[Instant]:
    """Chunks of a nominal episode of the twin, each answered by physics.

    Raises:
        SimError: the simulator cannot run or render here.

    """
    twin = find_robot(robot)
    setup = Setup(task, TWIN_SEED)
    made = record(twin, setup, film=False)
    with tempfile.TemporaryDirectory(prefix='flywheel-trial-') as aside:
        bag = Path(aside) / 'twin'
        write_bag(bag, made.messages)
        recording = read_recording(bag, file)
    begin_ns = int(made.label['start_ns'])
    for share in SHARES:
        start = round(share * len(recording))
        keyframe = recording.nearest(begin_ns + round(start / twin.camera_hz * NS))
        path = np.asarray(recording.actions[keyframe : keyframe + STEPS], np.float64)
        yield Instant(
            recording, keyframe, path, _Physics(twin, setup, start), np.ones(path.shape[1], bool)
        )


class _Physics:
    """Runs the twin up to the end of a changed chunk."""

    def __init__(self, twin: Twin, setup: Setup, start: int) -> None:
        self._twin, self._setup, self._start = twin, setup, start
        self._plain: Course | None = None

    def __call__(self, offset: Floats) -> Reply:
        if self._plain is None:
            self._plain = self._course(np.zeros_like(offset))
        found = self._course(offset)
        moved = float(np.linalg.norm(found.truth - self._plain.truth))
        return Reply(flow(self._plain.picture, found.picture), moved, found.picture)

    def _course(self, offset: Floats) -> Course:
        return course(self._twin, self._setup, self._start, STEPS, offset)


def clip_instants(clip: FailureClip, others: Sequence[Recording], kind: str) -> Iterator[Instant]:
    """Chunks of a clip before its failure, answered by what its motion and that of others shows.

    Args:
        clip: the failure's.
        others: further recordings of the same robot and scene.
        kind: of its commands; see the robot file.

    """
    before = clip.recording.part(0, clip.keyframe + 1)
    slopes, shows = recorded_slopes([before, *others], kind)

    def ask(offset: Floats) -> Reply:
        return Reply(offset @ slopes, float('nan'), None)

    for share in SHARES:
        keyframe = round(share / max(SHARES) * clip.keyframe)
        path = np.asarray(clip.recording.actions[keyframe : keyframe + STEPS], np.float64)
        if keyframe >= LEAST_TICKS and len(path) == STEPS and np.isfinite(path).all():
            yield Instant(clip.recording, keyframe, path, ask, shows)


def recorded_slopes(
    recordings: Sequence[Recording], kind: str
) -> tuple[Floats, NDArray[np.bool_]]:
    """(A, 2) px that a ramp to 1 moves within a chunk, and (A,) which of them are sure.

    Mean flow between pictures that are near enough to be tracked is regressed on the change of all
    commands between them, by least squares with an intercept. Sure is what is several standard
    errors large; of an element that never moves apart from the others nothing is sure.
    """
    changes, flows = [], []
    for one in recordings:
        for tick in range(0, len(one) - APART, APART):
            chunk = np.asarray(one.actions[tick : tick + APART + 1], np.float64)
            if not np.isfinite(chunk).all():
                continue
            # A ramp of rates that ends at 1 sums to (STEPS + 1) / 2.
            by_rates = chunk[:-1].sum(0) * 2 / (STEPS + 1)
            changes.append(chunk[-1] - chunk[0] if kind == 'absolute' else by_rates)
            flows.append(flow(one.pictures[tick], one.pictures[tick + APART]))
    width = recordings[0].actions.shape[1]
    slopes, sure = np.zeros((width, 2)), np.zeros(width, bool)
    spread = np.std(changes, 0) if changes else np.zeros(width)
    moving = np.flatnonzero(spread > 1e-6)
    spare = len(changes) - len(moving) - 1
    if not len(moving) or spare < 1:
        return slopes, sure
    asked = np.column_stack([np.asarray(changes)[:, moving], np.ones(len(changes))])
    found, *_ = np.linalg.lstsq(asked, np.asarray(flows), rcond=None)
    left = np.asarray(flows) - asked @ found
    variance = (left**2).sum() / (2 * spare)
    slopes[moving] = found[:-1]
    for column, place in enumerate(moving):
        apart = asked[:, column] - _told_by(np.delete(asked, column, 1), asked[:, column])
        own = float(apart @ apart)
        if own > LEAST_TOLERANCE * len(changes) * spread[place] ** 2:
            error = np.sqrt(variance / own)
            sure[place] = np.linalg.norm(slopes[place]) > SURE * error
    return slopes, sure


def _told_by(others: Floats, one: Floats) -> Floats:
    """What the other columns say of this one."""
    found, *_ = np.linalg.lstsq(others, one, rcond=None)
    return np.asarray(others @ found, np.float64)

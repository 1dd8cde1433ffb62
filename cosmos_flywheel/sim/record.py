# SPDX-License-Identifier: Apache-2.0
"""A robot and a setup to one recorded episode: its messages, and apart from them the truth.

Beside the world that is recorded runs its fault-free twin, under the very same commands or, for
faults that change the commands, under the nominal policy. What differs is the fault's doing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cosmos_flywheel.core.errors import SimError
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.sim.camera import Camera
from cosmos_flywheel.sim.messages import COMPRESSED_IMAGE, Fields, compressed_image
from cosmos_flywheel.sim.world import Numbers, Robot, Said, Setup, Span, World

SCHEMA = 'sim-label-v1'

EPOCH_S = 1_700_000_000
"""Invented: seed 0 begins here …"""
APART_S = 60
"""… and every seed so much after the one before."""
SEEDS_APART = 1_000_000
"""Beyond so many seeds the same instants come again: stamps must fit 32 bits."""

ARRIVAL_NS, PICTURE_ARRIVAL_NS, ARRIVAL_JITTER_NS = 1_000_000, 9_000_000, 2_000_000
"""The recorder gets a message so long after its stamp, and at random a little later."""

AFFECTED_M = 0.005
"""An object so far from its twin shows that a fault that is over still has consequences."""

POSE, TWIN = 'pose_', 'twin_'

Progress = Callable[[float, float], None]
"""Told how many seconds are recorded, and of how many."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message as a recorder gets it."""

    topic: str
    msgtype: str
    log_ns: int
    content: Fields


@dataclass(frozen=True, slots=True)
class Recording:
    """One episode; what is beside `messages` must never reach a detector."""

    messages: tuple[Message, ...]
    """In the order of their log times."""
    label: Mapping[str, Any]
    """A sim-label-v1."""
    truth: Mapping[str, np.ndarray[Any, Any]]
    """By name, one row a camera frame: `time_s`, `command`, `is_affected`, what the world tells
    (`World.truth`), and the twin's as `twin_NAME`."""
    twin_film: tuple[Picture, ...] = ()
    """What a perfect camera sees of the twin, a picture a frame; empty if it was not wanted."""


def record(
    robot: Robot,
    setup: Setup,
    *,
    seconds: float | None = None,
    film: bool = True,
    progress: Progress | None = None,
) -> Recording:
    """Run one episode.

    Args:
        robot: who does it.
        setup: see `setup_of`.
        seconds: how long; by default until the task is done.
        film: whether the twin is rendered too.
        progress: called after every control period.

    Raises:
        SimError: MuJoCo is missing, nothing can be rendered, or the fault would begin after the
            end.

    """
    with closing(robot.start(setup)) as world:
        seconds = seconds or world.seconds
        if world.span is not None and world.span.start_s >= seconds:
            raise SimError(
                f'{robot.name} {setup.task}, seed {setup.seed}: the fault begins at '
                f'{world.span.start_s:.1f} s, after the end; record more than that'
            )
        run = _Run(robot, setup, world)
        twin_setup = replace(setup, fault=None, strength=0.0)
        with closing(robot.start(twin_setup)) as twin:
            for _ in range(round(seconds * robot.control_hz)):
                run.go_on(twin, film=film)
                if progress is not None:
                    progress(run.ticks / robot.control_hz, seconds)
        return run.recording()


@dataclass(slots=True)
class _Frames:
    """What is noted at each frame of the camera."""

    times_s: list[float] = field(default_factory=list)
    commands: list[Numbers] = field(default_factory=list)
    truths: list[Mapping[str, Numbers]] = field(default_factory=list)
    film: list[Picture] = field(default_factory=list)

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """(T, …) by name."""
        names = self.truths[0] if self.truths else ()
        return {
            'time_s': np.array(self.times_s),
            'command': np.array(self.commands),
            **{name: np.array([truth[name] for truth in self.truths]) for name in names},
        }


class _Run:
    """One world and its camera while they are recorded."""

    def __init__(self, robot: Robot, setup: Setup, world: World) -> None:
        self._robot, self._setup, self._world = robot, setup, world
        self._start_ns = (EPOCH_S + APART_S * (setup.seed % SEEDS_APART)) * 10**9
        self._arrival = setup.chance('arrival')
        self._camera = Camera(setup, world.span, robot.camera_hz)
        self._messages: list[Message] = []
        self._frames = _Frames()
        self.ticks = 0

    def go_on(self, twin: World, *, film: bool) -> None:
        """One control period of the world and of its twin."""
        at_s = self.ticks / self._robot.control_hz
        stamp_ns = self._start_ns + round(at_s * 1e9)
        command = self._world.command()
        self._take(stamp_ns, self._world.messages(stamp_ns, command), ARRIVAL_NS)
        if self.ticks % (self._robot.control_hz // self._robot.camera_hz) == 0:
            self._take_frame(at_s, stamp_ns, command, twin, film=film)
        self._world.step(command)
        fault = self._setup.fault
        twin.step(twin.command() if fault and fault.changes_commands else command)
        self.ticks += 1

    def recording(self) -> Recording:
        """All that was noted."""
        truth = self._frames.arrays()
        deviation_m = _deviation_m(truth)
        truth['is_affected'] = _affected(truth['time_s'], deviation_m, self._world.span)
        label = _label(self._robot, self._setup, truth['is_affected'], deviation_m)
        return Recording(
            messages=tuple(sorted(self._messages, key=lambda m: (m.log_ns, m.topic))),
            label={**label, 'start_ns': self._start_ns},
            truth=truth,
            twin_film=tuple(self._frames.film),
        )

    def _take_frame(
        self, at_s: float, stamp_ns: int, command: Numbers, twin: World, *, film: bool
    ) -> None:
        seen = self._camera.take(at_s, self._world.picture())
        if seen is not None:
            said = Said(
                self._robot.camera_topic, COMPRESSED_IMAGE, compressed_image(stamp_ns, seen)
            )
            self._take(stamp_ns, [said], PICTURE_ARRIVAL_NS)
        self._frames.times_s.append(at_s)
        self._frames.commands.append(command)
        twins = {f'{TWIN}{name}': value for name, value in twin.truth().items()}
        self._frames.truths.append({**self._world.truth(), **twins})
        if film:
            self._frames.film.append(twin.picture())

    def _take(self, stamp_ns: int, said: Iterable[Said], late_ns: int) -> None:
        for topic, msgtype, content in said:
            log_ns = stamp_ns + late_ns + int(self._arrival.integers(ARRIVAL_JITTER_NS))
            self._messages.append(Message(topic, msgtype, log_ns, content))


def _deviation_m(truth: Mapping[str, np.ndarray[Any, Any]]) -> Numbers:
    """How far the object that strayed most is from its twin's: (T,)."""
    apart = [
        np.linalg.norm(poses[:, :3] - truth[f'{TWIN}{name}'][:, :3], axis=1)
        for name, poses in truth.items()
        if name.startswith(POSE)
    ]
    return np.asarray(np.max(apart, axis=0) if apart else np.zeros(len(truth['time_s'])))


def _affected(
    times_s: np.ndarray[Any, Any], deviation_m: Numbers, span: Span | None
) -> np.ndarray[Any, Any]:
    """(T,) bool: the fault acts, or it did and its consequences are not over."""
    if span is None:
        return np.zeros(len(times_s), bool)
    begun = times_s >= span.start_s
    lasting = begun & ((times_s < span.stop_s) | (deviation_m > AFFECTED_M))
    until = np.flatnonzero(lasting)[-1]
    return np.asarray(begun & (np.arange(len(times_s)) <= until))


def _label(
    robot: Robot, setup: Setup, affected: np.ndarray[Any, Any], deviation_m: Numbers
) -> dict[str, Any]:
    fault = setup.fault
    frames = np.flatnonzero(affected)
    onset, end = (int(frames[0]), int(frames[-1]) + 1) if frames.size else (None, None)
    return {
        'schema': SCHEMA,
        'robot': robot.name,
        'task': setup.task,
        'seed': setup.seed,
        'fault': fault.name if fault else 'none',
        'kind': fault.kind if fault else 'none',
        'strength': setup.strength,
        'is_failure': fault is not None and fault.is_failure,
        'fps': robot.camera_hz,
        'frames': len(affected),
        'onset_frame': onset,
        'end_frame': end,
        'onset_s': None if onset is None else round(onset / robot.camera_hz, 6),
        'end_s': None if end is None else round(end / robot.camera_hz, 6),
        'max_object_deviation_m': round(float(deviation_m.max(initial=0)), 6),
        'twin': 'nominal_policy' if fault and fault.changes_commands else 'same_commands',
    }

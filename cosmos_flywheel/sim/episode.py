# SPDX-License-Identifier: Apache-2.0
"""A robot and a setup to one episode, stepped one control period at a time, beside its twin.

The fault-free twin runs under the very same commands or, for faults that change the commands,
under the nominal policy. What differs is the fault's doing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.sim.camera import Camera
from cosmos_flywheel.sim.messages import COMPRESSED_IMAGE, compressed_image
from cosmos_flywheel.sim.world import Numbers, Robot, Said, Setup, Span

SCHEMA = 'sim-label-v1'

AFFECTED_M = 0.005
"""An object so far from its twin shows that a fault that is over still has consequences."""

POSE, TWIN = 'pose_', 'twin_'

Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass(slots=True)
class _Frames:
    """What is noted at each frame of the camera."""

    times_s: list[float] = field(default_factory=list)
    commands: list[Numbers] = field(default_factory=list)
    truths: list[Mapping[str, Numbers]] = field(default_factory=list)

    def arrays(self) -> Arrays:
        """(T, …) by name."""
        names = self.truths[0] if self.truths else ()
        return {
            'time_s': np.array(self.times_s),
            'command': np.array(self.commands),
            **{name: np.array([truth[name] for truth in self.truths]) for name in names},
        }


class Episode:
    """One world, its camera and its twin. Use it in one thread, and close it.

    For each control period ask in this order for `messages`, `frame` and `step`.

    Args:
        robot: who does it.
        setup: see `setup_of`.

    Raises:
        SimError: MuJoCo is missing.

    """

    def __init__(self, robot: Robot, setup: Setup) -> None:
        self._robot, self._setup = robot, setup
        with ExitStack() as stack:
            self._world = stack.enter_context(closing(robot.start(setup)))
            nominal = replace(setup, fault=None, strength=0.0, recovers=False)
            self._twin = stack.enter_context(closing(robot.start(nominal)))
            self._stack = stack.pop_all()
        self._camera = Camera(setup, self._world.span, robot.camera_hz)
        self._frames = _Frames()
        self._told: Numbers | None = None
        self.ticks = 0
        """Control periods that are over."""
        self.command = self._world.command()
        """What is commanded at this instant: (A,)."""
        self.film: list[Picture] = []
        """What a perfect camera saw of the twin, for each frame for which that was wanted."""

    @property
    def at_s(self) -> float:
        """This instant, in seconds from the start."""
        return self.ticks / self._robot.control_hz

    @property
    def seconds(self) -> float:
        """How long the task takes; it may go on beyond that."""
        return self._world.seconds

    @property
    def span(self) -> Span | None:
        """When the fault acts."""
        return self._world.span

    @property
    def objects(self) -> Mapping[str, Numbers]:
        """True poses of the objects now, by name: (7,) as `World.truth` has them."""
        truth = self._world.truth()
        return {n.removeprefix(POSE): p for n, p in truth.items() if n.startswith(POSE)}

    def ends_well(self) -> bool:
        """Whether, were it to end now, the world is as the task wants it."""
        return self._world.ends_well()

    def warm_up(self) -> None:
        """Make what renders ready: the first picture of a world takes a quarter of a second."""
        self._world.picture()

    def obey(self, command: Numbers) -> None:
        """Take this command at this instant, and until another comes, in place of the policy's."""
        self._told = command
        self.command = command

    def messages(self, stamp_ns: int) -> Iterable[Said]:
        """What the robot publishes at this instant, pictures left out."""
        return self._world.messages(stamp_ns, self.command)

    def has_frame(self) -> bool:
        """Whether the camera takes a picture at this instant."""
        return self.ticks % (self._robot.control_hz // self._robot.camera_hz) == 0

    def frame(self, stamp_ns: int, *, film: bool = False) -> Said | None:
        """The picture of this instant as it is published; None when the camera gives none.

        Also notes the truth of this frame, and with `film` adds a picture of the twin to `film`.
        """
        seen = self._camera.take(self.at_s, self._world.picture())
        self._frames.times_s.append(self.at_s)
        self._frames.commands.append(self.command)
        twins = {f'{TWIN}{name}': value for name, value in self._twin.truth().items()}
        self._frames.truths.append({**self._world.truth(), **twins})
        if film:
            self.film.append(self._twin.picture())
        if seen is None:
            return None
        return Said(self._robot.camera_topic, COMPRESSED_IMAGE, compressed_image(stamp_ns, seen))

    def step(self) -> None:
        """Go on by one control period, the twin too."""
        errs = _departs(self._setup) and self._told is None
        self._world.step(self.command)
        self._twin.step(self._twin.command() if errs else self.command)
        self.ticks += 1
        self.command = self._world.command() if self._told is None else self._told

    def judged(self) -> tuple[dict[str, Any], Arrays]:
        """A sim-label-v1 without `start_ns`, and the truth, a row a frame, of what was so far."""
        truth = self._frames.arrays()
        deviation_m = _deviation_m(truth)
        truth['is_affected'] = _affected(truth['time_s'], deviation_m, self.span)
        return _label(self._robot, self._setup, truth['is_affected'], deviation_m), truth

    def close(self) -> None:
        """Release what renders; a second call does nothing."""
        self._stack.close()


def _departs(setup: Setup) -> bool:
    """Whether other commands are given than the nominal policy's."""
    return setup.recovers or (setup.fault is not None and setup.fault.changes_commands)


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
    until = np.flatnonzero(lasting)[-1] if lasting.any() else -1
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
        'twin': 'nominal_policy' if _departs(setup) else 'same_commands',
    }

# SPDX-License-Identifier: Apache-2.0
"""A robot and a setup to one recorded episode: its messages, and apart from them the truth.

What happens is `sim/episode.py`; here it gets instants and the delays of a recorder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from cosmos_flywheel.core.errors import SimError
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.sim.episode import SCHEMA, Episode
from cosmos_flywheel.sim.messages import Fields
from cosmos_flywheel.sim.world import Numbers, Robot, Said, Setup

__all__ = ['SCHEMA', 'Message', 'Progress', 'Recording', 'Rehearsal', 'record', 'rehearse']

EPOCH_S = 1_700_000_000
"""Invented: seed 0 begins here …"""
APART_S = 60
"""… and every seed so much after the one before."""
SEEDS_APART = 1_000_000
"""Beyond so many seeds the same instants come again: stamps must fit 32 bits."""

ARRIVAL_NS, PICTURE_ARRIVAL_NS, ARRIVAL_JITTER_NS = 1_000_000, 9_000_000, 2_000_000
"""The recorder gets a message so long after its stamp, and at random a little later."""

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
    ends_well: bool
    """Whether at the end the world is as the task wants it."""
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
    with closing(Episode(robot, setup)) as episode:
        if episode.span is not None and episode.span.start_s >= (seconds or episode.seconds):
            raise SimError(
                f'{robot.name} {setup.task}, seed {setup.seed}: the fault begins at '
                f'{episode.span.start_s:.1f} s, after the end; record more than that'
            )
        recorder = _Recorder(setup)
        while episode.ticks < round((seconds or episode.seconds) * robot.control_hz):
            recorder.go_on(episode, film=film)
            if progress is not None:
                progress(episode.at_s, seconds or episode.seconds)
        return recorder.recording(episode)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What an episode without pictures tells."""

    ends_well: bool
    commands: Numbers
    """(T, A), one a camera frame."""
    onset: int
    """The frame at which the fault begins; T without one."""


def rehearse(robot: Robot, setup: Setup) -> Rehearsal:
    """Run an episode without camera and twin: a tenth of the work.

    Raises:
        SimError: MuJoCo is missing.

    """
    commands = []
    with closing(robot.start(setup)) as world:
        ticks = 0
        while ticks < round(world.seconds * robot.control_hz):
            command = world.command()
            if ticks % (robot.control_hz // robot.camera_hz) == 0:
                commands.append(command)
            world.step(command)
            ticks += 1
        begins_s = np.inf if world.span is None else world.span.start_s
        onset = int(min(len(commands), np.rint(begins_s * robot.camera_hz)))
        return Rehearsal(world.ends_well(), np.array(commands), onset)


class _Recorder:
    """Notes what an episode says, with the instants at which it would be received."""

    def __init__(self, setup: Setup) -> None:
        self._start_ns = (EPOCH_S + APART_S * (setup.seed % SEEDS_APART)) * 10**9
        self._arrival = setup.chance('arrival')
        self._messages: list[Message] = []

    def go_on(self, episode: Episode, *, film: bool) -> None:
        """One control period."""
        stamp_ns = self._start_ns + round(episode.at_s * 1e9)
        self._take(stamp_ns, episode.messages(stamp_ns), ARRIVAL_NS)
        if episode.has_frame():
            picture = episode.frame(stamp_ns, film=film)
            self._take(stamp_ns, [picture] if picture else [], PICTURE_ARRIVAL_NS)
        episode.step()

    def recording(self, episode: Episode) -> Recording:
        """All that was noted."""
        label, truth = episode.judged()
        return Recording(
            messages=tuple(sorted(self._messages, key=lambda m: (m.log_ns, m.topic))),
            label={**label, 'start_ns': self._start_ns},
            truth=truth,
            ends_well=episode.ends_well(),
            twin_film=tuple(episode.film),
        )

    def _take(self, stamp_ns: int, said: Iterable[Said], late_ns: int) -> None:
        for topic, msgtype, content in said:
            log_ns = stamp_ns + late_ns + int(self._arrival.integers(ARRIVAL_JITTER_NS))
            self._messages.append(Message(topic, msgtype, log_ns, content))

# SPDX-License-Identifier: Apache-2.0
"""A robot to episode after episode in real time: what it says, and apart from that the truth."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cosmos_flywheel.core.errors import SimError
from cosmos_flywheel.sim.episode import Episode
from cosmos_flywheel.sim.world import Numbers, Robot, Said, Setup, setup_of

MOST_LATE_S = 0.25
"""So far behind real time, the robot gives up catching up and lets that time be lost."""
MEASURED_S = 5.0
"""Over so long the real-time factor is taken."""
DEAF_S = 0.5
"""Without a command from outside for so long, a robot stands still."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the next episode shall be, but for its seed."""

    task: str
    fault: str
    strength: float


@dataclass(frozen=True, slots=True)
class Truth:
    """Something that nobody who judges may hear; see `Stage`."""

    content: Mapping[str, Any]

    def text(self) -> str:
        """As JSON, in one line."""
        return json.dumps(self.content, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Watch:
    """Whether from here on the scene may be judged."""

    on: bool


@dataclass(frozen=True, slots=True)
class Objects:
    """True poses of the objects at a frame, in the order of the truth's `objects`: (7,) each."""

    stamp_ns: int
    poses: tuple[Numbers, ...]


Event = Said | Truth | Watch | Objects


def check_wish(robot: Robot, wish: Wish, *, outside: bool) -> None:
    """Raise SimError for what this robot cannot do.

    Args:
        robot: who shall do it.
        wish: what.
        outside: whether its commands come from somebody else, whose errors are their own.

    """
    fault = setup_of(robot, wish.task, 0, wish.fault, wish.strength).fault
    if outside and fault is not None and fault.changes_commands:
        raise SimError(
            f'fault {fault.name!r} changes the commands, which come from a topic; choose another '
            'fault, or commands: scripted'
        )


class Stage:
    """Runs episodes with seeds that count up; use it in one thread, and close it.

    Truths are mappings with `event`: `start` (seed, task, fault, kind, strength, names of the
    objects), `onset` (of a fault), and `end` (with `onset_ns` and `end_ns`, stamps of the first
    frame and of the frame after the last in which the fault shows, null where there was none;
    `label`, a sim-label-v1 without start_ns; `cut`, whether the episode was broken off). All have
    `episode`, counted from 1, and `stamp_ns`.

    Args:
        robot: who does it.
        wish: asked for what the next episode shall be.
        seed: of the first one.
        pause_s: how long the robot stands after an episode, speaking but not to be judged.
        outside: whether commands come through `obey`; until one comes the robot stands.

    """

    def __init__(
        self,
        robot: Robot,
        wish: Callable[[], Wish],
        *,
        seed: int = 0,
        pause_s: float = 0.0,
        outside: bool = False,
    ) -> None:
        self._robot, self._wish, self._seed = robot, wish, seed
        self._rest_ticks = round(pause_s * robot.control_hz)
        self._outside = outside
        self._episode: Episode | None = None
        self._setup: Setup | None = None
        self._stamps_ns: list[int] = []
        self._rested = -1
        self._deaf_ticks = 0
        self.number = 0
        """Of the episode, from 1; 0 before the first."""

    @property
    def is_ready(self) -> bool:
        """Whether `go_on` may be called; otherwise call `prepare`."""
        return self._episode is not None

    @property
    def is_resting(self) -> bool:
        """Whether the robot stands after an episode."""
        return self._rested >= 0

    @property
    def setup(self) -> Setup | None:
        """Of the present episode."""
        return self._setup

    def prepare(self) -> None:
        """Set the scene of the next episode; takes a moment."""
        self.close()
        wish = self._wish()
        seed = self._seed + self.number
        setup = setup_of(self._robot, wish.task, seed, wish.fault, wish.strength)
        episode = Episode(self._robot, setup)
        episode.warm_up()
        if self._outside:
            episode.obey(self._robot.standing(episode.command))
        self._setup, self._episode = setup, episode
        self._stamps_ns, self._rested, self._deaf_ticks = [], -1, 0
        self.number += 1

    def obey(self, message: Any) -> None:
        """Take a message of the command topic; raises SimError when it is none for this robot."""
        if self._episode is not None:
            self._episode.obey(self._robot.heard(message, self._episode.command))
            self._deaf_ticks = 0

    def go_on(self, stamp_ns: int) -> Iterator[Event]:
        """One control period, at this stamp: take all that it gives, in this order."""
        episode = self._episode
        if episode is None:
            return
        if episode.ticks == 0:
            yield self._truth('start', stamp_ns, **self._about())
            yield Watch(True)
        if not self.is_resting and self._begins_now(episode):
            yield self._truth('onset', stamp_ns, fault=self._fault_name())
        self._listen(episode)
        for said in episode.messages(stamp_ns):
            if not (self._outside and said.topic == self._robot.command_topic):
                yield said
        if episode.has_frame():
            yield from self._frame(episode, stamp_ns)
        episode.step()
        yield from self._perhaps_end(episode, stamp_ns)

    def cut(self, stamp_ns: int) -> Iterator[Event]:
        """Break the episode off, if there is one; the next must be prepared."""
        if self._episode is None:
            return
        if not self.is_resting:
            yield from self._end(self._episode, stamp_ns, cut=True)
        self.close()

    def close(self) -> None:
        """Release the scene; a second call does nothing."""
        if self._episode is not None:
            self._episode.close()
            self._episode = None

    def _listen(self, episode: Episode) -> None:
        if not self._outside:
            return
        self._deaf_ticks += 1
        if self._deaf_ticks > DEAF_S * self._robot.control_hz:
            episode.obey(self._robot.standing(episode.command))

    def _frame(self, episode: Episode, stamp_ns: int) -> Iterator[Event]:
        picture = episode.frame(stamp_ns)
        self._stamps_ns.append(stamp_ns)
        if picture is not None:
            yield picture
        yield Objects(stamp_ns, tuple(episode.objects.values()))

    def _begins_now(self, episode: Episode) -> bool:
        span = episode.span
        return span is not None and episode.ticks == round(span.start_s * self._robot.control_hz)

    def _perhaps_end(self, episode: Episode, stamp_ns: int) -> Iterator[Event]:
        if self.is_resting:
            self._rested += 1
        elif episode.at_s >= episode.seconds:
            yield from self._end(episode, stamp_ns, cut=False)
            self._rested = 0
        if self._rested >= self._rest_ticks:
            self.close()

    def _end(self, episode: Episode, stamp_ns: int, *, cut: bool) -> Iterator[Event]:
        yield Watch(False)
        label, _ = episode.judged()
        yield self._truth(
            'end',
            stamp_ns,
            cut=cut,
            onset_ns=self._stamp_of(label['onset_frame'], stamp_ns),
            end_ns=self._stamp_of(label['end_frame'], stamp_ns),
            label=label,
        )

    def _stamp_of(self, frame: int | None, stamp_ns: int) -> int | None:
        if frame is None:
            return None
        return self._stamps_ns[frame] if frame < len(self._stamps_ns) else stamp_ns

    def _about(self) -> dict[str, Any]:
        setup, episode = self._setup, self._episode
        if setup is None or episode is None:
            return {}
        return {
            'robot': self._robot.name,
            'task': setup.task,
            'seed': setup.seed,
            'fault': self._fault_name(),
            'kind': setup.fault.kind if setup.fault else 'none',
            'is_failure': setup.fault is not None and setup.fault.is_failure,
            'strength': setup.strength,
            'seconds': episode.seconds,
            'objects': list(episode.objects),
        }

    def _fault_name(self) -> str:
        return self._setup.fault.name if self._setup and self._setup.fault else 'none'

    def _truth(self, event: str, stamp_ns: int, **more: Any) -> Truth:
        return Truth({'event': event, 'episode': self.number, 'stamp_ns': stamp_ns, **more})


class Pace:
    """Says when a control period is due, and measures how well real time is kept.

    Args:
        hz: control periods a second of the robot's time.
        rate: seconds of the robot's time in a second of ours.

    """

    def __init__(self, hz: float, rate: float) -> None:
        self._hz = hz * rate
        self._anchor_s = 0.0
        self._taken = 0
        self._done: deque[float] = deque()
        self.lost_s = 0.0
        """Of our time, given up so far because the machine was too slow."""

    def begin(self, now_s: float) -> None:
        """The first control period is due now; what was before does not count."""
        self._anchor_s, self._taken = now_s, 0
        self._done.clear()

    def due_s(self) -> float:
        """When the next one is."""
        return self._anchor_s + self._taken / self._hz

    def take(self, now_s: float) -> float | None:
        """The instant at which the period was due that is to be done now; None if none is."""
        due_s = self.due_s()
        if now_s < due_s:
            return None
        if now_s - due_s > MOST_LATE_S:
            self.lost_s += now_s - due_s
            self._anchor_s += now_s - due_s
            due_s = now_s
        self._taken += 1
        self._done.append(now_s)
        while self._done[0] < now_s - MEASURED_S:
            self._done.popleft()
        return due_s

    def real_time_factor(self) -> float | None:
        """Share of real time that was kept, up to 1; None while that is too early to say."""
        if len(self._done) < 2 or self._done[-1] - self._done[0] < 1.0:
            return None
        kept = (len(self._done) - 1) / self._hz / (self._done[-1] - self._done[0])
        return min(1.0, kept)

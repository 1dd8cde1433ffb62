# SPDX-License-Identifier: Apache-2.0
"""What a simulated robot offers: tasks, faults, and worlds in which an episode of one task runs.

A world is stepped at the robot's control rate. Its time is `ticks / control_hz`, never a sum of
steps, so that the instants of control ticks and of camera frames are equal numbers.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.errors import SimError
from cosmos_flywheel.core.settings import nearest
from cosmos_flywheel.core.types import Picture

Kind = Literal['world', 'policy', 'sensor', 'benign']
Numbers = NDArray[np.float64]

QUIET_S = 1.5
"""No fault begins earlier: a detector needs some nominal time to compare with."""
LASTS_S = 1.5
"""How long a fault acts that neither its strength nor physics ends."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to go wrong, or to differ without going wrong."""

    name: str
    kind: Kind
    """world: the world answers the commands differently; policy: the commands themselves err and
    the world obeys; sensor: the camera lies; benign: nothing that anybody should be told of."""
    tasks: tuple[str, ...]
    """To which it applies."""
    what: str
    """What happens, in a few words."""
    strength: str
    """What strength near 0 and what strength 1 mean, in physical units."""
    changes_commands: bool = False
    """Whether the policy commands something else: then the fault-free twin follows the nominal
    policy, otherwise it gets the very same commands."""

    @property
    def is_failure(self) -> bool:
        """Whether an alarm is right."""
        return self.kind != 'benign'


@dataclass(frozen=True, slots=True)
class Change:
    """What is otherwise than usual in a whole episode, without anything going wrong by it."""

    light: float = 1.0
    """Gain of the lamps."""
    surface: float = 0.0
    """0 … 1: how far the table top, or the goods on the racks, are others."""
    material: str = ''
    """What the arm's table top is made of: wood, steel; '' for the usual board."""
    camera_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """By how much the camera is displaced."""
    friction: float = 1.0
    """Gain of what the objects, or the wheels, rub on the ground with."""
    pace: float = 1.0
    """Gain of the policy's speed."""
    onset: tuple[float, float] = (0.0, 1.0)
    """Between which shares of its window a fault begins whose onset is drawn."""
    sway_rad: float = 0.0
    """By how much each of the arm's joints sways on its own about what the script commands."""


USUAL = Change()


@dataclass(frozen=True, slots=True)
class Setup:
    """All that decides an episode: equal setups give equal bytes."""

    task: str
    seed: int
    fault: Fault | None = None
    strength: float = 0.0
    """0 … 1; 0 without a fault."""
    change: Change = USUAL
    recovers: bool = False
    """Whether an expert that sees the world takes over once the fault has shown itself."""

    def chance(self, what: str) -> np.random.Generator:
        """Random numbers for one purpose, the same for every fault and strength of a seed."""
        return np.random.default_rng([self.seed, zlib.crc32(what.encode())])

    def has(self, fault: str) -> bool:
        """Whether this fault was asked for."""
        return self.fault is not None and self.fault.name == fault


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when a fault acts, in seconds from the start; half-open."""

    start_s: float
    stop_s: float

    def share(self, at_s: float, ramp_s: float = 0.0) -> float:
        """0 outside; inside 1, reached in a straight line `ramp_s` after the start."""
        if not self.start_s <= at_s < self.stop_s:
            return 0.0
        return min(1.0, (at_s - self.start_s) / ramp_s) if ramp_s > 0 else 1.0


class Said(NamedTuple):
    """One message that a robot publishes at an instant."""

    topic: str
    msgtype: str
    """As ROS 2 writes it: `sensor_msgs/msg/JointState`."""
    content: Mapping[str, Any]
    """Fields by name; a field that is a message is again a mapping, see `sim/messages.py`."""


class World(Protocol):
    """One episode under way. Use it in one thread, and close it."""

    @property
    def seconds(self) -> float:
        """How long the episode lasts; it may be stepped on beyond that.

        Where an expert takes over, at most so long, until it has.
        """
        ...

    @property
    def span(self) -> Span | None:
        """When the fault acts, drawn by the seed (see `draw_span`); None without a fault.

        The world itself begins and ends a fault of its own; those of `sim/camera.py` are done to
        the pictures by the recorder.
        """
        ...

    def command(self) -> Numbers:
        """What the scripted policy commands at this instant: (A,), a fresh array."""
        ...

    def step(self, command: Numbers) -> None:
        """Go on by one control period under this command, the policy's own or another's."""
        ...

    def messages(self, stamp_ns: int, command: Numbers) -> Iterable[Said]:
        """What the robot publishes at this instant, pictures left out; stamped by `stamp_ns`."""
        ...

    def picture(self) -> Picture:
        """What a perfect camera sees at this instant; a fresh array."""
        ...

    def ends_well(self) -> bool:
        """Whether, were the episode to end now, the world is as the task wants it."""
        ...

    def truth(self) -> Mapping[str, Numbers]:
        """True values at this instant, always of the same names and shapes.

        `pose_NAME` is an object's pose (7,): x, y, z in metres, then qw, qx, qy, qz.
        """
        ...

    def close(self) -> None:
        """Release the renderer; a second call does nothing."""
        ...


class Robot(Protocol):
    """One simulated robot."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        ...

    @property
    def tasks(self) -> Mapping[str, str]:
        """What it can be told to do, and what that is in words."""
        ...

    @property
    def faults(self) -> Mapping[str, Fault]:
        """Everything that can be injected, by name."""
        ...

    @property
    def control_hz(self) -> int:
        """Commands a second: a multiple of `camera_hz`."""
        ...

    @property
    def camera_hz(self) -> int:
        """Pictures a second."""
        ...

    @property
    def camera_topic(self) -> str:
        """Where its pictures are published, as JPEG."""
        ...

    @property
    def command_topic(self) -> str:
        """Where its commands are published; those of others are taken from there too."""
        ...

    @property
    def command_type(self) -> str:
        """The type of their messages."""
        ...

    def heard(self, message: Any, before: Numbers) -> Numbers:
        """The command that a message of the command topic holds, where it says nothing `before`.

        Raises:
            SimError: It holds no command for this robot, or one that is not finite.
        """
        ...

    def standing(self, before: Numbers) -> Numbers:
        """What makes it stand still, when `before` was its last command."""
        ...

    def start(self, setup: Setup) -> World:
        """A world at time 0; raises SimError when MuJoCo is missing."""
        ...


def finite(topic: str, command: Sequence[float]) -> Numbers:
    """The command as numbers; raises SimError when one of them is none."""
    numbers = np.array(command, np.float64)
    if not np.isfinite(numbers).all():
        raise SimError(f'{topic}: commands {numbers.tolist()}; command finite numbers')
    return numbers


def by_name(faults: Sequence[Fault]) -> Mapping[str, Fault]:
    """Faults under their names."""
    return {fault.name: fault for fault in faults}


def setup_of(robot: Robot, task: str, seed: int, fault: str, strength: float) -> Setup:
    """Check what was asked of a robot; the fault `none` asks for a nominal episode.

    Raises:
        SimError: An unknown task or fault, a fault that this task does not have, a strength
            outside (0, 1], or a negative seed; names what is known.
    """
    if task not in robot.tasks:
        raise SimError(f'{robot.name} has no task {task!r}; {nearest(task, robot.tasks)}')
    if seed < 0:
        raise SimError(f'seed {seed} is negative; give a whole number from 0')
    if fault == 'none':
        return Setup(task, seed)
    known = ['none', *(f.name for f in robot.faults.values() if task in f.tasks)]
    if fault not in known:
        raise SimError(f'{robot.name} {task} has no fault {fault!r}; {nearest(fault, known)}')
    if not 0 < strength <= 1:
        raise SimError(f'strength {strength:g} is out of range; give one above 0, at most 1')
    return Setup(task, seed, robot.faults[fault], strength)


def draw_span(
    setup: Setup, window_s: tuple[float, float], hz: int, lasts_s: float | None = LASTS_S
) -> Span:
    """Draw when the fault of a setup begins: at a frame within the window, after `QUIET_S`.

    Args:
        setup: whose seed and fault decide.
        window_s: earliest and latest onset.
        hz: the camera's rate; the onset falls on a frame.
        lasts_s: how long it acts; None for ever.
    """
    earliest = int(np.ceil(max(window_s[0], QUIET_S) * hz))
    latest = max(earliest, int(window_s[1] * hz))
    name = setup.fault.name if setup.fault else 'none'
    first, last = (earliest + int(share * (latest - earliest)) for share in setup.change.onset)
    frame = int(setup.chance(f'onset of {name}').integers(first, last + 1))
    frames = np.inf if lasts_s is None else max(1, round(lasts_s * hz))
    return Span(frame / hz, (frame + frames) / hz)

# SPDX-License-Identifier: Apache-2.0
"""A task and a seed to the commands of a whole drive, and where they lead on dry ground.

The script knows the building and looks at nothing: what happens in the aisle does not change it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cosmos_flywheel.sim.base_vehicle import FRONT_M
from cosmos_flywheel.sim.world import Numbers, Setup

TASKS = {
    'patrol': 'drive down the aisle between the racks',
    'dock': 'turn into the passage and stop before the pallet',
}
SECONDS = 8.0

PALLET_FRONT_M = 2.6
"""From the middle of the aisle to the pallet, where nominal runs have it."""
GAP_M = 0.6
"""Between pallet and robot, when it has docked."""

SPEED_UP_M_S2, SLOW_DOWN_M_S2 = 0.9, 0.6
LOOK_S = 1.8
STANDING_M_S = 0.004
"""So slow is not worth a command."""


@dataclass(frozen=True, slots=True)
class Drive:
    """Commands at the control rate, and the poses that follow if the wheels just roll."""

    commands: Numbers
    """(N, 2): m/s forward, rad/s to the left."""
    poses: Numbers
    """(N, 3): x, y in metres and yaw in radians when each command is given."""
    hz: int
    """Commands a second."""
    side: int
    """+1 where pallet and docking are to the left, -1 to the right."""

    @property
    def moving_s(self) -> float:
        """Until when the robot is told to move."""
        moving = np.flatnonzero(self.commands[:, 0])
        return float(moving[-1] + 1) / self.hz

    def pose_at(self, at_s: float) -> Numbers:
        """x, y and yaw so long after the start."""
        return np.asarray(self.poses[min(round(at_s * self.hz), len(self.poses) - 1)])


def plan_drive(setup: Setup, hz: int) -> Drive:
    """Draw a drive: `SECONDS` long, with the passage of the task around x = 0."""
    chance, pace = setup.chance('drive'), setup.change.pace
    if setup.task == 'patrol':
        return _patrol(chance, hz, pace)
    return _dock(chance, 1 if setup.chance('side').random() < 0.5 else -1, hz, pace)


def _patrol(chance: np.random.Generator, hz: int, pace: float) -> Drive:
    """Along the aisle with gentle bends, half of the drives with a halt."""
    cruise = pace * chance.uniform(0.5, 0.75)
    wave_m, phase = chance.uniform(2.0, 3.2), chance.uniform(0, 2 * np.pi)
    bend = chance.uniform(0.06, 0.2)
    halt = chance.uniform(3.0, 5.0) if chance.random() < 0.5 else np.inf
    rest = chance.uniform(0.5, 1.2)
    sway, beat = chance.uniform(0.0, 0.15), chance.uniform(0.15, 0.35)

    def curvature(along_m: float) -> float:
        """Of a path whose heading is a sine."""
        wave = 2 * np.pi / wave_m
        return float(bend * wave * np.cos(wave * along_m + phase))

    def speed(at_s: float, _along_m: float) -> float:
        if halt <= at_s < halt + rest + cruise / SLOW_DOWN_M_S2:
            return 0.0
        return float(cruise * (1 + sway * np.sin(2 * np.pi * beat * at_s)))

    commands = _follow(curvature, speed, hz)
    heading = bend * np.sin(phase)
    start = np.array([0.0, chance.uniform(-0.12, 0.12), heading])
    poses = _roll(commands, start, hz)
    ahead_m = chance.uniform(2.8, 3.4)
    poses[:, 0] -= poses[2 * hz, 0] + ahead_m
    poses[:, 1] -= poses[:, 1].mean() - start[1]
    # The pallet is where the robot looks when things come out of the passage on the other side:
    # they come into the picture as soon as they move, since it soon looks there again.
    side = 1 if poses[round(LOOK_S * hz), 2] > 0 else -1
    return Drive(commands, poses, hz, side)


def _dock(chance: np.random.Generator, side: int, hz: int, pace: float) -> Drive:
    """Straight on, a quarter turn into the passage, and slowly up to the pallet."""
    straight, radius = chance.uniform(1.95, 2.2), chance.uniform(0.75, 0.82)
    fast, medium = pace * chance.uniform(0.84, 0.93), pace * chance.uniform(0.56, 0.61)
    blend = 0.25
    arc = np.pi / 2 * radius
    # With the curvature blended in and out, the turn needs this much more way.
    turned = straight + arc + blend

    def curvature(along_m: float) -> float:
        share = min((along_m - straight) / blend, (turned - along_m) / blend, 1.0)
        return float(side * max(share, 0.0) / radius)

    def path(last_m: float) -> Callable[[float, float], float]:
        def speed(_at_s: float, along_m: float) -> float:
            allowed = np.sqrt(2 * SLOW_DOWN_M_S2 * max(turned + last_m - along_m, 0.0))
            near = fast if along_m < straight - 0.15 else medium
            return float(min(near, allowed * 0.95))

        return speed

    start = np.array([0.0, chance.uniform(-0.06, 0.06), chance.uniform(-0.02, 0.02)])
    turn_only = _roll(_follow(curvature, path(0.0), hz), start, hz)[-1]
    last_m = PALLET_FRONT_M - GAP_M - FRONT_M - side * float(turn_only[1])
    commands = _follow(curvature, path(last_m), hz)
    poses = _roll(commands, start, hz)
    poses[:, 0] -= poses[-1, 0]
    return Drive(commands, poses, hz, side)


def _follow(
    curvature: Callable[[float], float], speed: Callable[[float, float], float], hz: int
) -> Numbers:
    """Commands along a path of known curvature at a wanted speed, with bounded acceleration."""
    commands = np.zeros((round(SECONDS * hz), 2))
    now, along = 0.0, 0.0
    for tick in range(len(commands)):
        wanted = speed(tick / hz, along)
        now = float(np.clip(wanted, now - 2 * SLOW_DOWN_M_S2 / hz, now + SPEED_UP_M_S2 / hz))
        if now < STANDING_M_S:
            now = 0.0
        commands[tick] = now, now * curvature(along + now / hz / 2)
        along += now / hz
    return commands


def _roll(commands: Numbers, start: Numbers, hz: int) -> Numbers:
    """Where a robot is that does exactly what it is told: (N, 3)."""
    poses = np.empty((len(commands), 3))
    pose = start
    for tick, (ahead, turn) in enumerate(commands / hz):
        poses[tick] = pose
        heading = pose[2] + turn / 2
        pose = pose + np.array([ahead * np.cos(heading), ahead * np.sin(heading), turn])
    return poses

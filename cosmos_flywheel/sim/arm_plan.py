# SPDX-License-Identifier: Apache-2.0
"""What lies on the arm's table, and the setup, to what its policy commands at each instant.

A plan is a chain of legs, each a smooth motion from where the one before ended. The policy is
scripted and looks at nothing: whatever the world does, it commands the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from cosmos_flywheel.sim.arm_reach import Place
from cosmos_flywheel.sim.arm_scene import PUSHED_HALF_M, Scene
from cosmos_flywheel.sim.world import Setup

OPEN_M, CLOSED_M = 0.04, 0.0
"""Commanded way of one finger from the middle; closed on a cube it presses with 14 N."""
LOOSE_M = 0.0235
"""Just wider than a cube."""
HOVER_M, GRASP_M, CARRY_M, RELEASE_M = 0.13, 0.02, 0.17, 0.045
"""Heights of the finger tips."""
PUSH_M = 0.035


@dataclass(frozen=True, slots=True)
class Leg:
    """One motion."""

    name: str
    seconds: float
    place: Place
    """Where it ends."""
    opening_m: float
    """Of a finger, at its end."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that the policy is going to do."""

    start: Leg
    """Where everything begins; its duration does not count."""
    legs: tuple[Leg, ...]
    onset: str = ''
    """The leg at whose start a policy that errs leaves the nominal plan."""
    loosens_s: float | None = None
    """When a weak grip lets go."""

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return sum(leg.seconds for leg in self.legs)

    def place(self, name: str) -> Place:
        """Where a leg ends."""
        return next(leg.place for leg in self.legs if leg.name == name)

    def span_s(self, name: str) -> tuple[float, float]:
        """When a leg begins and ends."""
        names = [leg.name for leg in self.legs]
        before_s = sum(leg.seconds for leg in self.legs[: names.index(name)])
        return before_s, before_s + self.legs[names.index(name)].seconds

    def during_s(self, name: str, share: float) -> float:
        """The instant at which this share of a leg's time has passed."""
        start_s, stop_s = self.span_s(name)
        return start_s + share * (stop_s - start_s)

    def at(self, at_s: float) -> tuple[Place, float]:
        """Where the finger tips should be, and how far open, at an instant."""
        began_s = 0.0
        for before, leg in pairwise((self.start, *self.legs)):
            if at_s < began_s + leg.seconds:
                share = _smooth((at_s - began_s) / leg.seconds)
                opening_m = before.opening_m + share * (leg.opening_m - before.opening_m)
                return before.place.towards(leg.place, share), self._loosened(opening_m, at_s)
            began_s += leg.seconds
        return self.legs[-1].place, self.legs[-1].opening_m

    def _loosened(self, opening_m: float, at_s: float) -> float:
        if self.loosens_s is None or at_s < self.loosens_s:
            return opening_m
        return max(opening_m, LOOSE_M * _smooth(min(1.0, (at_s - self.loosens_s) / 0.3)))


def make_plan(setup: Setup, scene: Scene) -> Plan:
    """The plan for a setup, with the policy's error where the setup asks for one."""
    plan = _push(setup, scene) if setup.task == 'push' else _pick_place(setup, scene)
    pace = setup.chance('pace').uniform(0.92, 1.1) / setup.change.pace
    legs = tuple(replace(leg, seconds=leg.seconds * pace) for leg in plan.legs)
    plan = replace(plan, legs=legs)
    if setup.has('weak_grip'):
        return replace(plan, loosens_s=plan.during_s('carry', 0.8 - 0.75 * setup.strength))
    return plan


def _smooth(share: float) -> float:
    """From 0 to 1 with the least jerk (Flash and Hogan, 1985)."""
    return share**3 * (10 - 15 * share + 6 * share**2)


def _start(setup: Setup, y: float) -> Leg:
    chance = setup.chance('start')
    dx, dy, dz, turn = chance.uniform(-1, 1, 4) * (0.03, 0.04, 0.03, 0.3)
    return Leg('start', 0.0, Place(0.30 + dx, y + dy, 0.22 + dz, np.pi / 2 + turn), OPEN_M)


def _push(setup: Setup, scene: Scene) -> Plan:
    chance = setup.chance('push plan')
    along = np.array([np.cos(scene.heading), np.sin(scene.heading)])
    turn = scene.heading + np.pi / 2
    behind = PUSHED_HALF_M + 0.011
    contact = np.array(scene.positions['box']) - behind * along
    aside, height = chance.uniform(-0.004, 0.004), PUSH_M + chance.uniform(-0.006, 0.006)
    contact += aside * np.array([-along[1], along[0]])
    begin = contact - chance.uniform(0.025, 0.04) * along
    end = contact + scene.distance_m * along
    low = Place(begin[0], begin[1], height, turn)
    done = Place(end[0], end[1], height, turn)
    away = done.moved(-0.05 * along[0], -0.05 * along[1])
    start = replace(_start(setup, -0.1 * np.sign(along[1])), opening_m=CLOSED_M)
    legs = (
        Leg('rest', 0.3, start.place, CLOSED_M),
        Leg('approach', 1.0, low.at_height(HOVER_M), CLOSED_M),
        Leg('descend', 0.5, low, CLOSED_M),
        Leg('push', 2.1, done, CLOSED_M),
        Leg('stop', 0.4, done, CLOSED_M),
        Leg('back', 0.5, away, CLOSED_M),
        Leg('retreat', 0.7, away.at_height(0.2), CLOSED_M),
        Leg('end', 0.3, away.at_height(0.2), CLOSED_M),
    )
    return Plan(start, legs)


def _pick_place(setup: Setup, scene: Scene) -> Plan:
    target, onset = 'cube', ''
    before: tuple[Leg, ...] = ()
    taken: tuple[Leg, ...] = ()
    hover = _over(scene, 'cube')
    if setup.has('wrong_object'):
        onset, target, before = 'stray', *_stray(setup, scene)
    grasp = _over(scene, target).at_height(GRASP_M)
    if setup.has('missed_grasp'):
        onset, grasp = 'descend', _beside(setup, scene, grasp)
    if setup.has('double_pick'):
        onset, taken = 'lift once', _once_more(setup, grasp)
    start = _start(setup, 0.05)
    carry_m = CARRY_M + setup.chance('carry').uniform(-0.01, 0.01)
    tray = scene.positions['tray']
    over_tray = Place(tray[0], tray[1], carry_m, np.pi / 2)
    legs = (
        Leg('rest', 0.3, start.place, OPEN_M),
        Leg('approach', 1.45, hover, OPEN_M),
        *before,
        Leg('descend', 0.75, grasp, OPEN_M),
        Leg('close', 0.45, grasp, CLOSED_M),
        *taken,
        Leg('lift', 0.65, grasp.at_height(carry_m), CLOSED_M),
        Leg('carry', 1.4, over_tray, CLOSED_M),
        Leg('lower', 0.6, over_tray.at_height(RELEASE_M), CLOSED_M),
        Leg('open', 0.35, over_tray.at_height(RELEASE_M), OPEN_M),
        Leg('retreat', 0.6, over_tray.at_height(0.2), OPEN_M),
        Leg('end', 0.3, over_tray.at_height(0.2), OPEN_M),
    )
    return Plan(start, legs, onset)


def _over(scene: Scene, name: str) -> Place:
    x, y = scene.positions[name]
    return Place(x, y, HOVER_M, scene.turns[name])


def _stray(setup: Setup, scene: Scene) -> tuple[str, tuple[Leg, ...]]:
    """Towards the wrong object: up to strength 0.5 so far and back, beyond it is taken."""
    share = min(1.0, 2 * setup.strength)
    cube = _over(scene, 'cube')
    out = Leg('stray', 0.4 + 0.5 * share, cube.towards(_over(scene, 'other'), share), OPEN_M)
    if share == 1.0:
        return 'other', (out,)
    return 'cube', (out, replace(out, name='return', place=cube))


def _beside(setup: Setup, scene: Scene, grasp: Place) -> Place:
    """Past the object, across the line of the fingers and away from the other object."""
    away_m = 0.036 + 0.05 * setup.strength
    across = np.array([-np.sin(grasp.turn), np.cos(grasp.turn)])
    other = np.array(scene.positions['other']) - (grasp.x, grasp.y)
    shift = away_m * across * (-1 if across @ other > 0 else 1)
    return grasp.moved(shift[0], shift[1])


def _once_more(setup: Setup, grasp: Place) -> tuple[Leg, ...]:
    """Lift, set down, let go and grasp again."""
    up = grasp.moved(z=0.01 + 0.09 * setup.strength)
    return (
        Leg('lift once', 0.3 + 0.4 * setup.strength, up, CLOSED_M),
        Leg('set down', 0.3 + 0.4 * setup.strength, grasp, CLOSED_M),
        Leg('let go', 0.35, grasp, OPEN_M),
        Leg('close again', 0.45, grasp, CLOSED_M),
    )

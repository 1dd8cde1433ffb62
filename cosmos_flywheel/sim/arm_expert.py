# SPDX-License-Identifier: Apache-2.0
"""What the arm's objects have come to, to a plan that still gets the task done.

Unlike the script this expert sees: it knows where everything truly is. It plans once, from the
instant at which it takes over, and moves no harder than scripts do when nothing goes wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np

from cosmos_flywheel.sim.arm_faults import RECOVERY_S
from cosmos_flywheel.sim.arm_plan import (
    CLOSED_M,
    GRASP_M,
    OPEN_M,
    PUSH_M,
    RELEASE_M,
    Leg,
    Plan,
    make_plan,
)
from cosmos_flywheel.sim.arm_reach import Place, joints_at
from cosmos_flywheel.sim.arm_scene import PUSHED_HALF_M, Scene, draw_scene
from cosmos_flywheel.sim.world import Numbers, Setup, Span

NOTICES_S = 0.4
"""So long after a fault began, at the earliest, it takes over, at the end of the leg that is under
way: there the hand stands still."""
SCRIPTS, CALM = 16, 0.9
"""It moves with at most this share of the speed and acceleration that most of so many nominal
scripts reach: the fastest of them would be a hurry to the others."""
MOST_SLOWER = 2.5
"""A motion that wants still more time leads to where the arm hardly reaches."""
LONGEST_S = 20.0
"""No plan of its takes longer; how long it takes is known once it has taken over."""
SAMPLE_HZ = 60
"""At which the motion of a plan is measured."""
CLEAR_M = 0.12
"""So high it goes over what lies on the table, held cube and all, and no higher: the lower, the
further the arm reaches."""
FINGER_M, BEHIND_M = 0.011, 0.023
"""From the box to the middle of a hand that touches it, and of one that comes down behind it."""
SLANT_RAD = 0.2
"""The hand need not be squarer to the way than this: it turns no further than it has to."""
ARRIVED_M = {'pick_place': 0.05, 'push': 0.03}
"""An object so near to its goal is there."""


def takes_over_s(plan: Plan, span: Span) -> float:
    """When the expert takes over, in seconds of the script's plan.

    The fault has shown itself and, where it does not stay for ever, is over.
    """
    shown_s = span.start_s + NOTICES_S
    if np.isfinite(span.stop_s):
        shown_s = max(shown_s, span.stop_s + RECOVERY_S)
    ends_s = np.cumsum([leg.seconds for leg in plan.legs])
    later = ends_s[ends_s >= shown_s]
    return float(later[0] if len(later) else ends_s[-1])


def expert_plan(task: str, scene: Scene, now: Leg, poses: Mapping[str, Numbers]) -> Plan:
    """From where the hand is to the task done.

    Args:
        task: push or pick_place.
        scene: where the goal or the tray is.
        now: where the hand and its fingers are told to be.
        poses: (7,) of the objects, as `World.truth` has them.

    """
    plan = _push if task == 'push' else _pick_place
    legs = plan(scene, now, poses[next(iter(scene.objects))])
    unhurried = [_unhurried(task, before, leg) for before, leg in pairwise((now, *legs))]
    return Plan(now, tuple(unhurried))


def is_arrived(task: str, scene: Scene, pose: Numbers) -> bool:
    """Whether the object that the task is about lies where it should."""
    goal = np.array(scene.positions['goal' if task == 'push' else 'tray'])
    return bool(np.hypot(*(pose[:2] - goal)) <= ARRIVED_M[task])


def _pick_place(scene: Scene, now: Leg, pose: Numbers) -> tuple[Leg, ...]:
    turn = now.place.turn + _nearest(_yaw(pose) - now.place.turn, np.pi / 2)
    grasp = Place(float(pose[0]), float(pose[1]), GRASP_M, turn)
    tray = Place(*scene.positions['tray'], CLEAR_M, np.pi / 2)
    return (
        Leg('rise', 0.8, now.place.at_height(CLEAR_M), OPEN_M),
        Leg('approach', 1.3, grasp.at_height(CLEAR_M), OPEN_M),
        Leg('descend', 0.8, grasp, OPEN_M),
        Leg('close', 0.5, grasp, CLOSED_M),
        Leg('lift', 0.7, grasp.at_height(CLEAR_M), CLOSED_M),
        Leg('carry', 1.5, tray, CLOSED_M),
        Leg('lower', 0.6, tray.at_height(RELEASE_M), CLOSED_M),
        Leg('open', 0.4, tray.at_height(RELEASE_M), OPEN_M),
        Leg('retreat', 0.6, tray, OPEN_M),
        Leg('end', 0.3, tray, OPEN_M),
    )


def _push(scene: Scene, now: Leg, pose: Numbers) -> tuple[Leg, ...]:
    box, goal = pose[:2], np.array(scene.positions['goal'])
    way = goal - box
    along = way / max(float(np.hypot(*way)), 1e-6)
    heading = float(np.arctan2(along[1], along[0]))
    apart = _nearest(heading + np.pi / 2 - now.place.turn, np.pi)
    turn = now.place.turn + apart - float(np.clip(apart, -SLANT_RAD, SLANT_RAD))
    askew = _yaw(pose) - heading
    reach_m = PUSHED_HALF_M * (abs(np.cos(askew)) + abs(np.sin(askew)))
    begin = box - (reach_m + BEHIND_M) * along
    end = goal - (PUSHED_HALF_M + FINGER_M) * along
    low = Place(begin[0], begin[1], PUSH_M, turn)
    done = Place(end[0], end[1], PUSH_M, turn)
    away = done.moved(-0.05 * along[0], -0.05 * along[1])
    return (
        Leg('rise', 0.8, now.place.at_height(CLEAR_M), CLOSED_M),
        Leg('approach', 1.2, low.at_height(CLEAR_M), CLOSED_M),
        Leg('descend', 0.6, low, CLOSED_M),
        Leg('push', 2.2, done, CLOSED_M),
        Leg('stop', 0.4, done, CLOSED_M),
        Leg('back', 0.4, away, CLOSED_M),
        Leg('retreat', 0.6, away.at_height(CLEAR_M), CLOSED_M),
        Leg('end', 0.3, away.at_height(CLEAR_M), CLOSED_M),
    )


def _unhurried(task: str, before: Leg, leg: Leg) -> Leg:
    """The same motion, with as much time as the limits want: it begins and ends at rest."""
    speed, acceleration = _rates(Plan(before, (leg,))) / _limits(task)
    slower = np.clip(max(speed.max(), np.sqrt(acceleration.max())), 1.0, MOST_SLOWER)
    return replace(leg, seconds=float(slower) * leg.seconds)


@cache
def _limits(task: str) -> Numbers:
    """Of each element of the command, (2, 6), as `_rates`; endless for what scripts never move."""
    setups = [Setup(task, seed) for seed in range(SCRIPTS)]
    reached = [_rates(make_plan(setup, draw_scene(setup))) for setup in setups]
    typical = np.median(reached, axis=0)
    return np.where(typical > 0, CALM * typical, np.inf)


def _rates(plan: Plan) -> Numbers:
    """The largest that a plan commands, (2, 6): units a second, and a second squared."""
    times_s = np.arange(0.0, plan.seconds + 1 / SAMPLE_HZ, 1 / SAMPLE_HZ)
    path = np.array([np.append(joints_at(place), m) for place, m in map(plan.at, times_s)])
    path[:, 4] = np.unwrap(path[:, 4], period=np.pi)  # the fingers may point either way
    speed = np.diff(path, axis=0) * SAMPLE_HZ
    acceleration = np.diff(speed, axis=0) * SAMPLE_HZ
    return np.stack([np.abs(speed).max(0), np.abs(acceleration).max(0)])


def _yaw(pose: Numbers) -> float:
    w, x, y, z = pose[3:]
    return float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))


def _nearest(turn: float, period: float) -> float:
    """The same turn modulo a period, as near to 0 as it gets."""
    return (turn + period / 2) % period - period / 2

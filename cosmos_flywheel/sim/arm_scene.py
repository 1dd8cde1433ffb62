# SPDX-License-Identifier: Apache-2.0
"""A seed to what lies where on the arm's table, within what is nominal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cosmos_flywheel.sim.world import Setup

PUSHED_HALF_M, PICKED_HALF_M = 0.035, 0.02
"""Half an edge of the box that is pushed, and of the cubes that are picked, as in the XML."""

_APART_M = 0.11
"""Between the two cubes: the hand must get between them."""

Position = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scene:
    """What lies where: x and y in metres, turns in radians about the vertical."""

    objects: Mapping[str, float]
    """Those that move, the one that the task is about first; half their edge in metres."""
    positions: Mapping[str, Position]
    """Of the objects, and of `tray` or `goal`."""
    turns: Mapping[str, float] = field(default_factory=dict)
    heading: float = 0.0
    """Where the box is pushed to …"""
    distance_m: float = 0.0
    """… and how far."""


def draw_scene(setup: Setup) -> Scene:
    """Lay the table; the same for all faults of a seed."""
    return _push(setup) if setup.task == 'push' else _pick_place(setup)


def _push(setup: Setup) -> Scene:
    chance = setup.chance('scene')
    side = chance.choice((-1, 1))
    heading = side * np.pi / 2 + chance.uniform(-0.25, 0.25)
    distance_m = chance.uniform(0.16, 0.21)
    box = np.array([chance.uniform(0.36, 0.43), -side * chance.uniform(0.06, 0.11)])
    goal = box + distance_m * np.array([np.cos(heading), np.sin(heading)])
    return Scene(
        objects={'box': PUSHED_HALF_M},
        positions={'box': (box[0], box[1]), 'goal': (goal[0], goal[1])},
        turns={'box': heading + chance.uniform(-0.08, 0.08)},
        heading=heading,
        distance_m=distance_m,
    )


def _pick_place(setup: Setup) -> Scene:
    chance = setup.chance('scene')
    low, high = (0.29, -0.22), (0.45, 0.0)
    cube, other = chance.uniform(low, high), chance.uniform(low, high)
    while np.hypot(*(cube - other)) < _APART_M:
        cube, other = chance.uniform(low, high), chance.uniform(low, high)
    tray = chance.uniform((0.34, 0.19), (0.38, 0.22))
    turns = chance.uniform(-0.6, 0.6, 2) + np.pi / 2
    return Scene(
        objects=dict.fromkeys(('cube', 'other'), PICKED_HALF_M),
        positions={
            'cube': (cube[0], cube[1]),
            'other': (other[0], other[1]),
            'tray': (tray[0], tray[1]),
        },
        turns={'cube': turns[0], 'other': turns[1]},
    )

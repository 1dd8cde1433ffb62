# SPDX-License-Identifier: Apache-2.0
"""Does the world's faults to one model of the base while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cosmos_flywheel.sim.base_aisle import AISLE_HALF_M, PASSAGE_M, RACK_DEPTH_M
from cosmos_flywheel.sim.base_drive import Drive
from cosmos_flywheel.sim.base_props import (
    CAGE_HALF_M,
    HIP_M,
    LEG_M,
    MOST_CARTON_HALF_M,
    MOST_CLOSER_M,
    MOST_SHIFT_M,
    PERSON_HALF_M,
    STRIDE_M,
    SWING_RAD,
)
from cosmos_flywheel.sim.base_vehicle import (
    CAMERA_M,
    HALF_VIEW_RAD,
    WHEEL_LOAD_N,
    WHEELS,
    wheel_forces,
)
from cosmos_flywheel.sim.world import Setup, Span

NEED_QUANTILE, NEED_S = 0.9, 3.0
"""What a drive needs of a wheel: the push that it seldom exceeds within the time to come."""
PERSON_M_S, CAGE_M_S = 1.4, 1.5
LEAST_AWAY_M, MOST_DEEPER_M = 0.02, 0.4
"""Of a pallet that stands elsewhere; there is a wall behind it."""
LEAST_CARTON_HALF_M = 0.06
WEAK_LANDING_M = 0.8
"""From the middle of the aisle to where a carton lands at strength 0."""
AHEAD_M = (2.0, 2.6)
"""Of the camera: where it falls, unless that is in the passage."""
DROP_M = 2.35
"""From where cartons fall: above the picture at the distance where they fall."""
GRAVITY_M_S2 = 9.81


@dataclass(frozen=True, slots=True)
class Way:
    """Straight across the aisle at one x, from y to y, at a speed in m/s."""

    x: float
    start: float
    stop: float
    speed: float

    def at(self, since_s: float) -> tuple[float, bool]:
        """The y so long after the start, and whether it is still under way."""
        length = abs(self.stop - self.start)
        gone = min(self.speed * since_s, length)
        return self.start + gone * np.sign(self.stop - self.start), gone < length


class Trouble:
    """Changes wheels and props; a second one of the same setup does just the same."""

    def __init__(
        self, model: Any, data: Any, setup: Setup, drive: Drive, span: Span | None
    ) -> None:
        self._model, self._data = model, data
        self._setup, self._span, self._drive = setup, span, drive
        self._chance = setup.chance('trouble')
        self._start_s = span.start_s if span is not None else 0.0
        self._pose = drive.pose_at(self._start_s)
        self._begun = False
        self._way: Way | None = None

    def happen(self, at_s: float) -> None:
        """Change the world for this instant, in seconds from the start."""
        if self._span is None or at_s < self._span.start_s:
            return
        if not self._begun:
            self._begun = True
            self._begin()
        if self._way is not None:
            y, moving = self._way.at(at_s - self._start_s)
            if self._setup.has('person'):
                self._stand_person(self._way, y, moving=moving)
            else:
                self._put('cage', (self._way.x, y, 0.0))

    def _begin(self) -> None:
        strength = self._setup.strength
        if self._setup.has('wheel_slip'):
            self._loosen_wheels(strength)
        elif self._setup.has('fallen_carton'):
            self._drop_carton(strength)
        elif self._setup.has('relocated_pallet'):
            self._move_pallet(strength)
        elif self._setup.has('person'):
            self._way = self._way_in(PERSON_HALF_M, PERSON_M_S, AISLE_HALF_M - 0.05)
        elif self._setup.has('blocked_aisle'):
            self._way = self._way_in(CAGE_HALF_M[1], CAGE_M_S, AISLE_HALF_M + 0.15)

    def _loosen_wheels(self, strength: float) -> None:
        start = round(self._start_s * self._drive.hz)
        come = self._drive.commands[start : start + round(NEED_S * self._drive.hz)]
        needs_n = np.quantile(np.abs(wheel_forces(come, self._drive.hz)), NEED_QUANTILE, axis=0)
        which = int(self._chance.integers(3))
        for number, name in enumerate(WHEELS):
            if which in (number, len(WHEELS)):
                grip = (1 - strength) * needs_n[number] / WHEEL_LOAD_N
                self._model.geom_friction[self._model.geom(name).id, 0] = grip

    def _way_in(self, half_m: float, speed: float, least_m: float) -> Way:
        """Out of the passage, from where it cannot be seen to where the strength says.

        Args:
            half_m: half the thing's length across the aisle.
            speed: m/s.
            least_m: how far from the aisle's middle it stops at strength 0.

        """
        from_side = -self._drive.side
        x = float(self._chance.uniform(-0.1, 0.25))
        here, there, heading = self._pose
        eye = here + CAMERA_M * np.cos(heading), there + CAMERA_M * np.sin(heading)
        ahead = x - eye[0]
        edge = max(-PASSAGE_M / 2 - eye[0], 0.05)
        behind_rack = (AISLE_HALF_M + RACK_DEPTH_M - from_side * eye[1]) * ahead / edge
        beside_view = np.tan(HALF_VIEW_RAD + from_side * heading) * ahead
        hidden = from_side * eye[1] + min(behind_rack, beside_view) + half_m + 0.1
        start = from_side * max(hidden, least_m + 0.1)
        # A robot that docks turns away from that side: there the way is further on.
        goal = 0.0 if self._setup.task == 'patrol' else -0.75
        stop = least_m + (goal - least_m) * self._setup.strength
        return Way(x, start, from_side * stop, speed)

    def _stand_person(self, way: Way, y: float, *, moving: bool) -> None:
        """Trunk upright, legs swinging against one another while under way."""
        facing = np.sign(way.stop - way.start)
        swing = 0.0
        if moving:
            swing = SWING_RAD * np.sin(2 * np.pi * abs(y - way.start) / STRIDE_M)
        bob = -LEG_M * (1 - np.cos(swing))
        turn = facing * np.pi / 2
        self._put('person', (way.x, y, bob), turn)
        for which, sign in enumerate((-1, 1)):
            self._put(f'leg{which}', (way.x + sign * HIP_M, y, LEG_M + bob), turn, sign * swing)

    def _move_pallet(self, strength: float) -> None:
        """Nearer or further, and to one side, in any mixture; never against a rack."""
        x, y = self._data.body('pallet').xpos[:2]
        away = LEAST_AWAY_M + (MOST_CLOSER_M - LEAST_AWAY_M) * strength
        angle = self._chance.uniform(0, 2 * np.pi)
        sideways = float(np.clip(away * np.cos(angle), -MOST_SHIFT_M, MOST_SHIFT_M))
        deeper = float(np.sign(np.sin(angle)) * np.sqrt(away**2 - sideways**2))
        deeper = min(deeper, MOST_DEEPER_M)
        turn = np.deg2rad(self._chance.uniform(-1, 1) * (1 + 11 * strength))
        self._put('pallet', (x + sideways, y + self._drive.side * deeper, 0.0), float(turn))

    def _drop_carton(self, strength: float) -> None:
        """Off the rack's top, with the speed that brings it to where it shall lie."""
        model, data = self._model, self._data
        half = LEAST_CARTON_HALF_M + (MOST_CARTON_HALF_M - 0.01 - LEAST_CARTON_HALF_M) * strength
        geom, body = model.geom('carton').id, model.body('carton').id
        model.geom_size[geom] = half
        model.geom_rbound[geom] = half * np.sqrt(3)
        model.geom_aabb[geom, 3:] = half
        model.body_gravcomp[body] = 0
        side = int(self._chance.choice((-1, 1)))
        x = self._carton_x(half)
        start = AISLE_HALF_M + half * 0.5
        lands = WEAK_LANDING_M * (1 - strength)
        fall_s = np.sqrt(2 * (DROP_M - half) / GRAVITY_M_S2)
        joint = data.joint('carton')
        joint.qpos[:3] = x, side * start, DROP_M
        tilt = self._chance.normal(scale=0.1, size=3)
        joint.qpos[3:] = np.array([1.0, *tilt]) / np.sqrt(1 + tilt @ tilt)
        joint.qvel[:3] = 0, side * (lands - start) / fall_s, 0
        joint.qvel[3:] = self._chance.normal(scale=0.6, size=3)

    def _carton_x(self, half: float) -> float:
        """Ahead of the robot, before a rack and not before the passage."""
        x = self._pose[0] + CAMERA_M + float(self._chance.uniform(*AHEAD_M))
        edge = PASSAGE_M / 2 + half + 0.1
        if abs(x) < edge:
            x = edge + float(self._chance.uniform(0.0, 0.3))
        return float(x)

    def _put(
        self, body: str, place: tuple[float, float, float], turn: float = 0.0, lean: float = 0.0
    ) -> None:
        """Set a body that nothing moves: turned about z, then leaned forward, in radians."""
        mocap = int(self._model.body(body).mocapid[0])
        self._data.mocap_pos[mocap] = place
        ct, st, cl, sl = np.cos(turn / 2), np.sin(turn / 2), np.cos(lean / 2), np.sin(lean / 2)
        self._data.mocap_quat[mocap] = ct * cl, -st * sl, ct * sl, st * cl

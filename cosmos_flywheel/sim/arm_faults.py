# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with the arm, and how the world does it."""

from __future__ import annotations

from typing import Any

import numpy as np

from cosmos_flywheel.sim.arm_plan import Plan
from cosmos_flywheel.sim.arm_scene import Scene
from cosmos_flywheel.sim.camera import camera_faults, lasts_s
from cosmos_flywheel.sim.world import LASTS_S, Fault, Numbers, Setup, Span, by_name, draw_span

BOTH, PICK = ('push', 'pick_place'), ('pick_place',)

FAULTS = by_name((
    Fault(
        'stall', 'world', BOTH, 'the motor of the base joint does not follow',
        'it covers 100 % … 0 % of what is commanded, for 1.5 s',
    ),
    Fault(
        'slip', 'world', BOTH, 'the object gets slippery, under the push or in the hand',
        'push: friction falls from 0.5 to 0.024 … 0.001, to the end; pick: it slides down with '
        '2 % … 92 % of gravity for 0.1 s … 0.4 s',
    ),
    Fault(
        'kick', 'world', BOTH, 'something hits the object on the table',
        'sideways with 0.25 m/s … 1.25 m/s',
    ),
    Fault(
        'lost', 'world', BOTH, 'the object dwindles, at full strength it is gone',
        'its edge gets 0 % … 100 % shorter',
    ),
    Fault(
        'blocked', 'world', BOTH, 'a wall stands in the way',
        'push: it cuts off the last 0 % … 90 % of the way; pick: it reaches 0.5 cm … 8 cm above '
        'the lower edge of what is carried',
    ),
    Fault(
        'missed_grasp', 'policy', PICK, 'the hand closes beside the cube and carries on',
        '3.6 cm … 8.6 cm beside its middle', changes_commands=True,
    ),
    Fault(
        'wrong_object', 'policy', PICK, 'the hand goes for the other cube',
        'below 0.5 it turns back after 0 % … 100 % of the way, from 0.5 it takes that one',
        changes_commands=True,
    ),
    Fault(
        'double_pick', 'policy', PICK, 'the cube is lifted, set down and grasped again',
        'lifted by 1 cm … 10 cm', changes_commands=True,
    ),
    Fault(
        'weak_grip', 'policy', PICK, 'the fingers loosen in transit and the cube drops',
        'after 80 % … 5 % of the time in transit', changes_commands=True,
    ),
    *camera_faults(BOTH),
    Fault('light', 'benign', BOTH, 'the light changes', 'by ±0 % … ±30 %, to the end'),
    Fault(
        'texture', 'benign', BOTH, 'another table top, striped, from the start',
        'stripes of contrast 0 … 60 of 255',
    ),
    Fault(
        'slower_pace', 'benign', BOTH, 'the policy moves more slowly',
        'by 0 % … 40 %, to the end', changes_commands=True,
    ),
))  # fmt: skip

CUBE_WEIGHT_N, GRIP_N = 0.06 * 9.81, 14.0
RECOVERY_S = 0.3
"""Within this time a motor that stalled comes back to its command."""
WALL_M, PUSH_WALL_M = 0.018, 0.09
"""Half the wall's thickness with some air; its height before the box."""
_AWAY = np.array([0.0, 0.0, -2.0])


def span_of(setup: Setup, plan: Plan, hz: int) -> Span | None:
    """When the fault of a setup acts."""
    fault = setup.fault
    if fault is None:
        return None
    if fault.name == 'texture':
        return Span(0.0, np.inf)
    if fault.kind == 'policy':
        start_s = plan.span_s(plan.onset)[0] if plan.onset else plan.loosens_s
        return Span(int((start_s or 0.0) * hz) / hz, np.inf)
    if fault.name in _LASTS_S:
        window_s = _window_s(setup, plan)
        return draw_span(setup, window_s, hz, _duration_s(setup))
    return draw_span(setup, (0.0, plan.seconds - 2.2), hz, lasts_s(setup))


_LASTS_S = {'stall': LASTS_S, 'slip': None, 'kick': 0.1, 'lost': None, 'blocked': None}


def _duration_s(setup: Setup) -> float | None:
    if setup.has('slip') and setup.task == 'pick_place':
        return 0.1 + 0.3 * setup.strength
    return _LASTS_S[setup.fault.name] if setup.fault else None


def _window_s(setup: Setup, plan: Plan) -> tuple[float, float]:
    """Between which instants a fault of the world begins: while it matters."""
    name = setup.fault.name if setup.fault else ''
    if setup.task == 'push':
        # The hand meets the box after a fifth of the leg.
        return plan.during_s('push', 0.3), plan.during_s('push', 0.55)
    return {
        'stall': (plan.during_s('lift', 0.9), plan.during_s('carry', 0.35)),
        'slip': (plan.during_s('carry', 0.05), plan.during_s('carry', 0.6)),
        'kick': (0.0, plan.during_s('descend', 0.4)),
        'lost': (0.0, plan.during_s('carry', 0.3)),
        'blocked': (plan.during_s('close', 0.5), plan.during_s('lift', 0.6)),
    }[name]


class Trouble:
    """Does the world's faults to one model while it runs."""

    def __init__(
        self, model: Any, data: Any, setup: Setup, scene: Scene, plan: Plan, span: Span | None
    ) -> None:
        self._model, self._data, self._setup = model, data, setup
        self._scene, self._plan, self._span = scene, plan, span
        self._object = next(iter(scene.objects))
        self._geom = model.geom(self._object).id
        self._nominal_friction = float(model.geom_friction[self._geom, 0])
        self._held = 0.0
        self._begun = False

    def happen(self, at_s: float, targets: Numbers) -> Numbers:
        """Change the world for this instant.

        Args:
            at_s: seconds from the start.
            targets: what the joints are commanded to, the base joint first.

        Returns:
            What their motors aim at.
        """
        if self._span is None or at_s < self._span.start_s:
            return targets
        first, self._begun = not self._begun, True
        if self._setup.has('stall'):
            return self._stall(at_s, targets, first=first)
        if self._setup.has('slip'):
            self._slip(active=at_s < self._span.stop_s)
        if self._setup.has('lost'):
            self._lose(first=first)
        if first and self._setup.has('kick'):
            self._kick()
        if first and self._setup.has('blocked'):
            self._block(at_s)
        return targets

    def _stall(self, at_s: float, targets: Numbers, *, first: bool) -> Numbers:
        assert self._span is not None
        if first:
            self._held = float(targets[0])
        over_s = max(0.0, at_s - self._span.stop_s)
        missing = self._setup.strength * max(0.0, 1 - over_s / RECOVERY_S)
        targets = targets.copy()
        targets[0] -= missing * (targets[0] - self._held)
        return targets

    def _slip(self, *, active: bool) -> None:
        strength = self._setup.strength
        if self._setup.task == 'push':
            # A pushed box runs ahead where friction brakes it less than the hand slows down:
            # by at most 0.3 m/s^2, which friction of 0.03 would do.
            slippery = 0.001 + 0.023 * (1 - strength)
        else:
            slippery = CUBE_WEIGHT_N * (0.98 - 0.9 * strength) / (2 * GRIP_N)
        value = slippery if active else self._nominal_friction
        self._model.geom_friction[self._geom, 0] = value

    def _lose(self, *, first: bool) -> None:
        joint = self._data.joint(self._object)
        if self._setup.strength >= 0.95:
            joint.qpos[:3], joint.qvel[:] = _AWAY, 0
            self._model.geom_contype[self._geom] = self._model.geom_conaffinity[self._geom] = 0
        elif first:
            left = 1 - self._setup.strength
            self._model.geom_size[self._geom] *= left
            self._model.geom_rbound[self._geom] *= left
            self._model.geom_aabb[self._geom] *= left

    def _kick(self) -> None:
        chance = self._setup.chance('kick')
        across = self._scene.heading + chance.choice((-1, 1)) * np.pi / 2
        angle = across + chance.uniform(-0.6, 0.6)
        speed = 0.25 + self._setup.strength
        blow = speed * np.array([np.cos(angle), np.sin(angle)])
        self._data.joint(self._object).qvel[:2] += blow

    def _block(self, at_s: float) -> None:
        """Put the wall up across the way."""
        strength = self._setup.strength
        if self._setup.task == 'push':
            here, goal = self._plan.at(at_s)[0], self._plan.place('push')
            way = np.array([goal.x - here.x, goal.y - here.y])
            box: Numbers = self._data.joint(self._object).qpos[:2].copy()
            clear_m = self._scene.objects[self._object] + WALL_M
            share = 0.95 - 0.85 * strength + clear_m / np.hypot(*way)
            self._put_wall(box + share * way, way, PUSH_WALL_M)
        else:
            here, goal = self._plan.place('lift'), self._plan.place('carry')
            way = np.array([goal.x - here.x, goal.y - here.y])
            share = self._setup.chance('wall').uniform(0.47, 0.55)
            lower_edge_m = here.z - self._scene.objects[self._object]
            height_m = lower_edge_m + 0.005 + 0.075 * strength
            self._put_wall(np.array([here.x, here.y]) + share * way, way, height_m)

    def _put_wall(self, where: Numbers, way: Numbers, height_m: float) -> None:
        half_turn = np.arctan2(way[1], way[0]) / 2
        self._model.geom_size[self._model.geom('wall').id, 2] = height_m / 2
        self._data.mocap_pos[0] = (*where, height_m / 2)
        self._data.mocap_quat[0] = (np.cos(half_turn), 0, 0, np.sin(half_turn))

# SPDX-License-Identifier: Apache-2.0
"""An arm with a gripper on a table, seen by a fixed camera: pushes a box, or picks and places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from cosmos_flywheel.core.errors import SimError
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.sim import arm_expert
from cosmos_flywheel.sim.arm_faults import FAULTS, Trouble, span_of
from cosmos_flywheel.sim.arm_look import Look
from cosmos_flywheel.sim.arm_plan import Leg, Plan, make_plan
from cosmos_flywheel.sim.arm_reach import JOINTS, joints_at
from cosmos_flywheel.sim.arm_scene import draw_scene
from cosmos_flywheel.sim.arm_sway import Sway
from cosmos_flywheel.sim.camera import SETTLE_S
from cosmos_flywheel.sim.messages import JOINT_STATE, TEXT, joint_state, text
from cosmos_flywheel.sim.render import Eye, load_mujoco
from cosmos_flywheel.sim.world import Fault, Numbers, Said, Setup, Span, finite

CAMERA_TOPIC = '/camera/image_raw/compressed'
STATES_TOPIC, COMMANDS_TOPIC, RESULT_TOPIC = '/joint_states', '/joint_commands', '/task_result'
NAMES = (*JOINTS, 'gripper')
"""Of joint states and commands: radians, and metres that one finger is from the middle."""

CONTROL_HZ, CAMERA_HZ = 30, 15
RESULT_TICKS = 6
"""The task's state is published at 5 Hz."""
STEPS, PIECES = 16, 4
"""Physics steps in a control period, in so many pieces between which motors' aims move on."""

MOST_SLOWER = 0.4
ANGLE_SIGMA, RATE_SIGMA, EFFORT_SIGMA = 2e-4, 5e-3, 0.03
"""Of the joint sensors: rad or m (a tenth), rad/s, N·m."""
EMPTY_M = 0.008
"""Fingers that close further than this hold nothing."""
ASTRAY_RAD = 0.06
"""A joint so far from its command when it should stand still has not arrived."""


class Arm:
    """The robot: see `Robot`."""

    name = 'arm'
    tasks: Mapping[str, str] = {
        'push': 'push a box to a mark with the closed gripper',
        'pick_place': 'pick the red cube, not the blue one, and put it in the tray',
    }
    faults: Mapping[str, Fault] = FAULTS
    control_hz = CONTROL_HZ
    camera_hz = CAMERA_HZ
    camera_topic = CAMERA_TOPIC
    command_topic, command_type = COMMANDS_TOPIC, JOINT_STATE

    def heard(self, message: Any, before: Numbers) -> Numbers:
        """Positions by name; joints that are not named stay as they were told before."""
        given = dict(zip(message.name, message.position, strict=False))
        if not given.keys() & set(NAMES):
            raise SimError(f'{COMMANDS_TOPIC}: names none of {", ".join(NAMES)}; name joints')
        return finite(COMMANDS_TOPIC, [given.get(n, before[i]) for i, n in enumerate(NAMES)])

    def standing(self, before: Numbers) -> Numbers:
        """Where it was told to be, it stays."""
        return before

    def start(self, setup: Setup) -> ArmWorld:
        """A world at time 0."""
        return ArmWorld(setup)


ROBOT = Arm()


class ArmWorld:
    """One episode: see `World`."""

    def __init__(self, setup: Setup) -> None:
        self._mujoco = load_mujoco()
        self._setup = setup
        self._scene = draw_scene(setup)
        self._plan = self._script = make_plan(setup, self._scene)
        self._sway = Sway.drawn(setup) if setup.change.sway_rad else None
        self.span: Span | None = span_of(setup, self._plan, CAMERA_HZ)
        self._model = self._mujoco.MjModel.from_xml_string(*_sources(setup.task))
        self._data = self._mujoco.MjData(self._model)
        self._look = Look(self._model, setup, self.span)
        self._sensors = setup.chance('joint sensors')
        self._executive = Executive(setup.task, self._plan)
        self._eye: Eye | None = None
        self._ticks = 0
        self._plan_s = 0.0
        """Of the plan that is followed."""
        self._takes_over_s: float | None = None
        if setup.recovers and self.span is not None:
            self._takes_over_s = arm_expert.takes_over_s(self._plan, self.span)
        self._change_scene()
        self._aims = self._lay_table()
        self._trouble = Trouble(self._model, self._data, setup, self._scene, self._plan, self.span)

    @property
    def seconds(self) -> float:
        """Until the plan is done."""
        if self._setup.recovers and self.span is not None:
            whole_s = arm_expert.takes_over_s(self._script, self.span)
            has_begun = self._plan is not self._script
            whole_s += self._plan.seconds if has_begun else arm_expert.LONGEST_S
            return float(np.ceil(whole_s * CAMERA_HZ) / CAMERA_HZ)
        slowed_s = 0.0
        if self.span is not None and self._setup.has('slower_pace'):
            slowed_s = (self._plan.seconds - self.span.start_s) * (1 / self._pace(np.inf) - 1)
        return float(np.ceil((self._plan.seconds + slowed_s) * CAMERA_HZ) / CAMERA_HZ)

    def command(self) -> Numbers:
        """Angles and the finger's way, in the order of `NAMES`: (6,)."""
        place, opening_m = self._plan.at(self._plan_s)
        joints = joints_at(place)
        # The fingers may point either way: take the one nearer to where they are.
        joints[4] += np.pi * np.round((self._aims[4] - joints[4]) / np.pi)
        if self._sway is not None:
            joints += self._sway.at(self._ticks / CONTROL_HZ, place)
        return np.append(joints, opening_m)

    def step(self, command: Numbers) -> None:
        """Go on by one control period."""
        at_s = self._ticks / CONTROL_HZ
        before, aims = self._aims, self._trouble.happen(at_s, command)
        for piece in range(1, PIECES + 1):
            aim = before + (aims - before) * piece / PIECES
            self._data.ctrl[:5], self._data.ctrl[5:] = aim[:5], aim[5]
            self._mujoco.mj_step(self._model, self._data, STEPS // PIECES)
        self._aims = aims
        self._ticks += 1
        self._plan_s += self._pace(at_s) / CONTROL_HZ
        if self._takes_over_s is not None and self._plan_s >= self._takes_over_s:
            self._take_over()

    def messages(self, stamp_ns: int, command: Numbers) -> Iterator[Said]:
        """Joint states and commands, and now and then what the robot thinks of its task."""
        position, velocity, effort = self._sensed()
        states = joint_state(stamp_ns, NAMES, position, velocity, effort)
        yield Said(STATES_TOPIC, JOINT_STATE, states)
        yield Said(COMMANDS_TOPIC, JOINT_STATE, joint_state(stamp_ns, NAMES, command))
        self._executive.look(self._plan_s, position, command)
        if self._ticks % RESULT_TICKS == 0:
            yield Said(RESULT_TOPIC, TEXT, text(self._executive.verdict))

    def picture(self) -> Picture:
        """From the fixed camera."""
        self._look.change(self._ticks / CONTROL_HZ)
        if self._eye is None:
            self._eye = Eye(self._model, 'third_person')
        return self._eye.picture(self._data)

    def ends_well(self) -> bool:
        """Whether the object is in the tray, or on the mark."""
        pose = self._data.joint(next(iter(self._scene.objects))).qpos
        return arm_expert.is_arrived(self._setup.task, self._scene, pose)

    def truth(self) -> Mapping[str, Numbers]:
        """Poses of the objects; joints (6,), the hand's place (3,)."""
        poses = {f'pose_{n}': self._data.joint(n).qpos.copy() for n in self._scene.objects}
        tip = self._data.site('tip').xpos.copy()
        return {**poses, 'joints': self._joints(self._data.qpos), 'hand': tip}

    def close(self) -> None:
        """Release the renderer."""
        if self._eye is not None:
            self._eye.close()
            self._eye = None

    def _take_over(self) -> None:
        """Go on with the expert's plan, which begins where the hand is told to be."""
        place, opening_m = self._plan.at(self._plan_s)
        poses = {n: self._data.joint(n).qpos.copy() for n in self._scene.objects}
        now = Leg('now', 0.0, place, opening_m)
        self._plan = arm_expert.expert_plan(self._setup.task, self._scene, now, poses)
        self._executive = Executive(self._setup.task, self._plan)
        self._plan_s, self._takes_over_s = 0.0, None

    def _change_scene(self) -> None:
        """Set friction and camera as the setup wants them."""
        change = self._setup.change
        for name in self._scene.objects:
            self._model.geom_friction[self._model.geom(name).id, 0] *= change.friction
        self._model.cam_pos[self._model.camera('third_person').id] += change.camera_m

    def _pace(self, at_s: float) -> float:
        """How many seconds of the plan pass in one second."""
        if self.span is None or not self._setup.has('slower_pace'):
            return 1.0
        share = 1.0 if at_s == np.inf else self.span.share(at_s, SETTLE_S)
        return 1 - MOST_SLOWER * self._setup.strength * share

    def _lay_table(self) -> Numbers:
        """Put everything in its place; returns the joints."""
        model, data, scene = self._model, self._data, self._scene
        for name, half_m in scene.objects.items():
            half_turn = scene.turns[name] / 2
            turned = (np.cos(half_turn), 0, 0, np.sin(half_turn))
            data.joint(name).qpos[:] = (*scene.positions[name], half_m, *turned)
        for name in scene.positions.keys() - scene.objects.keys():
            model.body_pos[model.body(name).id, :2] = scene.positions[name]
        start = self._plan.start
        joints = np.append(joints_at(start.place), start.opening_m)
        for name, value in zip((*JOINTS, 'left', 'right'), (*joints, joints[5]), strict=True):
            data.joint(name).qpos[:] = value
        data.ctrl[:5], data.ctrl[5:] = joints[:5], joints[5]
        self._mujoco.mj_forward(model, data)
        return joints

    def _joints(self, values: Numbers) -> Numbers:
        """In the order of `NAMES`, of all joints' values; the arm's come first in the model."""
        return np.append(values[:5], (values[5] + values[6]) / 2)

    def _sensed(self) -> tuple[Numbers, Numbers, Numbers]:
        noise = self._sensors.standard_normal((3, len(NAMES)))
        noise[:, 5] *= 0.1
        data = self._data
        return (
            self._joints(data.qpos) + ANGLE_SIGMA * noise[0],
            self._joints(data.qvel) + RATE_SIGMA * noise[1],
            self._joints(data.actuator_force) + EFFORT_SIGMA * noise[2],
        )


class Executive:
    """What the robot itself believes, from its joints alone: `running`, `succeeded`, `failed: …`.

    It sees no object: a cube that is not there any more is missed only by fingers that close too
    far.
    """

    def __init__(self, task: str, plan: Plan) -> None:
        self._is_push = task == 'push'
        self._judged_s = plan.span_s('stop' if self._is_push else 'lower')[1]
        self._done_s = plan.span_s('back' if self._is_push else 'open')[1]
        self._finding = ''
        self.verdict = 'running'

    def look(self, plan_s: float, position: Numbers, command: Numbers) -> None:
        """Take in what the joints say at an instant of the plan."""
        if not self._finding and plan_s >= self._judged_s - 0.5 / CONTROL_HZ:
            self._finding = self._judge(position, command)
        if self._finding and plan_s >= self._done_s:
            self.verdict = self._finding

    def _judge(self, position: Numbers, command: Numbers) -> str:
        if np.abs(position - command)[:5].max() > ASTRAY_RAD:
            return 'failed: the hand did not get there'
        if not self._is_push and position[5] < EMPTY_M:
            return 'failed: the gripper is empty'
        return 'succeeded'


@cache
def _sources(task: str) -> tuple[str, dict[str, bytes]]:
    folder = files('cosmos_flywheel.sim')
    text_of_task = (folder / f'arm_{task}.xml').read_text('utf-8')
    return text_of_task, {'arm.xml': (folder / 'arm.xml').read_bytes()}

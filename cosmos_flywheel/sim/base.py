# SPDX-License-Identifier: Apache-2.0
"""A base on two driven wheels in a warehouse aisle, with a camera that looks ahead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.sim.base_drive import SECONDS, TASKS, plan_drive
from cosmos_flywheel.sim.base_faults import FAULTS, span_of
from cosmos_flywheel.sim.base_judge import Judge
from cosmos_flywheel.sim.base_lens import Lens
from cosmos_flywheel.sim.base_look import Look
from cosmos_flywheel.sim.base_messages import IMU, ODOMETRY, TWIST, imu, odometry, twist
from cosmos_flywheel.sim.base_scene import PHYSICS_HZ, build_model
from cosmos_flywheel.sim.base_trouble import Trouble
from cosmos_flywheel.sim.base_vehicle import (
    DRAG_NMS,
    DRAG_NS_M,
    WHEEL_RADIUS_M,
    WHEELS,
    Odometry,
    motor_targets,
)
from cosmos_flywheel.sim.messages import JOINT_STATE, TEXT, joint_state, text
from cosmos_flywheel.sim.render import HEIGHT, WIDTH, Eye, load_mujoco
from cosmos_flywheel.sim.world import Fault, Numbers, Said, Setup, Span, finite

CAMERA_TOPIC = '/camera/image_raw/compressed'
COMMAND_TOPIC, ODOMETRY_TOPIC, IMU_TOPIC = '/cmd_vel', '/odom', '/imu'
WHEELS_TOPIC, RESULT_TOPIC = '/joint_states', '/task_result'

CONTROL_HZ, CAMERA_HZ = 30, 15
RESULT_TICKS = 6
"""The task's state is published at 5 Hz."""
STEPS = PHYSICS_HZ // CONTROL_HZ
"""Of physics in a control period."""
SETTLE_STEPS = 60
"""Physics before time 0, in which the robot sinks on its wheels."""
RATE_SIGMA, ACCELERATION_SIGMA, EFFORT_SIGMA = 0.004, 0.08, 0.03
"""Of the gyroscope, the accelerometer and the motors' currents: rad/s, m/s², N·m."""
DIRT_COMES_S = 0.2
NOTICES_S = 0.4
"""So long after a fault began an expert that sees it brakes …"""
BRAKES_M_S2 = 1.1
"""… so hard, and stands."""
PROPS = ('robot', 'pallet', 'carton', 'cage', 'person')


class Base:
    """The robot: see `Robot`."""

    name = 'base'
    tasks: Mapping[str, str] = TASKS
    faults: Mapping[str, Fault] = FAULTS
    control_hz = CONTROL_HZ
    camera_hz = CAMERA_HZ
    camera_topic = CAMERA_TOPIC
    command_topic, command_type = COMMAND_TOPIC, TWIST

    def heard(self, message: Any, before: Numbers) -> Numbers:
        """Forward and turning speed; the rest of a Twist does nothing to this base."""
        return finite(COMMAND_TOPIC, [message.linear.x, message.angular.z])

    def standing(self, before: Numbers) -> Numbers:
        """No speed."""
        return np.zeros(2)

    def start(self, setup: Setup) -> BaseWorld:
        """A world at time 0."""
        return BaseWorld(setup)


ROBOT = Base()


class BaseWorld:
    """One episode: see `World`."""

    seconds = SECONDS

    def __init__(self, setup: Setup) -> None:
        self._mujoco = load_mujoco()
        self._setup = setup
        self._drive = plan_drive(setup, CONTROL_HZ)
        self.span: Span | None = span_of(setup, self._drive, CAMERA_HZ)
        self._model = build_model(setup, self._drive.side)
        self._data = self._mujoco.MjData(self._model)
        self._robot = self._data.joint('robot')
        self._force = self._data.body('robot').xfrc_applied
        self._wheels = [self._data.joint(name) for name in WHEELS]
        self._look = Look(self._model, setup, self.span)
        self._lens = Lens(setup.chance('dirt'), setup.strength, (HEIGHT, WIDTH))
        self._sensors = setup.chance('sensors')
        self._eye: Eye | None = None
        self._ticks = 0
        self._change_scene()
        self._settle()
        self._odometry = Odometry.at_rest(self._wheel_angles())
        self._judge = Judge(setup.task, self._drive, self._model)
        self._trouble = Trouble(self._model, self._data, setup, self._drive, self.span)

    def command(self) -> Numbers:
        """m/s forward and rad/s to the left: (2,)."""
        commands = self._drive.commands
        if self._ticks >= len(commands):
            return np.zeros(2)
        command: Numbers = commands[self._ticks].copy()
        if self._setup.recovers and self.span is not None:
            command *= self._braked(self.span.start_s + NOTICES_S, command[0])
        return command

    def step(self, command: Numbers) -> None:
        """Go on by one control period."""
        self._data.ctrl[:] = motor_targets(*command)
        for step in range(STEPS):
            self._trouble.happen((self._ticks + step / STEPS) / CONTROL_HZ)
            self._drag()
            self._mujoco.mj_step(self._model, self._data)
        self._refresh()
        self._odometry.turn(self._wheel_angles(), 1 / CONTROL_HZ)
        self._ticks += 1
        self._judge.look(self._ticks / CONTROL_HZ, self._data, self._odometry)

    def messages(self, stamp_ns: int, command: Numbers) -> Iterator[Said]:
        """Command, odometry, wheels, inertia, and now and then how the task goes."""
        noise = self._sensors.standard_normal(8)
        pose, speed = self._odometry.pose, self._odometry.speed
        yield Said(COMMAND_TOPIC, TWIST, twist(*command))
        yield Said(ODOMETRY_TOPIC, ODOMETRY, odometry(stamp_ns, pose, speed))
        angles, rates = self._wheel_angles(), [wheel.qvel[0] for wheel in self._wheels]
        efforts = self._data.actuator_force + EFFORT_SIGMA * noise[:2]
        wheels = joint_state(stamp_ns, WHEELS, angles, rates, efforts)
        yield Said(WHEELS_TOPIC, JOINT_STATE, wheels)
        turning = self._data.sensor('gyro').data + RATE_SIGMA * noise[2:5]
        pull = self._data.sensor('accelerometer').data + ACCELERATION_SIGMA * noise[5:]
        yield Said(IMU_TOPIC, IMU, imu(stamp_ns, turning, pull))
        if self._ticks % RESULT_TICKS == 0:
            yield Said(RESULT_TOPIC, TEXT, text(self._judge.verdict))

    def picture(self) -> Picture:
        """From the camera at the robot's front."""
        at_s = self._ticks / CONTROL_HZ
        self._look.change(at_s)
        if self._eye is None:
            self._eye = Eye(self._model, 'front')
        picture = self._eye.picture(self._data)
        if self.span is None or not self._setup.has('dirty_lens'):
            return picture
        share = self.span.share(at_s, DIRT_COMES_S)
        return self._lens.through(picture, share) if share else picture

    def ends_well(self) -> bool:
        """Whether nothing was hit, and the task is done or the robot stands as it was told to."""
        if self._judge.verdict.startswith('failed: bumped'):
            return False
        return self._setup.recovers or not self._judge.verdict.startswith('failed')

    def truth(self) -> Mapping[str, Numbers]:
        """Poses of robot and props; the robot's `odometry` (3,): x, y, yaw from its start."""
        poses = {}
        for name in PROPS:
            body = self._data.body(name)
            poses[f'pose_{name}'] = np.concatenate([body.xpos, body.xquat])
        return {**poses, 'odometry': self._odometry.pose.copy()}

    def close(self) -> None:
        """Release the renderer."""
        if self._eye is not None:
            self._eye.close()
            self._eye = None

    def _change_scene(self) -> None:
        """Set friction and camera as the setup wants them."""
        change = self._setup.change
        for name in WHEELS:
            self._model.geom_friction[self._model.geom(name).id, 0] *= change.friction
        self._model.cam_pos[self._model.camera('front').id] += change.camera_m

    def _settle(self) -> None:
        """Put the robot at its start and let it sink on its wheels."""
        x, y, yaw = self._drive.pose_at(0.0)
        self._robot.qpos[:] = x, y, WHEEL_RADIUS_M, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)
        self._mujoco.mj_step(self._model, self._data, SETTLE_STEPS)
        self._refresh()

    def _braked(self, since_s: float, forward_m_s: float) -> float:
        """Share of the script's command that is left to who brakes evenly since then."""
        commands, noticed = self._drive.commands, round(since_s * CONTROL_HZ)
        told_m_s = float(commands[min(noticed, len(commands) - 1), 0])
        left_m_s = told_m_s - BRAKES_M_S2 * (self._ticks - noticed) / CONTROL_HZ
        if self._ticks <= noticed or forward_m_s <= max(0.0, left_m_s):
            return 1.0
        return max(0.0, left_m_s) / forward_m_s

    def _refresh(self) -> None:
        """Bring what is seen up to the state; the next step starts as if this had not been."""
        self._mujoco.mj_kinematics(self._model, self._data)
        self._mujoco.mj_camlight(self._model, self._data)

    def _drag(self) -> None:
        speed = self._robot.qvel
        self._force[:2] = -DRAG_NS_M * speed[:2]
        self._force[5] = -DRAG_NMS * speed[5]

    def _wheel_angles(self) -> Numbers:
        return np.array([wheel.qpos[0] for wheel in self._wheels])

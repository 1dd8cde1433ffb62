# SPDX-License-Identifier: Apache-2.0
"""Wheel speeds to a pose, twice: by contact and friction in MuJoCo, and by counting turns.

The first is true, the second is what the robot believes (odometry). They part when wheels slip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosmos_flywheel.sim.world import Numbers

WHEEL_RADIUS_M = 0.1
TRACK_M = 0.42
"""From wheel to wheel."""
FRONT_M, BACK_M = 0.31, 0.29
"""How far the chassis reaches from the axle."""
CAMERA_M, CAMERA_HEIGHT_M = 0.27, 0.46
"""Before the axle and above the floor."""
CAMERA_FOVY_DEG = 52.0
CAMERA_DOWN_RAD = 0.13
HALF_VIEW_RAD = 0.71
"""To where the camera sees, left and right, with some air."""

MASS_KG, INERTIA_KG_M2 = 27.0, 1.2
"""Of the whole robot, about its middle."""

WHEELS = ('left_wheel', 'right_wheel')
GRIP = 0.9
"""Friction of a wheel on dry concrete."""
MOTOR_GAIN = 12.0
"""N·m for each rad/s that a wheel is too slow."""
MOTOR_NM = 5.0
"""The most that a motor gives: less than the grip, so that a robot that is held stalls."""
WHEEL_LOAD_N = 117.0
"""With which a wheel presses on the floor; measured, the casters carry a little."""
DRAG_NS_M, DRAG_NMS = 22.0, 10.0
"""Resistance for each m/s and rad/s: tyres, grease, cables. Without it a robot whose wheels lose
their grip would coast on and nothing would be seen."""

TICKS_A_TURN = 8192
"""Of a wheel's encoder."""


def vehicle_xml() -> str:
    """The robot's body, as MJCF: the axle's middle is its origin, x points forward."""
    down, up = np.sin(CAMERA_DOWN_RAD), np.cos(CAMERA_DOWN_RAD)
    touch = 'contype="3" conaffinity="3"'
    # Casters glide: the drag stands for their friction. One contact to a wheel, so that it does
    # not scrub in bends.
    casters = ''.join(
        f'<geom type="sphere" size="0.04" pos="{x} 0 -0.06" mass="0.3" rgba=".2 .2 .2 1" {touch} '
        f'condim="1" priority="1" solref="0.06 1"/>'
        for x in (-0.22, 0.24)
    )
    wheels = ''.join(
        f'<body name="{name}" pos="0 {y} 0"><joint name="{name}" axis="0 1 0" armature="0.05"/>'
        f'<geom name="{name}" type="ellipsoid" size="{WHEEL_RADIUS_M} 0.03 {WHEEL_RADIUS_M}" '
        f'mass="1.2" rgba=".12 .12 .13 1" {touch} priority="1" '
        f'friction="{GRIP} 0.005 0.0001"/></body>'
        for name, y in zip(WHEELS, (TRACK_M / 2, -TRACK_M / 2), strict=True)
    )
    return f"""
    <body name="robot" pos="0 0 {WHEEL_RADIUS_M}">
      <freejoint name="robot"/>
      <geom type="box" pos="{(FRONT_M - BACK_M) / 2} 0 0.11"
            size="{(FRONT_M + BACK_M) / 2} 0.18 0.13" mass="24" rgba=".85 .5 .1 1" {touch}/>
      {casters}{wheels}
      <site name="imu" pos="0 0 0.1"/>
      <camera name="front" pos="{CAMERA_M} 0 {CAMERA_HEIGHT_M - WHEEL_RADIUS_M}"
              xyaxes="0 -1 0 {down} 0 {up}" fovy="{CAMERA_FOVY_DEG}"/>
    </body>"""


def drive_xml() -> str:
    """Motors and sensors of the robot, as MJCF."""
    motors = ''.join(
        f'<velocity name="{name}" joint="{name}" kv="{MOTOR_GAIN}" '
        f'forcerange="-{MOTOR_NM} {MOTOR_NM}"/>'
        for name in WHEELS
    )
    sensors = '<gyro name="gyro" site="imu"/><accelerometer name="accelerometer" site="imu"/>'
    return f'<actuator>{motors}</actuator><sensor>{sensors}</sensor>'


def wheel_forces(commands: Numbers, hz: int) -> Numbers:
    """What each wheel must push with to follow commands (N, 2): newtons (N, 2), left and right."""
    ahead = DRAG_NS_M * commands[:, 0] + MASS_KG * np.gradient(commands[:, 0]) * hz
    turning = DRAG_NMS * commands[:, 1] + INERTIA_KG_M2 * np.gradient(commands[:, 1]) * hz
    return np.stack([ahead / 2 - turning / TRACK_M, ahead / 2 + turning / TRACK_M], axis=-1)


def motor_targets(forward_m_s: float, turn_rad_s: float) -> Numbers:
    """What both motors aim at, in rad/s, left and right, for a speed and a turn to the left.

    They aim a little too high by what the usual drag takes away, as a tuned controller does.
    """
    half = TRACK_M / 2
    rims = np.array([forward_m_s - half * turn_rad_s, forward_m_s + half * turn_rad_s])
    push = DRAG_NS_M * forward_m_s / 2
    twist = DRAG_NMS * turn_rad_s / TRACK_M
    torques = WHEEL_RADIUS_M * np.array([push - twist, push + twist])
    return np.asarray(rims / WHEEL_RADIUS_M + torques / MOTOR_GAIN)


@dataclass(slots=True)
class Odometry:
    """Counts the turns of both wheels; forgets nothing and sees no slip."""

    pose: Numbers
    """x, y in metres and yaw in radians, in a frame that begins where the robot did."""
    speed: Numbers
    """m/s forward and rad/s to the left, over the last period."""
    _angles: Numbers
    way_m: float = 0.0
    """Gone in all, backwards counted too."""

    @classmethod
    def at_rest(cls, angles: Numbers) -> Odometry:
        """Begin with both wheels at these angles, in radians."""
        return cls(np.zeros(3), np.zeros(2), _whole_ticks(angles))

    def turn(self, angles: Numbers, period_s: float) -> None:
        """Take in where the wheels are now, one period later."""
        now = _whole_ticks(angles)
        left, right = (now - self._angles) * WHEEL_RADIUS_M
        self._angles = now
        ahead, turned = (left + right) / 2, (right - left) / TRACK_M
        self.way_m += abs(ahead)
        heading = self.pose[2] + turned / 2
        step = ahead * np.cos(heading), ahead * np.sin(heading), turned
        self.pose = self.pose + np.array(step)
        self.speed = np.array([ahead, turned]) / period_s


def _whole_ticks(angles: Numbers) -> Numbers:
    step = 2 * np.pi / TICKS_A_TURN
    return np.asarray(np.floor(angles / step) * step)

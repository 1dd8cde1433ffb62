# SPDX-License-Identifier: Apache-2.0
"""What a base senses and is told to the fields of ROS messages, as plain values."""

from __future__ import annotations

import numpy as np

from cosmos_flywheel.sim.messages import Fields, header
from cosmos_flywheel.sim.world import Numbers

TWIST = 'geometry_msgs/msg/Twist'
ODOMETRY = 'nav_msgs/msg/Odometry'
IMU = 'sensor_msgs/msg/Imu'

_UNKNOWN = -1.0
"""In the first place of a covariance: there is no such estimate (sensor_msgs/Imu)."""


def twist(forward_m_s: float, turn_rad_s: float) -> Fields:
    """A geometry_msgs Twist of a base that cannot go sideways."""
    return {'linear': _vector(forward_m_s, 0.0, 0.0), 'angular': _vector(0.0, 0.0, turn_rad_s)}


def odometry(stamp_ns: int, pose: Numbers, speed: Numbers) -> Fields:
    """A nav_msgs Odometry.

    Args:
        stamp_ns: of the header.
        pose: x, y in metres and yaw in radians, in the frame `odom`.
        speed: m/s forward and rad/s to the left, in the frame `base_link`.

    """
    x, y, yaw = (float(value) for value in pose)
    turned = {'x': 0.0, 'y': 0.0, 'z': float(np.sin(yaw / 2)), 'w': float(np.cos(yaw / 2))}
    return {
        'header': header(stamp_ns, 'odom'),
        'child_frame_id': 'base_link',
        'pose': {
            'pose': {'position': _vector(x, y, 0.0), 'orientation': turned},
            'covariance': np.zeros(36),
        },
        'twist': {'twist': twist(*speed), 'covariance': np.zeros(36)},
    }


def imu(stamp_ns: int, rate: Numbers, acceleration: Numbers) -> Fields:
    """A sensor_msgs Imu without orientation: rad/s (3,) and m/s² (3,), gravity included."""
    unknown = np.zeros(9)
    unknown[0] = _UNKNOWN
    return {
        'header': header(stamp_ns, 'imu'),
        'orientation': {'x': 0.0, 'y': 0.0, 'z': 0.0, 'w': 1.0},
        'orientation_covariance': unknown,
        'angular_velocity': _vector(*rate),
        'angular_velocity_covariance': np.zeros(9),
        'linear_acceleration': _vector(*acceleration),
        'linear_acceleration_covariance': np.zeros(9),
    }


def _vector(x: float, y: float, z: float) -> Fields:
    return {'x': float(x), 'y': float(y), 'z': float(z)}

# SPDX-License-Identifier: Apache-2.0
"""Small bags of robots that never were, written with rosbags."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_JAZZY)
START_NS = 1_700_000_000_000_000_000
MS = 1_000_000


def ros(name: str, *values: object) -> object:
    package, kind = name.split('/')
    return STORE.types[f'{package}/msg/{kind}'](*values)


def header(stamp_ns: int, frame: str = '') -> object:
    time = ros('builtin_interfaces/Time', *divmod(stamp_ns, 10**9))
    return ros('std_msgs/Header', time, frame)


def jpeg(stamp_ns: int, height: int = 48, width: int = 64) -> object:
    data = cv2.imencode('.jpg', np.full((height, width, 3), 90, np.uint8))[1]
    return ros('sensor_msgs/CompressedImage', header(stamp_ns), 'jpeg', data)


def image(stamp_ns: int, encoding: str = 'rgb8') -> object:
    data = np.zeros(48 * 64 * (2 if encoding == '16UC1' else 3), np.uint8)
    step = data.size // 48
    return ros('sensor_msgs/Image', header(stamp_ns), 48, 64, encoding, 0, step, data)


def joints(stamp_ns: int, names: tuple[str, ...] = ('a', 'b')) -> object:
    empty = np.empty(0)
    return ros(
        'sensor_msgs/JointState', header(stamp_ns), list(names), np.zeros(len(names)), empty, empty
    )


def twist(_stamp_ns: int = 0) -> object:
    def vector() -> object:
        return ros('geometry_msgs/Vector3', 0.1, 0.0, 0.0)

    return ros('geometry_msgs/Twist', vector(), vector())


def odometry(stamp_ns: int) -> object:
    pose = ros('geometry_msgs/Pose', ros('geometry_msgs/Point', 0.0, 0.0, 0.0),
               ros('geometry_msgs/Quaternion', 0.0, 0.0, 0.0, 1.0))  # fmt: skip
    nothing = np.zeros(36)
    return ros('nav_msgs/Odometry', header(stamp_ns, 'odom'), 'base_link',
               ros('geometry_msgs/PoseWithCovariance', pose, nothing),
               ros('geometry_msgs/TwistWithCovariance', twist(), nothing))  # fmt: skip


def write_bag(path: Path, topics: dict[str, list[tuple[int, object]]]) -> Path:
    """Write a bag: by topic, (milliseconds after the start, message) pairs."""
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, messages in topics.items():
            kind = messages[0][1].__msgtype__
            connection = writer.add_connection(topic, kind, typestore=STORE)
            for at_ms, message in messages:
                data = STORE.serialize_cdr(message, kind)
                writer.write(connection, START_NS + at_ms * MS, data)
    return path


def stream(make, period_ms: int = 100, count: int = 11, late_ms: int = 0):
    """Messages at a steady pace; the header is `late_ms` behind the recorder's clock."""
    times = [index * period_ms for index in range(count)]
    return [(at, make(START_NS + (at - late_ms) * MS)) for at in times]

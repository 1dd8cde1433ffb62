# SPDX-License-Identifier: Apache-2.0
"""Writes small real bags of the robot `mujoco_push`: a box that follows two axes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

CAMERA, STATES, COMMANDS = '/camera/image_raw/compressed', '/joint_states', '/joint_commands'
START_NS = 1_700_000_000 * 10**9
HEIGHT, WIDTH = 48, 64
CAMERA_HZ, JOINTS_HZ = 15, 30
AXES = ('gantry_x', 'gantry_y')
COVERED_S = 2.0
"""When something covers the lens of a `covered` recording."""

TYPES = get_typestore(Stores.ROS2_JAZZY)
ROS1_TYPES = get_typestore(Stores.ROS1_NOETIC)


@dataclass(frozen=True)
class Row:
    """One message and when it was recorded, in seconds from the start."""

    topic: str
    at_s: float
    message: Any


def ros(name: str, *values: Any, types: Any = TYPES) -> Any:
    package, kind = name.split('/')
    return types.types[f'{package}/msg/{kind}'](*values)


def header(at_s: float, types: Any = TYPES) -> Any:
    stamp = ros(
        'builtin_interfaces/Time', *divmod(START_NS + round(at_s * 1e9), 10**9), types=types
    )
    first = (0,) if types is ROS1_TYPES else ()
    return ros('std_msgs/Header', *first, stamp, '', types=types)


def position(at_s: float, phase: float = 0.0) -> np.ndarray:
    return np.array([0.2 * np.sin(2.1 * at_s + phase), 0.15 * np.cos(1.7 * at_s + phase)])


@cache
def _table() -> np.ndarray:
    noise = np.random.default_rng(7).uniform(60, 190, (12, 16, 3)).astype(np.float32)
    return cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def scene(at_s: float, phase: float = 0.0, *, covered: bool = False) -> np.ndarray:
    """The table from above with the box on it; a fifth of it black when covered."""
    picture = _table().copy()
    x, y = position(at_s, phase)
    centre = int(16 * (WIDTH / 2 + 80 * x)), int(16 * (HEIGHT / 2 + 80 * y))
    cv2.circle(picture, centre, 16 * 6, (220, 40, 40), -1, cv2.LINE_AA, 4)
    if covered:
        picture[: HEIGHT // 2, : 2 * WIDTH // 5] = 0
    return picture


def jpeg(picture: np.ndarray) -> bytes:
    return bytes(cv2.imencode('.jpg', picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1])


def picture(at_s: float, data: bytes, types: Any = TYPES) -> Any:
    return ros(
        'sensor_msgs/CompressedImage',
        header(at_s, types),
        'jpeg',
        np.frombuffer(data, np.uint8),
        types=types,
    )


def raw_image(at_s: float, pixels: np.ndarray, **claims: Any) -> Any:
    height, width = pixels.shape[:2]
    said = {'height': height, 'width': width, 'encoding': 'rgb8', 'step': 3 * width} | claims
    return ros(
        'sensor_msgs/Image',
        header(at_s),
        said['height'],
        said['width'],
        said['encoding'],
        0,
        said['step'],
        pixels.ravel(),
    )


def joints(
    at_s: float, values: Sequence[float], names: Sequence[str] = AXES, types: Any = TYPES
) -> Any:
    return ros(
        'sensor_msgs/JointState',
        header(at_s, types),
        list(names),
        np.array(values, np.float64),
        np.zeros(0),
        np.zeros(0),
        types=types,
    )


def text(content: str) -> Any:
    return ros('std_msgs/String', content)


def recording(
    seconds: float = 4.0, phase: float = 0.0, *, covered_s: float | None = None, types: Any = TYPES
) -> list[Row]:
    """Pictures, states and commands in the order of time; states follow commands by 50 ms."""
    rows = []
    for number in range(round(seconds * CAMERA_HZ)):
        at_s = number / CAMERA_HZ
        covered = covered_s is not None and at_s >= covered_s
        data = jpeg(scene(at_s, phase, covered=covered))
        rows.append(Row(CAMERA, at_s, picture(at_s, data, types)))
    for number in range(round(seconds * JOINTS_HZ)):
        at_s = number / JOINTS_HZ
        rows.append(Row(STATES, at_s + 0.001, joints(at_s, position(at_s, phase), types=types)))
        told = position(at_s + 0.05, phase)
        rows.append(Row(COMMANDS, at_s + 0.002, joints(at_s, told, types=types)))
    return sorted(rows, key=lambda row: row.at_s)


def covered(seconds: float = 4.0, phase: float = 0.0) -> list[Row]:
    """A recording with one failure: from `COVERED_S` on, a fifth of the picture is black."""
    return recording(seconds, phase, covered_s=COVERED_S)


def changed(rows: Iterable[Row], topic: str, change: Callable[[Row], Row | None]) -> list[Row]:
    """The rows with every message of a topic replaced, or left out for None."""
    new = [change(row) if row.topic == topic else row for row in rows]
    return [row for row in new if row is not None]


def without(rows: Iterable[Row], *topics: str) -> list[Row]:
    return [row for row in rows if row.topic not in topics]


def renamed(rows: Iterable[Row], topic: str, name: str) -> list[Row]:
    return changed(rows, topic, lambda row: replace(row, topic=name))


def write(path: Path, rows: Iterable[Row], storage: str = 'mcap') -> Path:
    """A rosbag2 folder; messages are written in the order of recording."""
    with Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()]) as writer:
        connections: dict[str, Any] = {}
        for row in sorted(rows, key=lambda row: row.at_s):
            kind = row.message.__msgtype__
            if row.topic not in connections:
                connections[row.topic] = writer.add_connection(row.topic, kind, typestore=TYPES)
            data = TYPES.serialize_cdr(row.message, kind)
            writer.write(connections[row.topic], START_NS + round(row.at_s * 1e9), data)
    return path


def write_ros1(path: Path, rows: Iterable[Row]) -> Path:
    """A ROS 1 bag of a recording that was made with `types=ROS1_TYPES`."""
    with Ros1Writer(path) as writer:
        connections: dict[str, Any] = {}
        for row in rows:
            kind = row.message.__msgtype__
            if row.topic not in connections:
                connections[row.topic] = writer.add_connection(
                    row.topic, kind, typestore=ROS1_TYPES
                )
            data = ROS1_TYPES.serialize_ros1(row.message, kind)
            writer.write(connections[row.topic], START_NS + round(row.at_s * 1e9), data)
    return path


def storage_file(bag: Path) -> Path:
    """The one MCAP file of a bag's folder."""
    (found,) = bag.glob('*.mcap')
    return found

# SPDX-License-Identifier: Apache-2.0
"""Writes small real bags for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

START_NS = 1_700_000_000 * 10**9
JOINTS = 'sensor_msgs/msg/JointState'
TEXT = 'std_msgs/msg/String'
TRANSFORMS = 'tf2_msgs/msg/TFMessage'
GRIP = 'my_robot/msg/Grip'
GRIP_TEXT = 'std_msgs/Header header\nfloat32 force_n\nstring[] fingers\n'

TYPES = get_typestore(Stores.ROS2_HUMBLE)
TYPES.register(get_types_from_msg(GRIP_TEXT, GRIP))
ROS1_TYPES = get_typestore(Stores.ROS1_NOETIC)

Row = tuple[str, str, int, bytes]
"""Topic, type, log time, bytes."""

LATCHED = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    QosTime(0, 0),
    QosTime(0, 0),
    QosLiveliness.AUTOMATIC,
    QosTime(0, 0),
    False,
)


def header(at_ns: int) -> Any:
    """A ROS 2 header with a stamp."""
    stamp = TYPES.types['builtin_interfaces/msg/Time'](sec=at_ns // 10**9, nanosec=at_ns % 10**9)
    return TYPES.types['std_msgs/msg/Header'](stamp=stamp, frame_id='base')


def joints(at_ns: int, value: float = 0.0) -> bytes:
    """A JointState, stamped 1 ms before `at_ns`."""
    message = TYPES.types[JOINTS](
        header=header(at_ns - 10**6),
        name=['hip', 'knee'],
        position=np.array([value, -value]),
        velocity=np.zeros(0),
        effort=np.zeros(0),
    )
    return bytes(TYPES.serialize_cdr(message, JOINTS))


def transforms(at_ns: int, count: int) -> bytes:
    """So many equal transforms, serialised."""
    types = TYPES.types
    zero = types['geometry_msgs/msg/Vector3'](x=0.0, y=0.0, z=0.0)
    turn = types['geometry_msgs/msg/Quaternion'](x=0.0, y=0.0, z=0.0, w=1.0)
    moved = types['geometry_msgs/msg/TransformStamped'](
        header=header(at_ns),
        child_frame_id='tool',
        transform=types['geometry_msgs/msg/Transform'](translation=zero, rotation=turn),
    )
    return bytes(TYPES.serialize_cdr(types[TRANSFORMS](transforms=[moved] * count), TRANSFORMS))


def text(content: str) -> bytes:
    """A std_msgs String."""
    return bytes(TYPES.serialize_cdr(TYPES.types[TEXT](data=content), TEXT))


def grip(at_ns: int) -> bytes:
    """A message of a type that ROS 2 does not ship."""
    message = TYPES.types[GRIP](header=header(at_ns), force_n=2.5, fingers=['thumb'])
    return bytes(TYPES.serialize_cdr(message, GRIP))


def rows(count: int = 30, start_ns: int = START_NS) -> list[Row]:
    """Joint states at 10 Hz, a text in between, and one latched description at the start."""
    found: list[Row] = [('/robot_description', TEXT, start_ns, text('<robot/>'))]
    for number in range(count):
        at_ns = start_ns + number * 10**8
        found.append(('/joint_states', JOINTS, at_ns, joints(at_ns, number / 10)))
        found.append(('/say', TEXT, at_ns + 10**7, text(f'word {number} ' * 20)))
    return found


def write_bag(
    folder: Path,
    content: Iterable[Row],
    *,
    storage: str = 'mcap',
    compression: str = 'none',
    latched: tuple[str, ...] = (),
) -> Path:
    """A rosbag2 folder; compression is none, storage (chunks), message or file."""
    writer = Writer(folder, version=9, storage_plugin=StoragePlugin[storage.upper()])
    writer.set_compression(CompressionMode[compression.upper()], CompressionFormat.ZSTD)
    connections: dict[tuple[str, str], Any] = {}
    with writer:
        for topic, msgtype, log_ns, data in content:
            key = (topic, msgtype)
            if key not in connections:
                qos = [LATCHED] if topic in latched else []
                connections[key] = writer.add_connection(
                    topic, msgtype, typestore=TYPES, offered_qos_profiles=qos
                )
            writer.write(connections[key], log_ns, data)
    return folder


def write_mcap(
    path: Path,
    content: Iterable[Row],
    *,
    compression: CompressionType = CompressionType.ZSTD,
    chunk_size: int = 2000,
    schema: Callable[[str], tuple[str, bytes]] | None = None,
    **options: Any,
) -> Path:
    """A single MCAP file in chunks of `chunk_size`; `schema` gives encoding and text by type."""
    describe = schema or (lambda name: ('ros2msg', TYPES.generate_msgdef(name, 2)[0].encode()))
    channels: dict[tuple[str, str], int] = {}
    with path.open('wb') as file:
        writer = McapWriter(file, chunk_size=chunk_size, compression=compression, **options)
        writer.start('ros2', 'test')
        for topic, msgtype, log_ns, data in content:
            if (topic, msgtype) not in channels:
                number = writer.register_schema(msgtype, *describe(msgtype))
                channels[topic, msgtype] = writer.register_channel(topic, 'cdr', number)
            writer.add_message(channels[topic, msgtype], log_ns, data, log_ns - 5)
        writer.finish()
    return path


def write_split(folder: Path, content: list[Row], parts: int) -> Path:
    """A rosbag2 folder of several MCAP files, with the metadata that rosbag2 writes."""
    folder.mkdir()
    share = -(-len(content) // parts)
    names = [f'{folder.name}_{number}.mcap' for number in range(parts)]
    for number, name in enumerate(names):
        write_mcap(folder / name, content[number * share : (number + 1) * share])
    write_metadata(folder, names, len(content), content[0][2], content[-1][2])
    return folder


def write_metadata(
    folder: Path, names: list[str], count: int, start_ns: int, last_ns: int
) -> None:
    """metadata.yaml, as short as it may be."""
    files = ''.join(f'    - "{name}"\n' for name in names)
    (folder / 'metadata.yaml').write_text(
        'rosbag2_bagfile_information:\n  version: 5\n  storage_identifier: mcap\n'
        f'  relative_file_paths:\n{files}  message_count: {count}\n'
        f'  starting_time:\n    nanoseconds_since_epoch: {start_ns}\n'
        f'  duration:\n    nanoseconds: {last_ns - start_ns}\n'
        '  topics_with_message_count: []\n',
        encoding='utf-8',
    )


def write_ros1(path: Path, count: int = 20, compression: str | None = None) -> Path:
    """A ROS 1 bag of joint states at 10 Hz and one latched text."""
    types = ROS1_TYPES.types
    writer = Ros1Writer(path)
    if compression:
        writer.set_compression(Ros1Writer.CompressionFormat[compression.upper()])
    with writer:
        say = writer.add_connection('/robot_description', TEXT, typestore=ROS1_TYPES, latching=1)
        writer.write(say, START_NS, ROS1_TYPES.serialize_ros1(types[TEXT](data='<robot/>'), TEXT))
        states = writer.add_connection('/joint_states', JOINTS, typestore=ROS1_TYPES)
        for number in range(count):
            at_ns = START_NS + number * 10**8
            stamp = types['builtin_interfaces/msg/Time'](sec=at_ns // 10**9, nanosec=at_ns % 10**9)
            top = types['std_msgs/msg/Header'](seq=number, stamp=stamp, frame_id='base')
            position = np.array([number / 10, 1.0])
            message = types[JOINTS](top, ['hip', 'knee'], position, np.zeros(0), np.zeros(0))
            writer.write(states, at_ns, ROS1_TYPES.serialize_ros1(message, JOINTS))
    return path


def as_rows(messages: Iterator[Any]) -> list[Row]:
    """Raw messages in the form that bags are written from."""
    return [(m.topic, m.msgtype, m.log_ns, m.data) for m in messages]


def in_time(content: Iterable[Row]) -> list[Row]:
    """Sorted as a reader gives them."""
    return sorted(content, key=lambda row: row[2])


def image(pixels: Any, encoding: str, **fields: Any) -> SimpleNamespace:
    """A sensor_msgs Image of an array whose rows are not padded."""
    height, width = pixels.shape[:2]
    made = {
        'height': height,
        'width': width,
        'encoding': encoding,
        'is_bigendian': 0,
        'step': pixels.nbytes // height,
        'data': np.frombuffer(pixels.tobytes(), np.uint8),
    }
    return SimpleNamespace(**{**made, **fields})


def compressed(data: bytes, text_format: str = 'jpeg') -> SimpleNamespace:
    """A sensor_msgs CompressedImage."""
    return SimpleNamespace(format=text_format, data=np.frombuffer(data, np.uint8))

# SPDX-License-Identifier: Apache-2.0
"""The robot of the live benches: a driver that publishes, and a listener, each a process.

Messages are serialized before they are needed. The driver writes only the stamp, the instant of
publishing on the wall clock, and a count as the header's frame_id, by which every later reader
can tell what is missing. Run as `python bench/robot_side.py PLAN OUT`.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

COUNT = '0000000000'
"""The frame_id that is written over; ten digits."""
STAMP_AT, COUNT_AT = 4, 16
"""Where a serialized message that begins with a header holds them."""
DEPTH = 10
NS = 10**9


@dataclass(frozen=True, slots=True)
class Topic:
    """What a driver publishes, or what a listener hears."""

    name: str
    type_name: str
    hz: float
    messages: tuple[bytes, ...]
    """Published in turn."""
    is_reliable: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process does."""

    role: str
    """speak or hear."""
    topics: tuple[Topic, ...]
    seconds: float
    listeners: int = 0
    """A driver waits for so many on each topic."""


@dataclass(slots=True)
class Account:
    """What became of one topic."""

    sent: int = 0
    refused: int = 0
    late_ms: list[float] = field(default_factory=list)
    """Driver: how late each was published. Listener: its way from there to here."""
    first_ns: int = 0
    last_ns: int = 0
    missing: int = 0


class Side:
    """One such process; use it as a context, which ends it."""

    def __init__(self, plan: Plan, folder: Path, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f'{plan.role}_{plan.topics[0].name.strip("/").replace("/", "_")}'
        self._plan, self._out = folder / f'{name}.plan', folder / f'{name}.json'
        self._out.unlink(missing_ok=True)
        self._plan.write_text(json.dumps(dataclasses.asdict(plan), default=_text))
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self._plan), str(self._out)],
            env=os.environ | environment,
        )
        self.pid = self._process.pid

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Ask it to end, and wait for that."""
        if self.runs:
            self._process.send_signal(signal.SIGINT)
        self._process.wait(30)

    @property
    def runs(self) -> bool:
        """Whether it is still at work."""
        return self._process.poll() is None

    def result(self) -> dict[str, dict[str, Any]]:
        """By topic what it saw; waits for its end."""
        if self._process.wait() != 0:
            raise RuntimeError(f'{self._plan} failed')
        self._plan.unlink()
        found: dict[str, dict[str, Any]] = json.loads(self._out.read_text())
        return found


def main() -> int:
    """Speak or hear as the plan says."""
    document = json.loads(Path(sys.argv[1]).read_text())
    document['topics'] = tuple(_topic(**topic) for topic in document['topics'])
    plan = Plan(**document)
    accounts = speak(plan) if plan.role == 'speak' else hear(plan)
    found = {name: dataclasses.asdict(account) for name, account in accounts.items()}
    Path(sys.argv[2]).write_text(json.dumps(found))
    return 0


def speak(plan: Plan) -> dict[str, Account]:
    """Publish every topic at its rate until the time is over."""
    import rclpy

    rclpy.init(args=[])
    node = rclpy.create_node('driver')
    speakers = {t.name: node.create_publisher(kind_of(t), t.name, qos_of(t)) for t in plan.topics}
    while any(s.get_subscription_count() < plan.listeners for s in speakers.values()):
        time.sleep(0.05)
    time.sleep(1.0)
    accounts: dict[str, Account] = defaultdict(Account)
    begin = time.monotonic()
    due = {topic.name: begin for topic in plan.topics}
    try:
        while True:
            topic = min(plan.topics, key=lambda t: due[t.name])
            due_s = due[topic.name]
            if due_s - begin >= plan.seconds:
                break
            wait_s = due_s - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
            account = accounts[topic.name]
            data = bytearray(topic.messages[account.sent % len(topic.messages)])
            count = f'{account.sent:010d}'.encode()
            data[COUNT_AT : COUNT_AT + len(count)] = count
            late_s = time.monotonic() - due_s
            now_ns = time.time_ns()
            struct.pack_into('<iI', data, STAMP_AT, now_ns // NS, now_ns % NS)
            try:
                speakers[topic.name].publish(bytes(data))
            except Exception as error:  # the middleware is overloaded: that is a finding
                account.refused += 1
                print(f'{topic.name}: {error}', file=sys.stderr)
            account.sent += 1
            account.first_ns = account.first_ns or now_ns
            account.last_ns = time.time_ns()
            account.late_ms.append(round(1e3 * late_s, 3))
            due[topic.name] = begin + account.sent / topic.hz
    except KeyboardInterrupt:
        pass
    time.sleep(1.0)  # what is under way arrives
    node.destroy_node()
    rclpy.try_shutdown()
    return accounts


def hear(plan: Plan) -> dict[str, Account]:
    """Listen as the robot's own software does, until told to end."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('robot_software')
    accounts: dict[str, Account] = defaultdict(Account)

    def hear_topic(topic: Topic) -> None:
        account = accounts[topic.name]

        def take(data: bytes) -> None:
            now_ns = time.time_ns()
            seconds, nanoseconds = struct.unpack_from('<iI', data, STAMP_AT)
            count = int(data[COUNT_AT : COUNT_AT + len(COUNT)])
            account.missing += count - account.sent - account.missing
            account.sent += 1
            account.first_ns = account.first_ns or now_ns
            account.last_ns = now_ns
            account.late_ms.append(round((now_ns - seconds * NS - nanoseconds) / 1e6, 3))

        node.create_subscription(kind_of(topic), topic.name, take, qos_of(topic), raw=True)

    for topic in plan.topics:
        hear_topic(topic)
    node.create_timer(0.2, lambda: None)  # a silent graph must not keep an interrupt waiting
    with contextlib.suppress(KeyboardInterrupt):
        rclpy.spin(node)
    node.destroy_node()
    rclpy.try_shutdown()
    return accounts


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _topic(messages: Sequence[str], **fields: Any) -> Topic:
    return Topic(messages=tuple(map(base64.b64decode, messages)), **fields)


def kind_of(topic: Topic) -> Any:
    """Its message class."""
    from cosmos_flywheel.nodes.streams import message_class

    return message_class(topic.type_name)


def qos_of(topic: Topic) -> Any:
    """As camera drivers and controllers usually offer it."""
    from rclpy.qos import QoSProfile, ReliabilityPolicy

    policy = ReliabilityPolicy.RELIABLE if topic.is_reliable else ReliabilityPolicy.BEST_EFFORT
    return QoSProfile(depth=DEPTH, reliability=policy)


def jpeg_topic(name: str, hz: float, pictures: Sequence[np.ndarray], quality: int = 80) -> Topic:
    """A camera that sends JPEG."""
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import CompressedImage
    from std_msgs.msg import Header

    coded = [
        cv2.imencode('.jpg', picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        for picture in pictures
    ]
    messages = [
        CompressedImage(header=Header(frame_id=COUNT), format='jpeg', data=c) for c in coded
    ]
    kind = 'sensor_msgs/msg/CompressedImage'
    return Topic(name, kind, hz, tuple(serialize_message(m) for m in messages))


def raw_topic(name: str, hz: float, pictures: Sequence[np.ndarray]) -> Topic:
    """A camera that sends pixels."""
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    messages = [
        Image(
            header=Header(frame_id=COUNT),
            height=picture.shape[0],
            width=picture.shape[1],
            encoding='rgb8',
            step=3 * picture.shape[1],
            data=picture.tobytes(),
        )
        for picture in pictures
    ]
    kind = 'sensor_msgs/msg/Image'
    return Topic(name, kind, hz, tuple(serialize_message(m) for m in messages))


def joint_topic(name: str, hz: float, names: Sequence[str], rows: np.ndarray) -> Topic:
    """Joints, (T, J) rad."""
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Header

    header = Header(frame_id=COUNT)
    messages = [
        JointState(header=header, name=list(names), position=[float(x) for x in row],
                   velocity=[0.0] * len(names))
        for row in rows
    ]  # fmt: skip
    kind = 'sensor_msgs/msg/JointState'
    return Topic(name, kind, hz, tuple(serialize_message(m) for m in messages))


def scenes(size: tuple[int, int], count: int = 12, seed: int = 0) -> list[np.ndarray]:
    """Pictures with the detail of a real camera's, (H, W, 3) uint8: shapes, texture, noise."""
    draw = np.random.default_rng(seed)
    height, width = size
    coarse = draw.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    base = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    found = []
    for index in range(count):
        moved = np.roll(base, 7 * index, 1) + draw.normal(0, 4, base.shape)
        found.append(np.clip(moved, 0, 255).astype(np.uint8))
    return found


def used_s(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def memory_mb(pid: int) -> float:
    """Memory of a process that no other shares, and its part of what is shared."""
    text = Path(f'/proc/{pid}/smaps_rollup').read_text()
    return next(int(x.split()[1]) for x in text.splitlines() if x.startswith('Pss:')) / 1e3


if __name__ == '__main__':
    sys.exit(main())

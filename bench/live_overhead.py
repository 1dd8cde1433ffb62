# SPDX-License-Identifier: Apache-2.0
"""What the live graph costs beside a robot: time from picture to score, CPU, memory, and harm.

A driver publishes one camera, 640x480 JPEG at 30 Hz, joint states at 100 Hz and commands at 30 Hz,
all encoded before; a listener stands for the robot's own software. Both run for a while alone,
then with predictor, monitor and recorder beside them, and so in turn, so that a machine whose
speed drifts harms neither. Last, somebody subscribes to the overlay.

Engine `persistence` predicts: what it needs is next to nothing and is counted in, so that picture
to score is the way through our nodes. `local` is the same with the demo's model and its camera,
320x192 at 15 Hz: there the model's own time is most of it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, Bench, begin, print_table
from recorder import node_process, values_of
from robot_side import Plan, Side, Topic, joint_topic, jpeg_topic, memory_mb, scenes, used_s

NS = 10**9
DOMAIN = '194'
CAMERA, STATES, COMMANDS = '/camera/image_raw/compressed', '/joint_states', '/joint_commands'
NODES = ('predictor', 'monitor', 'recorder')
MODEL = ROOT / 'demo' / 'model'
SECONDS, ROUNDS = 60.0, 3
MOST_MS = 30.0
"""From picture to score, 95th percentile."""
MOST_SHARE = 0.6
"""Of one core, monitor and recorder together."""
LEAST_KEPT = 0.99
"""Of the robot's publishing rate."""


@dataclass(slots=True)
class Robot:
    """What the robot's own side saw in all rounds of one kind."""

    late_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By topic, how late the driver published."""
    way_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By topic, from there to the robot's software."""
    hz: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    missing: int = 0

    def take(self, sent: dict[str, Any], heard: dict[str, Any]) -> None:
        """One round."""
        for name, account in sent.items():
            span_s = (account['last_ns'] - account['first_ns']) / NS
            self.hz[name].append((account['sent'] - 1) / span_s)
            self.late_ms[name] += account['late_ms']
            self.way_ms[name] += heard[name]['late_ms']
            self.missing += account['sent'] - heard[name]['sent']


@dataclass(slots=True)
class Nodes:
    """What our nodes did in all rounds of one kind."""

    score_ms: list[float] = field(default_factory=list)
    """From a picture's stamp, written when it was published, to the arrival of its score."""
    judged: int = 0
    """Scores with a word on the picture."""
    cpu: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By node, of one core."""
    memory_mb: dict[str, float] = field(default_factory=dict)
    """By node, the largest."""
    compute_ms: list[float] = field(default_factory=list)
    """The engine's own time at the end of each round."""


def main() -> int:
    """Run the parts that are asked for."""
    bench = begin('live_overhead', __doc__)
    os.environ['ROS_DOMAIN_ID'] = DOMAIN
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    work = Path(tempfile.mkdtemp(prefix='overhead_'))
    try:
        if bench.wants('nodes'):
            nodes(bench, work)
        if bench.wants('local'):
            local(bench, work)
    finally:
        shutil.rmtree(work)
    return bench.finish()


def nodes(bench: Bench, work: Path) -> None:
    """Alone and with our nodes in turn; then with a subscriber of the overlay."""
    seconds, rounds = (8.0, 1) if bench.quick else (SECONDS, ROUNDS)
    joints = ('base', 'shoulder', 'elbow', 'wrist', 'roll', 'gripper')
    topics = the_topics(scenes((480, 640)), 30.0, joints)
    alone, beside, shown = Robot(), Robot(), Robot()
    ours, watched = Nodes(), Nodes()
    for index in range(rounds):
        alone.take(*one_round(topics, seconds, work))
        beside.take(*one_round(topics, seconds, work, ours, robot='sim_arm'))
        say(f'round {index + 1} of {rounds} is done')
    shown.take(*one_round(topics, seconds, work, watched, robot='sim_arm', overlay=True))
    say_robot(alone, beside, shown)
    say_nodes({'without': ours, 'with': watched})
    shared = sum(float(np.mean(ours.cpu[name])) for name in ('monitor', 'recorder'))
    p95 = float(np.quantile(ours.score_ms, 0.95))
    kept = min(np.mean(beside.hz[t.name]) / np.mean(alone.hz[t.name]) for t in topics)
    bench.figures |= {
        'picture_to_score_ms': quantiles(ours.score_ms),
        'cores': {name: round(float(np.mean(used)), 3) for name, used in ours.cpu.items()},
        'memory_mb': {name: round(mb) for name, mb in ours.memory_mb.items()},
        'rate_kept': round(float(kept), 4),
        'robot_alone': figures_of(alone), 'robot_beside_us': figures_of(beside),
    }  # fmt: skip
    bench.bars[f'picture to score, p95 below {MOST_MS:g} ms'] = p95 < MOST_MS
    bench.bars[f'monitor and recorder below {MOST_SHARE:.0%} of a core'] = shared < MOST_SHARE
    bench.bars['the robot publishes as often'] = bool(kept >= LEAST_KEPT)
    bench.bars['the robot loses nothing more'] = beside.missing <= alone.missing


def local(bench: Bench, work: Path) -> None:
    """The whole way with a model that predicts."""
    topics = the_topics(scenes((192, 320)), 15.0, ('gantry_x', 'gantry_y'))
    ours = Nodes()
    seconds = 8.0 if bench.quick else SECONDS
    one_round(topics, seconds, work, ours, robot='mujoco_push', models=[str(MODEL)])
    say_nodes({'local': ours})
    bench.figures['local_picture_to_score_ms'] = quantiles(ours.score_ms)


def the_topics(
    pictures: Sequence[np.ndarray], hz: float, joints: Sequence[str]
) -> tuple[Topic, ...]:
    """What the robot publishes; its joints swing."""
    swing = np.sin(np.linspace(0, 2 * np.pi, 200))[:, None] * np.linspace(0.1, 0.3, len(joints))
    return (
        jpeg_topic(CAMERA, hz, pictures),
        joint_topic(STATES, 100, joints, swing),
        joint_topic(COMMANDS, 30, joints, swing[::3]),
    )


def one_round(
    topics: tuple[Topic, ...],
    seconds: float,
    work: Path,
    ours: Nodes | None = None,
    *,
    robot: str = '',
    models: Sequence[str] = ('persistence',),
    overlay: bool = False,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """So long of the robot, and our nodes beside it if there is an account for them.

    Returns what the driver sent and what the robot's software heard.
    """
    with ExitStack() as stack:
        ear = processes = None
        if ours is not None:
            ear, processes = stack.enter_context(graph(work, robot, models))
            if overlay:
                look_at_overlay(ear)
        listener = stack.enter_context(Side(Plan('hear', topics, seconds), work))
        count = 1 + (len(NODES) if ours is not None else 0)
        with Side(Plan('speak', topics, seconds, listeners=count), work) as driver:
            if ours is None:
                while driver.runs:
                    time.sleep(0.2)
            else:
                attend(ear, processes, driver, ours)
            sent = driver.result()
        listener.end()
        return sent, listener.result()


@contextmanager
def graph(work: Path, robot: str, models: Sequence[str]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Our three nodes as a user starts them, and somebody who listens to scores."""
    from listening import Ear

    with ExitStack() as stack:
        given: dict[str, dict[str, object]] = {
            'predictor': {'models': list(models)},
            'monitor': {'models': list(models)},
            'recorder': {'out': str(work / 'out')},
        }
        processes = {
            name: stack.enter_context(node_process(name, work, robot=robot, **parameters))
            for name, parameters in given.items()
        }
        yield stack.enter_context(Ear()), processes


def look_at_overlay(ear: Any) -> None:
    """Subscribe to the overlay as a viewer does."""
    from sensor_msgs.msg import CompressedImage

    from cosmos_flywheel.nodes.monitor import OVERLAY, OVERLAY_QOS

    ear.node.create_subscription(CompressedImage, f'/{OVERLAY}', lambda _: None, OVERLAY_QOS)


def attend(ear: Any, processes: dict[str, Any], driver: Side, ours: Nodes) -> None:
    """Listen while the driver speaks, and note what our nodes use."""
    scores: list[tuple[int, Any]] = []
    while driver.runs and not scores:
        ear.listen(0.1)
        scores += ear.take_scores()
    begin_s = time.monotonic()
    before = {name: used_s(process.pid) for name, process in processes.items()}
    while driver.runs:
        ear.listen(1.0)
        scores += ear.take_scores()
        for name, process in processes.items():
            largest = max(ours.memory_mb.get(name, 0.0), memory_mb(process.pid))
            ours.memory_mb[name] = largest
    spent_s = time.monotonic() - begin_s
    for name, process in processes.items():
        ours.cpu[name].append((used_s(process.pid) - before[name]) / spent_s)
    ours.compute_ms.append(float(values_of(ear, 'predictor')['compute_ms']))
    for arrived_ns, score in scores:
        stamp_ns = score.header.stamp.sec * NS + score.header.stamp.nanosec
        if any(c.name == 'picture' and c.score == c.score for c in score.channels):
            ours.judged += 1
            ours.score_ms.append((arrived_ns - stamp_ns) / 1e6)


def say_robot(alone: Robot, beside: Robot, shown: Robot) -> None:
    """The robot's side without and with us, topic by topic."""
    rows: list[tuple[object, ...]] = [
        ('robot', 'our nodes', 'Hz', 'published late p95', 'way p50 / p95 / p99', 'lost')
    ]
    for name in (CAMERA, STATES, COMMANDS):
        for what, robot in (('none', alone), ('all', beside), ('all, overlay seen', shown)):
            p50, p95, p99 = np.quantile(robot.way_ms[name], (0.5, 0.95, 0.99))
            rows.append(
                (
                    name,
                    what,
                    f'{np.mean(robot.hz[name]):.2f}',
                    f'{np.quantile(robot.late_ms[name], 0.95):.2f} ms',
                    f'{p50:.2f} / {p95:.2f} / {p99:.2f} ms',
                    robot.missing,
                )
            )
    print_table(rows)


def say_nodes(accounts: dict[str, Nodes]) -> None:
    """Latency, CPU and memory."""
    rows: list[tuple[object, ...]] = [
        ('case', 'picture to score p50 / p95 / p99', 'scores', 'engine', *NODES)
    ]
    for what, ours in accounts.items():
        p50, p95, p99 = np.quantile(ours.score_ms, (0.5, 0.95, 0.99))
        used = [
            f'{np.mean(ours.cpu[name]):.0%} of a core, {ours.memory_mb[name]:.0f} MB'
            for name in NODES
        ]
        engine = f'{np.mean(ours.compute_ms):.1f} ms'
        rows.append((what, f'{p50:.1f} / {p95:.1f} / {p99:.1f} ms', ours.judged, engine, *used))
    print_table(rows)


def figures_of(robot: Robot) -> dict[str, Any]:
    """For the last line."""
    return {
        name: {
            'hz': round(float(np.mean(robot.hz[name])), 3),
            'late_ms': quantiles(robot.late_ms[name]),
            'way_ms': quantiles(robot.way_ms[name]),
        }
        for name in robot.hz
    } | {'missing': robot.missing}


def quantiles(values: Sequence[float]) -> list[float]:
    """p50, p95, p99."""
    return [round(float(q), 3) for q in np.quantile(values, (0.5, 0.95, 0.99))]


def say(words: str) -> None:
    """Progress."""
    print(words, file=sys.stderr, flush=True)


if __name__ == '__main__':
    sys.exit(main())

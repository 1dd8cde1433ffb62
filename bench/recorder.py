# SPDX-License-Identifier: Apache-2.0
"""What the recorder takes without losing a message, and how soon a clip is on disk.

`load`: three JPEG cameras of 1280x720 at 30 Hz and joint states at 200 Hz for ten minutes while
twenty calls, four at a time, ask for captures that overlap. What is missing is counted twice: by
the publishers' sequence numbers in the recorder, and by the count that the driver writes into each
message, in every clip. There is no
peer in the run: rosbag2 cannot be had from the package index.

`rate`: more and more MB/s until the first loss, by kind of picture and transport.

Every clip is read by `mcap` with `mcap-ros2-support` and by `rosbags`, which share no code with
what wrote it beyond the format.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, Bench, begin, print_table
from robot_side import (
    Plan,
    Side,
    Topic,
    joint_topic,
    jpeg_topic,
    memory_mb,
    raw_topic,
    scenes,
    used_s,
)

NS = 10**9
ROBOT = 'sim_arm'
JOINTS = ('base', 'shoulder', 'elbow', 'wrist', 'roll', 'gripper')
LOAD_S, CALLS, TOGETHER, APART_S = 600.0, 20, 4, 1.5
PRE_ROLL_S, POST_ROLL_S, MOST_S, RING_MB = 5.0, 5.0, 10.0, 1000.0
STEP_S = 8.0
FIRST_MB_S, GROWTH = 15.0, 1.5
MOST_MB_S = 2000.0
PROFILE = ROOT / 'config' / 'fastdds' / 'large_pictures.xml'
DOMAIN = '193'
CAMERA = '/cam_0'


def main() -> int:
    """Run the parts that are asked for."""
    bench = begin('recorder', __doc__)
    os.environ['ROS_DOMAIN_ID'] = DOMAIN
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    work = Path(tempfile.mkdtemp(prefix='recorder_'))
    try:
        if bench.wants('load'):
            load(bench, work)
        if bench.wants('rate'):
            rate(bench, work)
    finally:
        shutil.rmtree(work)
    return bench.finish()


def load(bench: Bench, work: Path) -> None:
    """Ten minutes of a real robot's load, and captures on top of one another."""
    from listening import Ear
    from std_srvs.srv import Trigger

    seconds = 60.0 if bench.quick else LOAD_S
    calls = 8 if bench.quick else CALLS
    cameras = [
        jpeg_topic(f'/cam_{n}/compressed', 30, scenes((720, 1280), seed=n)) for n in range(3)
    ]
    topics = (*cameras, joint_topic('/joint_states', 200, JOINTS, np.zeros((20, len(JOINTS)))))
    given = {'pre_roll_s': PRE_ROLL_S, 'post_roll_s': POST_ROLL_S, 'max_s': MOST_S,
             'ring_mb': RING_MB, 'topics': ['/cam_*']}  # fmt: skip
    out = work / 'load'
    asked: list[int] = []
    with (
        node_process('recorder', out, robot=ROBOT, out=str(out), **given) as recorder,
        Ear() as ear,
    ):
        with ExitStack() as stack:
            # As on a robot, every camera is a process of its own.
            plans = [Plan('speak', (topic,), seconds, listeners=1) for topic in topics]
            drivers = [stack.enter_context(Side(plan, work)) for plan in plans]
            client = ear.node.create_client(Trigger, '/recorder/capture')
            client.wait_for_service(30)
            while not has_begun(ear):
                ear.listen(0.1)
            begin_s, peak_mb, begun_cpu_s = time.monotonic(), 0.0, used_s(recorder.pid)
            first_s = begin_s + PRE_ROLL_S + 1
            group_s = (seconds - 2 * PRE_ROLL_S - 14) / max(1, calls // TOGETHER)
            due = [
                first_s + group_s * (i // TOGETHER) + APART_S * (i % TOGETHER)
                for i in range(calls)
            ]
            while any(driver.runs for driver in drivers):
                ear.listen(0.1)
                if due and time.monotonic() >= due[0]:
                    due.pop(0)
                    asked.append(time.time_ns())
                    client.call_async(Trigger.Request())
                peak_mb = max(peak_mb, memory_mb(recorder.pid))
            cpu = (used_s(recorder.pid) - begun_cpu_s) / (time.monotonic() - begin_s)
            sent = {k: v for driver in drivers for k, v in driver.result().items()}
        end_s = time.monotonic() + 60
        while len(ear.episodes) < len(asked) and time.monotonic() < end_s:
            ear.listen(0.2)
        ear.listen(2.0)
        status = values_of(ear, 'recorder')
        episodes = sorted(ear.episodes)
    clips_s = [(arrived_ns - e.onset_ns) / NS - POST_ROLL_S for arrived_ns, e in episodes]
    checks = [check_clip(out / e.id / 'clip.mcap', e) for _, e in episodes]
    say_load(bench, sent, status, clips_s, checks, len(asked), peak_mb, cpu, seconds)


def say_load(
    bench: Bench, sent: dict[str, Any], status: dict[str, str], clips_s: list[float],
    checks: list[dict[str, Any]], asked: int, peak_mb: float, cpu: float, seconds: float,
) -> None:  # fmt: skip
    """The figures of `load`."""
    count = sum(account['sent'] for account in sent.values())
    refused = sum(account['refused'] for account in sent.values())
    mb = float(status['received_mb'])
    lost = int(status['lost'])
    whole = sum(check['whole'] for check in checks)
    pictures = sum(account['sent'] for name, account in sent.items() if 'cam' in name)
    picture_kb = 1e3 * mb / pictures
    print_table(
        [
            ('what', 'figure'),
            ('a picture', f'{picture_kb:.0f} kB'),
            ('sent', f'{count} messages, {refused} refused by the middleware'),
            ('received', f'{status["messages"]} messages, {mb / seconds:.1f} MB/s'),
            ('missing by sequence', lost),
            ('captures asked for / clips', f'{asked} / {len(clips_s)}'),
            ('whole clips', f'{whole} of {len(checks)}'),
            ('call to clip, less the post-roll', f'{said(clips_s)} (p50 / p95 / max)'),
            ('ring', f'at most {RING_MB:g} MB; process at most {peak_mb:.0f} MB'),
            ('left the ring early', status['evicted']),
            ('cores used', f'{cpu:.2f}'),
        ]
    )
    for check in checks:
        if check['problems']:
            print(check['clip'], '; '.join(check['problems']))
    bench.figures['load'] = {
        'seconds': seconds, 'sent': count, 'received': int(status['messages']), 'lost': lost,
        'mb_s': round(mb / seconds, 1), 'clips': len(clips_s), 'whole': whole,
        'clip_p95_s': round(float(np.quantile(clips_s, 0.95)), 3) if clips_s else None,
        'peak_mb': round(peak_mb), 'cores': round(cpu, 3),
    }  # fmt: skip
    bench.bars['load: nothing is lost'] = lost == 0 and refused == 0
    bench.bars['load: a whole clip for every call'] = whole == asked
    bench.bars['load: ring within its cap'] = float(status['ring_mb']) <= RING_MB


def check_clip(clip: Path, episode: Any) -> dict[str, Any]:
    """Whether a clip holds each message of its window once, as two other readers see it."""
    from mcap_ros2.reader import read_ros2_messages
    from rosbags.highlevel import AnyReader

    problems = []
    counts: dict[str, list[int]] = defaultdict(list)
    logged: dict[str, list[int]] = defaultdict(list)
    for item in read_ros2_messages(clip):
        name = item.channel.topic
        if name == '/joint_states' or name.startswith('/cam_'):
            counts[name].append(int(item.ros_msg.header.frame_id))
            logged[name].append(item.log_time_ns)
    for name, numbers in counts.items():
        if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            problems.append(f'{name}: not every message once and in order')
        slack_ns = 3 * NS // (200 if name == '/joint_states' else 30)
        if logged[name][0] > episode.start_ns + slack_ns:
            problems.append(f'{name}: begins late')
        if logged[name][-1] < episode.end_ns - slack_ns:
            problems.append(f'{name}: ends early')
    if len(counts) < 4:
        problems.append(f'only {sorted(counts)} are there')
    with AnyReader([clip]) as reader:
        seen = Counter(c.topic for c, _, _ in reader.messages())
    if any(seen[name] != len(numbers) for name, numbers in counts.items()):
        problems.append('rosbags counts otherwise than mcap')
    return {'clip': clip.parent.name, 'whole': not problems, 'problems': problems}


def rate(bench: Bench, work: Path) -> None:
    """MB/s until the first loss."""
    rows: list[tuple[object, ...]] = [
        ('pictures', 'transport', 'MB/s without a loss', 'then', 'lost of sent', 'driver late p95')
    ]
    large = {'FASTDDS_DEFAULT_PROFILES_FILE': str(PROFILE)}
    hd, vga = scenes((720, 1280)), scenes((480, 640))
    kinds = [
        ('1280x720 JPEG', 'default', partial(jpeg_topic, pictures=hd), {}),
        ('640x480 raw', 'default', partial(raw_topic, pictures=vga), {}),
        ('640x480 raw', PROFILE.name, partial(raw_topic, pictures=vga), large),
        ('1280x720 raw', 'default', partial(raw_topic, pictures=hd), {}),
        ('1280x720 raw', PROFILE.name, partial(raw_topic, pictures=hd), large),
    ]
    for what, transport, make, environment in kinds:
        found = until_loss(make, environment, work, bench)
        rows.append((what, transport, *found['said']))
        bench.figures[f'rate {what}, {transport}'] = found['figures']
    print_table(rows)
    by = {key: value['mb_s'] for key, value in bench.figures.items() if key.startswith('rate ')}
    bench.bars['rate: raw pictures of 1280x720 at 30 Hz with large_pictures.xml'] = (
        by['rate 1280x720 raw, large_pictures.xml'] >= 83
    )


def until_loss(make: Any, environment: dict[str, str], work: Path, bench: Bench) -> dict[str, Any]:
    """Faster and faster, until something is lost or the driver cannot keep up."""
    held, target, end = 0.0, FIRST_MB_S, 'the end of the scale'
    lost = sent = 0
    late_ms = 0.0
    size_mb = np.mean([len(m) for m in make(CAMERA, 1.0).messages]) / 1e6
    while target <= MOST_MB_S:
        topic = make(CAMERA, target / size_mb)
        step = one_step(topic, environment, work, 3.0 if bench.quick else STEP_S)
        lost, sent, late_ms = step['lost'], step['sent'], step['late_ms']
        print(f'  {topic.name} {step["mb_s"]:.0f} MB/s: lost {lost} of {sent}', file=sys.stderr)
        if lost:
            end = f'a loss at {step["mb_s"]:.0f}'
            break
        held = max(held, step['mb_s'])
        if step['mb_s'] < 0.9 * target:
            end = 'the driver is at its end'
            break
        target *= GROWTH
    return {
        'said': (f'{held:.0f}', end, f'{lost} of {sent}', f'{late_ms:.1f} ms'),
        'figures': {'mb_s': round(held, 1), 'end': end, 'lost': lost, 'sent': sent},
    }


def one_step(
    topic: Topic, environment: dict[str, str], work: Path, seconds: float
) -> dict[str, Any]:
    """One rate, with a recorder of its own."""
    from listening import Ear

    out = work / 'rate'
    given = {'pre_roll_s': 1.0, 'post_roll_s': 1.0, 'max_s': 1.0, 'topics': ['/cam_*']}
    with (
        node_process('recorder', out, environment, robot=ROBOT, out=str(out), **given),
        Ear() as ear,
    ):
        ear.listen(2.0)
        plan = Plan('speak', (topic,), seconds, listeners=1)
        with Side(plan, work, **environment) as driver:
            while driver.runs:
                ear.listen(0.2)
            account = driver.result()[topic.name]
        ear.listen(3.0)
        status = values_of(ear, 'recorder')
    took_s = (account['last_ns'] - account['first_ns']) / NS
    size_mb = np.mean([len(m) for m in topic.messages]) / 1e6
    # What is missing at the end leaves no gap: what was sent counts too.
    return {
        'lost': max(int(status['lost']), account['sent'] - int(status['messages'])),
        'sent': account['sent'],
        'mb_s': account['sent'] * size_mb / took_s,
        'late_ms': float(np.quantile(account['late_ms'], 0.95)),
    }


@contextmanager
def node_process(
    name: str, folder: Path, environment: dict[str, str] | None = None, **parameters: object
) -> Iterator[subprocess.Popen[bytes]]:
    """A node as a user starts it; its output goes beside what it writes."""
    import json

    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, '-m', 'cosmos_flywheel.cli.main', 'node', name, '--ros-args']
    for key, value in parameters.items():
        words += ['-p', f'{key}:={json.dumps(value)}']
    with (folder / f'{name}.log').open('wb') as log:
        process = subprocess.Popen(
            words, stdout=log, stderr=subprocess.STDOUT, env=os.environ | (environment or {})
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(60)


def has_begun(ear: Any) -> bool:
    """Whether the robot's messages reach the recorder: a clip cannot begin before."""
    name = 'cosmos_flywheel/recorder'
    return name in ear.statuses and int(values_of(ear, 'recorder')['messages']) > 0


def values_of(ear: Any, name: str) -> dict[str, str]:
    """What a node last said of itself."""
    status = ear.statuses[f'cosmos_flywheel/{name}']
    return {v.key: v.value for v in status.values}


def said(seconds: list[float]) -> str:
    """p50 / p95 / max."""
    if not seconds:
        return '-'
    p50, p95 = np.quantile(seconds, (0.5, 0.95))
    return f'{p50:.2f} / {p95:.2f} / {max(seconds):.2f} s'


if __name__ == '__main__':
    sys.exit(main())

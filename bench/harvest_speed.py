# SPDX-License-Identifier: Apache-2.0
"""How many seconds of bags a second of harvesting covers, against merely decoding them.

All bags of the data set, faulty ones included, are copied several times with shifted stamps, so
that each copy is another recording. Harvest (processes started, episodes, catalogue and report
written) by each engine and decode-only use the same bags and the same two processes, one after the
other. Peak memory is that of one process that harvests one long bag alone with the slowest engine:
a recording played forwards and backwards in turn, which alarms at many turns and so is full of
episodes. Engine local is left out where torch is not there to fit it.
"""

from __future__ import annotations

import multiprocessing
import resource
import struct
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
from common import ROBOTS, begin, print_table
from mcap.writer import CompressionType, Writer

from cosmos_flywheel.bags.picture import decode_picture
from cosmos_flywheel.bags.source import BagSource, RawMessage, find_bags, open_bag
from cosmos_flywheel.capture.fit import fit_judge
from cosmos_flywheel.capture.harvest import Plan, harvest
from cosmos_flywheel.capture.learn import require_learning
from cosmos_flywheel.capture.model import Judge, load_judge, working_size
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.store.robots import load_robot

WORKERS = 2
NS = 1_000_000_000
LEAST_SPEED = {'flow': 20.0, 'local': 8.0}
"""By engine, the slower one last."""
MOST_MEMORY_MB = 1000
SETS = ('g1_pick_bottle', 'mujoco_push_faults')
"""The first that is there is used; only the first is 320×240 at 30 Hz."""


def main() -> int:
    """Make the bags, time both, print the table."""
    bench = begin(
        'harvest_speed', __doc__ or '', model='a model of engine local; fitted if absent'
    )
    folder = next(bench.data / name for name in SETS if (bench.data / name).is_dir())
    robot = load_robot(ROBOTS[folder.name])
    nominal = find_bags([folder / 'nominal'])
    judges = fit_judges(nominal, robot, bench.given['model'])
    copies, long_s = (4, 120) if bench.quick else (8, 3600)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        bags = [
            write_copy(bag, work / f'{bag.stem}-{i}.mcap', i)
            for bag in find_bags([folder])
            for i in range(copies)
        ]
        seconds, pictures = measure(bags)
        decode_s = time_decode(bags, robot)
        harvests = {
            level: time_harvest(bags, robot, judge, work / level)
            for level, judge in judges.items()
        }
        slowest = list(judges.values())[-1]
        memory_mb, memory_bag_s = peak_memory(nominal[0], work, long_s, robot, slowest)
    print_table(
        [
            ('what', 'value'),
            (
                'data',
                f'{folder.name}, {pictures / seconds:.1f} pictures a second, {seconds:.0f} s',
            ),
            ('decode only', f'{seconds / decode_s:.1f} bag-seconds a second'),
            *(
                (f'harvest, engine {level}', f'{seconds / wall_s:.1f} bag-seconds a second')
                for level, (wall_s, _) in harvests.items()
            ),
            *(
                (f'predictions, {level}', f'{count / seconds:.1f} a bag-second')
                for level, (_, count) in harvests.items()
            ),
            ('peak memory', f'{memory_mb:.0f} MB on a bag of {memory_bag_s:.0f} s'),
        ]
    )
    bench.figures |= {
        'set': folder.name,
        'pictures_per_s': round(pictures / seconds, 2),
        'bag_s': round(seconds, 1),
        'decode_only_x': round(seconds / decode_s, 2),
        'peak_memory_mb': round(memory_mb),
        'memory_bag_s': round(memory_bag_s),
    }
    for level, (wall_s, count) in harvests.items():
        speed = seconds / wall_s
        bench.figures[level] = {
            'harvest_x': round(speed, 2),
            'ratio': round(speed * decode_s / seconds, 3),
            'predictions_per_bag_s': round(count / seconds, 2),
        }
        least = LEAST_SPEED[level]
        bench.bars[f'{level}: at least {least:g} bag-seconds a second'] = speed >= least
    bench.bars['under 1 GB'] = memory_mb < MOST_MEMORY_MB
    return bench.finish()


def fit_judges(nominal: list[Path], robot: Robot, model: Path | None) -> dict[str, Judge]:
    """By engine: fitted on the set's nominal bags, as `flywheel fit` does."""
    judges = {'flow': fit_judge(nominal, robot, 'flow', workers=WORKERS)}
    if model is not None:
        return {**judges, 'local': load_judge(model)}
    try:
        require_learning()
    except ConfigError as error:
        print(f'engine local is left out: {error}')
        return judges
    return {**judges, 'local': fit_judge(nominal, robot, 'local', workers=WORKERS)}


def write_copy(bag: Path, path: Path, number: int) -> Path:
    """The same recording, `number` hours later: another bag id, the same work."""
    later_ns = number * 3600 * NS
    with open_bag(bag) as source:
        return write_bag(source, path, ((raw, raw.log_ns + later_ns) for raw in source.messages()))


def write_long(bag: Path, path: Path, length_s: float) -> Path:
    """One bag of at least this length, made of another one played to and fro."""
    with open_bag(bag) as source:
        return write_bag(source, path, to_and_fro(source, length_s))


def write_bag(source: BagSource, path: Path, messages: Iterable[tuple[RawMessage, int]]) -> Path:
    """Write messages at other times; every type here begins with a header, whose stamp follows."""
    with path.open('wb') as file:
        writer = Writer(file, compression=CompressionType.NONE)
        writer.start('ros2', 'bench')
        channels = {}
        for name, topic in source.topics.items():
            known = source.channel(name, topic.msgtype)
            schema = writer.register_schema(topic.msgtype, known.schema_encoding, known.schema)
            channels[name] = writer.register_channel(name, 'cdr', schema)
        for raw, log_ns in messages:
            data = raw.data[:4] + struct.pack('<iI', *divmod(log_ns, NS)) + raw.data[12:]
            writer.add_message(channels[raw.topic], log_ns, data, log_ns)
        writer.finish()
    return path


def to_and_fro(source: BagSource, length_s: float) -> Iterator[tuple[RawMessage, int]]:
    """A bag's messages forwards, backwards, forwards …, with running times."""
    messages = list(source.messages())
    span_ns = messages[-1].log_ns - messages[0].log_ns
    first_ns = begin_ns = messages[0].log_ns
    step_ns = span_ns // (len(messages) // len(source.topics) - 1)
    while begin_ns - first_ns < length_s * NS:
        for raw in messages:
            yield raw, begin_ns + raw.log_ns - first_ns
        begin_ns += span_ns + step_ns
        for raw in reversed(messages):
            yield raw, begin_ns + messages[-1].log_ns - raw.log_ns
        begin_ns += span_ns + step_ns


def measure(bags: list[Path]) -> tuple[float, int]:
    """Seconds and pictures of all bags together."""
    seconds, pictures = 0.0, 0
    for bag in bags:
        with open_bag(bag) as source:
            seconds += source.duration_s
            pictures += sum(t.count for n, t in source.topics.items() if 'image' in n)
    return seconds, pictures


def time_decode(bags: list[Path], robot: Robot) -> float:
    """Wall seconds to read and decode every picture at the working size, on two processes."""
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(WORKERS, context, cv2.setNumThreads, (1,)) as pool:
        list(pool.map(str, range(WORKERS)))  # the processes' start is not decoding
        began_s = time.perf_counter()
        list(pool.map(decode_all, bags, [robot.cameras[0].topic] * len(bags)))
        return time.perf_counter() - began_s


def decode_all(bag: Path, topic: str) -> int:
    """Decode every picture of one bag; how many there were."""
    with open_bag(bag) as source:
        count = 0
        for raw in source.messages({topic}):
            decode_picture(source.deserialize(raw), shrink_to=working_size((240, 320)))
            count += 1
    return count


def time_harvest(bags: list[Path], robot: Robot, judge: Judge, out: Path) -> tuple[float, int]:
    """Wall seconds of a whole harvest, report and start of processes included; predictions."""
    began_s = time.perf_counter()
    _, result = harvest(bags, lambda _: Plan(robot, judge), out, workers=WORKERS)
    wall_s = time.perf_counter() - began_s
    print(f'{len(result.episodes)} episodes captured on the way')
    return wall_s, sum(b.predictions for b in result.bags)


def peak_memory(
    bag: Path, work: Path, length_s: float, robot: Robot, judge: Judge
) -> tuple[float, float]:
    """Peak resident MB of a fresh process that harvests one long bag, and the bag's seconds."""
    path = write_long(bag, work / 'long.mcap', length_s)
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
        seconds = measure([path])[0]
        return pool.submit(harvest_alone, path, robot, judge, work / 'long').result(), seconds


def harvest_alone(path: Path, robot: Robot, judge: Judge, out: Path) -> float:
    """Harvest in this process; its peak resident memory in MB."""
    harvest([path], lambda _: Plan(robot, judge), out)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == 'darwin' else 1e3)


if __name__ == '__main__':
    raise SystemExit(main())

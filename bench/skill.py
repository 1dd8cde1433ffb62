# SPDX-License-Identifier: Apache-2.0
"""How much better than persistence the next pictures are foretold, and what actions contribute.

Skill is 1 − MSE / MSE of persistence over RGB pictures of 320 × 192 px, k ticks of the robot
file's clock ahead, on episodes that were not fitted on: the second half of DROID's only episode,
parts of the nominal bags of the other sets, and drives of the simulated base. `local` is fitted
here, by the function behind `flywheel fit`; it is asked as live nodes would ask it, with planned
commands. Then the same with the commands of another moment of the episode: what is lost is what
actions give. Intervals are 95 % bootstrap over episodes; where there is one, over eighths of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import SHARED, Bench, begin, print_table

from cosmos_flywheel.bags.clip import write_clip
from cosmos_flywheel.bags.source import find_bags, open_bag
from cosmos_flywheel.capture.learn import learn, read_clips
from cosmos_flywheel.cli.progress import ProgressLine
from cosmos_flywheel.cli.sim import record
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.types import ActionChunk, Observation
from cosmos_flywheel.engines import Flow, Local, LocalModel, WorldModel
from cosmos_flywheel.engines.local import training
from cosmos_flywheel.engines.local.clips import Clip
from cosmos_flywheel.engines.local.fields import LARGE
from cosmos_flywheel.store.robots import load_robot

STEPS = (1, 4, 8, 16)
EVERY = 3
"""Every so many ticks a prediction is begun."""
EIGHTHS = 8
RESAMPLES = 2000
BASE_SEEDS = range(7000, 7024)
LEARN_SHARE = 2 / 3
QUICK_STEPS = 150


@dataclass(frozen=True, slots=True)
class Set:
    """Bags to fit on and bags to be judged on."""

    name: str
    robot: Robot
    fitted: Sequence[Path]
    judged: Sequence[Path]


def main() -> int:
    """Fit, foretell, compare."""
    bench = begin('skill', __doc__ or '')
    if bench.quick:
        training.MOST_STEPS = training.LEAST_STEPS = QUICK_STEPS
    rows: list[tuple[object, ...]] = [('set', 'engine', *(f'k = {k}' for k in STEPS))]
    with tempfile.TemporaryDirectory() as scratch:
        for one in sets(bench, Path(scratch)):
            with ProgressLine('fitting the networks', bags=False) as progress:
                model = learn(one.fitted, one.robot, progress).model
            found = judge(one, model)
            bench.figures[one.name] = found
            rows += [
                (one.name, engine, *(said(skill) for skill in by_step.values()))
                for engine, by_step in found.items()
            ]
    print_table(rows)
    set_bars(bench)
    return bench.finish()


def sets(bench: Bench, scratch: Path) -> Iterator[Set]:
    """Those that are there; the base is made."""
    if SHARED.is_dir() and bench.wants('droid'):
        whole = SHARED / 'cosmos3_action_samples' / 'bags' / 'droid_48330'
        halves = cut_in_two(whole, scratch)
        yield Set('droid', load_robot('droid'), halves[:1], halves[1:])
    for folder in bench.sets():
        bags = find_bags([folder / 'nominal'])
        count = round(LEARN_SHARE * len(bags))
        name = 'g1' if 'g1' in folder.name else 'mujoco_push'
        if bench.wants(name):
            yield Set(name, load_robot(name), bags[:count], bags[count:])
    if not bench.wants('sim_base'):
        return
    seeds = BASE_SEEDS[:6] if bench.quick else BASE_SEEDS
    bags = [scratch / f'base_{seed}' for seed in seeds]
    for index, (seed, bag) in enumerate(zip(seeds, bags, strict=True)):
        task = ('patrol', 'dock')[index % 2]
        record(bag, robot='base', task=task, seed=seed, film=False)
    count = round(LEARN_SHARE * len(bags))
    yield Set('sim_base', load_robot('sim_base'), bags[:count], bags[count:])


def cut_in_two(path: Path, scratch: Path) -> list[Path]:
    """Two bags of one, the second begins where the first ends."""
    halves = [scratch / 'first.mcap', scratch / 'second.mcap']
    with open_bag(path) as source:
        middle_ns = source.start_ns + round(source.duration_s * 5e8)
        write_clip(halves[0], source, start_ns=0, end_ns=middle_ns)
        write_clip(halves[1], source, start_ns=middle_ns, end_ns=2**62)
    return halves


def judge(one: Set, model: LocalModel) -> dict[str, dict[int, dict[str, Any]]]:
    """Skill by engine and step."""
    _, bags = read_clips(one.judged, one.robot)
    clips = [clip for bag in bags for clip in bag]
    if len(clips) == 1:
        clips = eighths(clips[0])
    engines: dict[str, tuple[WorldModel, bool]] = {
        'local': (Local(model), False),
        'local, other commands': (Local(model), True),
        'flow': (Flow(LARGE, STEPS[-1]), False),
    }
    return {
        name: skills([errors(engine, clip, shuffled) for clip in clips])
        for name, (engine, shuffled) in engines.items()
    }


def eighths(clip: Clip) -> list[Clip]:
    """A long episode as several, for the interval."""
    borders = np.linspace(0, len(clip.large), EIGHTHS + 1).astype(int)
    return [clip.part(a, b) for a, b in pairwise(borders.tolist())]


def errors(engine: WorldModel, clip: Clip, shuffled: bool) -> dict[int, tuple[float, float]]:
    """Summed squared errors of engine and persistence, by step."""
    engine.open('', '')
    sums = {k: np.zeros(2) for k in STEPS}
    last = len(clip.large) - STEPS[-1]
    for tick in range(last):
        observation = Observation(
            int(clip.stamps_ns[tick]),
            {'primary': clip.large[tick]},
            clip.state[tick],
            clip.command[tick],
        )
        engine.observe(observation)
        if tick == 0 or tick % EVERY:
            continue
        begin = (tick + last // 2) % last if shuffled else tick
        chunk = ActionChunk(
            clip.stamps_ns[tick + 1 : tick + 1 + STEPS[-1]],
            clip.command[begin : begin + STEPS[-1]],
        )
        shown = engine.show(observation, chunk, [k - 1 for k in STEPS])
        for k, picture in zip(STEPS, shown, strict=True):
            actual = clip.large[tick + k]
            sums[k] += cv2.norm(picture, actual) ** 2, cv2.norm(clip.large[tick], actual) ** 2
    return {k: (float(a), float(b)) for k, (a, b) in sums.items()}


def skills(episodes: Sequence[dict[int, tuple[float, float]]]) -> dict[int, dict[str, Any]]:
    """Pooled over episodes, with an interval."""
    draw = np.random.default_rng(0)
    picks = draw.integers(0, len(episodes), (RESAMPLES, len(episodes)))
    found = {}
    for k in STEPS:
        sums = np.array([episode[k] for episode in episodes])
        resampled = sums[picks].sum(1)
        low, high = np.quantile(1 - resampled[:, 0] / resampled[:, 1], (0.025, 0.975))
        skill = 1 - sums[:, 0].sum() / sums[:, 1].sum()
        found[k] = {
            'skill': round(float(skill), 3),
            'interval': [round(float(low), 3), round(float(high), 3)],
            'episodes': len(episodes),
        }
    return found


def said(found: dict[str, Any]) -> str:
    """A skill and its interval."""
    low, high = found['interval']
    return f'{found["skill"]:+.2f} ({low:+.2f} … {high:+.2f})'


def set_bars(bench: Bench) -> None:
    """What the detector promises."""
    for name, engines in bench.figures.items():
        local = {k: engines['local'][k]['skill'] for k in STEPS}
        flow = {k: engines['flow'][k]['skill'] for k in STEPS}
        asked = [k for k in STEPS if not (name == 'g1' and k == 1)]
        bench.bars[f'{name}: 0.02 above flow'] = all(local[k] >= flow[k] + 0.02 for k in asked)
        bench.bars[f'{name}: better than persistence'] = all(local[k] > 0 for k in STEPS[1:])
        least = {'droid': 0.36, 'mujoco_push': 0.75}.get(name)
        if least is not None:
            bench.bars[f'{name}: k = 1 at least {least}'] = local[1] >= least


if __name__ == '__main__':
    raise SystemExit(main())

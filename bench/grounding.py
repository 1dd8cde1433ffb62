# SPDX-License-Identifier: Apache-2.0
"""Whether predictions rest on the actions, and whether a model that is deaf to them is muted.

Engine local on recordings that it was not fitted on: the gantry of the data set, by the demo's
model, and simulated robots on fresh nominal episodes, the arm by the demo's model, the base by
one that is fitted here, briefly. Each is measured as it is, and deafened: the actions that it is
asked with are withheld. Beside them engine flow, which promises nothing of actions. The gantry is
also fitted anew on the demo's nominal bags with every example's command exchanged for that of
another moment, by the function behind `flywheel fit`, and then watches the bags with faults: its
scores go on, and picture and state may not alarm.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from common import DEMO, ROOT, SHARED, Bench, begin, print_table
from numpy.typing import NDArray

from cosmos_flywheel.bags.source import find_bags, open_bag
from cosmos_flywheel.capture.analysis import Analysis
from cosmos_flywheel.capture.fit import fit_judge
from cosmos_flywheel.capture.grounding import Probing, every_ticks
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.learn import HELD_OUT
from cosmos_flywheel.capture.model import Judge, load_judge
from cosmos_flywheel.cli.progress import ProgressLine
from cosmos_flywheel.cli.sim import record
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.grounding import WRONG, Grounding, Index, measure
from cosmos_flywheel.core.types import ActionChunk, Observation, Prediction
from cosmos_flywheel.engines import Flow, Local, WorldModel
from cosmos_flywheel.engines.local import training
from cosmos_flywheel.engines.local.clips import Table
from cosmos_flywheel.engines.local.motion import Situation
from cosmos_flywheel.store.robots import load_robot

GANTRY = 'mujoco_push_faults'
TASKS = {'sim_arm': ('arm', ('push', 'pick_place')), 'sim_base': ('base', ('patrol', 'dock'))}
FRESH_SEEDS, FIT_SEEDS = range(9800, 9806), range(7000, 7006)
"""Of each task; none is of a seed that a model was fitted on."""
BRIEF_STEPS, QUICK_STEPS = 300, 60
FITTED, FLOW = 'as fitted', 'engine flow'
RESTING = ('picture', 'state')
HEAD = ('set', 'model', 'channel', 'index (95 %)', *WRONG, 'chunks', 'muted')


@dataclass(frozen=True, slots=True)
class Set:
    """A robot, who judges it, and recordings that he never saw."""

    name: str
    robot: Robot
    judge: Judge
    paths: Sequence[Path]


class Deaf(Local):
    """Asked with unknown actions, whatever it is asked with."""

    def predict(
        self, observation: Observation, actions: ActionChunk, steps: Sequence[int] | None = None
    ) -> Prediction:
        """What is to be expected of a robot that is told nobody knows what."""
        unknown = np.full_like(actions.values, np.nan)
        return super().predict(observation, replace(actions, values=unknown), steps)


def main() -> int:
    """Measure, deafen, measure again."""
    bench = begin('grounding', __doc__ or '')
    cv2.setNumThreads(1)
    rows: list[tuple[object, ...]] = [HEAD]
    with tempfile.TemporaryDirectory() as scratch:
        for one in sets(bench, Path(scratch)):
            assert one.judge.local is not None
            for model, engine in (
                (FITTED, Local(one.judge.local)),
                ('actions withheld', Deaf(one.judge.local)),
                (FLOW, Flow(one.judge.local.size)),
            ):
                known = Grounding(engine.spec.follows_actions, probe(one, engine))
                rows += list(told(bench, one.name, model, known))
        if bench.wants('gantry_shuffled'):
            rows += list(shuffled(bench))
    print_table(rows)
    return bench.finish()


def sets(bench: Bench, scratch: Path) -> Iterator[Set]:
    """Those that were asked for."""
    if bench.wants('gantry'):
        yield Set(
            'gantry', load_robot('mujoco_push'), load_judge(ROOT / 'demo' / 'model'), unseen()
        )
    seeds = FRESH_SEEDS[:2] if bench.quick else FRESH_SEEDS
    for name in TASKS:
        if not bench.wants(name):
            continue
        robot = load_robot(name)
        fresh = episodes(scratch, name, seeds)
        if name == 'sim_arm':
            judge = load_judge(ROOT / 'demo' / name)
        else:
            nominal = episodes(scratch, name, FIT_SEEDS[:2] if bench.quick else FIT_SEEDS)
            judge = fit_briefly(bench, nominal, robot)
        yield Set(name, robot, judge, fresh)


def unseen() -> list[Path]:
    """Nominal bags of the gantry that the demo's model was not fitted on."""
    own = find_bags([DEMO / GANTRY / 'nominal'])
    if not SHARED.is_dir():
        return own[HELD_OUT - 1 :: HELD_OUT]
    names = {path.name for path in own}
    return [p for p in find_bags([SHARED / GANTRY / 'nominal']) if p.name not in names]


def episodes(scratch: Path, name: str, seeds: Sequence[int]) -> list[Path]:
    """Nominal episodes of all tasks of a simulated robot, recorded."""
    robot, tasks = TASKS[name]
    paths = []
    for seed in seeds:
        for task in tasks:
            paths.append(scratch / f'{name}_{task}_{seed}')
            record(paths[-1], robot=robot, task=task, seed=seed, film=False)
    return paths


def fit_briefly(bench: Bench, nominal: Sequence[Path], robot: Robot) -> Judge:
    """A model as `flywheel fit` makes it, with fewer steps."""
    steps = QUICK_STEPS if bench.quick else BRIEF_STEPS
    training.MOST_STEPS = training.LEAST_STEPS = steps
    with ProgressLine('fitting the networks', bags=False) as progress:
        return fit_judge(nominal, robot, Local.level, workers=2, learning=progress)


def probe(one: Set, engine: WorldModel) -> dict[str, Index]:
    """The index by channel, over all recordings of a set."""
    probed = []
    for path in one.paths:
        with open_bag(path) as source:
            analysis = Analysis(source, one.robot, one.judge, CaptureSettings())
            every = every_ticks(one.robot.clock.hz, source.duration_s)
            probing = Probing(one.robot, engine, every)
            analysis.watcher.engine, analysis.watcher.hindsight = engine, probing
            for _ in analysis.moments():
                pass
            probed.append(probing.probed)
    return measure(probed, one.robot.clock.hz)


def told(bench: Bench, name: str, model: str, known: Grounding) -> Iterator[tuple[object, ...]]:
    """Rows, figures and bars of one model on one set."""
    for channel in RESTING:
        index = known.channels.get(channel)
        if index is None:
            continue
        bench.figures[f'{name}, {model}, {channel}'] = {
            'index': index.value,
            'interval': list(index.interval),
            'against': dict(index.against),
            'chunks': index.chunks,
            'blocks': index.blocks,
        }
        muted = bool(known.muted(channel))
        if model == FLOW:
            bar, held = 'zero, and not muted', index.value == 0 and not muted
        elif model == FITTED:
            bar, held = 'above zero, and not muted', not index.is_about_zero and not muted
        else:
            bar, held = 'about zero, and is muted', index.is_about_zero and muted
        bench.bars[f'{name}, {model}: {channel} {bar}'] = held
        against = [f'{index.against[kind]:.2f}' for kind in WRONG]
        yield (name, model, channel, index.in_words(), *against, index.chunks,
               'yes' if muted else 'no')  # fmt: skip


def shuffled(bench: Bench) -> Iterator[tuple[object, ...]]:
    """The gantry fitted with exchanged commands, and what becomes of its alarms."""
    robot, nominal = load_robot('mujoco_push'), find_bags([DEMO / GANTRY / 'nominal'])
    with exchanged_commands():
        judge = fit_briefly(bench, nominal, robot)
    known = judge.calibration and judge.calibration.grounding
    assert known is not None
    yield from told(bench, 'gantry', 'fitted on shuffled commands', known)
    peaks, alarms = watch(find_bags([DEMO / GANTRY / 'bags']), robot, judge)
    bench.figures['gantry, fitted on shuffled commands: peaks'] = peaks
    bench.figures['gantry, fitted on shuffled commands: bags in which it alarms'] = alarms
    bench.bars['gantry, fitted on shuffled commands: scores go on'] = all(
        peaks[c] > 1 for c in RESTING
    )
    bench.bars['gantry, fitted on shuffled commands: neither alarms'] = not any(
        alarms.get(c) for c in RESTING
    )


@contextmanager
def exchanged_commands() -> Iterator[None]:
    """Training that is told, for every example, the command of another moment."""
    draw = np.random.default_rng(0)
    true: Callable[..., Situation] = Table.situation

    def exchanged(self: Table, ticks: NDArray[np.intp], steps: int) -> Situation:
        others = draw.integers(0, len(self), len(ticks))
        return replace(true(self, ticks, steps), target=self.command[others])

    Table.situation = exchanged  # type: ignore[method-assign]
    try:
        yield
    finally:
        Table.situation = true  # type: ignore[method-assign]


def watch(
    paths: Sequence[Path], robot: Robot, judge: Judge
) -> tuple[dict[str, float], dict[str, int]]:
    """By channel: the highest score in any bag, and in how many bags it alarms."""
    peaks: dict[str, float] = {}
    alarms: dict[str, int] = {}
    for path in paths:
        with open_bag(path) as source:
            analysis = Analysis(source, robot, judge, CaptureSettings())
            for _ in analysis.run():
                pass
            trace = analysis.trace(path.name)
        for channel in trace.channels:
            if np.isfinite(channel.scores).any():
                peak = round(float(np.nanmax(channel.scores)), 2)
                peaks[channel.name] = max(peaks.get(channel.name, 0.0), peak)
            loud = bool((channel.scores > channel.thresholds).any())
            alarms[channel.name] = alarms.get(channel.name, 0) + loud
    return peaks, alarms


if __name__ == '__main__':
    raise SystemExit(main())

# SPDX-License-Identifier: Apache-2.0
"""What engine local finds, on labelled recordings and on simulated robots that fail at will.

One configuration a robot: thresholds come from nominal bags alone, and the labels lie where the
detector never looks. (a) The data sets: lag of every fault, silence where nothing is wrong.
(b) Simulated episodes, by task, fault and strength: recall, lag, which channels spoke; policy
faults and benign changes as classes of their own; area under the curve over episodes, scored by
their largest score over threshold. (c) The picture channel alone, with local and with the same
scoring fed by persistence and by flow.

Models are read from --models/{mujoco_push,g1,sim_arm,sim_base}, and fitted there if they are not.
Episodes are kept in --work, so that a run that was cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import DEMO, OUT, SHARED, Bench, print_table, read_labels

from cosmos_flywheel.bags.source import find_bags, open_bag
from cosmos_flywheel.capture.analysis import Analysis
from cosmos_flywheel.capture.fit import fit_judge
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.model import CALIBRATION, Judge, load_judge, save_judge
from cosmos_flywheel.cli.progress import ProgressLine
from cosmos_flywheel.cli.sim import record, truth_folder
from cosmos_flywheel.core.conformal import upper_chance
from cosmos_flywheel.engines import ENGINES, Flow, Persistence
from cosmos_flywheel.engines.local.fields import SMALL
from cosmos_flywheel.engines.picture import tolerant_residual
from cosmos_flywheel.sim import find_robot
from cosmos_flywheel.store.robots import load_robot

SETS = {'g1_pick_bottle': 'g1', 'mujoco_push_faults': 'mujoco_push'}
TASKS = {'sim_arm': ('arm', ('push', 'pick_place')), 'sim_base': ('base', ('patrol', 'dock'))}
NOMINAL_SEEDS, HELD_OUT_SEEDS, FAULT_SEEDS = range(9000, 9012), range(9500, 9520), 100
"""Twelve nominal episodes a task to fit on, twenty to count false alarms on."""
SMALL_THINGS = ('slip', 'kick', 'lost', 'blocked')
LATEST_S = 1.0
RESAMPLES = 1000
EARLY_S = 0.02
"""A bag begins with its first arrival, some ms after the instant that labels count from."""


class TolerantFlow(Flow):
    """Flow, compared as engine local is."""

    level = 'flow, as local'

    def residual(self, prediction: Any, step: int, actual: Any) -> Any:
        """What lies beyond the predicted colours within one px."""
        return tolerant_residual(prediction.frames[step], actual)


class TolerantPersistence(Persistence):
    """Persistence, compared as engine local is."""

    level = 'persistence, as local'

    def residual(self, prediction: Any, step: int, actual: Any) -> Any:
        """What lies beyond the predicted colours within one px."""
        return tolerant_residual(prediction.frames[step], actual)


PEERS = {e.level: e for e in (TolerantPersistence, TolerantFlow)}


@dataclass(frozen=True, slots=True)
class Watched:
    """One episode: what was done to it, and what every channel made of it."""

    fault: str
    kind: str
    strength: float
    is_failure: bool
    onset_s: float
    before: dict[str, float]
    """By channel, the largest score over threshold before the onset …"""
    after: dict[str, float]
    """… and from it on."""
    lag_s: float | None
    """From the onset to the first alarm after it."""
    first: str
    """The channel of that alarm."""


def main() -> int:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--models', type=Path, default=OUT / 'models', help='model folders, by robot'
    )
    parser.add_argument(
        '--work', type=Path, default=OUT / 'episodes', help='where episodes are kept'
    )
    parser.add_argument('--episodes', type=int, default=20, help='per fault, task and strength')
    parser.add_argument('--strengths', type=float, nargs='+', default=[0.3, 0.6, 1.0])
    parser.add_argument('--only', nargs='+', default=['sets', *TASKS], help='sets, sim_arm, …')
    parser.add_argument('--faults', nargs='+', help='only these faults')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--quick', action='store_true', help='3 episodes of strength 1')
    args = parser.parse_args()
    if args.quick:
        args.episodes, args.strengths = 3, [1.0]
    ENGINES.update(PEERS)
    cv2.setNumThreads(1)
    bench = Bench('detection', SHARED if SHARED.is_dir() else DEMO, args.quick)
    if 'sets' in args.only:
        for folder in (bench.data / name for name in SETS):
            if folder.is_dir():
                judge_set(bench, folder, args)
    for robot in TASKS:
        if robot in args.only:
            judge_sim(bench, robot, args)
    return bench.finish()


def judge_set(bench: Bench, folder: Path, args: argparse.Namespace) -> None:
    """(a) and (c) on one labelled data set."""
    robot = SETS[folder.name]
    judge = model_of(args.models, robot, find_bags([folder / 'nominal']))
    labels = read_labels(folder)
    rows: list[tuple[object, ...]] = [('bag', 'fault', 'before', 'after', 'lag', 'channels')]
    found = {}
    for label in labels:
        onset_s = label['onset_s'] if label['onset_s'] is not None else 0.0
        one = watch(folder / 'bags' / label['bag'], robot, judge, label | {'onset_s': onset_s})
        found[label['bag']] = asdict(one)
        spoke = [c for c, v in one.after.items() if v > 1]
        rows.append(
            (
                label['bag'],
                one.fault,
                f'{max(one.before.values(), default=0):.2f}',
                f'{max(one.after.values()):.2f}',
                '-' if one.lag_s is None else f'{one.lag_s:.2f} s',
                ', '.join(spoke) or '-',
            )
        )
    print_table(rows)
    bench.figures[folder.name] = found
    every = [Watched(**f) for f in found.values()]
    faults = [w for w in every if w.is_failure]
    quiet = all(max(w.before.values(), default=0) <= 1 for w in every) and all(
        w.lag_s is None for w in every if not w.is_failure
    )
    bench.bars[f'{robot}: silent where nothing is wrong'] = quiet
    hits = sum(w.lag_s is not None for w in faults)
    bench.bars[f'{robot}: at most one fault is missed'] = hits >= min(6, len(faults))
    if robot == 'g1':
        late = [w for w in faults if w.lag_s is None or w.lag_s > LATEST_S]
        bench.bars['g1: both faults within 1 s'] = not late
    if robot == 'mujoco_push':
        ablate(bench, folder, robot, judge, labels)


def ablate(
    bench: Bench, folder: Path, robot: str, judge: Judge, labels: Sequence[dict[str, Any]]
) -> None:
    """(c): the picture channel alone, by engine."""
    rows: list[tuple[object, ...]] = [('picture alone', *(x['fault'] for x in labels))]
    finds, scores = {}, {}
    for level in ('local', *PEERS):
        one = judge
        if level != 'local':
            nominal = find_bags([folder / 'nominal'])
            one = fit_peer(nominal, robot, level)
        peaks = []
        for label in labels:
            onset_s = label['onset_s'] if label['onset_s'] is not None else 0.0
            seen = watch(folder / 'bags' / label['bag'], robot, one, label | {'onset_s': onset_s})
            peaks.append(seen.after['picture'])
        rows.append((level, *(f'{p:.2f}' for p in peaks)))
        scores[level] = peaks
        kinds = [x['fault'].split('_')[-1 if 'object' in x['fault'] else 0] for x in labels]
        finds[level] = sorted(
            k for k, p in zip(kinds, peaks, strict=True) if p > 1 and k in SMALL_THINGS
        )
    print_table(rows)
    bench.figures['picture alone'] = finds
    bench.bars['picture alone finds 3 of slip, kick, lost, blocked'] = len(finds['local']) >= 3
    small = [i for i, x in enumerate(labels) if any(k in x['fault'] for k in SMALL_THINGS)]
    bench.figures['picture alone, score over threshold'] = scores
    bench.bars['each of the four further above the threshold than with its peers'] = all(
        scores['local'][i] > scores[level][i] for i in small for level in PEERS
    )


def judge_sim(bench: Bench, robot: str, args: argparse.Namespace) -> None:
    """(b) on one simulated robot."""
    name, tasks = TASKS[robot]
    nominal = [args.work / robot / f'nominal_{t}_{s}' for s in NOMINAL_SEEDS for t in tasks]
    jobs = [(p, robot, t, 'none', 1.0, s) for p, (s, t) in zip(
        nominal, ((s, t) for s in NOMINAL_SEEDS for t in tasks), strict=True)]  # fmt: skip
    run_all(record_one, jobs, args.workers, f'recording nominal episodes of {name}')
    model_of(args.models, robot, nominal)
    jobs = list(episodes(robot, tasks, args))
    done = run_all(watch_one, [(*j, args.models) for j in jobs], args.workers, f'watching {name}')
    cells: dict[tuple[str, ...], list[Watched]] = defaultdict(list)
    for job, one in zip(jobs, done, strict=True):
        cells[one.kind, job[2], one.fault, f'{one.strength:g}'].append(one)
    rows: list[tuple[object, ...]] = [
        ('kind', 'task', 'fault', 'strength', 'alarmed', 'early', 'lag p50 / p95', 'channels')
    ]
    bench.figures[robot] = {}
    for key, every in sorted(cells.items()):
        figures = cell(every)
        bench.figures[robot][' '.join(key)] = figures
        rows.append((*key, *said(figures)))
    print_table(rows)
    summarise(bench, robot, [w for every in cells.values() for w in every])


def episodes(robot: str, tasks: Sequence[str], args: argparse.Namespace) -> Iterator[tuple]:
    """Every episode of (b): path, robot, task, fault, strength, seed."""
    folder = args.work / robot
    held_out = HELD_OUT_SEEDS[: args.episodes] if args.quick else HELD_OUT_SEEDS
    for task in tasks:
        for seed in held_out:
            yield folder / f'none_{task}_{seed}', robot, task, 'none', 1.0, seed
        for fault, about in find_robot(TASKS[robot][0]).faults.items():
            if task not in about.tasks or (args.faults and fault not in args.faults):
                continue
            for strength in args.strengths:
                for index in range(args.episodes):
                    seed = FAULT_SEEDS + index
                    path = folder / f'{fault}_{task}_{strength:g}_{seed}'
                    yield path, robot, task, fault, strength, seed


def record_one(job: tuple) -> None:
    """Record one episode unless it is there."""
    path, robot, task, fault, strength, seed = job
    if not (truth_folder(path) / 'label.json').exists():
        record(
            path,
            robot=TASKS[robot][0],
            task=task,
            fault=fault,
            strength=strength,
            seed=seed,
            film=False,
        )


def watch_one(job: tuple) -> Watched:
    """Record and watch one episode, unless that was done with this model."""
    *rest, models = job
    path, robot = rest[0], rest[1]
    judge = load_judge(models / robot)
    kept = truth_folder(path) / f'watched_{judge.calibration_id}.json'
    if kept.exists():
        return Watched(**json.loads(kept.read_text()))
    record_one(tuple(rest))
    label = json.loads((truth_folder(path) / 'label.json').read_text())
    one = watch(path, robot, judge, label)
    kept.write_text(json.dumps(asdict(one)))
    return one


def watch(path: Path, robot: str, judge: Judge, label: dict[str, Any]) -> Watched:
    """Watch one bag as a harvest does, and hold it against its label."""
    onset_s = label.get('onset_s') or 0.0
    before: dict[str, float] = {}
    after: dict[str, float] = {}
    lag_s, first = None, ''
    with open_bag(path) as source:
        analysis = Analysis(source, load_robot(robot), judge, CaptureSettings())
        for _ in analysis.run():
            pass
        trace = analysis.trace(path.name)
    later = trace.times_s >= onset_s - EARLY_S
    for channel in trace.channels:
        ratios = channel.scores / channel.thresholds
        for side, kept in ((before, ~later), (after, later)):
            some = ratios[kept]
            side[channel.name] = float(np.nanmax(some)) if np.isfinite(some).any() else 0.0
        alarms = trace.times_s[later & (ratios > 1)]
        if len(alarms) and (lag_s is None or alarms[0] - onset_s < lag_s):
            lag_s, first = round(float(alarms[0] - onset_s), 3), channel.name
    return Watched(
        label['fault'],
        label.get('kind', ''),
        label.get('strength', 1.0),
        label['is_failure'],
        onset_s,
        before,
        after,
        lag_s,
        first,
    )


def cell(every: Sequence[Watched]) -> dict[str, Any]:
    """What came of all episodes of one kind."""
    lags = [w.lag_s for w in every if w.lag_s is not None]
    spoke: dict[str, int] = defaultdict(int)
    for one in every:
        for channel, peak in one.after.items():
            spoke[channel] += peak > 1
    return {
        'episodes': len(every),
        'alarmed': len(lags),
        'early': sum(max(w.before.values(), default=0) > 1 for w in every if w.onset_s > 0),
        'lag_p50_s': float(np.median(lags)) if lags else None,
        'lag_p95_s': float(np.quantile(lags, 0.95)) if lags else None,
        'channels': {c: n for c, n in sorted(spoke.items()) if n},
    }


def said(figures: dict[str, Any]) -> tuple[str, ...]:
    """A cell of the table."""
    lag = '-'
    if figures['alarmed']:
        lag = f'{figures["lag_p50_s"]:.2f} / {figures["lag_p95_s"]:.2f} s'
    return (
        f'{figures["alarmed"]}/{figures["episodes"]}',
        str(figures['early']),
        lag,
        ', '.join(f'{c} {n}' for c, n in figures['channels'].items()) or '-',
    )


def summarise(bench: Bench, robot: str, every: Sequence[Watched]) -> None:
    """Areas under the curve by class, and false alarms on episodes without a fault."""
    quiet = [w for w in every if w.fault == 'none']
    benign = [w for w in every if w.kind == 'benign']
    rows: list[tuple[object, ...]] = [('class', 'against', 'area under the curve', '+', '-')]
    areas = {}
    for kind in ('world', 'policy', 'sensor'):
        faults = [peak(w) for w in every if w.kind == kind and w.is_failure]
        for name, negatives in (('no fault', quiet), ('no fault and benign', quiet + benign)):
            calm = [max(peak(w), max(w.before.values(), default=0)) for w in negatives]
            if not faults or not calm:
                continue
            area, low, high = auc(np.array(faults), np.array(calm))
            areas[f'{kind} against {name}'] = [area, low, high, len(faults), len(calm)]
            shown = f'{area:.3f} ({low:.3f} … {high:.3f})'
            rows.append((kind, name, shown, len(faults), len(calm)))
    print_table(rows)
    wrong = sum(max(peak(w), max(w.before.values(), default=0)) > 1 for w in quiet)
    chance = upper_chance(wrong, len(quiet), 0.95)
    print(
        f'{robot}: {wrong} of {len(quiet)} episodes without a fault alarmed (at most '
        f'{chance:.1%} with 95 % confidence), {sum(peak(w) > 1 for w in benign)} of '
        f'{len(benign)} with a benign change\n'
    )
    bench.figures[f'{robot} summary'] = {
        'areas': areas,
        'false_alarms': [wrong, len(quiet)],
        'benign_alarms': [sum(peak(w) > 1 for w in benign), len(benign)],
    }


def peak(one: Watched) -> float:
    """The largest score over threshold from the onset on, of any channel."""
    return max(one.after.values(), default=0.0)


def auc(faults: np.ndarray, calm: np.ndarray) -> tuple[float, float, float]:
    """Chance that a fault outranks a calm episode, ties half; with a 95 % bootstrap interval."""
    draw = np.random.default_rng(0)
    wins = (faults[:, None] > calm[None]) + 0.5 * (faults[:, None] == calm[None])
    picks = [
        wins[np.ix_(draw.integers(0, len(faults), len(faults)),
                    draw.integers(0, len(calm), len(calm)))].mean()
        for _ in range(RESAMPLES)
    ]  # fmt: skip
    low, high = np.quantile(picks, (0.025, 0.975))
    return round(float(wins.mean()), 4), round(float(low), 4), round(float(high), 4)


def model_of(models: Path, robot: str, nominal: Sequence[Path]) -> Judge:
    """The fitted model of a robot; fitted now if it is not there."""
    folder = models / robot
    if not (folder / CALIBRATION).exists():
        with ProgressLine(f'fitting {robot}', bags=False) as line:
            made = fit_judge(nominal, load_robot(robot), 'local', workers=2, learning=line)
        assert made.calibration is not None
        save_judge(made.calibration, folder, made.local, made.prior)
    return load_judge(folder)


def fit_peer(nominal: Sequence[Path], robot: str, level: str) -> Judge:
    """Thresholds for an engine that needs no weights, at the size at which local compares."""
    from cosmos_flywheel.capture import fit

    fit.working_size = lambda _: SMALL  # type: ignore[assignment]
    return fit_judge(nominal, load_robot(robot), level)


def run_all(work: Any, jobs: Sequence[tuple], workers: int, what: str) -> list[Any]:
    """All jobs in processes of their own, with progress; results in order."""
    results = []
    with (
        ProgressLine(what, bags=False) as line,
        ProcessPoolExecutor(workers, get_context('spawn'), cv2.setNumThreads, (1,)) as pool,
    ):
        line.expect({'all': float(len(jobs))})
        for index, result in enumerate(pool.map(work, jobs)):
            results.append(result)
            line('all', index + 1.0)
    return results


if __name__ == '__main__':
    sys.exit(main())

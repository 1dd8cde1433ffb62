# SPDX-License-Identifier: Apache-2.0
"""What the live graph finds on a simulated robot that fails at will, in real time, over DDS.

`flywheel live --sim` runs as a user runs it: every node a process, thresholds from nominal
recordings alone. This script only sets the next episode's fault, and listens: to the truth, which
no node hears, and to the scores and episodes that the graph publishes. Lag is what a listener
sees: from the true onset to the arrival of the first score in alarm, and to the arrival of the
episode, its clip closed.

Runs in shards of at most nine minutes, as many at a time as --workers says, each in a ROS domain
of its own. A shard that is over is kept in --work, and a run that was cut off goes on from there.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from common import DEMO, OUT, SHARED, Bench, print_table
from detection import TASKS, model_of, record_one, run_all

from cosmos_flywheel.capture.model import CALIBRATION
from cosmos_flywheel.core.promise import BUDGET_PER_HOUR, CONFIDENCE
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.sim import find_robot
from cosmos_flywheel.store.files import write_bytes

NOMINAL_SEEDS = range(9000, 9120)
"""Of each task's nominal recordings, half an hour in all: `detection` makes do with a tenth."""
SHARD_S = 500.0
"""Of episodes and rests; starting and ending the graph takes the rest of nine minutes."""
PAUSE_S = 1.0
SECONDS = {'sim_arm': (5.7, 9.0), 'sim_base': (8.0, 10.5)}
"""The shortest episode, and the longest with its scene and its rest."""
DOMAIN = 140
FAULT_SEED, NOMINAL_SEED = 100, 20_000
"""Far from the seeds that models are fitted on."""
PATIENCE_S = 60.0
APART_NS = NS
"""Alarms that are closer together are one."""
EARLY_NS = 20_000_000
"""A tick's stamp may lie so much before the onset that its picture shows."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Episodes that one graph runs one after another."""

    name: str
    seed: int
    wishes: tuple[tuple[str, str], ...]
    """Fault and task of each."""


@dataclass(slots=True)
class Run:
    """One episode: what was done, and what came of it."""

    fault: str
    kind: str
    task: str
    seed: int
    strength: float
    is_failure: bool
    start_ns: int
    end_ns: int = 0
    onset_ns: int | None = None
    is_over: bool = False
    ticks: int = 0
    predicted: int = 0
    """Ticks at which a prediction of the picture came in time."""
    levels: dict[str, int] = field(default_factory=dict)
    alarms: list[tuple[int, int, list[str]]] = field(default_factory=list)
    """Stamp, arrival and channels of each tick in alarm."""
    episodes: list[dict[str, Any]] = field(default_factory=list)


def main() -> int:
    """Run what is missing, then say what came of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--models', type=Path, default=OUT / 'live_models', help='folders, by robot'
    )
    parser.add_argument('--work', type=Path, default=OUT / 'live', help='where shards are kept')
    parser.add_argument('--only', nargs='+', default=list(TASKS), choices=list(TASKS))
    parser.add_argument('--runs', type=int, default=20, help='of each fault')
    parser.add_argument('--minutes', type=float, default=60.0, help='without a fault')
    parser.add_argument('--workers', type=int, default=1, help='graphs at a time')
    parser.add_argument('--quick', action='store_true', help='3 runs of each, 3 minutes')
    parser.add_argument('--shard', type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.shard:
        return run_shard(**args.shard)
    if args.quick:
        args.runs, args.minutes = 3, 3.0
    bench = Bench('live_detection', SHARED if SHARED.is_dir() else DEMO, args.quick)
    failed: list[str] = []
    for robot in args.only:
        prepare(robot, args)
        work = args.work / robot / ('quick' if args.quick else 'full')
        missing = [s for s in shards(robot, args) if not (work / f'{s.name}.json').exists()]
        with ThreadPoolExecutor(args.workers) as pool:
            jobs = [pool.submit(start, robot, args, work, i, s) for i, s in enumerate(missing)]
        failed += [job.result() for job in jobs if job.result()]
        summarise(bench, robot, list(read_runs(work)))
    bench.finish()
    if failed:
        print(f'not whole, {", ".join(failed)} failed; run it again', file=sys.stderr)
    return 1 if failed else 0


def prepare(robot: str, args: argparse.Namespace) -> None:
    """The model of this robot, fitted on its nominal recordings, unless it is there."""
    if (args.models / robot / CALIBRATION).exists():
        return
    name, tasks = TASKS[robot]
    folder = OUT / 'episodes' / robot
    jobs = [
        (folder / f'nominal_{t}_{s}', robot, t, 'none', 1.0, s)
        for s in NOMINAL_SEEDS
        for t in tasks
    ]
    run_all(record_one, jobs, 2, f'recording nominal episodes of {name}')
    model_of(args.models, robot, [job[0] for job in jobs])


def shards(robot: str, args: argparse.Namespace) -> Iterator[Shard]:
    """All episodes, in portions; tasks take turns."""
    name, tasks = TASKS[robot]
    shortest_s, longest_s = SECONDS[robot]
    most = int(SHARD_S / longest_s)
    seconds = 0.0
    quiet: list[tuple[str, str]] = []
    while seconds < 60 * args.minutes:
        quiet.append(('none', tasks[len(quiet) % len(tasks)]))
        seconds += shortest_s
    faults = [
        (fault, [t for t in tasks if t in about.tasks])
        for fault, about in find_robot(name).faults.items()
    ]
    # By turns, so that a run that was cut off has some of each.
    failing = [(f, can[i % len(can)]) for i in range(args.runs) for f, can in faults]
    for what, every, seed in (
        ('fault', failing, FAULT_SEED), ('nominal', quiet, NOMINAL_SEED)
    ):  # fmt: skip
        for begin in range(0, len(every), most):
            wishes = tuple(every[begin : begin + most])
            yield Shard(f'{what}_{begin // most:02d}', seed + begin, wishes)


def start(robot: str, args: argparse.Namespace, work: Path, index: int, shard: Shard) -> str:
    """Run one shard in a process and a domain of its own; returns its name if it failed."""
    domain = DOMAIN + index % 50
    given = asdict(shard) | {
        'robot': robot,
        'model': str((args.models / robot).resolve()),
        'out': str(work / f'{shard.name}.json'),
    }
    environment = os.environ | {
        'ROS_DOMAIN_ID': str(domain),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, __file__, '--shard', json.dumps(given)], env=environment, check=False
    )
    said = 'is done' if done.returncode == 0 else f'FAILED with exit code {done.returncode}'
    spent_s = time.monotonic() - began_s
    print(f'{robot} {shard.name}: {said} after {spent_s:.0f} s', file=sys.stderr, flush=True)
    return f'{robot} {shard.name}' if done.returncode else ''


def run_shard(
    name: str, seed: int, wishes: Sequence[tuple[str, str]], robot: str, model: str, out: str
) -> int:
    """One graph from its start to its end; writes its runs when all of them are over."""
    from listening import Ear

    folder = Path(out).with_suffix('')
    folder.mkdir(parents=True, exist_ok=True)
    fault, task = wishes[0]
    sim = {'fault': fault, 'task': task, 'seed': seed, 'pause_s': PAUSE_S, 'episodes': len(wishes)}
    lines = [f'    {key}: {json.dumps(value)}' for key, value in sim.items()]
    parameters = folder / 'sim.yaml'
    parameters.write_text('/**/sim:\n  ros__parameters:\n' + '\n'.join(lines) + '\n')
    words = [sys.executable, '-m', 'cosmos_flywheel.cli.main', 'live', '--robot', robot]
    words += ['--model', model, '--sim', '--params-file', str(parameters), '--out', str(folder)]
    with (folder / 'live.log').open('wb') as log:
        live = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
        try:
            with Ear() as ear:
                runs = attend(ear, wishes, live)
        finally:
            if live.poll() is None:
                live.send_signal(signal.SIGINT)
            live.wait(PATIENCE_S)
    if len(runs) < len(wishes):
        print(f'{name}: {len(runs)} of {len(wishes)} episodes; see {log.name}', file=sys.stderr)
        return 1
    write_bytes(Path(out), json.dumps([asdict(run) for run in runs]).encode())
    return 0


def attend(
    ear: Any, wishes: Sequence[tuple[str, str]], live: subprocess.Popen[bytes]
) -> list[Run]:
    """Tell the simulator what comes next, and note everything until the graph ends by itself."""
    runs: list[Run] = []
    end_s = time.monotonic() + PATIENCE_S + 1.2 * SHARD_S
    while live.poll() is None and time.monotonic() < end_s:
        ear.listen(0.1)
        for truth in ear.take_truths():
            if truth['event'] == 'start':
                runs.append(begun(truth))
                if len(runs) < len(wishes):
                    fault, task = wishes[len(runs)]
                    # Without a fault first: not every fault goes with the present task.
                    ear.set('/sim', fault='none')
                    ear.set('/sim', task=task)
                    ear.set('/sim', fault=fault)
            elif truth['event'] == 'end':
                runs[-1].end_ns, runs[-1].is_over = truth['stamp_ns'], True
                runs[-1].onset_ns = truth['onset_ns']
                runs[-1].is_failure = truth['label']['is_failure']
        for arrived_ns, score in ear.take_scores():
            note(runs, arrived_ns, score)
    for arrived_ns, episode in ear.episodes:
        for run in runs:
            if run.start_ns <= episode.onset_ns < run.end_ns + APART_NS:
                run.episodes.append(
                    {
                        'onset_ns': episode.onset_ns,
                        'arrived_ns': arrived_ns,
                        'causes': list(episode.causes),
                    }
                )
    return [run for run in runs if run.is_over]


def begun(truth: dict[str, Any]) -> Run:
    """What is known at the start of an episode."""
    return Run(
        truth['fault'],
        truth['kind'],
        truth['task'],
        truth['seed'],
        truth['strength'],
        truth['is_failure'],
        truth['stamp_ns'],
    )


def note(runs: Sequence[Run], arrived_ns: int, score: Any) -> None:
    """One tick, to the run it belongs to; ticks between runs belong to none."""
    stamp_ns = score.header.stamp.sec * NS + score.header.stamp.nanosec
    for run in reversed(runs[-2:]):
        if run.start_ns <= stamp_ns and (not run.is_over or stamp_ns < run.end_ns):
            break
    else:
        return
    run.ticks += 1
    run.levels[score.level] = run.levels.get(score.level, 0) + 1
    run.predicted += any(c.name == 'picture' and not math.isnan(c.score) for c in score.channels)
    loud = [c.name for c in score.channels if c.alarm]
    if loud:
        run.alarms.append((stamp_ns, arrived_ns, loud))


def read_runs(work: Path) -> Iterator[Run]:
    """All runs of the shards that are over."""
    for path in sorted(work.glob('*.json')):
        for fields in json.loads(path.read_text()):
            yield Run(**fields)


def summarise(bench: Bench, robot: str, runs: Sequence[Run]) -> None:
    """Tables of faults and of false alarms."""
    cells: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        if run.fault != 'none':
            cells[run.kind, run.fault].append(run)
    rows: list[tuple[object, ...]] = [
        (
            'kind',
            'fault',
            'alarmed',
            'captured',
            'alarm p50 / p95',
            'episode p50 / p95',
            'channels',
        )
    ]
    figures: dict[str, Any] = {}
    for (kind, fault), every in sorted(cells.items()):
        shown = [run for run in every if run.onset_ns is not None]
        alarms = [lag for run in shown if (lag := alarm_lag_s(run)) is not None]
        kept = [lag for run in shown if (lag := capture_lag_s(run)) is not None]
        spoke = Counter(c for run in shown for c in {n for _, _, cs in late(run) for n in cs})
        figures[f'{kind} {fault}'] = {
            'runs': len(shown), 'alarmed': len(alarms), 'captured': len(kept),
            'alarm_lag_s': quantiles(alarms), 'episode_lag_s': quantiles(kept),
        }  # fmt: skip
        rows.append(
            (
                kind,
                fault,
                f'{len(alarms)}/{len(shown)}',
                f'{len(kept)}/{len(shown)}',
                said(alarms),
                said(kept),
                ', '.join(f'{c} {n}' for c, n in sorted(spoke.items())) or '-',
            )
        )
    print_table(rows)
    for kind in ('world', 'policy', 'sensor'):
        some = [r for r in runs if r.kind == kind and r.onset_ns is not None and r.is_failure]
        if not some:
            continue
        hits = sum(alarm_lag_s(r) is not None for r in some)
        lags = [lag for r in some if (lag := alarm_lag_s(r)) is not None]
        print(
            f'{kind} faults: {hits} of {len(some)} alarmed ({hits / len(some):.0%}), {said(lags)}'
        )
        figures[kind] = {'runs': len(some), 'alarmed': hits, 'alarm_lag_s': quantiles(lags)}
    figures['nominal'] = quiet(bench, robot, [r for r in runs if r.fault == 'none'])
    ticks = sum(r.ticks for r in runs)
    covered = sum(r.predicted for r in runs) / max(1, ticks)
    levels = sum((Counter(r.levels) for r in runs), Counter())
    shares = ', '.join(f'{n / max(1, ticks):.1%} {name}' for name, n in levels.most_common())
    print(f'{ticks} ticks: {covered:.1%} with a prediction in time; levels: {shares}\n')
    figures['ticks'], figures['covered'] = ticks, round(covered, 4)
    bench.figures[robot] = figures


def quiet(bench: Bench, robot: str, runs: Sequence[Run]) -> dict[str, Any]:
    """False alarms an hour, and whether they keep the budget."""
    hours = sum(r.end_ns - r.start_ns for r in runs) / NS / 3600
    count = sum(bursts(r) for r in runs)
    kept = sum(len(r.episodes) for r in runs)
    if not hours:
        return {}
    most = upper_count(count, CONFIDENCE) / hours
    least = lower_count(count, CONFIDENCE) / hours
    verdict = 'not shown'
    if most <= BUDGET_PER_HOUR:
        verdict = 'met'
    elif least > BUDGET_PER_HOUR:
        verdict = 'missed'
    print(
        f'{robot}: {count} false alarms and {kept} captures in {60 * hours:.1f} nominal minutes: '
        f'{count / hours:.2f} an hour, at most {most:.2f} and at least {least:.2f} with '
        f'{CONFIDENCE:.0%} confidence each. Budget of {BUDGET_PER_HOUR:g} an hour: {verdict}'
    )
    bench.bars[f'{robot}: budget of false alarms shown'] = verdict == 'met'
    bench.bars[f'{robot}: budget of false alarms not refuted'] = verdict != 'missed'
    return {
        'hours': round(hours, 3), 'alarms': count, 'captures': kept,
        'per_hour': round(count / hours, 3), 'at_most_per_hour': round(most, 3),
        'budget': verdict,
    }  # fmt: skip


def late(run: Run) -> list[tuple[int, int, list[str]]]:
    """Alarms from the onset on."""
    assert run.onset_ns is not None
    return [alarm for alarm in run.alarms if alarm[0] >= run.onset_ns - EARLY_NS]


def alarm_lag_s(run: Run) -> float | None:
    """From the true onset to the arrival of the first alarm after it."""
    if run.onset_ns is None or not (after := late(run)):
        return None
    return (after[0][1] - run.onset_ns) / NS


def capture_lag_s(run: Run) -> float | None:
    """From the true onset to the arrival of the episode."""
    if run.onset_ns is None:
        return None
    lags = [(e['arrived_ns'] - run.onset_ns) / NS for e in run.episodes
            if e['onset_ns'] >= run.onset_ns - EARLY_NS]  # fmt: skip
    return min(lags, default=None)


def bursts(run: Run) -> int:
    """Alarms, those close together counted once."""
    stamps = [alarm[0] for alarm in run.alarms]
    return sum(i == 0 or s - stamps[i - 1] > APART_NS for i, s in enumerate(stamps))


def upper_count(count: int, confidence: float) -> float:
    """Largest mean of a Poisson count that so few leave credible (Garwood, Biometrika, 1936)."""
    return _mean_where(lambda mean: _poisson(count, mean) < 1 - confidence)


def lower_count(count: int, confidence: float) -> float:
    """Smallest such mean."""
    if not count:
        return 0.0
    return _mean_where(lambda mean: 1 - _poisson(count - 1, mean) > 1 - confidence)


def _poisson(count: int, mean: float) -> float:
    return sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1))


def _mean_where(passed: Any) -> float:
    """Where a condition that holds from some mean on begins to hold."""
    low, high = 1e-9, 1e4
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if passed(middle) else (middle, high)
    return high


def quantiles(lags: Sequence[float]) -> list[float] | None:
    """Median and 95th percentile."""
    return [round(float(np.quantile(lags, q)), 3) for q in (0.5, 0.95)] if lags else None


def said(lags: Sequence[float]) -> str:
    """The same for people."""
    found = quantiles(lags)
    return f'{found[0]:.2f} / {found[1]:.2f} s' if found else '-'


if __name__ == '__main__':
    sys.exit(main())

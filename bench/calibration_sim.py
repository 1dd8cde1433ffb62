# SPDX-License-Identifier: Apache-2.0
"""Promises and stale calibrations on a simulated arm, with engine local.

Evidence comes from fresh nominal episodes and from episodes in another light, none of them fitted
on. Promises: over and over, half of the nominal episodes calibrates and the other half is judged.
Staleness: the model's own calibration meets nominal episodes in random order, then ones in
another light, again and again; how long until it is called stale, and was it ever before?

The model is read from --models/sim_arm and fitted there if it is not; episodes are kept in --work.
Both may be those of bench/detection.py.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from common import DEMO, OUT, Bench, print_table
from detection import NOMINAL_SEEDS, TASKS, model_of, record_one, run_all
from numpy.typing import NDArray

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.capture.analysis import Analysis, collect_evidence
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.model import Judge, load_judge
from cosmos_flywheel.core.appearance import APPEARANCE
from cosmos_flywheel.core.blocks import BLOCK_S, scores_of
from cosmos_flywheel.core.calibration import Recording, calibrate
from cosmos_flywheel.core.channels import Channel
from cosmos_flywheel.core.conformal import binomial_cdf
from cosmos_flywheel.core.promise import CONFIDENCE
from cosmos_flywheel.core.staleness import FALSE_CHANCE, StaleTest
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import Vector
from cosmos_flywheel.store.robots import load_robot

ROBOT, CHANGE = 'sim_arm', 'light'
FRESH_SEEDS, CHANGED_SEEDS = range(9600, 9640), range(9700, 9720)
"""Of each task."""
REPEATS, QUICK_REPEATS = 200, 20
STATED_S = 300.0
"""A change of light is to be noticed within so much nominal operation."""
LUCK = 0.01
"""Chance that luck alone fails a bar."""
Evidence = dict[str, Vector]


@dataclass(frozen=True, slots=True)
class Stream:
    """One episode as a stale test meets it."""

    stamps_ns: NDArray[np.int64]
    scores: dict[str, NDArray[np.float64]]
    alarms: NDArray[np.bool_]


def main() -> int:
    """Record what is missing, then both parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--models', type=Path, default=OUT / 'models', help='model folders, by robot'
    )
    parser.add_argument(
        '--work', type=Path, default=OUT / 'episodes', help='where episodes are kept'
    )
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--quick', action='store_true', help='fewer episodes and repetitions')
    args = parser.parse_args()
    cv2.setNumThreads(1)
    bench = Bench('calibration_sim', DEMO, args.quick)
    fresh, changed = (
        episodes(args, fault, seeds[:5] if args.quick else seeds)
        for fault, seeds in (('none', FRESH_SEEDS), (CHANGE, CHANGED_SEEDS))
    )
    fitted = episodes(args, 'none', NOMINAL_SEEDS, prefix='nominal')
    judge = model_of(args.models, ROBOT, [job[0] for job in fitted])
    found = run_all(read_one, [(job[0], args.models) for job in (*fresh, *changed)], args.workers,
                    'watching')  # fmt: skip
    channels = analysis_of(fresh[0][0], judge).scorer.channels
    promises(bench, channels, [evidence for evidence, _ in found[: len(fresh)]])
    streams = [stream_of(evidence, stamps_ns, judge) for evidence, stamps_ns in found]
    calm, lit = streams[: len(fresh)], streams[len(fresh) :]
    usual = float(np.median([light_of(s) for s in calm]))
    # A seed's light goes up or down; one change of light is all that go the same way.
    for name, same in (
        ('darker', [s for s in lit if light_of(s) < usual]),
        ('brighter', [s for s in lit if light_of(s) >= usual]),
    ):
        staleness(bench, judge, calm, same, name)
    return bench.finish()


def light_of(stream: Stream) -> float:
    """How bright an episode is."""
    return float(np.nanmedian(stream.scores[APPEARANCE]))


def episodes(
    args: argparse.Namespace, fault: str, seeds: Sequence[int], prefix: str = ''
) -> list[tuple]:
    """Jobs of bench/detection.py, recorded."""
    _, tasks = TASKS[ROBOT]
    jobs = [
        (args.work / ROBOT / f'{prefix or f"fresh_{fault}"}_{t}_{s}', ROBOT, t, fault, 1.0, s)
        for s in seeds
        for t in tasks
    ]
    run_all(record_one, jobs, args.workers, f'recording {fault}')
    return jobs


def analysis_of(path: Path, judge: Judge) -> Analysis:
    """A bag as a harvest watches it."""
    return Analysis(open_bag(path).__enter__(), load_robot(ROBOT), judge, CaptureSettings())


def read_one(job: tuple[Path, Path]) -> tuple[Evidence, NDArray[np.int64]]:
    """The evidence of one episode, and its ticks."""
    path, models = job
    evidence, ticks = collect_evidence(analysis_of(path, load_judge(models / ROBOT)))
    return evidence, ticks.stamps_ns


def promises(bench: Bench, channels: Sequence[Channel], nominal: Sequence[Evidence]) -> None:
    """Calibrate on a random half, count false alarms on the other."""
    draw = np.random.default_rng(0)
    hz = load_robot(ROBOT).clock.hz
    kept, promised, rates, guaranteed, alarms, hours = 0, [], [], 0, 0, 0.0
    repeats = QUICK_REPEATS if bench.quick else REPEATS
    for _ in range(repeats):
        order = draw.permutation(len(nominal))
        half = len(nominal) // 2
        known, promise = calibrate(
            channels, [Recording(nominal[i]) for i in order[:half]], hz, 1.0
        )
        found = [
            loud_blocks(nominal[i], {n: (k.scale, k.threshold) for n, k in known.items()}, hz)
            for i in order[half:]
        ]
        loud, blocks = (sum(f[side] for f in found) for side in (0, 1))
        chance = min(1.0, promise.proved_per_hour * BLOCK_S / 3600)
        # Broken only if so many alarms would be unlikely under the promised rate.
        kept += 1 - binomial_cdf(loud - 1, blocks, chance) > 1 - CONFIDENCE
        promised.append(promise.proved_per_hour)
        rates.append(loud / (blocks * BLOCK_S / 3600))
        guaranteed += promise.guaranteed
        alarms, hours = alarms + loud, hours + blocks * BLOCK_S / 3600
    print_table(
        [
            ('splits', 'guaranteed', 'promised/h p50', 'found/h mean', 'p95', 'broken'),
            (
                repeats,
                guaranteed,
                f'{np.median(promised):.0f}',
                f'{alarms / hours:.1f}',
                f'{np.quantile(rates, 0.95):.1f}',
                repeats - kept,
            ),
        ]
    )
    bench.figures['promises'] = {
        'splits': repeats,
        'promised_per_hour_p50': float(np.median(promised)),
        'found_per_hour': alarms / hours,
        'broken': repeats - kept,
    }
    lucky = binomial_cdf(repeats - kept - 1, repeats, 1 - CONFIDENCE)
    bench.bars['the promised rate holds with its confidence'] = lucky < 1 - LUCK
    bench.bars['too few minutes are never called guaranteed'] = guaranteed == 0


def loud_blocks(
    evidence: Evidence, known: dict[str, tuple[Sequence[float], float]], hz: float
) -> tuple[int, int]:
    """Blocks in which some channel alarms, and all blocks; an episode's rest is a block too."""
    alarms = np.any(
        [
            scores_of(evidence[n], np.array(s, np.float32)) > limit
            for n, (s, limit) in known.items()
        ],
        axis=0,
    )
    ticks = round(BLOCK_S * hz)
    parts = [alarms[i : i + ticks] for i in range(0, max(1, len(alarms) - ticks // 2), ticks)]
    return sum(bool(part.any()) for part in parts), len(parts)


def stream_of(evidence: Evidence, stamps_ns: NDArray[np.int64], judge: Judge) -> Stream:
    """Scores and alarms under the model's own calibration."""
    assert judge.calibration is not None
    known = judge.calibration.channels
    scores = {
        n: np.asarray(scores_of(evidence[n], np.array(k.scale, np.float32)), np.float64)
        for n, k in known.items()
        if n in evidence
    }
    alarms = np.any([s > known[n].threshold for n, s in scores.items()], axis=0)
    light = {APPEARANCE: evidence[APPEARANCE][:, 0].astype(np.float64)}
    return Stream(stamps_ns, scores | light, alarms)


def staleness(
    bench: Bench,
    judge: Judge,
    nominal: Sequence[Stream],
    changed: Sequence[Stream],
    name: str,
) -> None:
    """Many orders of the same episodes."""
    draw = np.random.default_rng(1)
    repeats = QUICK_REPEATS if bench.quick else REPEATS
    early, waited, never = 0, [], 0
    for _ in range(repeats):
        assert judge.calibration is not None
        test = StaleTest(judge.calibration)
        before = [nominal[i] for i in draw.permutation(len(nominal))]
        again = math.ceil(STATED_S / max(1.0, sum(length_s(s) for s in changed)))
        after = [changed[i] for _ in range(again) for i in draw.permutation(len(changed))]
        if feed(test, before) is not None:
            early += 1
            continue
        seconds = feed(test, after)
        waited += [] if seconds is None else [seconds]
        never += seconds is None
    calm_s = sum(length_s(s) for s in nominal)
    rows: list[tuple[object, ...]] = [
        (name, 'nominal before', 'called stale in it', 'after the change p50', 'p95', 'never')
    ]
    p50, p95 = np.quantile(waited, (0.5, 0.95)) if waited else (np.nan, np.nan)
    rows.append(
        (f'{repeats} orders', f'{calm_s:.0f} s', early, f'{p50:.0f} s', f'{p95:.0f} s', never),
    )
    print_table(rows)
    bench.figures[f'stale, {name}'] = {
        'early': early, 'never': never, 'p50_s': float(p50), 'p95_s': float(p95)
    }  # fmt: skip
    lucky = binomial_cdf(early - 1, repeats, FALSE_CHANCE)
    bench.bars[f'{name}: not called stale before the change'] = lucky < 1 - LUCK
    late = never + sum(s > STATED_S for s in waited)
    bench.bars[f'{name}: noticed within {STATED_S:g} s'] = late == 0


def feed(test: StaleTest, streams: Sequence[Stream]) -> float | None:
    """Seconds of these until the calibration is called stale; None for never."""
    done_s = 0.0
    for stream in streams:
        columns = list(stream.scores.items())
        for tick, stamp_ns in enumerate(stream.stamps_ns.tolist()):
            values = {name: float(column[tick]) for name, column in columns}
            test.take(stamp_ns, values, alarm=bool(stream.alarms[tick]))
        test.end_block()
        done_s += length_s(stream)
        if test.stale:
            return done_s
    return None


def length_s(stream: Stream) -> float:
    """How long an episode lasts."""
    return float(stream.stamps_ns[-1] - stream.stamps_ns[0]) / NS


if __name__ == '__main__':
    raise SystemExit(main())

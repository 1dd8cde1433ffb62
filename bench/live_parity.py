# SPDX-License-Identifier: Apache-2.0
"""A bag harvested, and the same bag played over DDS into the live nodes: do they find the same?

Each labelled bag of each data set is watched twice with one model: by `harvest`, and by predictor,
monitor and recorder as processes of their own while `flywheel node player` plays it in its own
time. Compared are the scores of every tick, the causes of the captures, and their windows. A score
counts as having the same input unless its prediction did not come in time (the engine still works
on another tick: such a tick is judged without, and counted here). `clock_health` is left out: it
looks at the order in which messages arrive, which DDS does not keep across topics. A bag ends
where a robot goes on, and no live node can know it: windows are compared as far as the bag goes.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from common import ROBOTS, ROOT, Bench, begin, print_table, read_labels
from recorder import node_process

from cosmos_flywheel.bags.source import find_bags, open_bag
from cosmos_flywheel.capture.analysis import Analysis
from cosmos_flywheel.capture.fit import fit_judge
from cosmos_flywheel.capture.harvest import Plan, harvest
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.model import Judge, load_judge, save_judge
from cosmos_flywheel.store.episodes import iter_episodes, read_episode
from cosmos_flywheel.store.robots import load_robot

NS = 10**9
DOMAIN = '195'
PREDICTED = ('picture', 'state')
ARRIVALS = 'clock_health'
MOST_APART = 1e-6
PATIENCE_S = 20.0


@dataclass(slots=True)
class Both:
    """One bag, watched twice."""

    ticks: int
    scored: int = 0
    compared: int = 0
    """Scores of one channel at one tick that both gave."""
    late: int = 0
    """Ticks whose prediction did not come in time."""
    apart: float = 0.0
    """The largest relative difference."""
    offline: list[dict[str, Any]] = field(default_factory=list)
    live: list[dict[str, Any]] = field(default_factory=list)

    @property
    def same_triggers(self) -> bool:
        """As many captures, with the same causes in the same order."""
        return _causes(self.offline) == _causes(self.live)

    @property
    def frames_apart(self) -> float:
        """Of the windows' ends and onsets, the most; NaN where captures are not the same."""
        if len(self.offline) != len(self.live):
            return float('nan')
        pairs = zip(self.offline, self.live, strict=True)
        ends = [
            abs(a['window'][end] - b['window'][end]) / a['frame_ns']
            for a, b in pairs
            for end in ('start_ns', 'onset_ns', 'end_ns')
        ]
        return max(ends, default=0.0)


def main() -> int:
    """Watch every bag twice."""
    bench = begin('live_parity', __doc__)
    os.environ['ROS_DOMAIN_ID'] = DOMAIN
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    work = Path(tempfile.mkdtemp(prefix='parity_'))
    rows: list[tuple[object, ...]] = [
        ('robot', 'bag', 'fault', 'ticks', 'scored', 'late', 'compared', 'largest difference',
         'captures', 'same causes', 'windows apart')
    ]  # fmt: skip
    found: list[Both] = []
    try:
        for folder in bench.sets():
            robot = ROBOTS[folder.name]
            model = model_of(folder, robot, work)
            labels = read_labels(folder)
            for label in labels[:2] if bench.quick else labels:
                both = watch_twice(folder / 'bags' / label['bag'], robot, model, work)
                found.append(both)
                rows.append((robot, label['bag'], label['fault'], *said(both)))
                print(f'{robot} {label["bag"]} is done', file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(work)
    print_table(rows)
    conclude(bench, found)
    return bench.finish()


def conclude(bench: Bench, found: list[Both]) -> None:
    """Figures and bars over all bags."""
    frames = [b.frames_apart for b in found]
    bench.figures = {
        'bags': len(found),
        'ticks': sum(b.ticks for b in found),
        'scored': sum(b.scored for b in found),
        'late': sum(b.late for b in found),
        'compared': sum(b.compared for b in found),
        'largest_difference': max(b.apart for b in found),
        'captures': sum(len(b.live) for b in found),
        'frames_apart': round(max(frames), 3) if np.isfinite(frames).all() else None,
    }
    bench.bars['scores equal to 1e-6'] = all(b.apart <= MOST_APART for b in found)
    bench.bars['same triggers'] = all(b.same_triggers for b in found)
    bench.bars['windows to within a frame'] = bool(np.all(np.array(frames) <= 1.0))


def model_of(folder: Path, robot: str, work: Path) -> Path:
    """The demo's model for its robot; for others thresholds of engine flow, fitted here."""
    if robot == 'mujoco_push':
        return ROOT / 'demo' / 'model'
    judge = fit_judge(find_bags([folder / 'nominal']), load_robot(robot), 'flow', workers=2)
    assert judge.calibration is not None
    save_judge(judge.calibration, work / robot, judge.local, judge.prior)
    return work / robot


def watch_twice(bag: Path, robot: str, model: Path, work: Path) -> Both:
    """Offline, then live."""
    judge = load_judge(model)
    expected, frame_ns = harvested(bag, robot, judge)
    out = work / 'harvest' / bag.name
    harvest([bag], lambda _: Plan(load_robot(robot), judge), out)
    both = Both(len(expected), offline=list(captures(out, frame_ns, max(expected))))
    out = work / 'live' / bag.name
    for stamp_ns, scores in played(bag, robot, model, out).items():
        if stamp_ns not in expected:
            continue
        both.scored += 1
        both.late += compare(both, expected[stamp_ns], scores)
    both.live = list(captures(out, frame_ns, max(expected)))
    return both


def harvested(bag: Path, robot: str, judge: Judge) -> tuple[dict[int, dict[str, float]], float]:
    """By tick and channel, the scores of a harvest; and how long a frame lasts."""
    with open_bag(bag) as source:
        analysis = Analysis(source, load_robot(robot), judge, CaptureSettings())
        scores = {
            m.tick.stamp_ns: {c.name: c.score for c in analysis.scorer.score(m).channels}
            for m in analysis.moments()
        }
    return scores, float(np.median(np.diff(sorted(scores))))


def captures(out: Path, frame_ns: float, last_ns: int) -> Iterator[dict[str, Any]]:
    """Window, no longer than to the last tick, and causes of every capture, in time's order."""
    manifests = [read_episode(folder) for folder in iter_episodes(out)]
    for manifest in sorted(manifests, key=lambda m: m['window']['onset_ns']):
        window = manifest['window']
        window['end_ns'] = min(window['end_ns'], last_ns)
        yield {'window': window, 'causes': manifest['causes'], 'frame_ns': frame_ns}


def played(bag: Path, robot: str, model: Path, out: Path) -> dict[int, dict[str, float]]:
    """By tick and channel, the scores of the live nodes."""
    from listening import Ear

    scores: dict[int, dict[str, float]] = {}
    with ExitStack() as stack:
        ear = stack.enter_context(Ear())
        for name in ('predictor', 'monitor'):
            stack.enter_context(node_process(name, out, robot=robot, models=[str(model)]))
        stack.enter_context(node_process('recorder', out, robot=robot, out=str(out)))
        player = stack.enter_context(
            node_process('player', out, bag=str(bag), wait_for=3, exit_at_end=True)
        )
        silent_s = time.monotonic()
        while player.poll() is None or time.monotonic() - silent_s < 3.0:
            ear.listen(0.2)
            for _, message in ear.take_scores():
                silent_s = time.monotonic()
                stamp_ns = message.header.stamp.sec * NS + message.header.stamp.nanosec
                scores[stamp_ns] = {c.name: c.score for c in message.channels}
            if player.poll() is None and time.monotonic() - silent_s > PATIENCE_S and scores:
                break
    return scores


def compare(both: Both, expected: dict[str, float], scores: dict[str, float]) -> bool:
    """Every channel of one tick; returns whether its prediction was late."""
    late = False
    for name, wanted in expected.items():
        if name == ARRIVALS:
            continue
        ours = scores[name]
        if name in PREDICTED and np.isnan(ours) and not np.isnan(wanted):
            late = True
            continue
        both.compared += 1
        if np.isnan(wanted) and np.isnan(ours):
            continue
        apart = abs(ours - wanted) / max(1.0, abs(wanted))
        both.apart = max(both.apart, float('inf') if np.isnan(apart) else float(apart))
    return late


def _causes(every: list[dict[str, Any]]) -> list[list[str]]:
    return [[c for c in one['causes'] if c != ARRIVALS] for one in every]


def said(both: Both) -> tuple[object, ...]:
    """A row's figures."""
    return (
        both.ticks,
        both.scored,
        both.late,
        both.compared,
        f'{both.apart:.1e}',
        f'{len(both.offline)} / {len(both.live)}',
        'yes' if both.same_triggers else json.dumps([_causes(both.offline), _causes(both.live)]),
        f'{both.frames_apart:.2f} frames',
    )


if __name__ == '__main__':
    sys.exit(main())

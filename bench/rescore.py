# SPDX-License-Identifier: Apache-2.0
"""What looking again within a budget finds, what it costs, and whether its estimate holds.

Engine flow screens the labelled bags of the gantry and half of its nominal ones, its thresholds
from the other half; the demo's model of engine local looks again, once, at every window. What it
puts above its threshold there is the truth: its own false alarms are part of it. Each budget and
each seed of the lot is then replayed over these answers, in the order in which `flywheel harvest
--rescore` takes its turns.

Costs are seconds within the engine, as a share of those of its one pass over the same bags. They
are taken from the wall clock: beside other work, two runs may differ by half.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from common import ROOT, Bench, begin, print_table

from cosmos_flywheel.bags.source import find_bags, open_bag
from cosmos_flywheel.capture.analysis import Analysis, first_size
from cosmos_flywheel.capture.fit import fit
from cosmos_flywheel.capture.harvest import Plan, harvest
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.model import Judge, load_judge
from cosmos_flywheel.capture.rescoring.journal import Journal, Seen
from cosmos_flywheel.capture.rescoring.meter import Meter, Metered
from cosmos_flywheel.capture.rescoring.request import ASKED, Budget, Rescoring
from cosmos_flywheel.capture.rescoring.windows import Screened, windows_of
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.screening import CONFIDENCE, Key, Window, estimate, turns_of
from cosmos_flywheel.store.robots import load_robot

GANTRY = 'mujoco_push_faults'
ROBOT = 'mujoco_push'
SHARES = (0.1, 0.2, 0.3, 0.5, 0.8)
"""Budgets: of the windows that can be looked at."""
SEEDS, QUICK_SEEDS = 200, 20
QUICK_NOMINAL = 8
WORKERS = 2
MUST_HOLD = 0.9
"""Of the seeds whose interval is told; it promises CONFIDENCE."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What both models said of every window."""

    windows: tuple[Window, ...]
    seen: dict[Key, Seen]
    pass_s: float
    """Of the dear engine, once through the same bags."""

    @property
    def asked(self) -> list[Window]:
        """Those that can be looked at."""
        return [w for w in self.windows if w.key in self.seen]

    @property
    def above(self) -> dict[Key, bool | None]:
        """Whether the dear model puts a window above its threshold."""
        return {key: seen.above for key, seen in self.seen.items()}

    def flagged(self, windows: Sequence[Window]) -> int:
        """How many of these it puts above."""
        return sum(self.seen[w.key].above is True for w in windows)


@dataclass(frozen=True, slots=True)
class Replay:
    """One budget with one seed."""

    found: int
    engine_s: float
    missed: int
    """In truth, of the windows that the screen let pass and nobody looked at."""
    told: tuple[float, float, float] | None
    """Least, estimate and most; None where it cannot be said."""

    @property
    def holds(self) -> bool:
        """Whether the interval holds the truth, to the rounding of a window's part."""
        assert self.told is not None
        return self.told[0] - 1e-9 <= self.missed <= self.told[2] + 1e-9


def main() -> int:
    bench = begin('rescore', __doc__ or '')
    bags, nominal = gantry(bench)
    with tempfile.TemporaryDirectory() as scratch:
        dear = load_judge(ROOT / 'demo' / 'model')
        answers = ask(bags, nominal, load_robot(ROBOT), dear, Path(scratch) / 'out')
    judge(bench, len(bags), answers)
    return bench.finish()


def gantry(bench: Bench) -> tuple[list[Path], list[Path]]:
    """Bags to look at, faulty and calm, and others to fit the screen on."""
    folder = bench.data / GANTRY
    nominal = find_bags([folder / 'nominal'])
    nominal = nominal[:QUICK_NOMINAL] if bench.quick else nominal
    return [*find_bags([folder / 'bags']), *nominal[1::2]], nominal[::2]


def judge(bench: Bench, bags: int, answers: Answers) -> None:
    """Replay every budget, and hold the means over the seeds against the bars."""
    asked, total = answers.asked, answers.flagged(answers.asked)
    let_pass = [w for w in asked if w.kind == 'quiet']
    whole_s = sum(seen.engine_s for seen in answers.seen.values())
    print(
        f'{bags} bags, {len(asked)} windows of 2 s that can be looked at, '
        f'{len(let_pass)} of them let pass by flow; local puts {total} above its threshold, '
        f'{answers.flagged(let_pass)} of them let pass\n'
        f'all windows take {whole_s / answers.pass_s:.1f} times as long as one pass\n'
    )
    seeds = range(QUICK_SEEDS if bench.quick else SEEDS)
    head = 'budget', 'found', 'at random', 'cost', 'missed', 'estimate', 'interval', 'holds'
    rows: list[tuple[object, ...]] = [head]
    figures = []
    for share in SHARES:
        count = round(share * len(asked))
        runs = [replayed(answers, count, seed) for seed in seeds]
        figure = summed(runs, count, count / len(asked) * total, answers.pass_s)
        figures.append(figure | {'windows_above': total})
        rows.append(row(figure, total))
    print_table(rows)
    print(
        f'means over {len(seeds)} seeds of the lot; at random: expected of as many windows drawn '
        'by lot alone\nmissed, estimate, interval: windows let pass that nobody looked at and '
        f'local puts above; the interval promises {CONFIDENCE:.0%}\n'
    )
    bench.figures |= {
        'bags': bags,
        'windows': len(asked),
        'let_pass': len(let_pass),
        'above': total,
        'let_pass_and_above': answers.flagged(let_pass),
        'all_windows_over_one_pass': round(whole_s / answers.pass_s, 2),
        'budgets': figures,
    }
    told = [f for f in figures if f['told'] > 0]
    bench.bars |= {
        f'each interval told holds the truth in {MUST_HOLD:.0%} of the seeds': bool(told)
        and all(f['holds'] >= MUST_HOLD for f in told),
        'each budget finds at least what it would at random': all(
            f['found'] >= f['at_random'] for f in figures
        ),
    }


def ask(
    bags: Sequence[Path], nominal: Sequence[Path], robot: Robot, dear: Judge, out: Path
) -> Answers:
    """Screen the bags, and look again at every window."""
    calibration = fit(nominal, robot, 'flow', workers=WORKERS)
    screen = Judge('flow', calibration, calibration.size)
    again = Rescoring(robot, dear, Budget(windows=10**6))
    document, result = harvest(
        list(bags), lambda _: Plan(robot, screen), out, workers=WORKERS, again=again
    )
    assert not document['rescore']['stopped']
    assert not document['rescore']['refused']
    windows: list[Window] = []
    for found, trace in zip(document['bags'], result.bags, strict=True):
        # What was found by looking again is none of the screen's.
        kept = tuple(e for e in result.episodes if e.bag == trace.bag and not e.screened_by)
        with open_bag(Path(found['bag'])) as source:
            identity = source.bag_id
        screened = Screened(Path(found['bag']), trace.bag, identity, '', trace, kept)
        windows += windows_of(screened, again.window_s())
    seen = Journal(out, document['rescore']['config_hash']).read()
    kinds = [w.kind for w in windows]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        kind: count for kind, count in document['rescore']['windows'].items() if count
    }
    return Answers(tuple(windows), seen, one_pass_s(bags, robot, dear))


def one_pass_s(bags: Sequence[Path], robot: Robot, judge: Judge) -> float:
    """Seconds within the engine that scores whole bags."""
    meter = Meter()
    for bag in bags:
        with open_bag(bag) as source:
            engine = Metered(judge.make_engine(first_size(source, robot)), meter)
            for _ in Analysis(
                source, robot, judge, CaptureSettings(), engine=engine, only=ASKED
            ).run():
                pass
            engine.close()
    return meter.spent_s


def replayed(answers: Answers, count: int, seed: int) -> Replay:
    """What so many turns would have come to."""
    turns = list(islice(turns_of(answers.windows, seed), count))
    looked = {turn.window.key for turn in turns}
    unseen = [w for w in answers.asked if w.kind == 'quiet' and w.key not in looked]
    said = estimate(answers.windows, turns, answers.above)
    low, high = said.interval
    return Replay(
        answers.flagged([turn.window for turn in turns]),
        sum(answers.seen[key].engine_s for key in looked),
        answers.flagged(unseen),
        (low, said.missed, high) if said.is_known else None,
    )


def summed(
    runs: Sequence[Replay], count: int, at_random: float, pass_s: float
) -> dict[str, float]:
    """Means over the seeds; of what was told, over those that told it."""
    told = [run for run in runs if run.told is not None]
    figures = {
        'budget': float(count),
        'found': np.mean([run.found for run in runs]),
        'at_random': at_random,
        'cost': np.mean([run.engine_s for run in runs]) / pass_s,
        'missed': np.mean([run.missed for run in runs]),
        'told': len(told) / len(runs),
    }
    if told:
        low, middle, high = np.mean([run.told for run in told if run.told], axis=0)
        holds = np.mean([run.holds for run in told])
        figures |= {'least': low, 'estimate': middle, 'most': high, 'holds': holds}
    return {name: round(float(value), 3) for name, value in figures.items()}


def row(figure: dict[str, float], total: int) -> tuple[object, ...]:
    """One line of the table."""
    said: tuple[object, ...] = ('cannot say', '', '')
    if figure['told']:
        interval = f'{figure["least"]:.1f} to {figure["most"]:.1f}'
        said = (f'{figure["estimate"]:.2f}', interval, f'{figure["holds"]:.0%}')
        if figure['told'] < 1:
            said = (*said[:2], f'{said[2]} of the {figure["told"]:.0%} told')
    return (
        f'{figure["budget"]:.0f} windows',
        f'{figure["found"]:.1f} of {total}',
        f'{figure["at_random"]:.1f}',
        f'{figure["cost"]:.2f}',
        f'{figure["missed"]:.2f}',
        *said,
    )


if __name__ == '__main__':
    raise SystemExit(main())

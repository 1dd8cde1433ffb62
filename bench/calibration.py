# SPDX-License-Identifier: Apache-2.0
"""Whether promises about false alarms are kept, and stale calibrations are noticed in time.

On made-up evidence, of which the true rate is known: calibrations from many independent sets of
nominal bags, each held against hours of further nominal operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from common import Bench, begin, print_table
from numpy.typing import NDArray
from streams import BLOCK_TICKS, CHANNELS, CLOCK_HZ, ELEMENTS, World, element_maxima

from cosmos_flywheel.core.blocks import BLOCK_S, block_medians, scores_of
from cosmos_flywheel.core.calibration import (
    Calibration,
    ChannelCalibration,
    Recording,
    calibrate,
)
from cosmos_flywheel.core.conformal import binomial_cdf
from cosmos_flywheel.core.promise import CONFIDENCE
from cosmos_flywheel.core.staleness import FALSE_CHANCE, StaleTest
from cosmos_flywheel.core.timeline import NS

INDEPENDENT, CORRELATED = World(0.0), World(0.9)
LOUDER = World(0.9, bag_spread=0.1)
REFERENCES = ((5, 13.0), (24, 5.0), (6, 600.0))
"""Nominal sets: bags and their length."""
SHIFTS = (1.0, 1.5, 2.0, 3.0)
WHERE = {'one': ('picture',), 'all': tuple(ELEMENTS)}
"""Which channels shift."""
CHANGE = 30
"""Blocks that pass before something changes."""
ALLOWED = 0.01
"""Chance that luck alone fails a bar."""


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of nominal set."""

    name: str
    world: World
    bags: int
    length_s: float
    budget_per_hour: float
    covered: bool = True
    """Whether the theorems speak of it."""

    @property
    def set(self) -> str:
        """In words."""
        return f'{self.bags} x {self.length_s:g} s'


CASES = (
    Case('independent', INDEPENDENT, 24, 5, 1),
    Case('AR 0.9', CORRELATED, 5, 13, 1),
    Case('AR 0.9', CORRELATED, 24, 5, 1),
    Case('AR 0.9', CORRELATED, 6, 600, 1),
    Case('independent', INDEPENDENT, 6, 600, 10),
    Case('AR 0.9', CORRELATED, 6, 600, 10),
    Case('AR 0.9', CORRELATED, 60, 60, 10),
    Case('AR 0.9', CORRELATED, 40, 600, 1),
    Case('AR 0.9, bags differ by 10 %', LOUDER, 60, 60, 10, covered=False),
    Case('AR 0.9, bags differ by 10 %', LOUDER, 6, 600, 10, covered=False),
)


def main() -> int:
    """Both promises, one table each."""
    bench = begin('calibration', __doc__ or '')
    promises(bench)
    staleness(bench)
    return bench.finish()


def promises(bench: Bench) -> None:
    """Calibrate on many sets of each kind; compare what is promised with what is true."""
    repeats = 40 if bench.quick else 200
    hours = 50 if bench.quick else 300
    rows: list[tuple[object, ...]] = [
        ('scores', 'nominal', 'asked/h', 'guaranteed', 'promised/h', 'true/h p50', 'p95', 'broken')
    ]
    kept, flagged = [], []
    for number, case in enumerate(c for c in CASES if not (bench.quick and c.bags == 40)):
        draw = np.random.default_rng(number)
        found = [judge(case, draw) for _ in range(repeats)]
        fresh = case.world.bags(
            draw, round(hours * 3600 / max(60, case.length_s)), max(60, case.length_s)
        )
        blocks = np.stack(list(element_maxima(fresh)))
        true = np.array([rate_per_hour(known, blocks) for known, _, _ in found])
        promised = np.array([one for _, one, _ in found])
        guaranteed = [one for _, _, one in found]
        broken = int((true > promised).sum())
        if case.covered:
            kept.append(binomial_cdf(broken - 1, repeats, 1 - CONFIDENCE) < 1 - ALLOWED)
        if case.budget_per_hour == 1 and case.bags < 40:
            flagged.append(not any(guaranteed))
        rows.append(
            (
                case.name,
                case.set,
                f'{case.budget_per_hour:g}',
                f'{sum(guaranteed)} of {repeats}',
                f'{np.median(promised):.1f}',
                f'{np.median(true):.2f}',
                f'{np.quantile(true, 0.95):.2f}',
                f'{broken} of {repeats}' + ('' if case.covered else ' (not covered)'),
            )
        )
    print(f'Promises, {repeats} calibrations each, held against {hours} h:')
    print_table(rows)
    bench.bars['promises are kept with their confidence'] = all(kept)
    bench.bars['short sets are not guaranteed'] = all(flagged)


def judge(
    case: Case, draw: np.random.Generator
) -> tuple[dict[str, ChannelCalibration], float, bool]:
    """One calibration, the rate that it promises, and whether that is the budget."""
    nominal = [Recording(one) for one in case.world.bags(draw, case.bags, case.length_s)]
    known, promise = calibrate(CHANNELS, nominal, CLOCK_HZ, case.budget_per_hour)
    return known, promise.proved_per_hour, promise.guaranteed


def rate_per_hour(known: dict[str, ChannelCalibration], blocks: NDArray[np.float32]) -> float:
    """How many blocks an hour alarm."""
    limits = np.concatenate(
        [np.array(known[n].scale, np.float32) * known[n].threshold for n in ELEMENTS]
    )
    return float((blocks > limits).any(1).mean()) * 3600 / BLOCK_S


@dataclass(frozen=True, slots=True)
class Watch:
    """A calibration and the nominal operation that comes after it."""

    calibration: Calibration
    medians: dict[str, NDArray[np.float64]]
    """(blocks,) median scores by channel."""

    def stale_at(self, shift: float = 0.0, channels: Sequence[str] = (), after: int = 0) -> int:
        """The block from which it is called stale, -1 for never.

        Args:
            shift: in standard deviations of a channel's nominal block medians.
            channels: those that shift.
            after: the first block that is shifted.

        """
        test = StaleTest(self.calibration)
        for index in range(len(next(iter(self.medians.values())))):
            values = {
                name: float(m[index] + (name in channels and index >= after) * shift * m.std())
                for name, m in self.medians.items()
            }
            for at_s in (0.0, BLOCK_S - 1 / CLOCK_HZ):
                test.take(round((index * BLOCK_S + at_s) * NS), values, alarm=False)
            test.end_block()
            if test.stale:
                return index
        return -1


def staleness(bench: Bench) -> None:
    """Watch on after many calibrations, with and without a shift of what is normal."""
    runs, length = (40, 120) if bench.quick else (300, 360)
    rows: list[tuple[object, ...]] = [
        (
            'nominal',
            'blocks',
            'earliest',
            'false',
            *(f'{s:g} sd {w}' for w in WHERE for s in SHIFTS),
        )
    ]
    quiet = []
    for number, (bags, length_s) in enumerate(REFERENCES):
        draw = np.random.default_rng(100 + number)
        watches = [watch(draw, bags, length_s, length) for _ in range(runs)]
        false = sum(one.stale_at() >= 0 for one in watches)
        quiet.append(binomial_cdf(false - 1, runs, FALSE_CHANCE) < 1 - ALLOWED)
        cells = []
        for where, channels in WHERE.items():
            for shift in SHIFTS:
                found = delays(watches, shift, channels)
                cells.append(found)
                bench.figures[f'{bags}x{length_s:g}s_{where}_{shift:g}sd'] = found
        references = len(watches[0].calibration.channels['picture'].reference)
        rows.append(
            (
                f'{bags} x {length_s:g} s',
                references,
                earliest(references),
                f'{false} of {runs}',
                *cells,
            )
        )
    print(
        f'Stale: {runs} calibrations, then {length} blocks of {BLOCK_S:g} s (or bags as short as'
    )
    print(f'the nominal ones), from block {CHANGE} on shifted. Blocks from there to the word:')
    print('p50/p95, and how often it came')
    print_table(rows)
    bench.bars[f'called stale without cause in at most {FALSE_CHANCE:.0%}'] = all(quiet)


def watch(draw: np.random.Generator, bags: int, length_s: float, blocks: int) -> Watch:
    """Calibrate, and go on watching."""
    nominal = [Recording(one) for one in CORRELATED.bags(draw, bags, length_s)]
    known, _ = calibrate(CHANNELS, nominal, CLOCK_HZ)
    (later,) = CORRELATED.bags(draw, 1, blocks * min(BLOCK_S, length_s))
    block_ticks = min(BLOCK_TICKS, round(length_s * CLOCK_HZ))
    medians = {
        name: np.array(
            block_medians(scores_of(later[name], np.array(c.scale, np.float32)), block_ticks)
        )
        for name, c in known.items()
    }
    about = {'engine': {'level': 'flow', 'sha256': None}, 'size': (8, 8), 'settings_hash': ''}
    return Watch(
        Calibration('made up', clock_hz=CLOCK_HZ, nominal={}, channels=known, **about), medians
    )


def delays(watches: Sequence[Watch], shift: float, channels: Sequence[str]) -> str:
    """Blocks from the change until it is noticed."""
    ends = [one.stale_at(shift, channels, CHANGE) for one in watches]
    waited = [end - CHANGE + 1 for end in ends if end >= CHANGE]
    if not waited:
        return 'never'
    p50, p95 = np.quantile(waited, (0.5, 0.95))
    return f'{p50:.0f}/{p95:.0f} {len(waited) / len(watches):.0%}'


def earliest(references: int) -> int:
    """Blocks until the test can possibly speak, if every one is further off than all before."""
    known = ChannelCalibration(('all',), (1.0,), 9.0, 1.0, reference=(1.0,) * references)
    calibration = Calibration('', {}, (8, 8), CLOCK_HZ, '', {}, dict.fromkeys(ELEMENTS, known))
    medians = {name: np.arange(2.0, 102.0) for name in ELEMENTS}
    return Watch(calibration, medians).stale_at() + 1


if __name__ == '__main__':
    raise SystemExit(main())

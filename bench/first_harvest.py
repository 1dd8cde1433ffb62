# SPDX-License-Identifier: Apache-2.0
"""Whether harvesting finds the faults of the labelled data sets and is silent otherwise.

Thresholds come from each set's `nominal/` bags alone; the harvest sees copies of the bags under
other names, without labels. For comparison the same without a calibration. Every episode in a
nominal bag is a false alarm: they are counted without a calibration, and held out, each half of
the nominal bags judged by thresholds from the other half.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from common import ROBOTS, Bench, begin, print_table, read_labels

from cosmos_flywheel.bags.source import find_bags
from cosmos_flywheel.capture.fit import fit
from cosmos_flywheel.capture.harvest import Plan, harvest
from cosmos_flywheel.capture.model import Judge
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.store.robots import load_robot

LATEST_S = 1.0
"""A fault counts as found if an alarm is raised so soon after its onset."""
QUICK_NOMINAL = 8
MUST_FIND = ('camera_freeze', 'camera_occlusion', 'actuator_stall')


def main() -> int:
    """Harvest every set, calibrated and not, and compare with the labels."""
    bench = begin('first_harvest', __doc__ or '')
    rows: list[tuple[object, ...]] = [
        ('bag', 'fault', 'onset', 'alarm after', 'causes', 'uncalibrated')
    ]
    found: dict[str, list[dict[str, Any]]] = {}
    false_alarms = held_out = nominal_s = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        for folder in bench.sets():
            robot = load_robot(ROBOTS[folder.name])
            nominal = find_bags([folder / 'nominal'])
            nominal = nominal[:QUICK_NOMINAL] if bench.quick else nominal
            judge = fit_judge(nominal, robot)
            work = Path(scratch) / folder.name
            labels = read_labels(folder)
            with_model = watch(folder, labels, robot, judge, work / 'calibrated')
            without = watch(folder, labels, robot, Judge('flow'), work / 'uncalibrated')
            false_alarms += count_episodes(nominal, robot, Judge('flow'), work / 'nominal')[0]
            for half, rest in ((nominal[::2], nominal[1::2]), (nominal[1::2], nominal[::2])):
                judge = fit_judge(half, robot)
                count, seconds = count_episodes(rest, robot, judge, work / judge.calibration_id)
                held_out += count
                nominal_s += seconds
            found[folder.name] = [judged(label, with_model, without) for label in labels]
            rows += [row(f) for f in found[folder.name]]
    print_table(rows)
    print(
        f'{nominal_s:.0f} s of nominal bags: {false_alarms:.0f} false alarms uncalibrated, '
        f'{held_out:.0f} with thresholds from the other half of them\n'
    )
    bench.figures |= {
        'sets': found,
        'uncalibrated_false_alarms': false_alarms,
        'held_out_false_alarms': held_out,
        'nominal_s': round(nominal_s, 1),
    }
    set_bars(bench, found)
    return bench.finish()


def fit_judge(nominal: list[Path], robot: Robot) -> Judge:
    """What these bags call normal."""
    calibration = fit(nominal, robot, 'flow', workers=2)
    return Judge('flow', calibration, calibration.size)


def count_episodes(bags: list[Path], robot: Robot, judge: Judge, out: Path) -> tuple[int, float]:
    """Episodes found in bags, and the bags' seconds."""
    document, _ = harvest(bags, lambda _: Plan(robot, judge), out, workers=2)
    found = document['bags']
    return sum(len(b['episodes']) for b in found), sum(b['duration_s'] for b in found)


def watch(
    folder: Path, labels: list[dict[str, Any]], robot: Robot, judge: Judge, work: Path
) -> dict[str, dict[str, Any]]:
    """Harvest anonymous copies of a set's bags; what was found, by the bag's own name."""
    copies = {}
    for index, label in enumerate(labels):
        copies[work / f'bag{index}'] = label['bag']
        shutil.copytree(folder / 'bags' / label['bag'], work / f'bag{index}')
    document, _ = harvest(list(copies), lambda _: Plan(robot, judge), work / 'out', workers=2)
    return {copies[Path(bag['bag'])]: bag for bag in document['bags']}


def judged(
    label: dict[str, Any],
    with_model: dict[str, dict[str, Any]],
    without: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """One bag's label beside what was found in it."""
    onset_s = label['onset_s'] if label['is_failure'] else None
    return {
        'bag': label['bag'],
        'fault': label['fault'],
        'onset_s': onset_s,
        'calibrated': after(with_model[label['bag']], onset_s),
        'uncalibrated': after(without[label['bag']], onset_s),
    }


def after(bag: dict[str, Any], onset_s: float | None) -> dict[str, Any]:
    """How long after the onset the first alarm was raised; every earlier one is a false alarm."""
    early = [e for e in bag['episodes'] if onset_s is None or e['onset_s'] < onset_s - 1e-3]
    later = [e for e in bag['episodes'] if e not in early]
    lag_s = (
        round(later[0]['onset_s'] - onset_s, 3) + 0.0  # no minus zero
        if later and onset_s is not None
        else None
    )
    return {
        'lag_s': lag_s,
        'causes': later[0]['causes'] if later else [],
        'false_alarms': [e['causes'] for e in early],
    }


def row(found: dict[str, Any]) -> tuple[object, ...]:
    """One line of the table."""
    with_model, without = found['calibrated'], found['uncalibrated']
    return (
        found['bag'],
        found['fault'],
        '-' if found['onset_s'] is None else f'{found["onset_s"]:.2f} s',
        said(with_model),
        ', '.join(with_model['causes']) or '-',
        said(without),
    )


def said(result: dict[str, Any]) -> str:
    """Lag and false alarms in words."""
    lag = 'silent' if result['lag_s'] is None else f'{result["lag_s"]:.2f} s'
    wrong = len(result['false_alarms'])
    return f'{lag}, {wrong} false' if wrong else lag


def set_bars(bench: Bench, found: dict[str, list[dict[str, Any]]]) -> None:
    """What must hold, as far as the data is there."""
    everything = [f for one in found.values() for f in one]
    bench.bars['silent on every none'] = all(
        not f['calibrated']['false_alarms'] for f in everything if f['fault'] == 'none'
    )
    bench.bars['silent before every onset and on benign changes'] = all(
        not f['calibrated']['false_alarms'] for f in everything
    )
    if 'g1_pick_bottle' in found:
        bench.bars['both G1 faults found within 1.0 s'] = all(
            is_found(f, LATEST_S) for f in found['g1_pick_bottle'] if f['onset_s'] is not None
        )
    if 'mujoco_push_faults' in found:
        bench.bars['MuJoCo freeze, occlusion and stall found'] = all(
            is_found(f, float('inf'))
            for f in found['mujoco_push_faults']
            if f['fault'] in MUST_FIND
        )


def is_found(found: dict[str, Any], latest_s: float) -> bool:
    """Whether the calibrated harvest raised an alarm soon enough."""
    lag_s = found['calibrated']['lag_s']
    return lag_s is not None and lag_s <= latest_s


if __name__ == '__main__':
    raise SystemExit(main())

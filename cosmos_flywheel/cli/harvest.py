# SPDX-License-Identifier: Apache-2.0
"""`flywheel harvest BAG…`: recorded bags in, failure episodes with evidence out."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cosmos_flywheel.bags.source import BagSource, find_bags
from cosmos_flywheel.capture.harvest import Plan, PlanOf, harvest, shown_names
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.model import DEFAULT_LEVEL, Judge, load_judge
from cosmos_flywheel.capture.proposal import propose, proposed_robot
from cosmos_flywheel.capture.report.result import HarvestResult
from cosmos_flywheel.capture.rescoring.request import Budget, Rescoring
from cosmos_flywheel.capture.survey import survey_bag
from cosmos_flywheel.capture.trace import REPORT
from cosmos_flywheel.capture.triggers.shipped import find_triggers
from cosmos_flywheel.capture.triggers.trigger import Triggers
from cosmos_flywheel.cli.actions import OUT
from cosmos_flywheel.cli.executor import add_executor, given_executor
from cosmos_flywheel.cli.progress import ProgressLine
from cosmos_flywheel.cli.table import printable, table
from cosmos_flywheel.core.errors import BagError, ConfigError, FlywheelError, StoreError
from cosmos_flywheel.engines import ENGINES
from cosmos_flywheel.engines.card import cards_here
from cosmos_flywheel.engines.cosmos.model import DOCUMENT
from cosmos_flywheel.engines.remote.model import DOCUMENT as REMOTE_DOCUMENT
from cosmos_flywheel.store.files import storing, write_document
from cosmos_flywheel.store.robots import load_robot

SOME_UNREAD_CODE = 1
"""Some bags were harvested, others could not be read, or not looked at again."""
UNITS_S = {'s': 1, 'm': 60, 'h': 3600}


def add_parser(subparsers: Any) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        'harvest',
        help='find failures in recorded bags and keep them as episodes',
        description='Watches every bag through a world model and keeps the stretches where the '
        "robot's world did not do what it should have done.",
    )
    parser.add_argument(
        'bags',
        nargs='+',
        type=Path,
        metavar='BAG',
        help='rosbag2 folders, .mcap, .db3 or .bag files, or folders of them',
    )
    parser.add_argument(
        '--robot',
        help='a shipped robot or the path of a robot file; by default '
        "the model's robot, or what `flywheel init` would write",
    )
    parser.add_argument(
        '--model',
        type=Path,
        help='a folder made by `flywheel fit`; without one, thresholds come from '
        "each bag's own past",
    )
    parser.add_argument(
        '--engine',
        choices=sorted(ENGINES),
        default=DEFAULT_LEVEL,
        help='without --model: which engine predicts (default: %(default)s)',
    )
    parser.add_argument(
        '--triggers',
        help='further reasons to capture: a trigger file, or estop, nav2, … that are shipped',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=OUT,
        help='where episodes, catalogue and report go (default: %(default)s)',
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write what was found here')
    parser.add_argument(
        '--workers',
        type=int,
        help='processes (default: one a core; with cosmos and remote one)',
    )
    add_executor(parser)
    defaults = CaptureSettings()
    parser.add_argument(
        '--pre-roll',
        type=float,
        default=defaults.pre_roll_s,
        metavar='S',
        help='seconds kept before an alarm (default: %(default)s)',
    )
    parser.add_argument(
        '--post-roll',
        type=float,
        default=defaults.post_roll_s,
        metavar='S',
        help='seconds kept after an alarm (default: %(default)s)',
    )
    _add_rescoring(parser)
    parser.set_defaults(run=run)


def _add_rescoring(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        'looking again',
        'A second, dearer model looks again at the windows that --model scored highest, and at '
        'some drawn by lot, which tell what was missed.',
    )
    group.add_argument(
        '--rescore', type=Path, metavar='DIR', help='its folder, also made by `flywheel fit`'
    )
    group.add_argument(
        '--gpu-budget',
        metavar='TIME',
        help='how long its engine may work: 90s, 20m, 1h; another run may get further',
    )
    group.add_argument(
        '--rescore-windows',
        type=int,
        metavar='N',
        help='instead: how many windows it looks at, the same in every run',
    )
    group.add_argument(
        '--rescore-seed',
        type=int,
        default=0,
        metavar='N',
        help='of the lot (default: %(default)s)',
    )


def run(args: argparse.Namespace) -> int:
    """Harvest, then print a table and where the report is."""
    settings = _settings(args)
    if args.json is not None:
        _require_writable(args.json)
    paths = find_bags(args.bags)
    plan_of = _plan_of(args, settings)
    again = _rescoring(args, settings)
    workers = _workers(args)
    opened = given_executor(args, args.out, workers)
    with opened as executor, ProgressLine('bags') as progress, _budget_line(again) as spent:
        document, result = harvest(
            paths,
            plan_of,
            args.out,
            workers=workers,
            executor=executor,
            progress=progress,
            again=again,
            spent=spent,
        )
    if args.json is not None:
        _write_json(args.json, document)
    print('\n'.join(_lines(document, result, args.out)))
    if args.model:
        for why_not in _only_offline(load_judge(args.model)):
            print(f'{why_not}; a harvest does not ask for it, a live monitor does')
    failed = sum('error' in bag for bag in document['bags'])
    if failed == len(document['bags']):
        raise BagError('no bag could be harvested; see above')
    return SOME_UNREAD_CODE if failed or _is_unfinished(document.get('rescore')) else 0


def _only_offline(judge: Judge) -> Iterator[str]:
    """Why a live monitor would not let this model alarm."""
    yield from filter(None, (judge.disarmed, judge.refused(cards_here())))


def _is_unfinished(rescored: dict[str, Any] | None) -> bool:
    """Whether the second look was refused, or ended before its budget did."""
    return rescored is not None and bool(rescored['refused'] or rescored['stopped'])


def _rescoring(args: argparse.Namespace, settings: CaptureSettings) -> Rescoring | None:
    """Who looks again, if anyone; every mistake in it is told before the work."""
    if args.rescore is None:
        for name in ('gpu_budget', 'rescore_windows'):
            if getattr(args, name) is not None:
                raise ConfigError(
                    f'--{name.replace("_", "-")}: says how long a second model looks; '
                    f'give that model with --rescore'
                )
        return None
    if args.model is None:
        raise ConfigError(
            '--rescore: what screens must be calibrated too; give its folder with --model'
        )
    budget = _budget(args)
    judge, screen = load_judge(args.rescore), load_judge(args.model)
    if judge.calibration_id == screen.calibration_id:
        raise ConfigError(
            f'--rescore {args.rescore}: is the model that screens ({judge.calibration_id}); '
            f'give another one, of a better engine'
        )
    assert screen.calibration is not None
    robot = load_robot(args.robot or screen.calibration.robot)
    again = Rescoring(robot, judge, budget, settings, args.rescore_seed)
    try:
        again.check()
    except ConfigError as error:
        raise ConfigError(f'--rescore {args.rescore}: {error}') from error
    judge.prepare()  # a checkpoint that is not there is told before the work, too
    return again


def _budget(args: argparse.Namespace) -> Budget:
    if (args.gpu_budget is None) == (args.rescore_windows is None):
        raise ConfigError(
            '--rescore: say for how long, with one of --gpu-budget 20m and --rescore-windows 100'
        )
    if args.rescore_seed < 0:
        raise ConfigError(f'--rescore-seed {args.rescore_seed}: give 0 or more')
    if args.gpu_budget is not None:
        return Budget(seconds=_seconds(args.gpu_budget))
    if args.rescore_windows < 1:
        raise ConfigError(f'--rescore-windows {args.rescore_windows}: give at least 1')
    return Budget(windows=args.rescore_windows)


def _seconds(text: str) -> float:
    """`20m`, `90s` or `1.5h`."""
    match = re.fullmatch(r'(\d+(?:\.\d+)?)([smh])', text.strip())
    seconds = float(match[1]) * UNITS_S[match[2]] if match else 0.0
    if not seconds > 0:
        raise ConfigError(f'--gpu-budget {text}: give a time above 0 with its unit: 90s, 20m, 1h')
    return seconds


@contextmanager
def _budget_line(again: Rescoring | None) -> Iterator[Callable[[float], None] | None]:
    """A line that tells how much of the budget is used up."""
    if again is None:
        yield None
        return
    whole = again.budget.windows or again.budget.seconds or 0.0
    with ProgressLine('looking again', bags=False) as line:
        line.expect({'budget': whole})
        yield lambda done: line('budget', done)


def _settings(args: argparse.Namespace) -> CaptureSettings:
    for name, value in (('--pre-roll', args.pre_roll), ('--post-roll', args.post_roll)):
        if not 0 <= value <= 3600:
            raise ConfigError(f'{name} {value:g}: give seconds between 0 and 3600')
    if args.workers is not None and args.workers < 1:
        raise ConfigError(f'--workers {args.workers}: give at least 1')
    return CaptureSettings(pre_roll_s=args.pre_roll, post_roll_s=args.post_roll)


def _plan_of(args: argparse.Namespace, settings: CaptureSettings) -> PlanOf:
    """By which plan a bag is watched: one for all, or, without a robot, one for each bag."""
    triggers = find_triggers(args.triggers) if args.triggers else None
    if triggers is not None:
        Triggers.load(triggers)  # a mistake in it is no bag's fault
    judge = load_judge(args.model) if args.model else Judge(args.engine)
    judge.prepare()  # a checkpoint or server that is not there is no bag's fault
    name = args.robot or (judge.calibration.robot if judge.calibration else None)
    if name is None:
        return lambda source: Plan(_guess_robot(source), judge, settings, triggers)
    try:
        plan = Plan(load_robot(name), judge, settings, triggers)
    except FlywheelError as error:
        if args.robot:
            raise
        raise ConfigError(
            f'{args.model}: made for robot {name!r}, which is not a shipped one; '
            f'give its file with --robot'
        ) from error
    judge.check_robot(plan.robot)
    return lambda _: plan


def _workers(args: argparse.Namespace) -> int:
    if args.workers is not None:
        return int(args.workers)
    documents = (DOCUMENT, REMOTE_DOCUMENT)
    is_one = args.model is not None and any((args.model / name).is_file() for name in documents)
    return 1 if is_one else os.cpu_count() or 1


def _guess_robot(source: BagSource) -> Any:
    robot = proposed_robot(propose(survey_bag(source), 'robot'))
    if robot is None:
        raise ConfigError(
            f'{source.path}: no topic can be a camera, a state or an action; see '
            f'what is in it with `flywheel inspect`, and name them with --robot'
        )
    return robot


def _require_writable(path: Path) -> None:
    """Find out before the work, not after it."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise StoreError(f'{path}: cannot be written; give a file in a folder that exists')


def _write_json(path: Path, document: dict[str, Any]) -> None:
    with storing(path):
        write_document(path, document, 'harvest-v1')


def _lines(document: dict[str, Any], result: HarvestResult, out: Path) -> list[str]:
    rows = [('bag', 'length', 'at', 'episode', 'cause')]
    shown = shown_names(Path(bag['bag']) for bag in document['bags'])
    for bag in document['bags']:
        name, rows_before = shown[Path(bag['bag'])], len(rows)
        if 'error' in bag:
            rows.append((name, '-', '-', 'NOT READ', bag['error']))
            continue
        length = f'{bag["duration_s"]:.1f} s'
        for episode in bag['episodes']:
            again = ' (looked at again)' if episode['screened_by'] else ''
            rows.append(
                (
                    name,
                    length,
                    f'{episode["onset_s"]:.2f} s',
                    episode['id'],
                    ', '.join(episode['causes']) + again,
                )
            )
        if len(rows) == rows_before:
            rows.append((name, length, '-', '-', '-'))
    lines = table(rows, right=(1, 2))
    found = sum(len(bag['episodes']) for bag in document['bags'])
    watched_s = sum(b.duration_s for b in result.bags)
    reference = (
        'thresholds from nominal recordings, no false-alarm rate proved'
        if result.calibrated
        else "uncalibrated: thresholds from each bag's own past; `flywheel fit` does better"
    )
    return [
        *lines,
        '',
        f'{found} episode{"s" * (found != 1)} in {watched_s:.1f} s of '
        f'{len(result.bags)} bag{"s" * (len(result.bags) != 1)} ({reference})',
        *map(printable, result.rescored),
        f'report: {printable(str(out / REPORT))}',
    ]

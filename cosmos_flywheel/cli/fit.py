# SPDX-License-Identifier: Apache-2.0
"""`flywheel fit BAG…`: nominal bags in, what is normal for this robot out."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from textwrap import wrap
from typing import Any

from cosmos_flywheel.bags.source import find_bags
from cosmos_flywheel.capture.fit import fit_judge
from cosmos_flywheel.capture.generative import CosmosChoice, RemoteChoice
from cosmos_flywheel.capture.model import grounding_of, require_free, save_judge
from cosmos_flywheel.capture.preflight import preflight_bags
from cosmos_flywheel.capture.statistics import Statistics, action_statistics
from cosmos_flywheel.capture.tuning import load_settings
from cosmos_flywheel.cli.preflight import problem_lines
from cosmos_flywheel.cli.progress import ProgressLine
from cosmos_flywheel.cli.table import amount, printable, table
from cosmos_flywheel.core.calibration import Calibration
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.preflight import Report
from cosmos_flywheel.core.promise import BUDGET_PER_HOUR
from cosmos_flywheel.engines import (
    COSMOS_LEVELS,
    LEVELS,
    REMOTE_LEVELS,
    STREAM_LEVEL,
    CosmosSettings,
    LocalModel,
)
from cosmos_flywheel.engines.cosmos.causal.settings import CHOSEN, StreamSettings
from cosmos_flywheel.engines.remote.server import SERVED, Server
from cosmos_flywheel.engines.remote.settings import RemoteSettings
from cosmos_flywheel.store.robots import load_robot

WIDTH = 96


def add_parser(subparsers: Any) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        'fit',
        help='learn from nominal bags what is normal',
        description='Watches bags in which nothing went wrong and writes the thresholds that '
        '`flywheel harvest --model` uses.',
    )
    parser.add_argument(
        'bags', nargs='+', type=Path, metavar='BAG', help='nominal bags, or folders of them'
    )
    parser.add_argument('--robot', required=True, help='a shipped robot or a robot file')
    parser.add_argument(
        '--engine',
        choices=(*COSMOS_LEVELS, *REMOTE_LEVELS, *LEVELS),
        default=LEVELS[0],
        help='which engine predicts (default: %(default)s, which needs torch to fit)',
    )
    parser.add_argument(
        '--checkpoint',
        type=Path,
        metavar='DIR',
        help='of cosmos: what `flywheel engine pull` made, in the layout of the hub',
    )
    parser.add_argument(
        '--revision',
        default='',
        help='the commit of --checkpoint, where its name does not say it, or of what is served',
    )
    parser.add_argument(
        '--endpoint', default='', metavar='URL', help='of remote: a vLLM-Omni server'
    )
    parser.add_argument(
        '--served',
        default=SERVED,
        metavar='MODEL',
        help='of remote: what the server calls the model (default: %(default)s)',
    )
    parser.add_argument(
        '--allow-remote',
        action='store_true',
        help='of remote: pictures of the robot may go to another machine',
    )
    parser.add_argument(
        '--set',
        action='append',
        default=[],
        metavar='NAME=VALUE',
        help=f'of cosmos: {_names(CosmosSettings)}; of {STREAM_LEVEL}: {", ".join(CHOSEN)}; '
        f'of remote: {_names(RemoteSettings)}',
    )
    parser.add_argument(
        '--settings',
        type=Path,
        metavar='FILE',
        help='of cosmos: what `flywheel engine tune` chose; --set changes single ones',
    )
    parser.add_argument('-o', '--out', type=Path, help='the model folder to write')
    parser.add_argument(
        '--stats',
        action='store_true',
        help='fit nothing: print quantiles of the action, for the normaliser of the robot file',
    )
    parser.add_argument('--force', action='store_true', help='replace a model that is there')
    parser.add_argument(
        '--workers',
        type=int,
        help='processes (default: one a core; with cosmos and remote one)',
    )
    parser.add_argument(
        '--budget',
        type=float,
        default=BUDGET_PER_HOUR,
        metavar='N',
        help='false alarms an hour to promise where the bags are enough (default: %(default)g)',
    )
    parser.add_argument(
        '--no-preflight',
        action='store_true',
        help='do not check whether the robot file says the truth about actions',
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fit, write the model folder, and print what was learnt."""
    if args.workers is not None and args.workers < 1:
        raise ConfigError(f'--workers {args.workers}: give at least 1')
    if not 0 < args.budget < math.inf:
        raise ConfigError(f'--budget {args.budget:g}: give a number above 0, such as 1')
    if args.stats:
        found = action_statistics(find_bags(args.bags), load_robot(args.robot))
        print('\n'.join(_normaliser_lines(found)))
        return 0
    if args.out is None:
        raise ConfigError('-o is not given; name the model folder to write')
    if not args.force:
        require_free(args.out)
    robot = load_robot(args.robot)
    paths = find_bags(args.bags)
    cosmos = _choice(args)
    with (
        ProgressLine('fitting the networks', bags=False) as learning,
        ProgressLine('nominal bags') as progress,
    ):
        judge = fit_judge(
            paths,
            robot,
            args.engine,
            workers=args.workers or (1 if cosmos else os.cpu_count() or 1),
            progress=progress,
            learning=learning,
            budget_per_hour=args.budget,
            cosmos=cosmos,
        )
    calibration = judge.calibration
    assert calibration is not None
    report, why_not = (None, 'left out') if args.no_preflight else _preflight(paths, robot)
    path = save_judge(calibration, args.out, judge.local, judge.prior, judge.cosmos, report)
    print('\n'.join(_lines(calibration)))
    print(f'action grounding: {grounding_of(judge, judge.make_engine(None)).in_words()}')
    if calibration.trust is not None:
        print(f'trust: {calibration.trust.in_words()}')
    for line in unlearnable_lines(judge.local):
        print(printable(line))
    print('\n'.join(_preflight_lines(report, why_not)))
    print(f'model: {path.parent}')
    return 0


def _choice(args: argparse.Namespace) -> CosmosChoice | RemoteChoice | None:
    """What a level of Cosmos asks for; raises ConfigError where another level is given it."""
    _require_own_options(args)
    if args.engine in REMOTE_LEVELS:
        if not args.endpoint:
            raise ConfigError(
                f'engine {args.engine} needs a server; start one with `vllm serve {args.served} '
                '--omni` and give --endpoint URL'
            )
        remote = RemoteSettings.parse(args.set, tier=REMOTE_LEVELS[args.engine])
        _require_tier(args.engine, remote.level)
        server = Server(args.endpoint, args.served, args.revision, args.allow_remote)
        return RemoteChoice(remote, server)
    if args.engine not in COSMOS_LEVELS:
        return None
    if args.checkpoint is None:
        raise ConfigError(
            f'engine {args.engine} needs a checkpoint; get one with `flywheel engine pull` and '
            'give --checkpoint DIR'
        )
    if args.engine == STREAM_LEVEL:
        if args.settings is not None:
            raise ConfigError(
                f'--settings are of other levels; leave them away with {STREAM_LEVEL}'
            )
        streaming = StreamSettings.of_checkpoint(args.checkpoint, args.set)
        return CosmosChoice(streaming, args.checkpoint, args.revision)
    given = {} if args.settings is None else load_settings(args.settings)
    tier = COSMOS_LEVELS[args.engine]
    settings = CosmosSettings.parse(args.set, **{'tier': tier, **given})
    _require_tier(args.engine, settings.level)
    return CosmosChoice(settings, args.checkpoint, args.revision)


def _require_own_options(args: argparse.Namespace) -> None:
    """Raise ConfigError for an option of another engine."""
    is_remote, is_here = args.engine in REMOTE_LEVELS, args.engine in COSMOS_LEVELS
    both = ' and '.join((*COSMOS_LEVELS, *REMOTE_LEVELS))
    for option, given, is_own, whose in (
        ('--checkpoint', args.checkpoint, is_here, ' and '.join(COSMOS_LEVELS)),
        ('--settings', args.settings, is_here, ' and '.join(COSMOS_LEVELS)),
        ('--endpoint', args.endpoint, is_remote, ' and '.join(REMOTE_LEVELS)),
        ('--allow-remote', args.allow_remote, is_remote, ' and '.join(REMOTE_LEVELS)),
        ('--revision', args.revision, is_here or is_remote, both),
        ('--set', args.set, is_here or is_remote, both),
    ):
        if given and not is_own:
            raise ConfigError(f'{option} is of {whose}; leave it away with engine {args.engine}')


def _require_tier(asked: str, level: str) -> None:
    if level != asked:
        raise ConfigError(f'the tier that is set is of another level; give --engine {level}')


def _names(settings: Any) -> str:
    return ', '.join(f.name for f in fields(settings) if f.name != 'tier')


def _preflight(paths: Sequence[Path], robot: Robot) -> tuple[Report | None, str]:
    """The report, or why there is none."""
    try:
        return preflight_bags(paths, robot), ''
    except ConfigError as error:
        return None, str(error)


def _preflight_lines(report: Report | None, why_not: str) -> Iterator[str]:
    if report is None:
        yield f'no preflight: {why_not}'
        return
    yield f'preflight: {report.verdict}'
    yield from problem_lines(report)
    if report.wrong:
        yield 'live nodes will not arm with this model; correct the robot file, and fit again'


def unlearnable_lines(model: LocalModel | None) -> Iterator[str]:
    """Commands whose effect the bags cannot show, and what to do."""
    found = None if model is None else model.identifiability
    for said in () if found is None else found.in_words():
        yield f'not learnable: {said}; add nominal bags in which each of them moves on its own'


def _normaliser_lines(found: Statistics) -> Iterator[str]:
    """YAML to paste under `action:`."""
    yield f'  # 1 % and 99 % of {found.steps} steps in {found.bags} bags.'
    yield from (f'  # {line}' for line in wrap(', '.join(map(printable, found.names)), WIDTH))
    yield '  normaliser:'
    for key, values in (('q01', found.q01), ('q99', found.q99)):
        yield f'    {key}: [{", ".join(f"{value:.6g}" for value in values)}]'


def _lines(calibration: Calibration) -> Iterator[str]:
    rows = [('channel', 'elements', 'nominal max', 'alarm above')]
    rows += [
        (name, str(len(c.elements)), amount(c.nominal_max), amount(c.threshold))
        for name, c in calibration.channels.items()
    ]
    yield from table(rows, right=(1, 2, 3))
    nominal = calibration.nominal
    yield ''
    for suspect in nominal['suspects']:
        yield (
            f'left out: {suspect["name"]} looks as if something went wrong in it: '
            f'{suspect["channel"]} of {suspect["element"]} is {suspect["times"]:.1f} times what '
            f'the others agree on; look at it, and leave it away if so'
        )
    used = nominal['bag_count'] - len(nominal['suspects'])
    yield f'{used} nominal bags, {60 * nominal["hours"]:.1f} minutes'
    if nominal.get('no_prior'):
        yield f'no channel for action surprise: {nominal["no_prior"]}'
    if used == 1:
        yield (
            'one bag only: its own largest score is the threshold, and what it does not show will '
            'alarm; give five or more'
        )
    if calibration.promise is not None:
        yield calibration.promise.in_words()

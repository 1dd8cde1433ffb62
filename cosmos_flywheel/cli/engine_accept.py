# SPDX-License-Identifier: Apache-2.0
"""`flywheel engine accept`: may this level alarm on this machine? One report says so."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cosmos_flywheel.cli.progress import ProgressLine
from cosmos_flywheel.cli.table import table
from cosmos_flywheel.core.acceptance import Acceptance, asks_for_acceptance
from cosmos_flywheel.core.errors import ConfigError

REFUSED_CODE = 1
"""The level may not alarm here."""
FAULT_HEAD = ('injected fault', 'found', 'by predictions', 'lag p50', 'channels')


def add_parser(actions: Any, name: str) -> None:
    """Declare the action."""
    parser = actions.add_parser(
        name,
        help='measure on this machine whether a fitted level may alarm',
        description='Holds the back end against plain steps, times chunks, compares pictures with '
        'those of simpler engines, asks with wrong actions, and lays faults into nominal bags. '
        'The report lies beside the model; a live node asks for it.',
    )
    parser.add_argument(
        'bags',
        nargs='+',
        type=Path,
        metavar='BAG',
        help='nominal bags that `flywheel fit` never saw, or folders of them',
    )
    parser.add_argument('--robot', required=True, help='a shipped robot or a robot file')
    parser.add_argument('--model', type=Path, required=True, help='what `flywheel fit` wrote')
    parser.add_argument(
        '--against',
        type=Path,
        metavar='DIR',
        help='a fitted engine local that the level must not be worse than',
    )
    parser.set_defaults(action=run)


def run(args: argparse.Namespace) -> int:
    """Measure, write the report, print it; 1 unless the level is accepted."""
    from cosmos_flywheel.bags.source import find_bags
    from cosmos_flywheel.capture.acceptance import accept, save_acceptance
    from cosmos_flywheel.capture.model import load_judge
    from cosmos_flywheel.store.robots import load_robot

    robot, judge = load_robot(args.robot), load_judge(args.model)
    local = None if args.against is None else load_judge(args.against)
    if local is not None and local.local is None:
        raise ConfigError(
            f'--against {args.against}: is of level {local.level}, give one of local'
        )
    with ProgressLine('nominal bags') as progress:
        report = accept(find_bags(args.bags), robot, judge, local=local, progress=progress)
    page = '\n'.join(page_lines(report)) + '\n'
    path = save_acceptance(report, args.model, page)
    print(page, end='')
    print(f'report: {path}')
    return 0 if report.accepted else REFUSED_CODE


def page_lines(report: Acceptance) -> Iterator[str]:
    """The report for people."""
    yield (
        f'{report.level} for {report.robot} on {report.card.in_words()}, '
        f'{len(report.bags)} nominal bags'
    )
    yield ''
    rows = [('question', '', 'limit', 'found')]
    rows += [(one.name, one.state, one.limit or '-', one.words) for one in report.lines]
    yield from table(rows)
    yield ''
    yield from table([FAULT_HEAD, *map(_fault, report.faults.items())], right=(1, 2, 3))
    yield ''
    if report.accepted:
        yield 'accepted: it may alarm on this card, with this driver, model and calibration'
    else:
        asked = asks_for_acceptance(report.level)
        may = 'it may not alarm by its predictions' if asked else 'a live monitor does not ask'
        yield f'not accepted ({may}): {", ".join(report.failed)}'


def _fault(item: tuple[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """A row of the table of faults."""
    name, one = item
    lag_s = one['lag_p50_s']
    return (
        name,
        f'{one["found"]}/{one["injected"]}',
        f'{one["seen"]}/{one["injected"]}',
        '-' if lag_s is None else f'{lag_s:.2f} s',
        ', '.join(f'{channel} {count}' for channel, count in one['channels'].items()) or '-',
    )

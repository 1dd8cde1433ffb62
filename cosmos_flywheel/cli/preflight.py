# SPDX-License-Identifier: Apache-2.0
"""`flywheel preflight BAG…`: is what the robot file says of the actions true of these bags?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Any

from cosmos_flywheel.bags.source import find_bags
from cosmos_flywheel.capture.preflight import preflight_bags
from cosmos_flywheel.cli.table import printable
from cosmos_flywheel.core.preflight import Finding, Report
from cosmos_flywheel.store.robots import load_robot

WRONG_CODE = 1
WIDTH = 96
INDENT = 30


def add_parser(subparsers: Any) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        'preflight',
        help='check from bags whether the robot file says the truth about actions',
        description='Holds the action contract of a robot file against recordings: order, units, '
        'frame, kind, rotation, gripper, rate, normaliser, limits, pictures and clocks. Ends with '
        '0 if nothing is wrong, 1 if something is, 2 if the bags cannot be used.',
    )
    parser.add_argument(
        'bags', nargs='+', type=Path, metavar='BAG', help='bags, or folders of them'
    )
    parser.add_argument('--robot', required=True, help='a shipped robot or a robot file')
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check, print, and say by the exit code whether something is wrong."""
    report = preflight_bags(find_bags(args.bags), load_robot(args.robot))
    if args.json:
        print(json.dumps(report.to_mapping(), indent=2))
    else:
        print('\n'.join(report_lines(report)))
    return WRONG_CODE if report.wrong else 0


def report_lines(report: Report) -> Iterator[str]:
    """A line for each check, and how to mend what is wrong."""
    for finding in report.findings:
        yield from _lines(finding)
    yield ''
    count = dict.fromkeys(('ok', 'wrong', 'cannot tell'), 0)
    for finding in report.findings:
        count[finding.verdict] += 1
    told = ', '.join(f'{number} {word}' for word, number in count.items())
    yield printable(f'robot {report.robot}: {report.verdict} ({told})')


def problem_lines(report: Report) -> Iterator[str]:
    """What is wrong, and nothing else."""
    for finding in report.wrong:
        yield from _lines(finding)


def _lines(finding: Finding) -> Iterator[str]:
    head = f'{finding.check:<16}  {finding.verdict:<11} '
    for place, line in enumerate(wrap(printable(finding.why), WIDTH - INDENT)):
        yield f'{head if place == 0 else "":<{INDENT}}{line}'
    for line in wrap(printable(f'fix: {finding.fix}'), WIDTH - INDENT) if finding.fix else ():
        yield ' ' * INDENT + line

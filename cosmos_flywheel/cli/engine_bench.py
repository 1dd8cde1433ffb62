# SPDX-License-Identifier: Apache-2.0
"""`flywheel engine bench`: how long a fitted level takes on this machine, and how much memory."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cosmos_flywheel.cli.progress import ProgressLine
from cosmos_flywheel.core.acceptance import OK

SLOW_CODE = 1
"""The level cannot keep up here, or there was too little to time."""


def add_parser(actions: Any, name: str) -> None:
    """Declare the action."""
    parser = actions.add_parser(
        name,
        help='time the chunks of a fitted level on this machine',
        description='Watches bags as a robot would be watched and times what is foretold: the '
        'part of `flywheel engine accept` that needs no bags kept back.',
    )
    parser.add_argument('bags', nargs='+', type=Path, metavar='BAG', help='any bags of the robot')
    parser.add_argument('--robot', required=True, help='a shipped robot or a robot file')
    parser.add_argument('--model', type=Path, required=True, help='what `flywheel fit` wrote')
    parser.set_defaults(action=run)


def run(args: argparse.Namespace) -> int:
    """Print the real-time factor and the peak of memory; 1 unless the level keeps up."""
    from cosmos_flywheel.bags.source import find_bags
    from cosmos_flywheel.capture.acceptance import card_of, real_time
    from cosmos_flywheel.capture.model import load_judge
    from cosmos_flywheel.capture.trial import try_level
    from cosmos_flywheel.engines.card import peak_memory_gb
    from cosmos_flywheel.store.robots import load_robot

    robot, judge = load_robot(args.robot), load_judge(args.model)
    judge.check_robot(robot)
    judge.prepare()
    paths = find_bags(args.bags)
    with ProgressLine('bags') as progress:
        trial = try_level(paths, robot, judge, faults=False, progress=progress)
    line = real_time(trial)
    print(f'{judge.level} for {robot.name} on {card_of(judge).in_words()}')
    print(f'real-time factor: {line.words} ({line.limit}: {line.state})')
    peak_gb = peak_memory_gb()
    if peak_gb:
        print(f'peak of memory on the card: {peak_gb:.2f} GB, loading included')
    return 0 if line.state == OK else SLOW_CODE

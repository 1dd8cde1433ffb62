# SPDX-License-Identifier: Apache-2.0
"""`flywheel recalibrate`: what people called false alarms goes back into a model's thresholds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cosmos_flywheel.capture.model import CALIBRATION, load_judge, require_free, save_judge
from cosmos_flywheel.capture.recalibrate import copy_model, recalibrate
from cosmos_flywheel.cli.table import amount, table
from cosmos_flywheel.core.errors import ConfigError


def add_parser(subparsers: Any) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        'recalibrate',
        help='let what people called false alarms raise thresholds',
        description='Reads the episodes labelled false_alarm that were found with a model, and '
        'writes a model that is silent about such surprises. The old model stays as it is.',
    )
    parser.add_argument('--model', type=Path, required=True, help='the model they were found with')
    parser.add_argument('--episodes', type=Path, required=True, help='the output of harvests')
    parser.add_argument('-o', '--out', type=Path, required=True, help='the model folder to write')
    parser.add_argument(
        '--force',
        action='store_true',
        help='also if failures would be missed, or to replace a model that is there',
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what changes and what it costs, and write the new model."""
    judge = load_judge(args.model)
    assert judge.calibration is not None
    if not args.force:
        require_free(args.out)
    found = recalibrate(judge.calibration, args.episodes)
    rows = [('channel', 'alarm above', 'now above', 'because of')]
    rows += [(c.channel, amount(c.before), amount(c.after), c.episode) for c in found.changes]
    print('\n'.join(table(rows, right=(1, 2))))
    print(f'{len(found.used)} false alarms counted: {", ".join(found.used)}')
    if found.lost:
        print(f'MISSED FROM NOW ON, though labelled failure: {", ".join(found.lost)}')
        if not args.force:
            raise ConfigError(
                f'{len(found.lost)} failures would not be captured any more; look at them again, '
                f'fit on more nominal bags instead, or give --force'
            )
    if args.model.resolve() != args.out.resolve():
        copy_model(args.model, args.out, CALIBRATION)
    save_judge(
        found.calibration, args.out, judge.local, judge.prior, judge.cosmos, judge.preflight
    )
    print(f'model: {args.out}')
    return 0

# SPDX-License-Identifier: Apache-2.0
"""`flywheel engine list`: the engines of a shelf."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cosmos_flywheel.cli.table import table
from cosmos_flywheel.engines.cosmos.sums import cache_folder
from cosmos_flywheel.engines.tensorrt.shelf import Shelf

SHELF = cache_folder() / 'engines'
STATE = 'built and inspected, not executed'
"""Until a log from a card that TensorRT supports is among the results of bench/."""


def add_parser(actions: Any, name: str) -> None:
    """Declare the subcommand."""
    what = 'a table of the engines that are built'
    parser = actions.add_parser(name, help=what, description=what)
    add_shelf(parser)
    parser.set_defaults(action=run)


def add_shelf(parser: argparse.ArgumentParser) -> None:
    """Declare where engines are kept."""
    parser.add_argument(
        '--shelf',
        type=Path,
        default=SHELF,
        metavar='DIR',
        help='the folder of engines (default: %(default)s)',
    )


def run(args: argparse.Namespace) -> int:
    """Print one line for each engine."""
    entries = Shelf(args.shelf).entries()
    if not entries:
        print(f'{args.shelf}: no engines; `flywheel engine build` makes them')
        return 0
    head = ('unit', 'architecture', 'TensorRT', 'precision', 'checkpoint', 'size', 'state')
    rows = [
        (
            entry.key.unit,
            entry.key.architecture,
            f'{entry.key.library} {entry.key.version}',
            entry.key.precision,
            entry.key.revision[:12],
            f'{entry.size_bytes / 1e6:.1f} MB',
            STATE,
        )
        for entry in entries
    ]
    print('\n'.join(table([head, *rows], right=(5,))))
    return 0

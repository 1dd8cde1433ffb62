# SPDX-License-Identifier: Apache-2.0
"""`flywheel engine check`: are the engines of a shelf whole, and would this machine take them?"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Any

from cosmos_flywheel.cli.engine_list import add_shelf
from cosmos_flywheel.cli.table import printable
from cosmos_flywheel.core.errors import EngineError, SchemaError
from cosmos_flywheel.engines.tensorrt.door import LIBRARIES, Door
from cosmos_flywheel.engines.tensorrt.shelf import Shelf

BROKEN_CODE = 1
"""Some engine cannot be used."""


def add_parser(actions: Any, name: str) -> None:
    """Declare the subcommand."""
    what = 'look engines over byte by byte, and against this machine'
    parser = actions.add_parser(name, help=what, description=what)
    add_shelf(parser)
    parser.add_argument('--library', choices=LIBRARIES, help='default: the first that is there')
    parser.set_defaults(action=run)


def run(args: argparse.Namespace) -> int:
    """Print what is wrong; 1 if anything is."""
    shelf = Shelf(args.shelf)
    found = {path: _faults(shelf, path, args.library) for path in shelf.documents()}
    for path, faults in found.items():
        for fault in faults:
            print(printable(fault if str(path.parent) in fault else f'{path}: {fault}'))
    broken = sum(bool(faults) for faults in found.values())
    print(f'{args.shelf}: {len(found)} engines, {broken} of no use here')
    if found and _card() is None:
        print('no NVIDIA GPU is seen here: whether a card takes them is not known')
    return BROKEN_CODE if broken else 0


def _faults(shelf: Shelf, path: Path, library: str | None) -> list[str]:
    """In words, why an engine cannot be used."""
    try:
        entry = shelf.read(path)
        entry.verify()
        door = Door.open(library or entry.key.library)
    except (EngineError, SchemaError) as error:
        return [str(error)]
    return entry.key.misfits(door.library, door.version, _card())


def _card() -> str | None:
    """The present card's architecture; None where torch, or a card, is missing."""
    if importlib.util.find_spec('torch') is None:
        return None
    from cosmos_flywheel.engines.tensorrt.card import architecture

    return architecture()

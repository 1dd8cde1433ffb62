# SPDX-License-Identifier: Apache-2.0
"""`flywheel engine build`: a checkpoint and sizes in, engines of TensorRT out."""

from __future__ import annotations

import argparse
import importlib.util
import re
from pathlib import Path
from typing import Any

from cosmos_flywheel.cli.engine_list import STATE, add_shelf
from cosmos_flywheel.cli.progress import ProgressLine
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.engines.tensorrt.door import LIBRARIES, Door
from cosmos_flywheel.engines.tensorrt.shelf import Entry, Shelf

PRECISIONS = ('bf16', 'fp32')


def add_parser(actions: Any, name: str) -> None:
    """Declare the subcommand."""
    parser = actions.add_parser(
        name,
        help='build engines of TensorRT from a checkpoint',
        description='Exports a checkpoint unit by unit and builds an engine of each, for a card '
        'that need not be here. What is on the shelf already is left as it is.',
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        '--model', type=Path, metavar='DIR', help='of engine cosmos: its checkpoint and sizes'
    )
    what.add_argument('--checkpoint', type=Path, metavar='DIR', help="in the hub's layout")
    parser.add_argument(
        '--revision', metavar='HEX', help="the checkpoint's commit (default: its folder's name)"
    )
    parser.add_argument(
        '--camera', default='320x180', metavar='WxH', help='of its pictures (default: %(default)s)'
    )
    parser.add_argument('--tier', type=int, default=256, help='of Cosmos (default: %(default)s)')
    parser.add_argument(
        '--actions', type=int, default=16, metavar='N', help='a chunk (default: %(default)s)'
    )
    parser.add_argument(
        '--text', type=int, default=192, metavar='N', help='most tokens (default: %(default)s)'
    )
    parser.add_argument(
        '--group', type=int, default=4, metavar='N', help='layers an engine (default: %(default)s)'
    )
    parser.add_argument(
        '--precision', choices=PRECISIONS, default='bf16', help='default: %(default)s'
    )
    parser.add_argument(
        '--architecture', metavar='sm_NN', help='to build for (default: the card that is here)'
    )
    parser.add_argument('--library', choices=LIBRARIES, help='default: the first that is there')
    add_shelf(parser)
    parser.set_defaults(action=run)


def run(args: argparse.Namespace) -> int:
    """Print one line for each engine."""
    if importlib.util.find_spec('torch') is None:
        raise ConfigError('building engines needs torch; `make learn` brings it')
    from cosmos_flywheel.engines.tensorrt.build import build
    from cosmos_flywheel.engines.tensorrt.card import architecture
    from cosmos_flywheel.engines.tensorrt.network import check_architecture

    door = Door.open(args.library)
    target = check_architecture(door, args.architecture, architecture())
    units = asked_units(args)
    with ProgressLine(f'building for {target}', bags=False) as progress:
        progress.expect(dict.fromkeys(units.names, 1.0))
        for entry, is_new in build(units, door, target, Shelf(args.shelf), progress):
            progress(entry.key.unit, 1.0)
            print(_line(entry, is_new), flush=True)
    print(f'{args.shelf}: {len(units.names)} engines for {target}, {STATE}')
    return 0


def asked_units(args: argparse.Namespace) -> Any:
    """Of a model folder, or of a checkpoint and the sizes of the command line."""
    from cosmos_flywheel.engines.cosmos.canvas import Canvas
    from cosmos_flywheel.engines.cosmos.checkpoint import Checkpoint
    from cosmos_flywheel.engines.cosmos.model import CosmosModel
    from cosmos_flywheel.engines.tensorrt.back_end import PRECISIONS, setting_of
    from cosmos_flywheel.engines.tensorrt.setting import Setting
    from cosmos_flywheel.engines.tensorrt.units import Units

    if args.model is not None:
        model = CosmosModel.load(args.model)
        return Units(Checkpoint(model.checkpoint, model.commit), setting_of(model, args.group))
    canvas = Canvas.choose(_size(args.camera), args.tier)
    precision = PRECISIONS[args.precision]
    setting = Setting(canvas.size, canvas.latent, args.actions, args.text, args.group, precision)
    revision = args.revision or args.checkpoint.resolve().name
    return Units(Checkpoint(args.checkpoint, revision), setting)


def _line(entry: Entry, is_new: bool) -> str:
    layers = sum(entry.layers.values())
    types = ', '.join(f'{count} {name}' for name, count in sorted(entry.types.items()))
    did = 'built' if is_new else 'was there'
    size = f'{entry.size_bytes / 1e6:.1f} MB'
    return f'{entry.key.unit}: {did}, {size}, {layers} layers ({types})'


def _size(text: str) -> tuple[int, int]:
    """WxH → (H, W)."""
    found = re.fullmatch(r'(\d+)x(\d+)', text)
    if found is None:
        raise ConfigError(f'--camera {text}: write width and height in px, such as 320x180')
    return int(found[2]), int(found[1])

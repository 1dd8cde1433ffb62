# SPDX-License-Identifier: Apache-2.0
"""`flywheel engine pull REPO`: one commit of a model of the hub onto this disk, verified."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from cosmos_flywheel.cli.table import printable

FOLDER = Path('checkpoints')


def add_parser(actions: Any, name: str) -> None:
    """Declare the action."""
    parser = actions.add_parser(
        name,
        help='fetch a checkpoint from the hub, resumed and verified',
        description='Fetches what engine cosmos reads of one commit: safetensors, configs and the '
        'tokenizer. Run again, it goes on where it was cut off. HF_TOKEN, HF_ENDPOINT and '
        'HF_HUB_OFFLINE mean what they mean elsewhere.',
    )
    parser.add_argument('repo', metavar='REPO', help='such as nvidia/Cosmos3-Nano')
    parser.add_argument(
        '--revision', required=True, metavar='COMMIT', help='40 hex digits, never a branch'
    )
    parser.add_argument(
        '--out', type=Path, help=f'where to (default: {FOLDER}/OWNER--NAME/COMMIT)'
    )
    parser.set_defaults(action=run)


def run(args: argparse.Namespace) -> int:
    """Fetch, and say what came."""
    from cosmos_flywheel.engines.cosmos.hub import licence_of, pull

    folder = args.out or FOLDER / args.repo.replace('/', '--') / args.revision
    files = pull(args.repo, args.revision, folder, _tell)
    size = sum(file.size for file in files)
    print(f'{len(files)} files, {size / 1e9:.2f} GB, all as the hub says')
    print(printable(f'licence: {licence_of(folder) or "its card states none"}'))
    print(f'checkpoint: {folder}')
    return 0


def _tell(name: str, done: int, whole: int) -> None:
    share = 100 * done / whole if whole else 100
    print(f'{share:3.0f} %  {name}', file=sys.stderr, flush=True)

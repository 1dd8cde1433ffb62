# SPDX-License-Identifier: Apache-2.0
"""A verb's actions, such as `flywheel episodes list`, and the folder that most look into."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

OUT = Path('flywheel-out')
"""Where a harvest writes unless it is told otherwise, and everything after it looks."""
WHERE = f'the output folder of a harvest (default: {OUT})'


def add_action(
    actions: Any, name: str, action: Callable[[argparse.Namespace], int], what: str
) -> argparse.ArgumentParser:
    """Declare one, which `run` calls."""
    parser: argparse.ArgumentParser = actions.add_parser(name, help=what, description=what)
    parser.set_defaults(action=action)
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what was asked for; returns the exit code."""
    code: int = args.action(args)
    return code


def add_out(parser: argparse.ArgumentParser, what: str = WHERE) -> None:
    """The output folder, as an option."""
    parser.add_argument('--out', type=Path, default=OUT, metavar='DIR', help=what)


def add_folder(parser: argparse.ArgumentParser) -> None:
    """The output folder, as an argument that may be left out, or as the option of other verbs."""
    add_out(parser, 'the same as DIR')
    parser.add_argument(
        'out', nargs='?', action=_Folder, default=argparse.SUPPRESS, metavar='DIR', help=WHERE
    )


class _Folder(argparse.Action):
    """Where the argument is left out, the option counts: argparse would convert a default."""

    def __call__(self, _parser: Any, namespace: Any, value: Any, _option: Any = None) -> None:
        setattr(namespace, self.dest, Path(value))

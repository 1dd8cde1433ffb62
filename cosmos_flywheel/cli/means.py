# SPDX-License-Identifier: Apache-2.0
"""What generators need beside an order, as options of a verb."""

from __future__ import annotations

import argparse
from pathlib import Path

from cosmos_flywheel.generate.backends import BACKENDS, Means


def add_backends(parser: argparse.ArgumentParser, what: str) -> None:
    """Names of generators."""
    parser.add_argument(
        '--backend',
        action='append',
        default=[],
        metavar='NAME',
        help=f'{what}: {", ".join(BACKENDS)}; several with commas between them',
    )


def given_backends(args: argparse.Namespace) -> tuple[str, ...]:
    """Those that were given, each once."""
    names = (name for words in args.backend for name in words.split(',') if name)
    return tuple(dict.fromkeys(names))


def add_means(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    parser.add_argument(
        '--model', type=Path, metavar='DIR', help='a folder of flywheel fit, for backend local'
    )


def given_means(args: argparse.Namespace) -> Means:
    """What was given."""
    return Means(model=args.model)

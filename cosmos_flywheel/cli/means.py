# SPDX-License-Identifier: Apache-2.0
"""What generators need beside an order, as options of a verb."""

from __future__ import annotations

import argparse
from pathlib import Path

from cosmos_flywheel.generate.backends import Means


def add_means(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    parser.add_argument(
        '--model', type=Path, metavar='DIR', help='a folder of flywheel fit, for backend local'
    )


def given_means(args: argparse.Namespace) -> Means:
    """What was given."""
    return Means(model=args.model)

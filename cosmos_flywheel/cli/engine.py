# SPDX-License-Identifier: Apache-2.0
"""`flywheel engine`: what has to do with world models that need a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cosmos_flywheel.cli import (
    engine_accept,
    engine_bench,
    engine_build,
    engine_check,
    engine_list,
    engine_plan,
    engine_pull,
    engine_tune,
)
from cosmos_flywheel.cli.actions import run

SUBCOMMANDS: Mapping[str, Callable[[Any, str], None]] = {
    'pull': engine_pull.add_parser,
    'plan': engine_plan.add_parser,
    'build': engine_build.add_parser,
    'list': engine_list.add_parser,
    'tune': engine_tune.add_parser,
    'accept': engine_accept.add_parser,
    'bench': engine_bench.add_parser,
    'check': engine_check.add_parser,
}
"""By name, what declares it and sets `action`: `action(args) -> exit code`. Their modules import
nothing heavy before they run."""


def add_parser(subparsers: Any) -> None:
    """Declare the verb and what it can do."""
    parser = subparsers.add_parser(
        'engine',
        help='fetch, build, list and check engines for a GPU',
        description='Prepares world models that need an NVIDIA GPU.',
    )
    actions = parser.add_subparsers(metavar='ACTION', required=True)
    for name, add in SUBCOMMANDS.items():
        add(actions, name)
    parser.set_defaults(run=run)

# SPDX-License-Identifier: Apache-2.0
"""Where workers are, as options of a verb: processes of this machine, or Ray."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.executors.base import Executor
from cosmos_flywheel.executors.ray import RayExecutor

PROCESSES, RAY = 'processes', 'ray'


def add_executor(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    parser.add_argument(
        '--executor',
        default=PROCESSES,
        metavar='WHERE',
        help='where the workers are: processes of this machine; ray, a cluster that only this '
        'machine sees; or ray=HOST:PORT, a cluster that it is part of (default: %(default)s)',
    )
    parser.add_argument(
        '--gpus',
        type=float,
        default=0.0,
        metavar='N',
        help='with ray: graphics cards of each worker, or a share of one (default: none)',
    )


def given_executor(
    args: argparse.Namespace, out: Path, workers: int
) -> AbstractContextManager[Executor | None]:
    """The one that was given; it holds None for processes of this machine.

    Raises:
        ConfigError: there is no such executor, or it is not installed.

    """
    name, mark, address = args.executor.partition('=')
    if name == RAY and bool(mark) == bool(address):
        return RayExecutor(out, address or None, workers, args.gpus)
    if args.executor != PROCESSES:
        raise ConfigError(
            f'--executor {args.executor}: give {PROCESSES}, {RAY} or {RAY}=HOST:PORT'
        )
    if args.gpus:
        raise ConfigError(
            f'--gpus: processes of this machine share its cards; give --executor {RAY} with it'
        )
    return nullcontext()

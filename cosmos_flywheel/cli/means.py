# SPDX-License-Identifier: Apache-2.0
"""What generators need beside an order, as options of a verb."""

from __future__ import annotations

import argparse
from pathlib import Path

from cosmos_flywheel.engines.remote.server import SERVED
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
    parser.add_argument(
        '--server', default='', metavar='URL', help='a vLLM-Omni server, for backend remote'
    )
    parser.add_argument(
        '--served', default=SERVED, metavar='MODEL', help='its name there (default: %(default)s)'
    )
    parser.add_argument(
        '--commit', default='', metavar='HASH', help='of the checkpoint that it serves, if known'
    )
    parser.add_argument(
        '--allow-remote', action='store_true', help='pictures may go to another machine'
    )
    parser.add_argument(
        '--no-guardrails', action='store_true', help='ask that no guardrails look at films'
    )
    parser.add_argument(
        '--checkpoint', default='', metavar='DIR|ID',
        help="Cosmos 3 on this disk, a folder or the hub's cache, for backend cosmos",
    )  # fmt: skip
    parser.add_argument(
        '--set', dest='settings', action='append', default=[], metavar='NAME=VALUE',
        help='of backend cosmos: tier, steps, guidance, shift, precision, on_no_gpu, guardrail',
    )  # fmt: skip


def given_means(args: argparse.Namespace) -> Means:
    """What was given."""
    return Means(
        model=args.model,
        robot=getattr(args, 'robot', None) or '',
        server=args.server,
        served=args.served,
        commit=args.commit,
        allow_remote=args.allow_remote,
        guardrails=not args.no_guardrails,
        checkpoint=args.checkpoint,
        settings=tuple(args.settings),
    )

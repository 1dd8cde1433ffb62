# SPDX-License-Identifier: Apache-2.0
"""What generators need beside an order, as options of a verb."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.engines.remote.server import SERVED
from cosmos_flywheel.generate.backends import BACKENDS, Means
from cosmos_flywheel.generate.film_settings import IN_PROCESS, FilmSettings

FILM_OPTIONS: Mapping[str, str] = {
    'tier': "resolution, 256, 480, 704 or 720 (default: the brief's)",
    'steps': 'of the sampler (default: as the kind of film was trained)',
    'guidance': 'how much the text weighs (default: likewise)',
    'shift': "of the sampler's schedule (default: likewise)",
    'frames': 'most that are made (default: four chunks of actions, or 189)',
}
"""Fields of `FilmSettings` that have an option of their own."""


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
    for name, what in FILM_OPTIONS.items():
        parser.add_argument(
            f'--{name}', metavar='N', help=f'{what}, for backends remote and cosmos'
        )
    parser.add_argument(
        '--set', dest='settings', action='append', default=[], metavar='NAME=VALUE',
        help=f'the same, and of backend cosmos: {", ".join(IN_PROCESS)}',
    )  # fmt: skip


def given_means(args: argparse.Namespace) -> Means:
    """What was given.

    Raises:
        ConfigError: settings of films, and nobody who makes any.
        EngineError: settings that are none.

    """
    told = [f'{name}={getattr(args, name)}' for name in FILM_OPTIONS if getattr(args, name)]
    settings = (*args.settings, *told)
    FilmSettings.parse(settings)
    if settings and not (args.server or args.checkpoint):
        raise ConfigError(
            f'{settings[0]} is of the backends remote and cosmos; give --server or --checkpoint, '
            'or leave it away'
        )
    return Means(
        model=args.model,
        robot=getattr(args, 'robot', None) or '',
        server=args.server,
        served=args.served,
        commit=args.commit,
        allow_remote=args.allow_remote,
        guardrails=not args.no_guardrails,
        checkpoint=args.checkpoint,
        settings=settings,
    )

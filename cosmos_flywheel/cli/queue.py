# SPDX-License-Identifier: Apache-2.0
"""`flywheel queue`: what is to be generated, what became of it, what it costs; and a say in it."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cosmos_flywheel.cli.actions import OUT
from cosmos_flywheel.cli.queue_screen import job_lines, queue_lines, status_lines
from cosmos_flywheel.core.errors import StoreError
from cosmos_flywheel.core.job import DEAD, STATES, Job
from cosmos_flywheel.generate.queue import QUEUE, Queue

SHOW_S, LOG_S = 0.5, 10.0
"""A terminal is redrawn so often, and a log gets its lines so often."""


def add_parser(subparsers: Any) -> None:
    """Declare the verb and what it can do."""
    parser = subparsers.add_parser(
        'queue',
        help='show and steer what is being generated',
        description='Shows and steers the queue of an output folder.',
    )
    actions = parser.add_subparsers(metavar='ACTION', required=True)
    listed = _add_whole(actions, 'list', _list, 'all jobs, the budget and the prices')
    listed.add_argument('--state', choices=STATES, help='only jobs in this state')
    listed.add_argument('--json', action='store_true', help='as JSON')
    shown = _add_one(actions, 'show', _show, 'all that is known of one job')
    shown.add_argument('--json', action='store_true', help='as JSON')
    _add_whole(actions, 'pause', _pause, 'begin no more jobs; those that run are finished')
    _add_whole(actions, 'resume', _resume, 'begin jobs again, and ask servers again at once')
    _add_one(actions, 'retry', _retry, 'give dead or cancelled jobs new attempts', several=True)
    _add_one(actions, 'cancel', _cancel, 'let jobs not be done, or end them', several=True)
    _add_budget(actions)
    watched = _add_whole(actions, 'watch', _watch, 'the same, drawn anew until Ctrl-C')
    watched.add_argument('--seconds', type=float, help='end by itself after so long')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do what was asked for; returns the exit code."""
    if not (args.out / QUEUE).is_file():
        raise StoreError(
            f'{args.out}: has no queue; give the folder that candidates were ordered into'
        )
    with Queue.open(args.out) as queue:
        args.action(queue, args)
    return 0


Action = Callable[[Queue, argparse.Namespace], None]


def _add_whole(actions: Any, name: str, action: Action, what: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=what, description=what)
    parser.add_argument(
        'out', nargs='?', type=Path, default=OUT, metavar='DIR', help='default: %(default)s'
    )
    parser.set_defaults(action=action)
    return parser


def _add_one(
    actions: Any, name: str, action: Action, what: str, *, several: bool = False
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=what, description=what)
    words = "a job's id, or how it begins"
    if several:
        parser.add_argument('id', metavar='JOB', nargs='*', help=words)
        if name == 'retry':
            parser.add_argument('--all-dead', action='store_true', help='every dead job')
    else:
        parser.add_argument('id', metavar='JOB', help=words)
    parser.add_argument(
        '--out', type=Path, default=OUT, metavar='DIR', help='default: %(default)s'
    )
    parser.set_defaults(action=action)
    return parser


def _add_budget(actions: Any) -> None:
    parser = _add_whole(actions, 'budget', _budget, 'limits for all that the queue ever spends')
    none = 'none for no limit'
    parser.add_argument('--gpu-hours', type=_limit, help=none)
    parser.add_argument('--money', type=_limit, help=none)
    parser.add_argument('--candidates', type=_limit, help=none)
    parser.add_argument('--disk-gb', type=_limit, help=none)
    parser.add_argument('--money-per-gpu-hour', type=float, help='what a GPU costs, from now on')
    parser.add_argument('--money-per-cpu-hour', type=float, help='what a core costs, from now on')


def _limit(text: str) -> float:
    return math.inf if text == 'none' else float(text)


def _list(queue: Queue, args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps([_as_json(job) for job in queue.jobs(args.state)], indent=2))
    else:
        print('\n'.join(queue_lines(queue, args.state)))


def _show(queue: Queue, args: argparse.Namespace) -> None:
    job = queue.job(args.id)
    if args.json:
        attempts = [asdict(attempt) for attempt in queue.attempts(job.id)]
        print(json.dumps({**_as_json(job), 'attempts': attempts}, indent=2))
    else:
        print('\n'.join(job_lines(queue, job)))


def _pause(queue: Queue, _: argparse.Namespace) -> None:
    queue.pause()
    print(f'paused; {queue.ledger().running} still run')


def _resume(queue: Queue, _: argparse.Namespace) -> None:
    queue.resume()
    print('resumed')


def _retry(queue: Queue, args: argparse.Namespace) -> None:
    dead = [job.id for job in queue.jobs(DEAD)] if args.all_dead else []
    _each(queue.retry, [*args.id, *dead], 'JOB or --all-dead' if not args.all_dead else '')


def _cancel(queue: Queue, args: argparse.Namespace) -> None:
    _each(queue.cancel, args.id, 'JOB')


def _each(do: Callable[[str], Job], ids: list[str], wanted: str) -> None:
    if wanted and not ids:
        raise StoreError(f'which? give {wanted}')
    for one in ids:
        job = do(one)
        print(f'{job.id}: {job.state}')


def _budget(queue: Queue, args: argparse.Namespace) -> None:
    given = {
        'gpu_s': (args.gpu_hours, 3600.0),
        'money': (args.money, 1.0),
        'candidates': (args.candidates, 1),
        'disk_bytes': (args.disk_gb, 1e9),
    }
    changes: dict[str, Any] = {
        name: None if value == math.inf else value * unit
        for name, (value, unit) in given.items()
        if value is not None
    }
    queue.set_budget(replace(queue.budget(), **changes))
    rates = {
        name: value / 3600
        for name, value in {
            'gpu_s': args.money_per_gpu_hour,
            'cpu_s': args.money_per_cpu_hour,
        }.items()
        if value is not None
    }
    queue.set_rates(replace(queue.rates(), **rates))
    print('\n'.join(status_lines(queue)))


def _watch(queue: Queue, args: argparse.Namespace) -> None:
    live = sys.stdout.isatty()
    began_s = time.monotonic()
    while True:
        lines = status_lines(queue)
        sys.stdout.write(('\x1b[H\x1b[2J' if live else '') + '\n'.join(lines) + '\n')
        sys.stdout.flush()
        pause_s = SHOW_S if live else LOG_S
        if args.seconds is not None:
            pause_s = min(pause_s, began_s + args.seconds - time.monotonic())
            if pause_s <= 0:
                return
        time.sleep(pause_s)


def _as_json(job: Job) -> dict[str, Any]:
    return {
        'id': job.id,
        'seed': job.seed,
        **{key: value for key, value in asdict(job).items() if key != 'order'},
        'order': asdict(job.order),
    }

# SPDX-License-Identifier: Apache-2.0
"""`flywheel queue`: what is to be generated, what became of it, what it costs; and a say in it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from cosmos_flywheel.cli.actions import add_action, add_folder, add_out, run
from cosmos_flywheel.cli.queue_screen import job_lines, queue_lines, status_lines
from cosmos_flywheel.core.errors import StoreError
from cosmos_flywheel.core.job import DEAD, STATES, Job
from cosmos_flywheel.generate.budget import Rates, changed
from cosmos_flywheel.generate.queue import Queue

JOB_HELP = "a job's id, or how it begins"
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
    _add_list(actions)
    _add_show(actions)
    _add(actions, 'pause', _pause, 'begin no more jobs; those that run are finished', add_folder)
    what = 'begin jobs again, and ask servers again at once'
    _add(actions, 'resume', _resume, what, add_folder)
    retried = _add(actions, 'retry', _retry, 'give dead or cancelled jobs new attempts', _several)
    retried.add_argument('--all-dead', action='store_true', help='every dead job')
    _add(actions, 'cancel', _cancel, 'let jobs not be done, or end them', _several)
    _add_budget(actions)
    watched = _add(actions, 'watch', _watch, 'the same, drawn anew until Ctrl-C', add_folder)
    watched.add_argument('--seconds', type=float, help='end by itself after so long')
    parser.set_defaults(run=run)


Action = Callable[[Queue, argparse.Namespace], None]
Declare = Callable[[argparse.ArgumentParser], None]


def _add(
    actions: Any, name: str, action: Action, what: str, declare: Declare, *, begins: bool = False
) -> argparse.ArgumentParser:
    """An action on the queue of a folder; `begins` one where there is none yet."""

    def act(args: argparse.Namespace) -> int:
        opened = Queue.open if begins and args.out.is_dir() else Queue.there
        with opened(args.out) as queue:
            action(queue, args)
        return 0

    parser = add_action(actions, name, act, what)
    declare(parser)
    return parser


def _add_list(actions: Any) -> None:
    parser = _add(actions, 'list', _list, 'all jobs, the budget and the prices', add_folder)
    parser.add_argument('--state', choices=STATES, help='only jobs in this state')
    parser.add_argument('--json', action='store_true', help='as JSON')


def _add_show(actions: Any) -> None:
    parser = _add(actions, 'show', _show, 'all that is known of one job', add_out)
    parser.add_argument('id', metavar='JOB', help=JOB_HELP)
    parser.add_argument('--json', action='store_true', help='as JSON')


def _several(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('id', metavar='JOB', nargs='*', help=JOB_HELP)
    add_out(parser)


def _add_budget(actions: Any) -> None:
    what = 'limits for all that the queue ever spends'
    parser = _add(actions, 'budget', _budget, what, add_folder, begins=True)
    parser.add_argument(
        '--set', default='', metavar='LIMITS',
        help='such as gpu_hours=8,money=50,candidates=200,disk=20GB; none for no limit; limits '
        'that are not named stay',
    )  # fmt: skip
    parser.add_argument('--money-per-gpu-hour', type=float, help='what a GPU costs, from now on')
    parser.add_argument('--money-per-cpu-hour', type=float, help='what a core costs, from now on')


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
    queue.set_budget(changed(queue.budget(), args.set))
    rates = {
        name: value / 3600
        for name, value in {
            'gpu_s': args.money_per_gpu_hour,
            'cpu_s': args.money_per_cpu_hour,
        }.items()
        if value is not None
    }
    queue.set_rates(replace(queue.rates(), **rates))
    if queue.budget().money is not None and queue.rates() == Rates():
        print('money is limited and nothing costs any: give --money-per-gpu-hour')
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

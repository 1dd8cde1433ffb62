# SPDX-License-Identifier: Apache-2.0
"""`flywheel generate`: briefs made into candidates by the generators that need no server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cosmos_flywheel.bags.source import find_bags
from cosmos_flywheel.cli.actions import OUT
from cosmos_flywheel.cli.means import add_means, given_means
from cosmos_flywheel.cli.progress import ProgressLine
from cosmos_flywheel.cli.table import amount, printable, table
from cosmos_flywheel.core.errors import ConfigError, FlywheelError
from cosmos_flywheel.generate.backends import BACKENDS, find_backend, usual_backend
from cosmos_flywheel.generate.base import Generator, Order
from cosmos_flywheel.generate.make import brief_of, differences, variation_of
from cosmos_flywheel.generate.order_work import OrderWork, job_orders
from cosmos_flywheel.generate.pool import work_queue
from cosmos_flywheel.generate.produce import Produced, Source, produce
from cosmos_flywheel.generate.queue import Queue
from cosmos_flywheel.store.briefs import BRIEFS, DOCUMENT, iter_briefs, read_brief
from cosmos_flywheel.store.candidates import CANDIDATES, MANIFEST, find_candidate, read_candidate
from cosmos_flywheel.store.robots import load_robot

COUNT = 8
REFUSED_CODE = 1
"""Fewer were made than were asked for, or a candidate did not come out the same again."""


def add_parser(subparsers: Any) -> None:
    """Declare the verb and what it can do."""
    parser = subparsers.add_parser(
        'generate',
        help='make briefs into candidate episodes',
        description='Makes briefs into candidates: re-simulated where the robot has a twin, else '
        'the recorded clip with another appearance; with --model, rollouts of a fitted engine.',
    )
    parser.add_argument(
        'brief', nargs='?', metavar='BRIEF', help="a brief's folder or id, or an episode's id"
    )
    parser.add_argument('--all', action='store_true', help='every brief of the output folder')
    parser.add_argument(
        '--out',
        type=Path,
        default=OUT,
        metavar='DIR',
        help='the output folder of a harvest (default: %(default)s)',
    )
    parser.add_argument(
        '--backend', choices=tuple(BACKENDS), help='who makes them (default: sim or augment)'
    )
    parser.add_argument(
        '-n', type=int, default=COUNT, metavar='N', help='of each brief (default: %(default)s)'
    )
    parser.add_argument('--seed', type=int, default=0, help='the first one (default: 0)')
    add_means(parser)
    parser.add_argument(
        '--nominal', nargs='+', type=Path, default=[], metavar='BAG',
        help='bags in which nothing went wrong, to take commands from',
    )  # fmt: skip
    parser.add_argument('--robot', help="a robot or a robot file (default: the brief's)")
    parser.add_argument(
        '--workers',
        type=int,
        default=0,
        metavar='N',
        help='by way of the durable queue, worked off by so many processes; see flywheel queue',
    )
    parser.add_argument(
        '--again', metavar='CANDIDATE', help='make this one anew and compare every byte'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make what was asked for; returns the exit code."""
    if args.n < 1 or args.seed < 0 or args.workers < 0:
        raise ConfigError('-n: give at least 1, and --seed and --workers 0 or more')
    if args.again is not None:
        return _again(args)
    if (args.brief is None) != args.all:
        raise ConfigError('say which: BRIEF for one, or --all for every brief of --out')
    folders = list(_folders(args))
    nominal = tuple(find_bags(args.nominal)) if args.nominal else ()
    if args.workers:
        return _queue(folders, nominal, args)
    rows: list[tuple[str, ...]] = [('brief', 'backend', 'made', 'were there', 'refused', 'CPU')]
    refused: list[str] = []
    notes: list[str] = []
    is_short = False
    with ProgressLine('candidates', bags=False) as line:
        line.expect({folder.name: float(args.n) for folder in folders})
        for folder in folders:
            name, produced = _produce(folder, nominal, args, line)
            rows.append((folder.name, name, *_counts(produced)))
            is_short |= len(produced.made) < args.n
            refused += [f'{folder.name}: refused: {why}' for why in produced.refused]
            notes += [f'{folder.name}: not made: {why}' for why in produced.unmade]
            if produced.left_open:
                notes.append(f'{folder.name}: not varied: {", ".join(produced.left_open)}')
    print('\n'.join(table(rows, right=(2, 3, 4))))
    for note in notes:
        print(printable(note))
    for why in refused:
        print(printable(why), file=sys.stderr)
    print(f'candidates: {args.out / CANDIDATES}')
    return REFUSED_CODE if is_short else 0


def _produce(
    folder: Path, nominal: tuple[Path, ...], args: argparse.Namespace, line: ProgressLine
) -> tuple[str, Produced]:
    brief = read_brief(folder)
    generator = _generator(args) or usual_backend(brief)
    generator.check()
    robot = load_robot(args.robot or brief.origin.robot)
    source = Source(brief, args.out / brief.origin.id, robot, nominal)

    def tell(done: int, _of: int) -> None:
        line(folder.name, float(done))

    produced = produce(args.out, source, generator, args.n, args.seed, tell)
    line(folder.name, float(args.n))
    return generator.name, produced


def _again(args: argparse.Namespace) -> int:
    given = Path(args.again)
    folder = given if (given / MANIFEST).is_file() else find_candidate(args.out, args.again)
    manifest, brief = read_candidate(folder), brief_of(folder)
    args.backend = manifest['backend']
    generator = _generator(args)
    if generator is None or not manifest['repeatable']:
        raise ConfigError(
            f'{folder}: was made by {args.backend}, which never makes the same twice'
        )
    out = folder.parent.parent if given == folder else args.out
    order = Order(
        brief,
        out / brief.origin.id,
        load_robot(args.robot or brief.origin.robot),
        variation_of(manifest),
        manifest['seed'],
        tuple(find_bags(args.nominal)) if args.nominal else (),
    )
    apart = differences(folder, order, generator)
    if apart:
        print(f'{folder.name}: differs in {", ".join(apart)}')
        return REFUSED_CODE
    print(f'{folder.name}: the same, byte by byte')
    return 0


def _generator(args: argparse.Namespace) -> Generator | None:
    """The one that was named; None where each brief takes its own."""
    return find_backend(args.backend, given_means(args)) if args.backend else None


def _queue(folders: list[Path], nominal: tuple[Path, ...], args: argparse.Namespace) -> int:
    """Put all orders into the queue and work it off."""
    with Queue.open(args.out) as queue:
        before = {job.id for job in queue.jobs()}
        for folder in folders:
            generator = _generator(args) or usual_backend(read_brief(folder))
            generator.check()
            queue.add(job_orders(folder, generator, args.n, args.seed))
        jobs = queue.jobs()
        print(f'{len(jobs) - len(before)} new jobs in the queue, {len(before)} were there')
    work = OrderWork(args.robot, nominal, given_means(args))
    with ProgressLine('jobs', bags=False) as line:
        line.expect({'jobs': float(len(jobs))})
        work_queue(args.out, work, args.workers, progress=lambda queue: _tell(line, queue))
    with Queue.open(args.out) as queue:
        counts = queue.counts()
        dead = [job for job in queue.jobs('dead') if job.id not in before]
    print(', '.join(f'{number} {state}' for state, number in counts.items() if number))
    for job in dead:
        print(printable(f'{job.id}: dead: {job.reason}'), file=sys.stderr)
    print(f'candidates: {args.out / CANDIDATES}; see: flywheel queue list {args.out}')
    return REFUSED_CODE if dead else 0


def _tell(line: ProgressLine, queue: Queue) -> None:
    counts = queue.counts()
    line('jobs', float(sum(counts.get(state, 0) for state in ('done', 'dead', 'cancelled'))))


def _folders(args: argparse.Namespace) -> Iterator[Path]:
    """Of the briefs that are meant."""
    if args.brief is not None and (Path(args.brief) / DOCUMENT).is_file():
        yield Path(args.brief)
        return
    found = [
        folder
        for folder in iter_briefs(args.out / BRIEFS)
        if args.all or args.brief in (folder.name, _origin(folder))
    ]
    if not found:
        raise ConfigError(
            f'{args.out / BRIEFS}: holds no such brief; run: flywheel brief --all {args.out}'
        )
    yield from found


def _origin(folder: Path) -> str:
    try:
        return read_brief(folder, verify=False).origin.id
    except FlywheelError:
        return ''


def _counts(produced: Produced) -> tuple[str, ...]:
    new = [one for one in produced.made if one.is_new]
    numbers = len(new), len(produced.made) - len(new), len(produced.refused)
    return *map(str, numbers), amount(sum(one.cpu_s for one in new), ' s')

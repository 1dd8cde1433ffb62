# SPDX-License-Identifier: Apache-2.0
"""`flywheel generate`: briefs made into candidates, by way of the durable queue."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cosmos_flywheel.bags.source import find_bags
from cosmos_flywheel.cli.actions import add_out
from cosmos_flywheel.cli.executor import add_executor, given_executor
from cosmos_flywheel.cli.generate_screen import Watch, show
from cosmos_flywheel.cli.means import add_backends, add_means, given_backends, given_means
from cosmos_flywheel.cli.table import printable
from cosmos_flywheel.core.errors import ConfigError, FlywheelError
from cosmos_flywheel.generate.backends import (
    able,
    find_backend,
    first_maker,
    ready,
    usual_backend,
)
from cosmos_flywheel.generate.base import Generator, Order
from cosmos_flywheel.generate.budget import Budget, changed
from cosmos_flywheel.generate.make import brief_of, differences, variation_of
from cosmos_flywheel.generate.order_work import OrderWork
from cosmos_flywheel.generate.planned import planned_orders
from cosmos_flywheel.generate.produce import (
    Wish,
    produce,
    queued_wishes,
    wish_for,
    wishes_of,
)
from cosmos_flywheel.store.briefs import BRIEFS, DOCUMENT, adopt, iter_briefs, read_brief
from cosmos_flywheel.store.candidates import CANDIDATES, MANIFEST, find_candidate, read_candidate
from cosmos_flywheel.store.episodes import read_episode
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
        'the recorded clip with another appearance; or by the generator that is named.',
    )
    parser.add_argument(
        'brief', nargs='?', metavar='BRIEF', help="a brief's folder or id, or an episode's id"
    )
    parser.add_argument('--all', action='store_true', help='every brief of the output folder')
    parser.add_argument(
        '--plan', type=Path, metavar='FILE', help='exactly the orders of flywheel plan'
    )
    parser.add_argument(
        '--queued', action='store_true', help='what waits in the queue, and nothing new'
    )
    add_out(parser)
    add_backends(parser, 'who makes them (default: sim or augment)')
    parser.add_argument(
        '-n', type=int, metavar='N',
        help=f'of each brief (default: {COUNT}); of a plan, the first orders (default: all)',
    )  # fmt: skip
    parser.add_argument('--seed', type=int, default=0, help='the first one (default: 0)')
    add_means(parser)
    parser.add_argument(
        '--nominal', nargs='+', type=Path, default=[], metavar='BAG',
        help='bags in which nothing went wrong, to take commands from',
    )  # fmt: skip
    parser.add_argument('--robot', help="a robot or a robot file (default: the brief's)")
    parser.add_argument(
        '--budget', default='', metavar='LIMITS',
        help='what this run may spend, such as gpu_s=600,candidates=40,money=5,disk=2GB; that '
        'of the whole queue holds beside it',
    )  # fmt: skip
    parser.add_argument(
        '--workers', type=int, default=0, metavar='N',
        help='work in so many processes (default: in this one)',
    )  # fmt: skip
    add_executor(parser)
    parser.add_argument(
        '--again', metavar='CANDIDATE', help='make this one anew and compare every byte'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make what was asked for; returns the exit code."""
    if (args.n is not None and args.n < 1) or args.seed < 0 or args.workers < 0:
        raise ConfigError('-n: give at least 1, and --seed and --workers 0 or more')
    if args.again is not None:
        return _again(args)
    budget = changed(Budget(), args.budget)
    nominal = _nominal(args)
    wishes, unread = _wishes(args, nominal)
    work = OrderWork(nominal, given_means(args))
    opened = given_executor(args, args.out, max(args.workers, 1))
    with opened as executor, Watch(wishes) as watch:
        produced, stopped = produce(
            args.out,
            wishes,
            work,
            workers=args.workers,
            executor=executor,
            budget=budget,
            progress=watch,
        )
    show(produced, stopped)
    for why in unread:
        print(printable(f'left out: {why}'), file=sys.stderr)
    print(f'candidates: {args.out / CANDIDATES}; jobs: flywheel queue list {args.out}')
    return REFUSED_CODE if unread or any(one.is_short for one in produced) else 0


def _wishes(args: argparse.Namespace, nominal: tuple[Path, ...]) -> tuple[list[Wish], list[str]]:
    """What is wanted, and which briefs or orders are left out, with the reason."""
    if (args.brief is not None) + args.all + args.queued + (args.plan is not None) != 1:
        raise ConfigError(
            'say which: BRIEF for one, --all for every brief of --out, --plan for the orders of '
            'a plan, or --queued for what waits in the queue'
        )
    means, backends = given_means(args), given_backends(args)
    named, away = ready(backends, means, check=True)
    for why in away:
        print(printable(why), file=sys.stderr)
    if args.queued:
        mine = {one.name for one in named} or able(means)
        waiting, others = queued_wishes(args.out, mine)
        return waiting, [
            f'{count} waiting for {name}: name it with --backend and give what it needs'
            for name, count in sorted(others.items())
        ]
    if args.plan is not None:
        names = [one.name for one in named]
        orders, refused = planned_orders(args.plan, args.out, means, names, args.n, nominal)
        for name in sorted({order.backend for order in orders}):
            _checked(find_backend(name, means))
        return wishes_of(orders), refused
    wishes: dict[str, Wish] = {}
    unread: list[str] = []
    for folder in _folders(args):
        try:
            brief = read_brief(adopt(folder, args.out / BRIEFS))
            read_episode(args.out / brief.origin.id)
            generator = first_maker(named, brief) if named else _checked(usual_backend(brief))
            wishes[brief.id] = wish_for(
                brief, generator, args.n or COUNT, args.seed, nominal, means.robot
            )
        except FlywheelError as error:
            if not args.all:
                raise
            unread.append(str(error))
    return list(wishes.values()), unread


def _checked(generator: Generator) -> Generator:
    generator.check()
    return generator


def _again(args: argparse.Namespace) -> int:
    given = Path(args.again)
    folder = given if (given / MANIFEST).is_file() else find_candidate(args.out, args.again)
    manifest, brief = read_candidate(folder), brief_of(folder)
    if not manifest['repeatable']:
        raise ConfigError(
            f'{folder}: was made by {manifest["backend"]}, which does not promise the same twice'
        )
    out = folder.parent.parent if given == folder else args.out
    order = Order(
        brief,
        out / brief.origin.id,
        load_robot(args.robot or brief.origin.robot),
        variation_of(manifest),
        manifest['seed'],
        _nominal(args),
    )
    apart = differences(folder, order, find_backend(manifest['backend'], given_means(args)))
    if apart:
        print(f'{folder.name}: differs in {", ".join(apart)}')
        return REFUSED_CODE
    print(f'{folder.name}: the same, byte by byte')
    return 0


def _nominal(args: argparse.Namespace) -> tuple[Path, ...]:
    return tuple(find_bags(args.nominal)) if args.nominal else ()


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
            f'{args.out / BRIEFS}: holds no such brief; run: flywheel brief --all --out {args.out}'
        )
    yield from found


def _origin(folder: Path) -> str:
    try:
        return read_brief(folder, verify=False).origin.id
    except FlywheelError:
        return ''

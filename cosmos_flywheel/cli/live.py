# SPDX-License-Identifier: Apache-2.0
"""`flywheel live`: the whole graph beside a robot, a simulated one or a bag, without ros2 launch.

Every node is a process of its own, as in launch/live.launch.py, with the same parameter files.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cosmos_flywheel.capture.kept import report_kept
from cosmos_flywheel.cli.screen import screen, summary
from cosmos_flywheel.cli.supervisor import Supervisor
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.nodes.run import need_rclpy
from cosmos_flywheel.store.episodes import iter_episodes
from cosmos_flywheel.store.robots import load_robot

SHOW_S, LOG_S = 0.5, 10.0
"""A terminal is redrawn so often, and a log gets a line so often."""
AFTER_S = 8.0
"""After the end of a bag the graph runs on so long: captures want their post-roll."""
SIMULATED = {'sim_arm': 'arm', 'sim_base': 'base'}
"""By robot file, what `flywheel node sim` calls its robot."""


def add_parser(subparsers: Any) -> None:
    """Declare the verb and its options."""
    parser = subparsers.add_parser(
        'live',
        help='watch a robot live: predict, compare, capture',
        description=(
            'Starts predictor, monitor and recorder beside a robot, each in a process of its own, '
            'and shows how they are. Ctrl-C ends all of them.'
        ),
    )
    parser.add_argument('--robot', required=True, help='robot file, or the name of a shipped one')
    parser.add_argument(
        '--model',
        action='append',
        default=[],
        metavar='DIR',
        help='a folder that `flywheel fit` made, or an engine; several make a ladder, best first',
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument('--sim', action='store_true', help='with a simulated robot')
    source.add_argument('--bag', type=Path, help='with a bag that is played')
    parser.add_argument('--task', default='', help='of the simulated robot')
    parser.add_argument('--out', type=Path, default=Path('flywheel-out'), help='where episodes go')
    parser.add_argument('--no-record', action='store_true', help='look only, capture nothing')
    parser.add_argument('--triggers', help='further reasons to capture, as for `harvest`')
    parser.add_argument('--namespace', default='', help="of this robot's topics: /r1")
    parser.add_argument('--params-file', type=Path, help='ROS parameters, over those of config/')
    parser.add_argument('--seconds', type=float, help='end by itself after so long')
    parser.add_argument('--watch', action='store_true', help='with the page of `flywheel watch`')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the graph until Ctrl-C, the end of the bag, or --seconds; returns the exit code."""
    with _told_to_stop() as stop:
        need_rclpy()
        robot = load_robot(args.robot)
        if args.sim and robot.name not in SIMULATED:
            known = ' or '.join(SIMULATED)
            raise ConfigError(f'--sim: {robot.name!r} is not simulated; take {known}')
        supervisor = Supervisor(args.out / 'log')
        try:
            for name, parameters in nodes(args, robot.name):
                if stop:
                    return 0
                vital = name not in ('player', 'sim')
                supervisor.start(name, command(args, name, parameters), is_vital=vital)
            if args.watch:
                supervisor.start('watch', page_command(args))
            _watch(args, supervisor, stop)
        finally:
            supervisor.stop()
    if not args.no_record and any(iter_episodes(args.out)):
        print(f'report: {report_kept(args.out)}')
    return 0


def nodes(args: argparse.Namespace, robot: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    """The nodes and their parameters; listeners first, so that nothing is missed."""
    models = [str(entry) for entry in args.model]
    judged = {'robot': args.robot, **({'models': models} if models else {})}
    clock = {'use_sim_time': True} if args.bag else {}
    yield 'predictor', {**judged, **clock}
    yield 'monitor', {**judged, **clock}
    if not args.no_record:
        triggers = {'triggers': args.triggers} if args.triggers else {}
        yield 'recorder', {'robot': args.robot, 'out': str(args.out), **triggers, **clock}
    if args.sim:
        task = {'task': args.task} if args.task else {}
        yield 'sim', {'robot': SIMULATED[robot], **task}
    if args.bag:
        yield 'player', {'bag': str(args.bag), 'clock': True, 'exit_at_end': True}


def command(
    args: argparse.Namespace, name: str, parameters: Mapping[str, object]
) -> Sequence[str]:
    """The command line of one node."""
    words = [sys.executable, '-m', 'cosmos_flywheel.cli.main', 'node', name, '--ros-args']
    if args.namespace:
        words += ['-r', f'__ns:=/{args.namespace.strip("/")}']
    if args.params_file:
        words += ['--params-file', str(args.params_file)]
    for key, value in parameters.items():
        words += ['-p', f'{key}:={_yaml(value)}']
    return words


def page_command(args: argparse.Namespace) -> Sequence[str]:
    """The command line of the page."""
    words = [sys.executable, '-m', 'cosmos_flywheel.cli.main', 'watch', '--out', str(args.out)]
    return [*words, '--namespace', args.namespace] if args.namespace else words


def _watch(args: argparse.Namespace, supervisor: Supervisor, stop: list[bool]) -> None:
    """Show how the nodes are until it is over."""
    board_of = importlib.import_module('cosmos_flywheel.nodes.board')
    began_s, shown_s = time.monotonic(), 0.0
    ended_s: float | None = None
    with board_of.listening(f'/{args.namespace.strip("/")}') as listener:
        while not stop:
            listener.listen(0.1)
            now_s = time.monotonic()
            supervisor.look(now_s)
            if args.seconds and now_s - began_s >= args.seconds:
                break
            if any(c.is_done for c in supervisor.children):
                ended_s = ended_s or now_s
                if now_s - ended_s >= AFTER_S:
                    break
            if now_s - shown_s >= (SHOW_S if sys.stdout.isatty() else LOG_S):
                shown_s = now_s
                _show(listener.board, supervisor)
        _show(listener.board, supervisor)


def _show(board: Any, supervisor: Supervisor) -> None:
    if sys.stdout.isatty():
        lines = screen(board, supervisor.children)
        sys.stdout.write('\x1b[H\x1b[2J' + '\n'.join(lines) + '\n')
    else:
        sys.stdout.write(summary(board, supervisor.children) + '\n')
    sys.stdout.flush()


@contextlib.contextmanager
def _told_to_stop() -> Iterator[list[bool]]:
    """A list that is no longer empty once a signal came."""
    came: list[bool] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {n: signal.signal(n, lambda *_: came.append(True)) for n in numbers}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f'[{", ".join(map(_yaml, value))}]'
    return f"'{value}'" if isinstance(value, str) else str(value)

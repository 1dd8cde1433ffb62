# SPDX-License-Identifier: Apache-2.0
"""`flywheel node`: runs ROS 2 nodes of this package, in one process, until told to stop."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from cosmos_flywheel.cli.table import table
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.settings import nearest
from cosmos_flywheel.nodes.run import need_rclpy, run_nodes

NODES: Mapping[str, str] = {
    'sim': 'a simulated robot that fails at will, in real time',
    'player': 'a bag, played onto its topics',
    'predictor': 'what the robot should see next',
    'monitor': 'compares what was predicted with what came, and scores it',
    'recorder': 'keeps what happened before and after an alarm',
    'generator': 'makes candidates of failures, offline',
}
"""What each node is. Its module `cosmos_flywheel.nodes.NODE` offers `PARAMETERS`, all that it
can be told, and `make_node() -> node`; it is imported only when it is asked for."""


def add_parser(subparsers: Any) -> None:
    """Declare the verb and its options."""
    parser = subparsers.add_parser(
        'node',
        help='run a ROS 2 node of this package, or several in one process',
        usage='flywheel node NAME[+NAME…] [--help] [--ros-args -p PARAMETER:=VALUE …]',
        description=(
            'Runs a ROS 2 node until SIGINT or SIGTERM; several, such as predictor+monitor, share '
            'one process and thread.'
        ),
        epilog='\n'.join(table([(name, what) for name, what in NODES.items()])),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('name', metavar='NAME', help='which node or nodes, see below')
    parser.add_argument(
        'arguments',
        nargs=argparse.REMAINDER,
        metavar='…',
        help='--ros-args as for every ROS 2 node; --help lists its parameters',
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the nodes; returns the exit code."""
    names = args.name.split('+')
    for name in names:
        if name not in NODES:
            raise ConfigError(f'{name!r} is no node; {nearest(name, NODES)}')
    if args.arguments[:1] in (['-h'], ['--help']):
        for name in names:
            print('\n'.join(_help(name)))
        return 0
    return run_nodes([partial(_make, name) for name in names], args.arguments)


def _make(name: str) -> Any:
    return _module(name).make_node()


def _module(name: str) -> Any:
    return importlib.import_module(f'cosmos_flywheel.nodes.{name}')


def _help(name: str) -> Iterator[str]:
    """The node's parameters."""
    need_rclpy()
    yield f'flywheel node {name}: {NODES[name]}'
    yield ''
    yield f'usage: flywheel node {name} --ros-args -p PARAMETER:=VALUE …'
    yield f'       flywheel node {name} --ros-args --params-file FILE'
    yield ''
    rows = [('parameter', 'default', 'unit', 'live', 'what it decides')]
    for parameter in _module(name).PARAMETERS:
        live = 'yes' if parameter.live else ''
        what = parameter.what
        if parameter.choices:
            what = f'{what}; one of {", ".join(parameter.choices)}'
        rows.append((parameter.name, _shown(parameter.default), parameter.unit, live, what))
    yield from table(rows)


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return 'true' if default else 'false'
    if isinstance(default, tuple):
        return f'[{", ".join(default)}]'
    return f'{default:g}' if isinstance(default, float) else str(default) or "''"

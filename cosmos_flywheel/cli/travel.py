# SPDX-License-Identifier: Apache-2.0
"""`flywheel travel`: episodes from the robot to the machine that generates from them."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cosmos_flywheel.cli.actions import add_action, run
from cosmos_flywheel.cli.table import printable
from cosmos_flywheel.core.errors import ConfigError, NotNowError
from cosmos_flywheel.travel.fetch import (
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    WATCH_S,
    Tally,
    fetch,
)
from cosmos_flywheel.travel.folder import SharedFolder, push
from cosmos_flywheel.travel.http_source import HttpSource
from cosmos_flywheel.travel.inbox import Inbox
from cosmos_flywheel.travel.limit import Limit
from cosmos_flywheel.travel.outbox import Outbox
from cosmos_flywheel.travel.parcel import Source
from cosmos_flywheel.travel.policy import LOOPBACK, load_policy
from cosmos_flywheel.travel.serve import TravelServer
from cosmos_flywheel.travel.token import read_token

LEFT_CODE = 1
"""Something is still at the robot."""
PATIENCE_S = 60.0
NICE = 10
"""The robot's own processes come first."""


def add_parser(subparsers: Any) -> None:
    """Declare the verb and what it can do."""
    parser = subparsers.add_parser(
        'travel',
        help='bring episodes from the robot to the machine that generates',
        description='Brings episodes from the robot to another machine, each whole and once.',
    )
    actions = parser.add_subparsers(metavar='ACTION', required=True)
    _add_show(actions)
    _add_serve(actions)
    _add_fetch(actions)
    _add_push(actions)
    _add_pull(actions)
    parser.set_defaults(run=run)


def _add_show(actions: Any) -> None:
    parser = add_action(
        actions, 'show', _show, 'at the robot: what would leave, and why the rest stays'
    )
    _add_outbox(parser)


def _add_serve(actions: Any) -> None:
    parser = add_action(actions, 'serve', _serve, 'at the robot: let episodes be fetched')
    _add_outbox(parser)
    _add_token(parser)
    parser.add_argument(
        '--bind', default='127.0.0.1:0', metavar='IP:PORT', help='%(default)s; 0: a free port'
    )
    parser.add_argument('--cert', type=Path, help='certificate for TLS')
    parser.add_argument('--key', type=Path, help='its key')


def _add_fetch(actions: Any) -> None:
    parser = add_action(actions, 'fetch', _fetch, 'at the workstation: fetch what a robot offers')
    parser.add_argument('url', metavar='URL', help='of `flywheel travel serve`')
    _add_inbox(parser)
    _add_token(parser)
    parser.add_argument('--ca', type=Path, help="the robot's certificate, or who signed it")


def _add_push(actions: Any) -> None:
    parser = add_action(actions, 'push', _push, 'at the robot: lay episodes into a shared folder')
    _add_outbox(parser)
    parser.add_argument('url', metavar='URL', help='file:///mnt/share, s3://bucket/robots')
    parser.add_argument('--watch', action='store_true', help='go on, for days if need be')


def _add_pull(actions: Any) -> None:
    parser = add_action(
        actions, 'pull', _pull, 'at the workstation: take what lies in a shared folder'
    )
    parser.add_argument('url', metavar='URL', help='that of `flywheel travel push`')
    _add_inbox(parser)


def _add_outbox(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('out', type=Path, metavar='OUT', help='where episodes lie')
    parser.add_argument('--robot', help='only episodes of this robot')
    parser.add_argument(
        '--policy', default=LOOPBACK, help='a shipped name or a file (default: %(default)s)'
    )


def _add_inbox(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('out', type=Path, metavar='OUT', help='where episodes shall lie')
    parser.add_argument('--watch', action='store_true', help='go on, for days if need be')
    parser.add_argument('--limit', type=float, metavar='MB/S', help='no faster than this')
    parser.add_argument(
        '--patience', type=float, default=PATIENCE_S, metavar='S',
        help='without --watch: how long to wait for who is away (default: %(default)g)',
    )  # fmt: skip


def _add_token(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--token-file', type=Path, required=True, help='a secret of both sides')


def _show(args: argparse.Namespace) -> int:
    look = _outbox(args).look()
    for parcel in look.parcels:
        print(f'{parcel.id}  may leave, {parcel.bytes / 1e6:.1f} MB')
    for name in look.waiting:
        print(f'{name}  may leave once it has been altered')
    for name in look.received:
        print(f'{name}  has arrived elsewhere')
    for name, reason in look.withheld.items():
        print(printable(f'{name}  stays: {reason}'))
    return 0


def _serve(args: argparse.Namespace) -> int:
    if (args.cert is None) != (args.key is None):
        raise ConfigError('--cert and --key belong together; give both or neither')
    outbox = _outbox(args)
    token = read_token(args.token_file)
    tls = (args.cert, args.key) if args.cert else None
    os.nice(NICE)
    with outbox.held():
        server = TravelServer(_address(args.bind), outbox, token, tls)
        server.start()
        print(f'serving {args.out} at {server.url}', flush=True)
        _ended().wait()
        server.stop()
    return 0


def _fetch(args: argparse.Namespace) -> int:
    inbox, token = _inbox(args), read_token(args.token_file)
    return _take(args, inbox, HttpSource(args.url, token, args.ca, inbox.receiver))


def _push(args: argparse.Namespace) -> int:
    outbox, ended, problem, wait_s = _outbox(args), _ended(), '', FIRST_WAIT_S
    with outbox.held():
        while True:
            try:
                arrived, laid = push(outbox, args.url, _say)
                print(f'{arrived} arrived; {laid} laid down', flush=True)
                problem, wait_s = '', FIRST_WAIT_S
            except NotNowError as error:
                if not args.watch:
                    raise
                if str(error) != problem:
                    _say(f'{error}; trying again')
                problem, wait_s = str(error), min(2 * wait_s, LONGEST_WAIT_S)
            if not args.watch or ended.wait(wait_s if problem else WATCH_S):
                return 0


def _pull(args: argparse.Namespace) -> int:
    return _take(args, _inbox(args), SharedFolder(args.url))


def _inbox(args: argparse.Namespace) -> Inbox:
    if args.limit is not None and not args.limit > 0:
        raise ConfigError(f'--limit {args.limit}: give megabytes a second, more than 0')
    args.out.mkdir(parents=True, exist_ok=True)
    return Inbox(args.out, Limit(None if args.limit is None else args.limit * 1e6), _say)


def _take(args: argparse.Namespace, inbox: Inbox, source: Source) -> int:
    tally = fetch(
        source,
        inbox,
        watch=args.watch,
        patience_s=args.patience,
        wait=_ended().wait,
        tell=_say,
    )
    print(_told(tally))
    return 0 if tally.is_done and not tally.refused else LEFT_CODE


def _told(tally: Tally) -> str:
    parts = [f'{len(tally.arrived)} arrived', f'{len(tally.present)} were there']
    if tally.refused:
        parts.append(f'{len(tally.refused)} refused')
    if tally.bags:
        parts.append(f'operating hours of {tally.bags} bags')
    if not tally.is_done:
        parts.append('what is left is still at the robot')
    return '; '.join(parts)


def _outbox(args: argparse.Namespace) -> Outbox:
    if not args.out.is_dir():
        raise ConfigError(f'{args.out}: no such folder; give the one where episodes lie')
    return Outbox(args.out, args.robot, load_policy(args.policy), _alter)


def _alter(*args: Any) -> Path:
    """Pictures are worked on at the robot only: fetching imports nothing of it."""
    copy: Path = importlib.import_module('cosmos_flywheel.travel.alter').alter(*args)
    return copy


def _address(text: str) -> tuple[str, int]:
    parts = urlsplit(f'//{text}')
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or port is None:
        raise ConfigError(f'--bind {text}: write IP:PORT, such as 127.0.0.1:8766')
    return host, port


def _say(words: str) -> None:
    print(printable(words), file=sys.stderr, flush=True)


def _ended() -> threading.Event:
    """Set by SIGINT or SIGTERM."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    return ended

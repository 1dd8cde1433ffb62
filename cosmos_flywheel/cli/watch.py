# SPDX-License-Identifier: Apache-2.0
"""`flywheel watch`: a local page that shows the running graph."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

from cosmos_flywheel.capture.live.watched import Watched
from cosmos_flywheel.cli.watch_server import WatchServer
from cosmos_flywheel.nodes.run import run_node
from cosmos_flywheel.store.shelf import Shelf

HOST, PORT = '127.0.0.1', 8765


def add_parser(subparsers: Any) -> None:
    """Declare the verb and its options."""
    parser = subparsers.add_parser(
        'watch',
        help='show the running graph on a local page',
        description='Serves a page with overlay, scores and captures; Ctrl-C ends it.',
    )
    parser.add_argument('--namespace', default='', help='of the graph: /r1')
    parser.add_argument(
        '--out', type=Path, default=Path('flywheel-out'), help='where episodes lie'
    )
    parser.add_argument('--host', default=HOST, help='%(default)s; others may see what you see')
    parser.add_argument('--port', type=int, default=PORT, help='%(default)s; 0 takes a free one')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code."""

    def make() -> Any:
        watching = importlib.import_module('cosmos_flywheel.nodes.watching')
        watched = Watched()
        server = WatchServer((args.host, args.port), watched, Shelf(args.out))
        namespace = f'/{args.namespace.strip("/")}'
        node = watching.Watching(watched, server.stop, namespace=namespace)
        server.capture = node.capture
        server.start()
        sys.stdout.write(f'open {server.url}\n')
        sys.stdout.flush()
        return node

    return run_node(make, [])

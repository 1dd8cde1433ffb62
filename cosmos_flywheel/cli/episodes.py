# SPDX-License-Identifier: Apache-2.0
"""`flywheel episodes`: what harvests found, in words; and what people say of it."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cosmos_flywheel.capture.kept import report_kept
from cosmos_flywheel.cli.actions import add_action, add_folder, add_out, run
from cosmos_flywheel.cli.cluster_table import cluster_as_json, cluster_lines
from cosmos_flywheel.cli.episode_story import tell_all
from cosmos_flywheel.cli.keys import open_keys
from cosmos_flywheel.cli.table import amount, printable, table
from cosmos_flywheel.cli.triage import Triage
from cosmos_flywheel.core.errors import ConfigError, StoreError
from cosmos_flywheel.store.catalogue import Catalogue, rebuild
from cosmos_flywheel.store.connection import CATALOGUE
from cosmos_flywheel.store.episodes import iter_episodes, read_episode
from cosmos_flywheel.store.labels import STATES, read_labels
from cosmos_flywheel.store.records import EpisodeRow

REFUSED_CODE = 1
"""Some folders could not be read."""


def add_parser(subparsers: Any) -> None:
    """Declare the verb and what it can do."""
    parser = subparsers.add_parser(
        'episodes',
        help='list, show and label what was found',
        description='Lists, shows and labels the episodes of an output folder.',
    )
    actions = parser.add_subparsers(metavar='ACTION', required=True)
    _add_list(actions)
    _add_clusters(actions)
    _add_show(actions)
    _add_label(actions)
    _add_report(actions)
    _add_rebuild(actions)
    parser.set_defaults(run=run)


def _add_list(actions: Any) -> None:
    parser = add_action(actions, 'list', _list, 'a table of episodes')
    add_folder(parser)
    parser.add_argument('--state', choices=STATES, help='only what is labelled so')
    parser.add_argument('--cause', help='only these: a channel, trigger:NAME, or trigger for all')
    parser.add_argument('--robot', help='only those of this robot')
    parser.add_argument('--bag', help='only those of this bag: its name or its id')
    parser.add_argument('--cluster', metavar='ID', help='only those of this cluster')
    parser.add_argument('--json', action='store_true', help='as JSON')


def _add_clusters(actions: Any) -> None:
    parser = add_action(
        actions, 'clusters', _clusters, 'episodes that are alike, most common first'
    )
    add_folder(parser)
    parser.add_argument('--json', action='store_true', help='as JSON')


def _add_show(actions: Any) -> None:
    parser = add_action(actions, 'show', _show, 'all that is known of one episode')
    _add_id(parser)
    parser.add_argument('--json', action='store_true', help='the manifest and the labels as JSON')


def _add_label(actions: Any) -> None:
    parser = add_action(actions, 'label', _label, 'say what episodes really were')
    parser.description = (
        'Says what one episode really was. Without ID, goes through all that nobody has judged '
        'yet, one key each: the most common cluster first, in it the most severe first. Reads '
        'lines where the input is no terminal.'
    )
    _add_id(parser, nargs='?')
    parser.add_argument(
        'label', nargs='?', choices=STATES, help=f'one of: {", ".join(STATES)}; needed with ID'
    )
    parser.add_argument('--reason', default='', help='why, in your words')
    parser.add_argument('--reviewer', help='who says so (default: your user name)')


def _add_report(actions: Any) -> None:
    parser = add_action(actions, 'report', _report, 'draw the page of all that a folder keeps')
    add_folder(parser)


def _add_rebuild(actions: Any) -> None:
    parser = add_action(actions, 'rebuild', _rebuild, 'make the catalogue anew from the folders')
    add_folder(parser)


def _add_id(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    words = "an episode's id, or how it begins"
    parser.add_argument('id', metavar='ID', nargs=nargs, help=words)
    add_out(parser)


def _list(args: argparse.Namespace) -> int:
    with _open(args.out) as catalogue:
        rows = catalogue.episodes(
            state=args.state,
            cause=args.cause,
            robot=args.robot,
            bag=args.bag,
            cluster=args.cluster,
        )
        known = len(catalogue.episodes())
        hours = catalogue.watched_hours(args.robot)
    if args.json:
        print(json.dumps([_as_json(row) for row in rows], indent=2))
    else:
        print('\n'.join(_lines(rows, hours)))
    lying = sum(1 for _ in iter_episodes(args.out))
    if lying != known:
        print(
            f'the catalogue knows {known} episodes, the folder holds {lying}; '
            f'run: flywheel episodes rebuild {args.out}',
            file=sys.stderr,
        )
    return 0


def _clusters(args: argparse.Namespace) -> int:
    with _open(args.out) as catalogue:
        rows = catalogue.clusters()
        alone = sum(row.cluster is None for row in catalogue.episodes())
    if args.json:
        print(json.dumps([cluster_as_json(row) for row in rows], indent=2))
    else:
        print('\n'.join(cluster_lines(rows)))
    if alone:
        print(
            f'{alone} episodes have no cluster yet; run: flywheel episodes rebuild {args.out}',
            file=sys.stderr,
        )
    return 0


def _show(args: argparse.Namespace) -> int:
    with _open(args.out) as catalogue:
        row = catalogue.episode(args.id)
        folder = catalogue.folder(row.id)
        cluster = next(iter(catalogue.clusters(row.cluster)), None) if row.cluster else None
    manifest, labels = read_episode(folder, verify=True), read_labels(folder)
    if args.json:
        said = [asdict(label) for label in labels]
        print(json.dumps({**manifest, 'cluster': row.cluster, 'labels': said}, indent=2))
    else:
        print('\n'.join(printable(line) for line in tell_all(folder, manifest, labels, cluster)))
    return 0


def _label(args: argparse.Namespace) -> int:
    reviewer = args.reviewer or _user_name()
    with _open(args.out) as catalogue:
        if args.id is None:
            with open_keys(sys.stdin) as keys:
                return Triage(catalogue, keys, reviewer, args.reason).run()
        if args.label is None:
            raise ConfigError(f'say what {args.id} was: one of {", ".join(STATES)}')
        said = catalogue.label(args.id, args.label, reviewer=reviewer, reason=args.reason)
    print(printable(f'{said.episode}: {said.label}, says {said.reviewer}'))
    return 0


def _report(args: argparse.Namespace) -> int:
    print(f'report: {report_kept(args.out)}')
    return 0


def _rebuild(args: argparse.Namespace) -> int:
    rebuilt = rebuild(args.out)
    for reason in rebuilt.refused:
        print(printable(f'left out: {reason}'), file=sys.stderr)
    print(f'{args.out / CATALOGUE}: {rebuilt.episodes} episodes of {rebuilt.bags} watched bags')
    return REFUSED_CODE if rebuilt.refused else 0


def _open(out: Path) -> Catalogue:
    """The catalogue; made from the folders if only they are there, and never in a wrong folder."""
    if (out / CATALOGUE).is_file():
        return Catalogue.open(out)
    if next(iter_episodes(out), None) is None:
        raise StoreError(f'{out}: holds no episodes; run: flywheel harvest BAG… --out {out}')
    rebuild(out)
    return Catalogue.open(out)


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # no such user, as in some containers
        raise StoreError('who says so is not known; give --reviewer NAME') from error


def _as_json(row: EpisodeRow) -> dict[str, Any]:
    return {
        **asdict(row),
        'scores': {
            name: {'peak': peak, 'threshold': limit} for name, (peak, limit) in row.scores.items()
        },
    }


def _lines(rows: Sequence[EpisodeRow], hours: float) -> list[str]:
    watched = f'in {amount(hours)} watched hours'
    if not rows:
        return [f'no episodes {watched}']
    head = ('episode', 'onset', 'length', 'causes', 'peak', 'label', 'cluster', 'bag')
    cells = [
        (
            row.id,
            f'{row.onset_s:.2f} s',
            f'{row.end_s - row.start_s:.1f} s',
            ', '.join(row.causes),
            f'{amount(row.severity)} ×' if row.severity else '-',
            row.label,
            row.cluster or '-',
            row.bag,
        )
        for row in rows
    ]
    return [
        *table([head, *cells], right=(1, 2, 4)),
        f'{len(rows)} episode{"s" * (len(rows) != 1)} {watched}; '
        'peak in multiples of the threshold',
    ]

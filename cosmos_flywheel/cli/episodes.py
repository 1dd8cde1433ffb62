# SPDX-License-Identifier: Apache-2.0
"""`flywheel episodes`: what harvests found, in words; and what people say of it."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cosmos_flywheel.capture.report.words import say_episode
from cosmos_flywheel.cli.table import amount, printable, table
from cosmos_flywheel.core.errors import StoreError
from cosmos_flywheel.store.catalogue import Catalogue, rebuild
from cosmos_flywheel.store.connection import CATALOGUE
from cosmos_flywheel.store.episodes import Manifest, iter_episodes, read_episode
from cosmos_flywheel.store.labels import STATES, Label, read_labels
from cosmos_flywheel.store.records import EpisodeRow

OUT = Path('flywheel-out')
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
    _add_show(actions)
    _add_label(actions)
    _add_rebuild(actions)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do what was asked for; returns the exit code."""
    code: int = args.action(args)
    return code


def _add_list(actions: Any) -> None:
    parser = _add(actions, 'list', _list, 'a table of episodes')
    _add_folder(parser)
    parser.add_argument('--state', choices=STATES, help='only what is labelled so')
    parser.add_argument('--cause', help='only these: a channel, trigger:NAME, or trigger for all')
    parser.add_argument('--robot', help='only those of this robot')
    parser.add_argument('--bag', help='only those of this bag: its name or its id')
    parser.add_argument('--json', action='store_true', help='as JSON')


def _add_show(actions: Any) -> None:
    parser = _add(actions, 'show', _show, 'all that is known of one episode')
    _add_id(parser)
    parser.add_argument('--json', action='store_true', help='the manifest and the labels as JSON')


def _add_label(actions: Any) -> None:
    parser = _add(actions, 'label', _label, 'say what an episode really was')
    _add_id(parser)
    parser.add_argument('label', choices=STATES, help=f'one of: {", ".join(STATES)}')
    parser.add_argument('--reason', default='', help='why, in your words')
    parser.add_argument('--reviewer', help='who says so (default: your user name)')


def _add_rebuild(actions: Any) -> None:
    parser = _add(actions, 'rebuild', _rebuild, 'make the catalogue anew from the folders')
    _add_folder(parser)


def _add(
    actions: Any, name: str, action: Callable[[argparse.Namespace], int], what: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=what, description=what)
    parser.set_defaults(action=action)
    return parser


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'out',
        nargs='?',
        type=Path,
        default=OUT,
        metavar='DIR',
        help='the output folder of a harvest (default: %(default)s)',
    )


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('id', metavar='ID', help="an episode's id, or how it begins")
    parser.add_argument(
        '--out',
        type=Path,
        default=OUT,
        metavar='DIR',
        help='the output folder of a harvest (default: %(default)s)',
    )


def _list(args: argparse.Namespace) -> int:
    with _open(args.out) as catalogue:
        rows = catalogue.episodes(
            state=args.state, cause=args.cause, robot=args.robot, bag=args.bag
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


def _show(args: argparse.Namespace) -> int:
    with _open(args.out) as catalogue:
        folder = catalogue.folder(catalogue.episode(args.id).id)
    manifest, labels = read_episode(folder, verify=True), read_labels(folder)
    if args.json:
        print(json.dumps({**manifest, 'labels': [asdict(label) for label in labels]}, indent=2))
    else:
        print('\n'.join(printable(line) for line in _story(folder, manifest, labels)))
    return 0


def _label(args: argparse.Namespace) -> int:
    reviewer = args.reviewer or _user_name()
    with _open(args.out) as catalogue:
        said = catalogue.label(args.id, args.label, reviewer=reviewer, reason=args.reason)
    print(printable(f'{said.episode}: {said.label}, says {said.reviewer}'))
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
    head = ('episode', 'onset', 'length', 'causes', 'peak', 'label', 'bag')
    cells = [
        (
            row.id,
            f'{row.onset_s:.2f} s',
            f'{row.end_s - row.start_s:.1f} s',
            ', '.join(row.causes),
            f'{amount(row.severity)} ×' if row.severity else '-',
            row.label,
            row.bag,
        )
        for row in rows
    ]
    return [
        *table([head, *cells], right=(1, 2, 4)),
        f'{len(rows)} episode{"s" * (len(rows) != 1)} {watched}; '
        'peak in multiples of the threshold',
    ]


def _story(folder: Path, manifest: Manifest, labels: Sequence[Label]) -> Iterator[str]:
    """The whole manifest in words."""
    source, window, engine = manifest['source'], manifest['window'], manifest['engine']
    state = labels[-1].label if labels else manifest['state']
    yield f'episode {manifest["id"]}: {state}'
    yield f'  {say_episode(manifest)}'
    yield ''
    yield f'bag          {source["name"]} ({_bag_words(source)})'
    yield (
        f'when         {window["start_s"]:.2f} s to {window["end_s"]:.2f} s '
        f'from its first message, alarm at {window["onset_s"]:.2f} s'
    )
    yield f'robot        {manifest["robot"] or "not named"}; task: {manifest["task"] or "unknown"}'
    yield f'engine       {engine["level"]}, calibration {manifest["calibration_id"] or "none"}'
    yield ''
    yield from _scores(manifest)
    remarks = [*_firings(manifest), *_losses(manifest), *_notes(manifest), *_labels(labels)]
    yield from ('', *remarks) if remarks else ()
    yield ''
    yield from _files(folder, manifest)


def _notes(manifest: Manifest) -> Iterator[str]:
    for note in manifest['notes']:
        yield f'note         {note}'


def _labels(labels: Sequence[Label]) -> Iterator[str]:
    for label in labels:
        reason = f': {label.reason}' if label.reason else ''
        yield f'label        {label.label}, says {label.reviewer} ({label.time}){reason}'


def _bag_words(source: Mapping[str, Any]) -> str:
    words = [
        source['format'],
        source['storage'],
        source['damage'] and f'damaged: {source["damage"]}',
    ]
    return ', '.join(str(word) for word in words if word)


def _scores(manifest: Manifest) -> Iterator[str]:
    rows = [('channel', 'peak', 'threshold', 'alarm', 'largest at the peak')]
    for name, channel in sorted(
        manifest['channels'].items(), key=lambda item: not item[1]['alarms']
    ):
        peak, limit = channel['peak'], channel['threshold']
        rows.append(
            (
                name,
                '-' if peak is None else amount(peak),
                '-' if limit is None else amount(limit) + ' proved' * channel['guaranteed'],
                _spans(manifest, channel['alarms']),
                channel['detail'] or '-',
            )
        )
    yield from table(rows, right=(1,))


def _firings(manifest: Manifest) -> Iterator[str]:
    for firing in manifest.get('firings', ()):
        ends_ns = firing.get('ends_ns')
        span = (firing['stamp_ns'], firing['stamp_ns'] if ends_ns is None else ends_ns)
        when = _spans(manifest, [span])
        yield f'trigger      {firing["name"]} at {when}: {firing.get("detail") or "fired"}'


def _losses(manifest: Manifest) -> Iterator[str]:
    for topic, counts in manifest['losses'].items():
        words = (f'{count} × {reason.replace("_", " ")}' for reason, count in counts.items())
        yield f'lost         {topic}: {", ".join(words)}'


def _files(folder: Path, manifest: Manifest) -> Iterator[str]:
    clip = manifest['clip']
    messages, topics = sum(clip['messages'].values()), len(clip['messages'])
    size = f'{clip["bytes"] / 1e6:.2f} MB, {messages} messages on {topics} topics'
    yield f'clip         {folder / clip["file"]} ({size})'
    if manifest['thumbnail']:
        yield f'thumbnail    {folder / manifest["thumbnail"]["file"]}'
    for entry in manifest['evidence']:
        yield f'evidence     {folder / entry["file"]} ({entry["kind"]})'


def _spans(manifest: Manifest, spans_ns: Sequence[Sequence[int]]) -> str:
    """Stretches in seconds from the bag's first message."""
    window = manifest['window']

    def seconds(stamp_ns: int) -> str:
        return f'{window["start_s"] + (stamp_ns - window["start_ns"]) / 1e9:.2f}'

    words = (seconds(a) if a == b else f'{seconds(a)}-{seconds(b)}' for a, b in spans_ns)
    return ', '.join(f'{word} s' for word in words) or '-'

# SPDX-License-Identifier: Apache-2.0
"""`flywheel candidates`: what was generated, in words and on one sheet."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cosmos_flywheel.cli.actions import add_action, add_folder, run
from cosmos_flywheel.cli.table import amount, printable, table
from cosmos_flywheel.core.errors import StoreError
from cosmos_flywheel.generate.sheet import by_failure, draw_sheet
from cosmos_flywheel.generate.sheet_page import sheet_page
from cosmos_flywheel.store.candidates import (
    Manifest,
    find_candidate,
    iter_candidates,
    read_candidate,
    read_run,
)
from cosmos_flywheel.store.files import storing, write_bytes

SHEET = 'candidates.png'
ON_A_SHEET = 24


def add_parser(subparsers: Any) -> None:
    """Declare the verb and what it can do."""
    parser = subparsers.add_parser(
        'candidates',
        help='list and show what was generated',
        description='Lists and shows the candidates of an output folder.',
    )
    actions = parser.add_subparsers(metavar='ACTION', required=True)
    listing = add_action(actions, 'list', _list, 'a table of candidates')
    add_folder(listing)
    listing.add_argument('--json', action='store_true', help='the manifests as JSON')
    showing = add_action(actions, 'show', _show, 'all that is known of one candidate')
    showing.add_argument('id', metavar='ID', help="a candidate's id, or how it begins")
    add_folder(showing)
    sheet = add_action(actions, 'sheet', _sheet, 'draw them side by side as one picture')
    add_folder(sheet)
    sheet.add_argument(
        '-n', type=int, default=ON_A_SHEET, help='at most so many (default: %(default)s)'
    )
    sheet.add_argument(
        '-o', '--output', type=Path, metavar='FILE', help=f'the PNG (default: DIR/{SHEET})'
    )
    sheet.add_argument('--page', type=Path, metavar='FILE', help='write a page with the films too')
    for one in (listing, sheet):
        one.add_argument('--brief', help='only those of this brief')
        one.add_argument('--backend', help='only those of this generator')
    parser.set_defaults(run=run)


def _list(args: argparse.Namespace) -> int:
    found = list(_chosen(args))
    if args.json:
        print(json.dumps([manifest for _, manifest in found], indent=2))
        return 0
    head = ('candidate', 'episode', 'backend', 'family', 'cell', 'commands', 'frames', 'CPU')
    rows = [_cells(folder, manifest) for folder, manifest in found]
    print('\n'.join(table([head, *rows], right=(6, 7))))
    cpu_s = sum(float(read_run(folder).get('cpu_s', 0.0)) for folder, _ in found)
    print(f'{len(found)} candidate{"s" * (len(found) != 1)}, {amount(cpu_s)} s of processors')
    return 0


def _show(args: argparse.Namespace) -> int:
    folder = find_candidate(args.out, args.id)
    manifest, cost = read_candidate(folder, verify=True), read_run(folder)
    print('\n'.join(printable(line) for line in _told(folder, manifest)))
    if cost:
        print(f'cost: {amount(cost["cpu_s"])} s of processors, {amount(cost["gpu_s"])} s of GPUs')
    return 0


def _sheet(args: argparse.Namespace) -> int:
    folders = [folder for folder, _ in _chosen(args)]
    if not folders:
        raise StoreError(f'{args.out}: holds no such candidates; run: flywheel generate')
    shown, path = by_failure(folders[: args.n]), args.output or args.out / SHEET
    with storing(path):
        write_bytes(path, draw_sheet(shown))
    print(f'{path}: {len(shown)} of {len(folders)} candidates')
    if args.page:
        with storing(args.page):
            write_bytes(args.page, sheet_page(shown).encode('utf-8', 'replace'))
        print(f'{args.page}: their films')
    return 0


def _chosen(args: argparse.Namespace) -> Iterator[tuple[Path, Manifest]]:
    for folder in iter_candidates(args.out):
        manifest = read_candidate(folder)
        if args.brief not in (None, manifest['brief']['id']):
            continue
        if args.backend in (None, manifest['backend']):
            yield folder, manifest


def _cells(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    variation, actions = manifest['variation'], manifest['actions']
    cpu_s = read_run(folder).get('cpu_s')
    return (
        manifest['id'],
        manifest['episode'],
        manifest['backend'],
        variation['family'],
        ', '.join(f'{axis} {value}' for axis, value in variation['cell'].items()) or '-',
        actions['source'] if actions else 'none',
        str(manifest['video']['frames']),
        '-' if cpu_s is None else f'{amount(cpu_s)} s',
    )


def _told(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Line by line."""
    variation, video, actions = manifest['variation'], manifest['video'], manifest['actions']
    height, width = video['size']
    onset_s = manifest['onset_s']
    failure = 'no failure is known in it' if onset_s is None else f'it fails at {onset_s} s'
    yield f'candidate {manifest["id"]} ({manifest["kind"]}) in {folder}'
    yield f'of: episode {manifest["episode"]}, brief {manifest["brief"]["id"]}'
    yield f'robot: {manifest["robot"]}; task: {manifest["task"]}'
    cell = ', '.join(f'{axis} {value}' for axis, value in variation['cell'].items())
    yield f'variation: {variation["family"]}{": " if cell else ""}{cell}, seed {manifest["seed"]}'
    revision = manifest['model']['revision']
    yield f'by: {manifest["backend"]}, model {manifest["model"]["name"]} {revision or ""}'.rstrip()
    yield (
        f'film: {video["frames"]} frames of {width}x{height} px at {amount(video["fps"])} Hz, '
        f'made from frame {video["begins_step"]} on; {failure}'
    )
    if actions is None:
        yield 'commands: none are recorded'
    else:
        left = '; '.join(actions['violations'])
        yield (
            f'commands: {actions["steps"]} at {amount(actions["hz"])} Hz, {actions["source"]}; '
            + (f'leave the envelope: {left}' if left else 'within the envelope')
        )
    yield from manifest['notes']
    yield f'licence: {manifest["provenance"]["licence"] or "not stated"}'
    if 'licence' in manifest['model']:
        yield f'licence of the model: {manifest["model"]["licence"]}'

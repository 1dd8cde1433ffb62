# SPDX-License-Identifier: Apache-2.0
"""`flywheel import SET`: a LeRobot data set or a folder of films in, bags and a robot file out."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.capture.importing.origin import Item, Origin, chosen, licence_of, revision_of
from cosmos_flywheel.capture.importing.run import Imported, check_files, import_items, open_origin
from cosmos_flywheel.capture.importing.shelf import BAGS, ROBOT, SOURCE, Shelf
from cosmos_flywheel.capture.proposal import propose
from cosmos_flywheel.capture.survey import survey_bag
from cosmos_flywheel.cli.init import robot_text
from cosmos_flywheel.cli.progress import ProgressLine
from cosmos_flywheel.cli.table import printable
from cosmos_flywheel.store.files import storing, write_bytes
from cosmos_flywheel.store.robots import load_robot, robot_from_text, robot_names

SOME_REFUSED_CODE = 1


def add_parser(subparsers: Any) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        'import',
        help='make bags of a LeRobot data set or of films with captions',
        description='Makes one bag of every episode of a LeRobot data set (2.0, 2.1, 3.0) or of '
        'every film of a folder, with a robot file and source.json, which says where they come '
        'from. Run again, it goes on where it was stopped.',
    )
    parser.add_argument('set', type=Path, metavar='SET', help='the folder of the set or of films')
    parser.add_argument(
        '-o', '--output', type=Path, required=True, metavar='DIR', help='the folder to fill'
    )
    parser.add_argument(
        '--episodes', metavar='LIST', help='only these, such as 0,3,5-9 (default: all)'
    )
    parser.add_argument(
        '--without',
        action='append',
        default=[],
        metavar='FEATURE',
        help='leave a feature out, such as a camera whose films you lack; may be repeated',
    )
    parser.add_argument(
        '--revision', help='commit of the set (default: as a download from a hub says)'
    )
    parser.add_argument('--licence', help="of the set (default: as the set's card says)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Import and say what came of it."""
    origin = open_origin(args.set, args.without)
    items = chosen(origin.items, args.episodes, str(args.set))
    check_files(origin.root, items)
    shelf = Shelf(
        args.output,
        origin,
        revision=args.revision or revision_of(args.set),
        licence=args.licence or licence_of(args.set),
    )
    with shelf.claimed(), ProgressLine('episodes') as line:
        line.expect({item.name: item.seconds for item in items})
        result = import_items(shelf, items, line)
    has_robot = _draft_robot(args.output, origin, items, result)
    for text in _lines(args.output, origin, result, has_robot=has_robot):
        print(printable(text))
    return SOME_REFUSED_CODE if result.refused else 0


def _draft_robot(out: Path, origin: Origin, items: tuple[Item, ...], result: Imported) -> bool:
    """Write the robot file that the first bag suggests, unless there is one; False without any."""
    path = out / ROBOT
    there = [*result.made, *result.kept]
    if path.exists() or not there:
        return path.exists()
    with open_bag(out / BAGS / min(there)) as bag:
        survey = survey_bag(bag)
    proposal = propose(survey, _robot_name(origin), [load_robot(name) for name in robot_names()])
    tasks = {task for item in items if item.name in there for task in item.tasks}
    if origin.kind == 'lerobot' and len(tasks) == 1:
        proposal.document['task'] = ' '.join(tasks.pop().split())
    text = robot_text(survey, proposal)
    robot_from_text(text, path)  # what is written must load again
    with storing(path):
        write_bytes(path, text.encode('utf-8'))
    return True


def _robot_name(origin: Origin) -> str:
    said = origin.robot_type or origin.name
    return re.sub(r'[^\w-]', '_', said, flags=re.ASCII)


def _lines(out: Path, origin: Origin, result: Imported, *, has_robot: bool) -> list[str]:
    lines = [f'not imported: {name}: {why}' for name, why in result.refused]
    lines += [f'left out: {key}: {why}' for key, why in origin.left_out.items()]
    lines += [f'note: {note}' for note in origin.notes]
    counts = f'{len(result.made)} made, {len(result.kept)} there already'
    if result.refused:
        counts += f', {len(result.refused)} not imported'
    lines.append(f'{out / BAGS}: {counts}; where they come from: {out / SOURCE}')
    if has_robot:
        robot = out / ROBOT
        lines.append(f'{robot}: read its comments, correct what is wrong, then try')
        lines.append(f'  flywheel harvest {out / BAGS} --robot {robot}')
    return lines

# SPDX-License-Identifier: Apache-2.0
"""`flywheel brief`: failures made into orders for a generator."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosmos_flywheel.bags.source import find_bags
from cosmos_flywheel.cli.actions import add_out
from cosmos_flywheel.cli.table import amount, printable, table
from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.envelope import Actions
from cosmos_flywheel.core.errors import ConfigError, FlywheelError
from cosmos_flywheel.core.pack import Pack
from cosmos_flywheel.engines.remote.server import SERVED, Server
from cosmos_flywheel.generate.brief import Compiled, compile_brief
from cosmos_flywheel.generate.commands import nominal_paths
from cosmos_flywheel.generate.failure import Known, read_failure
from cosmos_flywheel.generate.reasoner import ask_caption
from cosmos_flywheel.generate.worth import Worth, deserves, in_order, require_worth
from cosmos_flywheel.store.briefs import BRIEFS, DOCUMENT, adopt, read_brief, save_brief
from cosmos_flywheel.store.catalogue import Catalogue, rebuild
from cosmos_flywheel.store.connection import CATALOGUE
from cosmos_flywheel.store.episodes import MANIFEST, iter_episodes, read_episode
from cosmos_flywheel.store.packs import load_pack, pack_for
from cosmos_flywheel.store.records import EpisodeRow
from cosmos_flywheel.store.robots import load_robot

REFUSED_CODE = 1
"""Of some episodes no brief could be made."""
THAT_OF_OUT = Path()
"""Stands for a folder that was not given."""


def add_parser(subparsers: Any) -> None:
    """Declare the verb and what it can do."""
    parser = subparsers.add_parser(
        'brief',
        help='make failures into orders for a generator',
        description='Makes a failure episode into a brief: what to show, from where to begin, '
        'what may be commanded, and which variations are ordered. A brief is JSON and may be '
        'edited; given the folder of an edited one, takes it in under an id of its own.',
    )
    parser.add_argument(
        'episode', nargs='?', metavar='EPISODE', help="an episode's id, or its or a brief's folder"
    )
    parser.add_argument(
        '--all',
        nargs='?',
        type=Path,
        const=THAT_OF_OUT,
        metavar='OUT',
        help='all failures of this output folder of a harvest (without OUT: of --out)',
    )
    add_out(parser)
    parser.add_argument('--robot', help="a robot or a robot file (default: the episode's)")
    parser.add_argument('--pack', help='a domain pack or a pack file (default: by the robot)')
    parser.add_argument(
        '--nominal',
        nargs='+',
        type=Path,
        default=[],
        metavar='BAG',
        help='bags that bound actions',
    )
    parser.add_argument(
        '--untriaged', action='store_true', help='also episodes that nobody has judged'
    )
    parser.add_argument('--reasoner', metavar='URL', help='ask this vLLM server for a caption')
    parser.add_argument(
        '--served', default=SERVED, metavar='MODEL', help='its name there (default: %(default)s)'
    )
    parser.add_argument(
        '--allow-remote', action='store_true', help='pictures may go to another machine'
    )
    parser.add_argument(
        '-o', '--output', type=Path, metavar='DIR', help='where briefs go (default: OUT/briefs)'
    )
    parser.add_argument('--show', action='store_true', help='also print each brief')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the briefs that were asked for; returns the exit code."""
    if (args.episode is None) == (args.all is None):
        raise ConfigError('say which: EPISODE for one, or --all for every failure')
    if args.all is THAT_OF_OUT:
        args.all = args.out
    given = Path(args.episode) if args.episode else None
    if given is not None and (given / DOCUMENT).is_file():
        return _adopt(given, args)
    maker = Maker(args)
    if given is not None:
        return _make_one(given, maker, args)
    return _make_all(maker, args)


@dataclass(slots=True)
class Maker:
    """Reads and compiles with what the command line gave, each of which is loaded once."""

    args: argparse.Namespace
    server: Server | None = None
    _robots: dict[str, tuple[Robot, list[Actions]]] = field(default_factory=dict)
    _packs: dict[str, tuple[Pack, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.args.reasoner:
            self.server = Server(
                self.args.reasoner, self.args.served, allow_remote=self.args.allow_remote
            )

    def read(self, folder: Path) -> Known:
        """An episode as its pack and robot have it; raises what `read_failure` does."""
        robot, _, (pack, _) = self._with(folder)
        return read_failure(folder, pack, robot)

    def compile(self, known: Known) -> Compiled:
        """Its brief; raises what `compile_brief` and the Reasoner's server do."""
        robot, nominal, (pack, sha256) = self._with(known.folder)
        made = compile_brief(known, pack, sha256, robot, nominal)
        if self.server is None:
            return made
        shown = [made.files[name] for name in made.brief.scene.keyframes]
        caption = ask_caption(self.server, shown)
        return compile_brief(known, pack, sha256, robot, nominal, caption)

    def _with(self, folder: Path) -> tuple[Robot, list[Actions], tuple[Pack, str]]:
        stated = read_episode(folder)['robot']
        name = self.args.robot or stated
        if name is None:
            raise ConfigError(f'{folder}: no robot is stated; give --robot')
        if name not in self._robots:
            robot = load_robot(name)
            bags = find_bags(self.args.nominal) if self.args.nominal else []
            self._robots[name] = robot, nominal_paths(bags, robot)
        robot, nominal = self._robots[name]
        pack = self.args.pack or pack_for(robot.name)
        if pack not in self._packs:
            self._packs[pack] = load_pack(pack)
        return robot, nominal, self._packs[pack]


def _adopt(folder: Path, args: argparse.Namespace) -> int:
    """Take an edited brief in."""
    _tell(adopt(folder), args.show)
    return 0


def _make_one(given: Path, maker: Maker, args: argparse.Namespace) -> int:
    folder = find_episode(args.out, str(given))
    known = maker.read(folder)
    require_worth(known.manifest['id'], known.state, untriaged=args.untriaged)
    made = maker.compile(known)
    out = args.output or folder.parent / BRIEFS
    _tell(save_brief(out, made.brief, made.files), args.show)
    _warn(made, known)
    return 0


def _make_all(maker: Maker, args: argparse.Namespace) -> int:
    """The worthiest first."""
    with _open(args.all) as catalogue:
        rows = {row.id: row for row in catalogue.episodes()}
        folders = {name: catalogue.folder(name) for name in rows}
    due = [row for row in rows.values() if deserves(row.label, untriaged=args.untriaged)]
    if not due:
        raise ConfigError(
            f'{args.all}: of {len(rows)} episodes none is labelled a failure; run: flywheel '
            f'episodes label --out {args.all}; or give --untriaged'
        )
    found, refused = _weigh(due, folders, maker)
    cells = [('weight', 'episode', 'cause', 'object', 'phase', 'brief')]
    for worth, weight in in_order(found):
        try:
            made = maker.compile(maker.read(folders[worth.episode]))
            folder = save_brief(args.output or args.all / BRIEFS, made.brief, made.files)
        except FlywheelError as error:
            refused.append(str(error))
            continue
        failure = made.brief.failure
        told = (failure.cause, failure.object or '-', failure.phase or '-', folder.name)
        cells.append((amount(weight), worth.episode, *told))
        if args.show:
            print('\n'.join(_lines(read_brief(folder))))
    print('\n'.join(table(cells, right=(0,))))
    for reason in refused:
        print(printable(f'left out: {reason}'), file=sys.stderr)
    return REFUSED_CODE if refused else 0


def _weigh(
    due: Sequence[EpisodeRow], folders: dict[str, Path], maker: Maker
) -> tuple[list[Worth], list[str]]:
    """What each is worth, and why some cannot be read; no clip is held longer than that takes."""
    found, refused = [], []
    for row in due:
        try:
            cause = maker.read(folders[row.id]).reading.cause
        except FlywheelError as error:
            refused.append(str(error))
            continue
        found.append(Worth(row.id, row.cluster, cause.cost, row.severity))
    return found, refused


def find_episode(out: Path, given: str) -> Path:
    """The folder of an episode, by that folder or by its id's beginning.

    Raises:
        ConfigError: the output folder holds no episodes.
        StoreError: none or more than one of them begins so.

    """
    if (Path(given) / MANIFEST).is_file():
        return Path(given)
    with _open(out) as catalogue:
        return catalogue.folder(catalogue.episode(given).id)


def _open(out: Path) -> Catalogue:
    if not (out / CATALOGUE).is_file():
        if next(iter_episodes(out), None) is None:
            raise ConfigError(f'{out}: holds no episodes; give the output folder of a harvest')
        rebuild(out)
    return Catalogue.open(out)


def _tell(folder: Path, show: bool) -> None:
    brief = read_brief(folder)
    print(printable(f'{folder / DOCUMENT}: {brief.failure.cause}'))
    if show:
        print('\n'.join(_lines(brief)))


def _warn(made: Compiled, known: Known) -> None:
    """Say where what was recorded would itself be refused."""
    envelope = made.brief.envelope
    if envelope is None:
        print('no commands are recorded: only recorded pictures will vary', file=sys.stderr)
        return
    left = envelope.violations(known.clip.actions[known.onset :], recorded=True)
    if left:
        print(
            printable(
                f'what was commanded after the onset leaves the envelope ({left[0]}); '
                'give nominal bags with --nominal if it should not'
            ),
            file=sys.stderr,
        )


def _lines(brief: Brief) -> list[str]:
    failure, prompt, scene = brief.failure, brief.prompt, brief.scene
    told = [
        f'brief       {brief.id} of episode {brief.origin.id} ({brief.origin.label})',
        f'cause       {failure.cause}, says {failure.said_by}: {"; ".join(failure.evidence)}',
        f'object      {failure.object or "unknown"}; phase {failure.phase or "unknown"}',
        f'scene       {prompt.scene} (said by {prompt.said_by})',
        *(f'{f"{a:.1f} … {b:.1f} s":12}{words}' for a, b, words in prompt.actions),
        f'begins at   {len(scene.keyframes)} keyframes of camera {scene.camera}; controls '
        f'{", ".join(scene.controls) or "none"}; tier {scene.tier}',
        f'envelope    {brief.envelope.source if brief.envelope else "none"}',
        *(
            f'{one.effect:12}{one.check} from {one.start_s:.1f} to {one.end_s:.1f} s: '
            f'{one.because}'
            for one in brief.makes_normal
        ),
        *(
            f'family      {family.name}, actions {family.actions}: '
            + '; '.join(f'{axis} {", ".join(v)}' for axis, v in family.axes.items())
            for family in brief.families
        ),
    ]
    return [printable(line) for line in told]

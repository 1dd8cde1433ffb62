# SPDX-License-Identifier: Apache-2.0
"""`flywheel plan`: which candidates to make next, by what is probable, costly and empty."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cosmos_flywheel.cli.actions import add_folder
from cosmos_flywheel.cli.means import add_backends, add_means, given_backends, given_means
from cosmos_flywheel.cli.table import amount, printable, table
from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.generate.backends import Means, find_backend, makers
from cosmos_flywheel.generate.coverage import (
    Costs,
    Coverage,
    Filled,
    Makers,
    Tried,
    plan_coverage,
)
from cosmos_flywheel.generate.coverage_page import coverage_page
from cosmos_flywheel.generate.grid import Real, make_grid
from cosmos_flywheel.generate.known import (
    pack_costs,
    read_briefs,
    read_costs,
    read_seen,
    read_tried,
    real_failures,
)
from cosmos_flywheel.generate.plan_document import SCHEMA, plan_document, why_empty
from cosmos_flywheel.store.briefs import BRIEFS
from cosmos_flywheel.store.catalogue import Catalogue
from cosmos_flywheel.store.connection import CATALOGUE
from cosmos_flywheel.store.files import storing, write_bytes, write_document
from cosmos_flywheel.store.records import EpisodeRow

FAILURE = 'failure'
PLAN = 'plan.json'
SHOWN = 20
"""Orders that are printed; all are in the file."""


def add_parser(subparsers: Any) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        'plan',
        help='choose which candidates to make next, and say what they cover',
        description='Lays failures, briefs and earlier candidates on one grid and orders what is '
        'most probable, most costly and not yet covered.',
    )
    add_folder(parser)
    parser.add_argument('--briefs', type=Path, metavar='DIR', help='default: DIR/briefs')
    parser.add_argument(
        '--candidates', type=Path, metavar='DIR', help='where candidates/ lies (default: DIR)'
    )
    parser.add_argument(
        '-n', type=int, default=16, metavar='N', help='how many orders (default: %(default)s)'
    )
    parser.add_argument(
        '--cost', type=Path, metavar='FILE', help="weights beside the packs': a costs-v1 file"
    )
    parser.add_argument(
        '--seen', type=Path, metavar='FILE', help='conditions of the failures: a seen-v1 file'
    )
    parser.add_argument(
        '--accepted', type=Path, metavar='FILE', help='ids of accepted candidates, one a line'
    )
    parser.add_argument('--rejected', type=Path, metavar='FILE', help='the same of rejected ones')
    add_backends(parser, 'order only what these generators make')
    add_means(parser)
    parser.add_argument('--seed', type=int, default=0, help='the first one (default: 0)')
    parser.add_argument('-o', '--output', type=Path, metavar='FILE', help=f'default: DIR/{PLAN}')
    parser.add_argument(
        '--page', type=Path, metavar='FILE', help='also draw the grid as a page for a browser'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Plan, write the plan, and show it."""
    if args.n < 1 or args.seed < 0:
        raise ConfigError('-n: give at least 1, and --seed 0 or more')
    briefs = read_briefs(args.briefs or args.out / BRIEFS)
    rows = _failures(args.out)
    costs, packs = pack_costs(briefs)
    said = read_costs(args.cost) if args.cost else Costs()
    costs = Costs({**costs.causes, **said.causes}, said.families)
    seen = read_seen(args.seen) if args.seen else {}
    reals, unknown = real_failures(rows, briefs, seen)
    tried = read_tried(args.candidates or args.out, _ids(args.rejected), _ids(args.accepted))
    grid = make_grid(briefs, reals)
    plan = plan_coverage(
        grid,
        tried,
        args.n,
        costs=costs,
        makers=_makers(given_backends(args), given_means(args), briefs),
        seed=args.seed,
    )
    notes = list(_notes(plan, briefs, reals, rows, unknown, tried, said))
    notes += [
        f'pack {name!r} is not shipped: what its causes cost is not known (--cost)'
        for name in packs
    ]
    if not args.backend:
        notes.append('no generator was asked whether it makes these cells (--backend)')
    path = args.output or args.out / PLAN
    document = plan_document(plan, costs, notes)
    with storing(path):
        write_document(path, document, SCHEMA)
    if args.page:
        with storing(args.page):
            write_bytes(args.page, coverage_page(document).encode('utf-8', 'replace'))
    for line in (*_lines(plan, reals), *notes, f'plan: {path}'):
        print(printable(line))
    return 0


def _failures(out: Path) -> list[EpisodeRow]:
    if not (out / CATALOGUE).is_file():
        raise ConfigError(
            f'{out}: holds no catalogue; give the output folder of a harvest, or make it anew '
            f'with: flywheel episodes rebuild {out}'
        )
    with Catalogue.open(out) as catalogue:
        return catalogue.episodes(state=FAILURE)


def _makers(names: Sequence[str], means: Means, briefs: Sequence[Brief]) -> Makers | None:
    """Who of the named generators makes what; None where none is named."""
    if not names:
        return None
    generators = [find_backend(name, means) for name in names]
    by_id = {brief.id: brief for brief in briefs}
    return lambda brief, variation: makers(generators, by_id[brief], variation)


def _ids(path: Path | None) -> frozenset[str]:
    if path is None:
        return frozenset()
    try:
        return frozenset(path.read_text('utf-8').split())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f'{path}: cannot be read ({error}); give a text of ids') from error


def _notes(
    plan: Coverage,
    briefs: Sequence[Brief],
    reals: Sequence[Real],
    rows: Sequence[EpisodeRow],
    unknown: int,
    tried: Sequence[Tried],
    costs: Costs,
) -> Iterator[str]:
    """What the figures do not say of themselves."""
    if unknown:
        yield (
            f'{unknown} of {len(rows)} failures are left out: neither they nor any of their '
            'cluster has a brief'
        )
    triaged = {row.id for row in rows}
    loose = sum(brief.origin.id not in triaged for brief in briefs)
    if loose:
        yield f'{loose} of {len(briefs)} briefs are of episodes that nobody called a failure'
    there = {one.cell.key for one in plan.cells}
    strays = sum(one.key not in there for one in tried)
    if strays:
        yield f'{strays} of {len(tried)} candidates are of no cell that a brief orders now'
    if not any(real.seen for real in reals):
        yield 'no conditions of failures are known: they lie where no axis is varied (--seen)'
    for kind, known, named in (
        ('cause', {one.cell.cause for one in plan.cells}, costs.causes),
        ('family', {one.cell.variation.family for one in plan.cells}, costs.families),
    ):
        for name in sorted(set(named) - known):
            yield f'the costs name {kind} {name!r}, which no brief has'


def _lines(plan: Coverage, reals: Sequence[Real]) -> Iterator[str]:
    yield from _kinds(plan, reals)
    yield ''
    rows = [('', 'brief', 'gain', 'order', 'because')]
    for number, order in enumerate(plan.orders[:SHOWN], start=1):
        what = f'{order.variation}, {order.variation.actions}, seed {order.seed}'
        rows.append((f'{number}', order.brief[:8], f'{order.gain:.1%}', what, order.why))
    yield from table(rows, right=(0, 2))
    if len(plan.orders) > SHOWN:
        yield f'… and {len(plan.orders) - SHOWN} more'
    yield ''
    empty = Counter(filter(None, map(why_empty, plan.cells)))
    for why, count in sorted(empty.items(), key=lambda item: (-item[1], item[0])):
        yield f'{count} of {len(plan.cells)} cells stay empty: {why}'
    yield (
        f'expected to be covered, by probability × cost: {plan.share(after=False):.1%} before, '
        f'{plan.share(after=True):.1%} after {len(plan.orders)} orders, of which '
        f'{plan.survival:.0%} are expected to survive'
    )


def _kinds(plan: Coverage, reals: Sequence[Real]) -> list[str]:
    """A row for each cause and object: the most probable and costly first."""
    counts = Counter(real.kind for real in reals)
    kinds: dict[tuple[str, str], list[Filled]] = {}
    for one in plan.cells:
        kinds.setdefault(one.cell.kind, []).append(one)
    rows = [('cause', 'object', 'failures', 'cost', 'cells', 'covered', 'after', 'orders')]
    for kind, cells in sorted(kinds.items(), key=lambda k: (-sum(c.worth for c in k[1]), k[0])):
        dearest = max(one.cost for one in cells)
        rows.append(
            (
                kind[0],
                kind[1] or '-',
                str(counts[kind]),
                amount(dearest),
                str(len(cells)),
                str(sum(one.before > 0 for one in cells)),
                str(sum(one.after > 0 for one in cells)),
                str(sum(one.planned for one in cells)),
            )
        )
    return table(rows, right=(2, 3, 4, 5, 6, 7))

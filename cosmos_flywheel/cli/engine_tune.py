# SPDX-License-Identifier: Apache-2.0
"""`flywheel engine tune`: which way to ask a checkpoint is the cheapest that loses nothing."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cosmos_flywheel.cli.table import table
from cosmos_flywheel.core.errors import ConfigError

OUT = Path('tune')
NONE_CODE = 1
"""Even the trained way foretells nothing, or could not be measured."""
AXES: tuple[tuple[str, Callable[[str], Any], tuple[Any, ...]], ...] = (
    ('tiers', int, (480, 256)),
    ('steps', int, (30, 10, 4)),
    ('precisions', str, ('bf16', 'fp8')),
    ('shifts', float, (10.0,)),
)
"""What differs between ways: option, kind of value, default."""


def add_parser(actions: Any, name: str) -> None:
    """Declare the action."""
    parser = actions.add_parser(
        name,
        help='find the cheapest way to ask Cosmos that loses no skill on your recordings',
        description='Fits and tries every way on nominal bags, the one that the model was trained '
        'for first. What was measured is kept, so that the command may be cut off and repeated.',
    )
    parser.add_argument('bags', nargs='+', type=Path, metavar='BAG', help='nominal bags')
    parser.add_argument('--robot', required=True, help='a shipped robot or a robot file')
    parser.add_argument('--checkpoint', type=Path, required=True, metavar='DIR')
    parser.add_argument(
        '--revision', default='', help='its commit, where its name does not say it'
    )
    for option, kind, default in AXES:
        parser.add_argument(
            f'--{option}',
            type=_several(kind),
            default=default,
            metavar='A,B',
            help=f'to try (default: {",".join(map(str, default))})',
        )
    parser.add_argument(
        '--set', action='append', default=[], metavar='NAME=VALUE', help='the same in every way'
    )
    parser.add_argument(
        '--minutes',
        type=float,
        default=math.inf,
        metavar='N',
        help='begin no further way after so long (default: no limit)',
    )
    parser.add_argument(
        '-o', '--out', type=Path, default=OUT, help='where ways are kept (default: %(default)s)'
    )
    parser.set_defaults(action=run)


def _several(kind: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    """What reads values with commas between them: bags may follow the option."""

    def values(text: str) -> tuple[Any, ...]:
        return tuple(kind(word) for word in text.split(','))

    return values


def run(args: argparse.Namespace) -> int:
    """Measure, compare, print; write the chosen way, for `flywheel fit --settings`."""
    from cosmos_flywheel.bags.source import find_bags
    from cosmos_flywheel.capture import tuning
    from cosmos_flywheel.capture.generative import CosmosChoice
    from cosmos_flywheel.engines import CosmosSettings
    from cosmos_flywheel.store.robots import load_robot

    if not args.minutes > 0:
        raise ConfigError(f'--minutes {args.minutes:g}: give a number above 0')
    robot = load_robot(args.robot)
    first = tuning.trained(robot, CosmosSettings.parse(args.set))
    asked = tuning.ways(first, args.tiers, args.steps, args.precisions, args.shifts)
    choice = CosmosChoice(first, args.checkpoint, args.revision)
    paths, found = find_bags(args.bags), []
    for way in tuning.measure_all(paths, robot, choice, asked, args.out, 60 * args.minutes):
        found.append(way)
        print(f'{len(found)}/{len(asked)} {tuning.name_of(way.settings)}', flush=True)
    compared = tuning.compare(found)
    chosen = tuning.pick(compared)
    print('\n'.join(_lines(compared, len(asked) - len(found), chosen)))
    if chosen is None:
        (args.out / tuning.CHOSEN).unlink(missing_ok=True)
        return NONE_CODE
    path = tuning.save_chosen(chosen, args.out)
    level = chosen.settings.level
    print(f'take `flywheel fit --engine {level} --settings {path} --checkpoint {args.checkpoint}`')
    return 0


def _lines(compared: Sequence[Any], left: int, chosen: Any) -> Iterator[str]:
    head = ('tier', 'steps', 'precision', 'shift', 'real time', 'skill', 'against trained',
            'faults seen', '')  # fmt: skip
    yield ''
    yield from table(
        [head, *(_row(one, compared[0], chosen) for one in compared)], right=(0, 1, 3)
    )
    yield ''
    if left:
        yield f'{left} ways were not measured: the time is spent; repeat to go on'
    for one in compared:
        if one.way.why_not:
            yield f'{one.way.settings.level}, {one.way.settings.precision}: {one.way.why_not}'
    if chosen is None:
        yield (
            'none is chosen: the way that the model was trained for is not better than standing '
            'still on these recordings, so there is nothing that a cheaper way could keep'
        )


def _row(one: Any, first: Any, chosen: Any) -> tuple[str, ...]:
    way, settings = one.way, one.way.settings
    word = 'chosen' if way is chosen else 'trained' if one is first else ''
    return (
        str(settings.tier),
        str(settings.steps),
        settings.precision,
        f'{settings.shift:g}',
        '-' if way.cost is None else f'{way.cost:.3f}',
        '-' if way.skill is None else way.skill.in_words(),
        '-' if one.gain is None else one.gain.in_words(),
        f'{way.seen}/{way.injected}',
        word,
    )

# SPDX-License-Identifier: Apache-2.0
"""`flywheel trial EPISODE…`: is a generator, with these rules, worth being let loose on them?"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from cosmos_flywheel.bags.source import find_bags
from cosmos_flywheel.capture.candidate import unasked_alarms
from cosmos_flywheel.capture.model import load_judge
from cosmos_flywheel.cli.actions import OUT
from cosmos_flywheel.cli.brief import Maker, find_episode
from cosmos_flywheel.cli.means import add_means, given_means
from cosmos_flywheel.cli.progress import ProgressLine
from cosmos_flywheel.cli.table import amount, printable, table
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.generate.backends import BACKENDS, find_backend, usual_backend
from cosmos_flywheel.generate.known import read_briefs
from cosmos_flywheel.generate.order_work import require_derivable
from cosmos_flywheel.generate.purse import Purse
from cosmos_flywheel.generate.rules import TODAY, Rule
from cosmos_flywheel.generate.trial import QUESTIONS, SCHEMA, Trial, run_trial, trial_document
from cosmos_flywheel.generate.trial_page import trial_page
from cosmos_flywheel.generate.trial_scenarios import Subject
from cosmos_flywheel.generate.worth import require_worth
from cosmos_flywheel.store.briefs import BRIEFS, read_brief, save_brief
from cosmos_flywheel.store.files import storing, write_bytes, write_document
from cosmos_flywheel.store.robots import load_robot

COUNT = 3
BUDGET_S = 600.0
NO_GO_CODE = 1
"""No go, or undecided."""
DOCUMENT, PAGE = 'trial.json', 'trial.html'
CHANNELS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    'picture': ('the picture against its prediction', ('shuffled',)),
    'state': ('states against what the commands foretell', ('swapped',)),
    'action_surprise': ('commands against what the robot was ever told', ('swapped',)),
    'stream_health': ('whether pictures change while the robot moves', ('frozen',)),
}
"""By channel, what it looks at and which ways to be wrong it is meant for."""


def add_parser(subparsers: Any) -> None:
    """Declare the verb and what it can do."""
    parser = subparsers.add_parser(
        'trial',
        help='try a generator and the rules on episodes: go or no-go',
        description='Answers, within a budget, what must be known before a generator is let '
        'loose: does it make the scenarios that are missing, do actions steer it, do the rules '
        'reject what is wrong. With --model, the channels are rules too. Writes a page with '
        'pictures.',
    )
    parser.add_argument(
        'episode', nargs='+', metavar='EPISODE', help='ids or folders of failure episodes'
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=OUT,
        metavar='DIR',
        help='the output folder of a harvest that they are of (default: %(default)s)',
    )
    parser.add_argument(
        '-o', '--output', type=Path, metavar='DIR', help='where the page goes (default: OUT/trial)'
    )
    parser.add_argument(
        '--backend', choices=tuple(BACKENDS), help='who is on trial (default: sim or augment)'
    )
    add_means(parser)
    parser.add_argument(
        '-n',
        type=int,
        default=COUNT,
        metavar='N',
        help='candidates of each (default: %(default)s)',
    )
    parser.add_argument('--seed', type=int, default=0, help='the first one (default: 0)')
    for what in ('GPU', 'CPU'):
        parser.add_argument(
            f'--budget-{what.lower()}-s',
            type=float,
            default=BUDGET_S,
            metavar='S',
            help=f'seconds of {what} that may be spent (default: %(default)g)',
        )
    parser.add_argument(
        '--nominal', nargs='+', type=Path, default=[], metavar='BAG',
        help='bags in which nothing went wrong, for bounds, commands and slopes',
    )  # fmt: skip
    parser.add_argument('--robot', help="a robot or a robot file (default: the episode's)")
    parser.add_argument('--pack', help='a domain pack or a pack file (default: by the robot)')
    parser.add_argument(
        '--untriaged', action='store_true', help='also episodes that nobody has judged'
    )
    parser.set_defaults(run=run, reasoner=None)


def run(args: argparse.Namespace) -> int:
    """Try, write the page, and say what came of it; returns the exit code."""
    if args.n < 1 or args.seed < 0:
        raise ConfigError('-n: give at least 1, and --seed 0 or more')
    means = given_means(args)
    purse = Purse(args.budget_gpu_s, args.budget_cpu_s)
    subjects = list(_subjects(args))
    generator = (
        find_backend(args.backend, means) if args.backend else usual_backend(subjects[0].brief)
    )
    generator.check()
    rules = [*TODAY, *_channel_rules(args, subjects[0].robot)]
    with ProgressLine('questions', bags=False) as line:
        line.expect(dict.fromkeys(QUESTIONS, 1.0))
        trial = run_trial(
            args.out,
            subjects,
            generator,
            rules,
            purse,
            count=args.n,
            seed=args.seed,
            progress=_telling(line),
        )
    output = args.output or args.out / 'trial'
    document = trial_document(trial)
    with storing(output):
        output.mkdir(parents=True, exist_ok=True)
        write_document(output / DOCUMENT, document, SCHEMA)
        write_bytes(output / PAGE, trial_page(document, trial).encode('utf-8', 'replace'))
    for text in (*_lines(trial), f'page: {output / PAGE}'):
        print(printable(text))
    return 0 if trial.verdict == 'go' else NO_GO_CODE


def _subjects(args: argparse.Namespace) -> Iterator[Subject]:
    """The episodes with their briefs, which are made where there are none."""
    maker = Maker(args)
    nominal = tuple(find_bags(args.nominal)) if args.nominal else ()
    there = {brief.origin.id: brief for brief in read_briefs(args.out / BRIEFS)}
    for folder in dict.fromkeys(find_episode(args.out, given) for given in args.episode):
        known = maker.read(folder)
        name = str(known.manifest['id'])
        require_worth(name, known.state, untriaged=args.untriaged)
        brief = there.get(name)
        if brief is None:
            made = maker.compile(known)
            brief = read_brief(save_brief(args.out / BRIEFS, made.brief, made.files))
        require_derivable(brief)
        robot = load_robot(args.robot or brief.origin.robot)
        yield Subject(brief, folder, robot, nominal)


def _channel_rules(args: argparse.Namespace, robot: Robot) -> Iterator[Rule]:
    """The channels of a fitted model, as rules: nothing may alarm before it is asked to."""
    if args.model is None:
        return
    judge = load_judge(args.model)
    judge.check_robot(robot)

    @lru_cache(maxsize=2)
    def alarms(folder: Path) -> dict[str, str]:
        return unasked_alarms(folder, robot, judge, args.out)

    for name, (what, catches) in CHANNELS.items():
        if judge.calibration is not None and name in judge.calibration.channels:
            yield Rule(name, what, catches, _saying(alarms, name))


def _saying(alarms: Callable[[Path], dict[str, str]], name: str) -> Callable[[Path], str]:
    return lambda folder: alarms(folder).get(name, '')


def _telling(line: ProgressLine) -> Callable[[str, float], None]:
    def tell(question: str, share: float) -> None:
        for done in QUESTIONS[: QUESTIONS.index(question)]:
            line(done, 1.0)
        line(question, share)

    return tell


def _lines(trial: Trial) -> Iterator[str]:
    rows = [('question', 'answer', 'because')]
    for question, answer in zip(QUESTIONS, trial.answers, strict=True):
        rows.append((question, answer.verdict, answer.reason))
    yield from table(rows)
    spent = trial.purse.spent
    yield (
        f'{trial.verdict.upper()}: {trial.generator.name} on {len(trial.subjects)} episodes, '
        f'{amount(spent.gpu_s, " s")} of GPU and {amount(spent.cpu_s, " s")} of CPU'
    )

# SPDX-License-Identifier: Apache-2.0
"""What a terminal shows of a run of `flywheel generate`: how far it is, and what came of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from cosmos_flywheel.cli.progress import ProgressLine
from cosmos_flywheel.cli.table import amount, printable, table
from cosmos_flywheel.core.job import DONE, Job
from cosmos_flywheel.core.variation import variation_from
from cosmos_flywheel.generate.produce import Produced, Wish
from cosmos_flywheel.generate.queue import Queue

FEW = 2
"""Briefs that are named; more are counted."""


class Watch:
    """A line of progress, and once each why nothing goes on; a context manager."""

    def __init__(self, wishes: Sequence[Wish]) -> None:
        self._wishes = wishes
        self._line = ProgressLine('candidates', bags=False)
        self._line.expect({_name(wish): float(wish.count) for wish in wishes})
        self._told: set[str] = set()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: object) -> None:
        self._line.__exit__(*error)

    def __call__(self, queue: Queue) -> None:
        """Look how it stands."""
        states = queue.states()
        for wish in self._wishes:
            done = sum(states.get(order.id) == DONE for order in wish.orders)
            self._line(_name(wish), float(done))
        away = queue.away()
        reasons = {f'{name} is left alone for a while: {why}' for name, why in away.items()}
        if queue.is_paused:
            reasons.add('the queue is paused; go on with: flywheel queue resume')
        for reason in sorted(reasons - self._told):
            print(printable(reason), file=sys.stderr)
        self._told |= reasons


def show(produced: Sequence[Produced], stopped: str) -> None:
    """Print a table of what was made, and of what was not, why."""
    rows = [('brief', 'backend', 'made', 'were there', 'refused', 'CPU'), *map(_row, produced)]
    print('\n'.join(table(rows, right=(2, 3, 4, 5))))
    for told in _of_briefs((why, one) for one in produced for why in one.wish.unmade):
        print(printable(f'not made: {told}'))
    for told in _of_briefs((axis, one) for one in produced for axis in one.wish.left_open):
        print(printable(f'not varied: {told}'))
    for one in produced:
        for why in _refusals(one.refused):
            print(printable(f'{one.wish.brief_id}: refused: {why}'), file=sys.stderr)
    if stopped:
        left = sum(len(one.left) for one in produced)
        print(printable(f'stopped: {stopped}'))
        print(f'left in the queue: {left}; go on with: flywheel generate --queued')


def _name(wish: Wish) -> str:
    return f'{wish.brief_id} {wish.backend}'


def _row(one: Produced) -> tuple[str, ...]:
    numbers = len(one.made), len(one.found), len(one.refused)
    cpu_s = sum(job.price.cpu_s for job in one.made)
    return one.wish.brief_id, one.wish.backend, *map(str, numbers), amount(cpu_s, ' s')


def _of_briefs(said: Iterable[tuple[str, Produced]]) -> list[str]:
    """What is said of several briefs, once each."""
    alike: dict[str, list[str]] = {}
    for words, one in said:
        alike.setdefault(words, []).append(one.wish.brief_id)
    return [
        f'{words} ({f"{len(names)} briefs" if len(names) > FEW else ", ".join(names)})'
        for words, names in alike.items()
    ]


def _refusals(jobs: Sequence[Job]) -> list[str]:
    """One for each reason."""
    alike: dict[str, list[Job]] = {}
    for job in jobs:
        alike.setdefault(job.reason or job.state, []).append(job)
    return [
        f'{_what(those[0])}{f", and {len(those) - 1} more orders" * (len(those) > 1)}: {reason}'
        for reason, those in alike.items()
    ]


def _what(job: Job) -> str:
    variation = variation_from(job.order.variation)
    seeds = f'seed {job.order.seed}' + (f' and {job.attempt - 1} more' if job.attempt > 1 else '')
    return f'{variation}, {seeds}'

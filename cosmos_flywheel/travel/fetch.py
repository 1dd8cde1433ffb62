# SPDX-License-Identifier: Apache-2.0
"""Rounds of fetching: what is offered is taken, again and again, for as long as it may take.

A robot that is away for days, a link that breaks and a disk that is full only delay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cosmos_flywheel.core.errors import NotNowError, SchemaError, StoreError
from cosmos_flywheel.travel.inbox import Inbox, Outcome
from cosmos_flywheel.travel.parcel import Source

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 300.0
"""Before the next round after one that failed; doubled each time."""
WATCH_S = 10.0
"""Between rounds when all is well."""


@dataclass(slots=True)
class Tally:
    """Ids by what became of them."""

    arrived: set[str] = field(default_factory=set)
    present: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    bags: int = 0
    """Bags of whose operating hours something new was heard."""
    is_done: bool = False
    """Whether the last round left nothing to fetch."""
    problem: str = ''
    """What stopped the last round; empty if nothing did."""


def fetch(
    source: Source,
    inbox: Inbox,
    *,
    watch: bool,
    patience_s: float,
    wait: Callable[[float], bool],
    tell: Callable[[str], object],
) -> Tally:
    """Take all that is offered.

    Args:
        source: where it is offered.
        inbox: where it goes.
        watch: whether to go on once all is here; failures are then never given up.
        patience_s: without `watch`, waiting in vain ends after so long.
        wait: waits so many seconds; whether to end.
        tell: told, in words, what goes on.

    Raises:
        ConfigError: the other side refuses us.

    """
    inbox.sweep()
    tally = Tally()
    wait_s, waited_s = FIRST_WAIT_S, 0.0
    while True:
        here_before = len(tally.arrived)
        problem = _round(source, inbox, tally, tell)
        if problem and problem != tally.problem:
            tell(f'{problem}; trying again')
        tally.problem = problem
        if len(tally.arrived) > here_before or tally.is_done:
            wait_s, waited_s = FIRST_WAIT_S, 0.0
        if tally.is_done and not watch:
            return tally
        if not watch and waited_s >= patience_s:
            return tally
        pause_s = WATCH_S if tally.is_done else wait_s
        if wait(pause_s):
            return tally
        if not tally.is_done:
            waited_s += pause_s
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def _round(source: Source, inbox: Inbox, tally: Tally, tell: Callable[[str], object]) -> str:
    """Once through what is offered; returns what stood in the way."""
    tally.is_done = False
    problem = ''
    is_busy = False
    try:
        for parcel in source.parcels():
            try:
                outcome = inbox.take(parcel, source)
            except StoreError as error:  # a smaller one may still find room
                problem = str(error)
                continue
            if outcome is Outcome.ARRIVED:
                tally.arrived.add(parcel.id)
                tell(f'{parcel.id}: arrived, {parcel.bytes / 1e6:.1f} MB')
            elif outcome is Outcome.PRESENT:
                tally.present.add(parcel.id)
            elif outcome is Outcome.REFUSED:
                tally.refused.add(parcel.id)
            is_busy |= outcome is Outcome.BUSY
        problem = _hours(source, inbox, tally) or problem
    except NotNowError as error:
        return str(error)
    except StoreError as error:
        return str(error)
    tally.is_done = not problem and not is_busy and not source.is_preparing
    return problem


def _hours(source: Source, inbox: Inbox, tally: Tally) -> str:
    """The hours come after the episodes; those of a robot that tells nonsense do not count."""
    told = source.hours()
    if told is not None:
        try:
            tally.bags += inbox.note(told, 'operating hours')
        except SchemaError as error:
            return str(error)
    return ''

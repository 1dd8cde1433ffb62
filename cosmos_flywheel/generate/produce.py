# SPDX-License-Identifier: Apache-2.0
"""Orders → candidates by way of the queue; the next orders stand in for what comes to nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.job import CANCELLED, CLAIMED, DEAD, DONE, WAITING, Job, JobOrder
from cosmos_flywheel.executors.base import Executor
from cosmos_flywheel.generate.attempt import Work
from cosmos_flywheel.generate.base import Generator
from cosmos_flywheel.generate.budget import Budget, Run, require_rates
from cosmos_flywheel.generate.claims import Claims
from cosmos_flywheel.generate.order_work import job_order
from cosmos_flywheel.generate.plan import make_plan
from cosmos_flywheel.generate.pool import work_queue
from cosmos_flywheel.generate.queue import Queue
from cosmos_flywheel.store.candidates import CANDIDATES
from cosmos_flywheel.store.robots import load_robot

MOST_ORDERS = 2
"""So many times the candidates that are wanted are ordered, where some are refused."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Candidates that are wanted of one brief by one generator."""

    brief_id: str
    backend: str
    orders: tuple[JobOrder, ...]
    """In turn; those beyond `count` are for those before them that come to nothing."""
    count: int
    unmade: tuple[str, ...] = ()
    """Cells of the brief that the generator does not make, with the reason."""
    left_open: tuple[str, ...] = ()
    """Axes of the brief that the generator does not know."""


@dataclass(frozen=True, slots=True)
class Produced:
    """What came of one wish."""

    wish: Wish
    made: tuple[Job, ...]
    found: tuple[Job, ...]
    """Whose candidates were there before."""
    refused: tuple[Job, ...]
    """Dead, with the reason; or cancelled."""
    left: tuple[Job, ...]
    """That still wait in the queue."""

    @property
    def is_short(self) -> bool:
        """Whether there are fewer candidates than were wanted."""
        return len(self.made) + len(self.found) < self.wish.count


Progress = Callable[[Queue], object]


def wish_for(
    brief: Brief,
    generator: Generator,
    count: int,
    seed: int = 0,
    nominal: Sequence[Path] = (),
    robot: str = '',
) -> Wish:
    """So many candidates of a brief, with as many orders again for those that are refused.

    `robot` is one that goes before the brief's, or its file.
    """
    known = load_robot(robot or brief.origin.robot)
    plan = make_plan(brief, generator, MOST_ORDERS * count, seed)
    orders = tuple(
        job_order(brief, generator, cell, at, nominal=nominal, robot=known)
        for cell, at in plan.orders
    )
    return Wish(brief.id, generator.name, orders, count, plan.refused, plan.left_open)


def queued_wishes(out: Path, backends: Collection[str]) -> tuple[list[Wish], Mapping[str, int]]:
    """What waits in the queue for one of these generators, and how much for each other one.

    Raises:
        StoreError: the folder has no queue.

    """
    with Queue.there(out) as queue:
        orders = [job.order for job in queue.jobs(WAITING)]
    others = Counter(order.backend for order in orders if order.backend not in backends)
    return wishes_of(order for order in orders if order.backend in backends), others


def wishes_of(orders: Iterable[JobOrder]) -> list[Wish]:
    """A wish for exactly these orders, for each brief and generator."""
    found: dict[tuple[str, str], list[JobOrder]] = {}
    for order in orders:
        found.setdefault((order.brief_id, order.backend), []).append(order)
    return [Wish(*key, tuple(those), len(those)) for key, those in found.items()]


def produce(
    out: Path,
    wishes: Sequence[Wish],
    work: Work,
    *,
    workers: int = 0,
    executor: Executor | None = None,
    budget: Budget | None = None,
    progress: Progress | None = None,
) -> tuple[list[Produced], str]:
    """Put all orders into the queue and work them off, until each wish is met or has no more.

    A job that was dead or cancelled before is given new attempts where there is nothing else.

    Args:
        out: the output folder.
        wishes: what is wanted; jobs of others in the queue stay where they are.
        work: makes one job's candidate; goes to other processes.
        workers: processes; 0 works in this one.
        executor: where they are; None for this machine.
        budget: what this run may spend, beside the budget of the queue.
        progress: told twice a second, to look for itself.

    Returns:
        What came of each wish, and which limit stopped the run; '' if none did.

    Raises:
        ConfigError: money is limited and nobody said what anything costs.
        KeyboardInterrupt: Ctrl-C came; all jobs were given back.

    """
    there = {folder.name for folder in (out / CANDIDATES).glob('*')}
    with Queue.open(out) as queue:
        run = Run(budget=budget or Budget(), since=queue.last_claim())
        require_rates(run.budget, queue.rates(), out)
        states = queue.states()
        before = {name for name, state in states.items() if state in (DEAD, CANCELLED)}
        asked: set[str] = set()
        stopped = ''
        while not stopped:
            orders = [order for wish in wishes for order in _due(wish, queue.states(), before)]
            if not orders:
                break
            queue.add(orders)
            for order in orders:
                if order.id in before:
                    before.discard(order.id)
                    queue.retry(order.id)
            asked |= {order.id for order in orders}
            run = Run(frozenset(asked), None, run.budget, run.since)
            work_queue(out, work, workers, executor=executor, progress=progress, only=run)
            stopped = _stopped(queue, run)
        jobs = {job.id: job for job in queue.jobs()}
    return [_produced(wish, jobs, there) for wish in wishes], stopped


def _due(wish: Wish, states: Mapping[str, str], before: Collection[str]) -> list[JobOrder]:
    """What is to be done next for a wish."""

    def those(*wanted: str | None) -> list[JobOrder]:
        return [order for order in wish.orders if states.get(order.id) in wanted]

    refused = [order for order in those(DEAD, CANCELLED) if order.id in before]
    unwanted = [order for order in those(CANCELLED) if order.id not in before]
    short = max(wish.count - len(those(DONE)) - len(unwanted), 0)
    return (those(None, WAITING, CLAIMED) or refused)[:short]


def _stopped(queue: Queue, run: Run) -> str:
    """Why jobs of the run still wait; '' if none does."""
    waiting = [job for job in queue.jobs(WAITING) if job.id in (run.jobs or ())]
    if not waiting:
        return ''
    idle = Claims(queue, run=run).idle()
    return waiting[0].reason or 'its workers ended' if idle is None else idle.words


def _produced(wish: Wish, jobs: Mapping[str, Job], there: Collection[str]) -> Produced:
    mine = [jobs[order.id] for order in wish.orders if order.id in jobs]
    done = [job for job in mine if job.state == DONE][: wish.count]
    return Produced(
        wish,
        made=tuple(job for job in done if job.candidate_id not in there),
        found=tuple(job for job in done if job.candidate_id in there),
        refused=tuple(job for job in mine if job.state in (DEAD, CANCELLED)),
        left=tuple(job for job in mine if job.state in (WAITING, CLAIMED)),
    )

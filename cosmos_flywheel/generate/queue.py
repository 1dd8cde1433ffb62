# SPDX-License-Identifier: Apache-2.0
"""The durable queue of an output folder: what is to be made, what became of it, what it cost.

It lies in one SQLite file on a local disk; several processes may write at once. How workers take
jobs from it: `claims.py`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from cosmos_flywheel.core.errors import StoreError
from cosmos_flywheel.core.job import CANCELLED, CLAIMED, DEAD, WAITING, Job, JobOrder, Price
from cosmos_flywheel.core.lineage import canonical_json
from cosmos_flywheel.generate.budget import Budget, Ledger, Rates
from cosmos_flywheel.generate.queue_tables import (
    JOBS,
    ORDER,
    PRICE,
    STEPS,
    among,
    order_row,
    read_job,
    read_price,
)
from cosmos_flywheel.store.database import Database, Tables

QUEUE = 'queue.sqlite'
_SUMS = ', '.join(f'TOTAL({name})' for name in PRICE)


@dataclass(frozen=True, slots=True)
class Clock:
    """Two clocks in seconds: one that nobody sets, from the boot on, and the one on the wall."""

    monotonic_s: Callable[[], float] = time.monotonic
    wall_s: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class Attempt:
    """One entry of the ledger."""

    claim: int
    job: str
    attempt: int
    seed: int
    outcome: str
    reason: str
    pid: int
    began_s: float
    """Of the wall clock, for people; nothing is decided by it."""
    ended_s: float | None
    price: Price
    """While it runs, what it is expected to cost."""


class Queue:
    """One connection, for the process and thread that opened it."""

    def __init__(self, out: Path, database: Database, clock: Clock) -> None:
        self.out = out
        self.database = database
        self.clock = clock

    @classmethod
    def open(cls, out: Path, clock: Clock | None = None) -> Queue:
        """The queue of an output folder, made or brought up to date as needed.

        Raises StoreError if the folder cannot be written; BrokenDatabaseError if the file is
        damaged or from a newer version.
        """
        remedy = (
            f'move {QUEUE} and what begins like it away and order again: candidates that are '
            'there are not made twice'
        )
        tables = Tables(STEPS, remedy, 'order something else', is_truth=True)
        return cls(out, Database(out / QUEUE, tables), clock or Clock())

    @classmethod
    def there(cls, out: Path) -> Queue:
        """The queue of a folder that has one; StoreError where it has none."""
        if not (out / QUEUE).is_file():
            raise StoreError(
                f'{out}: has no queue; give the folder that candidates were ordered into'
            )
        return cls.open(out)

    def close(self) -> None:
        """Harmless when repeated."""
        self.database.close()

    def __enter__(self) -> Queue:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, orders: Iterable[JobOrder]) -> int:
        """Put orders at the end of their priority; how many were not known already.

        One that waits already is moved up to a higher priority.
        """
        columns = ', '.join((*ORDER, 'allowed'))
        marks = ', '.join(f':{name}' for name in (*ORDER, 'most_attempts'))
        statement = f'INSERT OR IGNORE INTO jobs ({columns}) VALUES ({marks})'
        sooner = """UPDATE jobs SET priority = :priority
            WHERE id = :id AND state = 'waiting' AND priority < :priority"""
        new = 0
        with self.database.writing():
            for row in map(order_row, orders):
                added = self.database.change(statement, row)
                new += added
                if not added:
                    self.database.change(sooner, row)
        return new

    def jobs(self, state: str | None = None) -> list[Job]:
        """In the order in which they are done; all, or those of one state."""
        query = f'{JOBS} WHERE :state IS NULL OR state = :state ORDER BY priority DESC, place'
        return [read_job(row) for row in self.database.ask(query, {'state': state})]

    def job(self, prefix: str) -> Job:
        """The one job whose id begins so; StoreError if there is none or more than one."""
        query = f'{JOBS} WHERE substr(id, 1, length(:prefix)) = :prefix'
        found = self.database.ask(query, {'prefix': prefix.lower()}) if prefix else []
        if not found:
            raise StoreError(
                f'{self.out}: no job begins with {prefix!r}; '
                f'look with: flywheel queue list {self.out}'
            )
        if len(found) > 1:
            raise StoreError(f'{prefix!r} begins {len(found)} jobs; give more of the id')
        return read_job(found[0])

    def known(self, job_id: str) -> Job:
        """The job of a whole id that is known to be there."""
        return read_job(self.database.ask(f'{JOBS} WHERE id = ?', (job_id,))[0])

    def attempts(self, job_id: str) -> list[Attempt]:
        """All attempts of a job, oldest first."""
        query = f"""SELECT claim, job, attempt, seed, outcome, reason, pid, began_s, ended_s,
            {', '.join(PRICE)} FROM attempts WHERE job = ? ORDER BY claim"""
        rows = self.database.ask(query, (job_id,))
        return [Attempt(*(*row[:9], read_price(row[9:]))) for row in rows]

    def states(self) -> dict[str, str]:
        """Of every job, by id."""
        return dict(self.database.ask('SELECT id, state FROM jobs'))

    def counts(self) -> dict[str, int]:
        """Jobs by state; states that nothing is in are left out."""
        return dict(self.database.ask('SELECT state, COUNT(*) FROM jobs GROUP BY state'))

    def ledger(self, since: int = 0, jobs: Collection[str] | None = None) -> Ledger:
        """The sum of all attempts after a claim, of all jobs or of some, by id."""
        mine, ids = among('job', jobs)
        query = f"""SELECT outcome = 'running', COUNT(*), TOTAL(outcome = 'done'), {_SUMS}
            FROM attempts WHERE claim > ? AND {mine} GROUP BY outcome = 'running'"""
        rows = {bool(runs): row for runs, *row in self.database.ask(query, (since, *ids))}
        nothing = (0, 0.0, 0.0, 0.0, 0.0, 0.0)
        running, _, *reserved = rows.get(True, nothing)
        _, made, *spent = rows.get(False, nothing)
        return Ledger(read_price(spent), read_price(reserved), int(made), running)

    def last_claim(self) -> int:
        """The number of the newest entry in the ledger; 0 before the first."""
        return int(self.database.ask('SELECT COALESCE(MAX(claim), 0) FROM attempts')[0][0])

    def budget(self) -> Budget:
        """The limits; none unless some were set."""
        return Budget(**self._setting('budget', {}))

    def rates(self) -> Rates:
        """What a second costs; nothing unless it was set."""
        return Rates(**self._setting('rates', {}))

    def set_budget(self, budget: Budget) -> None:
        """The limits from now on, for all workers."""
        self._set('budget', asdict(budget))

    def set_rates(self, rates: Rates) -> None:
        """What seconds cost from now on; what is booked already stays as it is."""
        self._set('rates', asdict(rates))

    @property
    def is_paused(self) -> bool:
        """Whether no worker may begin a job."""
        return bool(self._setting('paused', False))

    def pause(self) -> None:
        """Let no worker begin a job; those that run are finished."""
        self._set('paused', True)

    def resume(self) -> None:
        """Let workers begin jobs again, at once also on backends that were left alone."""
        self._set('paused', False)
        with self.database.writing():
            self.database.change('DELETE FROM away')

    def away(self) -> dict[str, str]:
        """Why a backend is, or was lately, left alone; by its name."""
        return dict(self.database.ask('SELECT backend, reason FROM away ORDER BY backend'))

    def retry(self, prefix: str) -> Job:
        """Give a dead or cancelled job as many attempts again, each with a seed of its own."""
        job = self.job(prefix)
        with self.database.writing():
            done = self.database.change(
                """UPDATE jobs SET state = ?, allowed = attempt - (1 - is_used) + most_attempts,
                losses = 0, reason = '' WHERE id = ? AND state IN (?, ?) AND NOT EXISTS
                (SELECT 1 FROM attempts WHERE job = jobs.id AND outcome = 'running')""",
                (WAITING, job.id, DEAD, CANCELLED),
            )
        if not done:
            runs = ' and still runs' * (job.claim is not None)
            raise StoreError(
                f'{job.id} is {job.state}{runs}; only dead or cancelled jobs are retried'
            )
        return self.job(job.id)

    def cancel(self, prefix: str) -> Job:
        """Let a job not be done; if it runs, its worker is told at its next sign of life."""
        job = self.job(prefix)
        with self.database.writing():
            done = self.database.change(
                'UPDATE jobs SET state = ? WHERE id = ? AND state IN (?, ?)',
                (CANCELLED, job.id, WAITING, CLAIMED),
            )
        if not done:
            raise StoreError(
                f'{job.id} is {job.state}; only waiting or running jobs are cancelled'
            )
        return self.job(job.id)

    def _setting(self, name: str, default: Any) -> Any:
        rows = self.database.ask('SELECT value FROM settings WHERE name = ?', (name,))
        return json.loads(rows[0][0]) if rows else default

    def _set(self, name: str, value: object) -> None:
        text = canonical_json(value).decode()
        with self.database.writing():
            self.database.change('INSERT OR REPLACE INTO settings VALUES (?, ?)', (name, text))

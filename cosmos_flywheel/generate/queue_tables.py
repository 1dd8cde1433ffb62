# SPDX-License-Identifier: Apache-2.0
"""The tables of the queue, one step after another, and its rows as values."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from cosmos_flywheel.core.job import Job, JobOrder, Price
from cosmos_flywheel.core.lineage import canonical_json
from cosmos_flywheel.store.database import Connection, Step

PRICE = ('gpu_s', 'cpu_s', 'money', 'size_bytes')
ORDER = (
    'id', 'brief_id', 'brief_sha256', 'backend', 'variation', 'seed', 'request', 'priority',
    'most_attempts', 'estimate',
)  # fmt: skip
JOBS = f"""
    SELECT {', '.join(f'jobs.{name}' for name in ORDER)}, state, jobs.attempt,
        jobs.candidate_id, jobs.reason,
        (SELECT claim FROM attempts WHERE job = jobs.id AND outcome = 'running'),
        {
    ', '.join(
        f"(SELECT TOTAL({name}) FROM attempts WHERE job = jobs.id AND outcome <> 'running')"
        for name in PRICE
    )
}
    FROM jobs"""
"""What `read_job` reads."""
STEPS: dict[str, Step] = {}


def step(make: Step) -> Step:
    """Register a step under its function's name."""
    STEPS[make.__name__] = make
    return make


def order_row(order: JobOrder) -> Mapping[str, Any]:
    """Values by column."""
    nested = {'variation': order.variation, 'request': order.request, 'estimate': order.estimate}
    plain = {name: getattr(order, name) for name in ORDER if name not in nested}
    return {**plain, **{name: canonical_json(value).decode() for name, value in nested.items()}}


def read_job(row: tuple[Any, ...]) -> Job:
    """One row of `JOBS`."""
    given = dict(zip(ORDER[1:], row[1 : len(ORDER)], strict=True))
    for name in ('variation', 'request'):
        given[name] = json.loads(given[name])
    given['estimate'] = Price(**json.loads(given['estimate']))
    state, attempt, candidate_id, reason, claim, *price = row[len(ORDER) :]
    return Job(
        order=JobOrder(**given),
        state=state,
        attempt=attempt,
        price=read_price(price),
        claim=claim,
        candidate_id=candidate_id,
        reason=reason,
    )


def among(column: str, values: Collection[str] | None) -> tuple[str, tuple[str, ...]]:
    """A condition that a column holds one of these values, and what it takes; None for any."""
    if values is None:
        return 'TRUE', ()
    return f'{column} IN (SELECT value FROM json_each(?))', (json.dumps(sorted(values)),)


def read_price(values: Any) -> Price:
    """Sums in the order of `PRICE`."""
    gpu_s, cpu_s, money, size_bytes = values
    return Price(gpu_s, cpu_s, money, int(size_bytes))


@step
def m001_jobs(connection: Connection) -> None:
    """One row for each job; `allowed` is the last attempt that it may have."""
    connection.execute("""
        CREATE TABLE jobs (
            place INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE CHECK (length(id) = 16),
            brief_id TEXT NOT NULL CHECK (brief_id <> ''),
            brief_sha256 TEXT NOT NULL CHECK (brief_sha256 <> ''),
            backend TEXT NOT NULL CHECK (backend <> ''),
            variation TEXT NOT NULL CHECK (json_valid(variation)),
            seed INTEGER NOT NULL CHECK (seed >= 0),
            request TEXT NOT NULL CHECK (json_valid(request)),
            priority INTEGER NOT NULL,
            most_attempts INTEGER NOT NULL CHECK (most_attempts > 0),
            estimate TEXT NOT NULL CHECK (json_valid(estimate)),
            state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN
                ('waiting', 'claimed', 'done', 'dead', 'cancelled')),
            attempt INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
            allowed INTEGER NOT NULL,
            is_used INTEGER NOT NULL DEFAULT 1 CHECK (is_used IN (0, 1)),
            losses INTEGER NOT NULL DEFAULT 0 CHECK (losses >= 0),
            candidate_id TEXT CHECK (length(candidate_id) = 16),
            reason TEXT NOT NULL DEFAULT '',
            CHECK ((state = 'done') = (candidate_id IS NOT NULL))
        ) STRICT
    """)
    connection.execute('CREATE INDEX jobs_in_turn ON jobs (state, priority DESC, place)')
    connection.execute('CREATE UNIQUE INDEX made_once ON jobs (candidate_id)')


@step
def m002_attempts(connection: Connection) -> None:
    """The ledger: one row for each claim. While one runs, its price is what it is to cost."""
    connection.execute("""
        CREATE TABLE attempts (
            claim INTEGER PRIMARY KEY AUTOINCREMENT,
            job TEXT NOT NULL REFERENCES jobs (id),
            attempt INTEGER NOT NULL CHECK (attempt > 0),
            seed INTEGER NOT NULL,
            outcome TEXT NOT NULL CHECK (outcome IN ('running', 'done', 'failed', 'postponed',
                'given_back', 'lost', 'cancelled')),
            reason TEXT NOT NULL DEFAULT '',
            home TEXT NOT NULL,
            pid INTEGER NOT NULL,
            started INTEGER NOT NULL,
            began_s REAL NOT NULL,
            began_monotonic_s REAL NOT NULL,
            beats INTEGER NOT NULL DEFAULT 0,
            seen_monotonic_s REAL NOT NULL,
            ended_s REAL,
            gpu_s REAL NOT NULL CHECK (gpu_s >= 0),
            cpu_s REAL NOT NULL CHECK (cpu_s >= 0),
            money REAL NOT NULL CHECK (money >= 0),
            size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
            CHECK ((outcome = 'running') = (ended_s IS NULL))
        ) STRICT
    """)
    connection.execute("CREATE INDEX running ON attempts (job) WHERE outcome = 'running'")
    connection.execute('CREATE INDEX attempts_by_job ON attempts (job, claim)')


@step
def m003_settings(connection: Connection) -> None:
    """What holds for the whole queue, and which backends are left alone for a while."""
    connection.execute("""
        CREATE TABLE settings (
            name TEXT PRIMARY KEY,
            value TEXT NOT NULL CHECK (json_valid(value))
        ) STRICT, WITHOUT ROWID
    """)
    connection.execute("""
        CREATE TABLE away (
            backend TEXT PRIMARY KEY,
            times INTEGER NOT NULL,
            reason TEXT NOT NULL,
            home TEXT NOT NULL,
            since_monotonic_s REAL NOT NULL,
            since_s REAL NOT NULL,
            pause_s REAL NOT NULL
        ) STRICT, WITHOUT ROWID
    """)


@step
def m004_tellings(connection: Connection) -> None:
    """Who tells, or has told, of a finished job; of what was done before, nobody has."""
    connection.execute("""
        CREATE TABLE tellings (
            job TEXT PRIMARY KEY REFERENCES jobs (id),
            is_told INTEGER NOT NULL CHECK (is_told IN (0, 1)),
            home TEXT NOT NULL,
            pid INTEGER NOT NULL,
            started INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
    """)

# SPDX-License-Identifier: Apache-2.0
"""A queue → the lines that a terminal shows of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from cosmos_flywheel.cli.progress import clock
from cosmos_flywheel.cli.table import amount, printable, table
from cosmos_flywheel.core.job import CLAIMED, DEAD, DONE, STATES, Job, Price
from cosmos_flywheel.generate.budget import Ledger
from cosmos_flywheel.generate.queue import Queue

SHOWN_DEAD = 5


def queue_lines(queue: Queue, state: str | None = None) -> list[str]:
    """Every job, then the whole."""
    jobs = queue.jobs(state)
    head = ('job', 'state', 'priority', 'attempt', 'brief', 'backend', 'variation', 'GPU s',
            'CPU s', 'money', 'candidate, or why not')  # fmt: skip
    rows = [
        (
            job.id, job.state, str(job.order.priority), f'{job.attempt}', job.order.brief_id,
            job.order.backend, _brief(job.order.variation), *_price(job.price)[:3],
            job.candidate_id or job.reason or '-',
        )
        for job in jobs
    ]  # fmt: skip
    listed = table([head, *rows], right=(2, 3, 7, 8, 9)) if rows else ['no such jobs']
    return [*listed, '', *status_lines(queue)]


def status_lines(queue: Queue) -> list[str]:
    """How many jobs are where, what runs, what died lately, and what it all costs."""
    counts, ledger = queue.counts(), queue.ledger()
    words = ', '.join(f'{counts.get(state, 0)} {state}' for state in STATES)
    lines = [f'{words}{"; paused" * queue.is_paused}', *_running(queue)]
    lines += [f'left alone for a while: {name}: {why}' for name, why in queue.away().items()]
    dead = queue.jobs(DEAD)
    lines += [f'dead {job.id}: {job.reason}' for job in dead[-SHOWN_DEAD:]]
    if len(dead) > SHOWN_DEAD:
        lines.append(f'… and {len(dead) - SHOWN_DEAD} more; flywheel queue list --state dead')
    lines = [printable(line) for line in lines]
    return [*lines, '', *_budget(queue, ledger), *_each(ledger)]


def job_lines(queue: Queue, job: Job) -> list[str]:
    """All that is known of one job."""
    order = job.order
    lines = [
        f'job {job.id}: {job.state}',
        f'brief        {order.brief_id} (sha256 {order.brief_sha256[:16]}…)',
        f'backend      {order.backend}, priority {order.priority}',
        f'variation    {_brief(order.variation)}',
        f'request      {json.dumps(dict(order.request), sort_keys=True)}',
        f'attempts     {job.attempt}; {order.most_attempts} at a time, each with its own seed',
        f'candidate    {job.candidate_id or "-"}',
    ]
    if job.reason:
        lines.append(f'reason       {job.reason}')
    head = ('claim', 'attempt', 'seed', 'began (UTC)', 'outcome', 'GPU s', 'CPU s', 'money',
            'MB', 'reason')  # fmt: skip
    rows = [
        (
            str(a.claim), str(a.attempt), str(a.seed), _utc(a.began_s), a.outcome,
            *_price(a.price), a.reason or '-',
        )
        for a in queue.attempts(job.id)
    ]  # fmt: skip
    ledger = ['', *table([head, *rows], right=(0, 1, 2, 5, 6, 7, 8))] if rows else []
    return [*map(printable, lines), *ledger]


def _running(queue: Queue) -> Iterator[str]:
    now_s = time.time()
    for job in queue.jobs(CLAIMED):
        attempt = queue.attempts(job.id)[-1]
        since = clock(max(now_s - attempt.began_s, 0.0))
        what = f'{job.order.backend}, {_brief(job.order.variation)}'
        yield f'runs {job.id} for {since}, attempt {job.attempt}, process {attempt.pid}: {what}'


def _budget(queue: Queue, ledger: Ledger) -> list[str]:
    limits = queue.budget()
    rows: list[tuple[str, float, float, float | None]] = [
        ('GPU s', ledger.spent.gpu_s, ledger.reserved.gpu_s, limits.gpu_s),
        ('CPU s', ledger.spent.cpu_s, ledger.reserved.cpu_s, None),
        ('money', ledger.spent.money, ledger.reserved.money, limits.money),
        ('candidates', ledger.candidates, ledger.running, limits.candidates),
        ('MB', ledger.spent.size_bytes / 1e6, ledger.reserved.size_bytes / 1e6,
         None if limits.disk_bytes is None else limits.disk_bytes / 1e6),
    ]  # fmt: skip
    cells = [
        (name, amount(spent), amount(reserved), '-' if limit is None else amount(limit))
        for name, spent, reserved, limit in rows
    ]
    return table([('budget', 'spent', 'reserved', 'limit'), *cells], right=(1, 2, 3))


def _each(ledger: Ledger) -> Iterator[str]:
    if not ledger.candidates:
        return
    names = ('GPU s', 'CPU s', 'of money', 'MB')
    whole = ledger.spent
    shares = [whole.gpu_s, whole.cpu_s, whole.money, whole.size_bytes / 1e6]
    words = ', '.join(
        f'{amount(s / ledger.candidates)} {n}' for s, n in zip(shares, names, strict=True)
    )
    yield f'a {DONE} candidate cost {words}, failed attempts included'


def _price(price: Price) -> tuple[str, str, str, str]:
    return (
        amount(price.gpu_s),
        amount(price.cpu_s),
        amount(price.money),
        amount(price.size_bytes / 1e6),
    )


def _brief(variation: Any) -> str:
    """A family and its cell where it has those, otherwise what it is."""
    given = dict(variation)
    cell = given.get('cell')
    if set(given) <= {'family', 'actions', 'cell'} and 'family' in given:
        axes = ', '.join(f'{k} {v}' for k, v in sorted(dict(cell or {}).items()))
        return f'{given["family"]} ({axes})' if axes else str(given['family'])
    return json.dumps(given, sort_keys=True)


def _utc(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, timezone.utc).strftime('%Y-%m-%d %H:%M:%S')

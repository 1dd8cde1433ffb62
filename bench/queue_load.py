# SPDX-License-Identifier: Apache-2.0
"""Whether a queue under load makes each candidate once, whatever is killed, and what it costs.

`kills`: 200 jobs, one attempt in ten failing, four workers. Until every fault was shown, a worker
is killed with SIGKILL before its next statement or change of a folder, each time one further on,
so that every state of a job is among them; workers are started anew at once.
`idle`: the same jobs without kills; the share of a worker's time in which it does no job, as the
work itself sees it from its first beginning to its last end.
`claims`: four processes that claim and finish jobs that are no work.

The jobs sleep instead of computing. What they cost is noted by the work in a file of its own, and
compared with the ledger.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from common import ROOT, Bench, begin, print_table

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.job import Job, JobOrder, Outcome, Price
from cosmos_flywheel.core.lineage import canonical_json, sha256_hex
from cosmos_flywheel.generate.budget import Rates
from cosmos_flywheel.generate.claims import Claims
from cosmos_flywheel.generate.queue import Queue
from cosmos_flywheel.generate.worker import Worker
from cosmos_flywheel.store.database import Database

JOBS, WORKERS = 200, 4
SECONDS = 1.0
"""A job of the part `idle`; those of `kills` take a tenth."""
FAILING = 10
"""One first attempt in so many fails."""
CLAIMS = 2000
IDLE_BAR = 0.05
RATES = Rates(gpu_s=0.001, cpu_s=0.0001)


def main() -> int:
    """Run the parts that are asked for."""
    bench = begin('queue_load', __doc__ or '')
    with tempfile.TemporaryDirectory(prefix='queue_load_', dir=ROOT / 'bench') as scratch:
        for part in (kills, idle, claims):
            if bench.wants(part.__name__):
                part(bench, Path(scratch) / part.__name__)
    return bench.finish()


def orders(count: int, seconds: float) -> list[JobOrder]:
    """Different jobs, their estimate a price that differs from job to job."""
    return [
        JobOrder(
            brief_id='ab' * 8,
            brief_sha256='cd' * 32,
            backend='sleep',
            variation={'number': number},
            seed=number,
            request={'seconds': seconds, 'fails': number % FAILING == 0},
            estimate=Price(gpu_s=seconds),
        )
        for number in range(count)
    ]


def sleep(job: Job, out: Path) -> Outcome:
    """A job: sleep, then a folder whose name follows from job and seed."""
    began_s = time.monotonic()
    name = sha256_hex(canonical_json([job.id, job.seed]))[:16]
    price = Price(gpu_s=1 + job.order.variation['number'] / 7, size_bytes=100)
    folder = out / 'candidates' / name
    if folder.is_dir():
        note(out / 'found', job.id)
        return Outcome(price, name, found=True)
    time.sleep(job.order.request['seconds'])
    if job.order.request['fails'] and job.attempt == 1:
        note(out / 'worked', f'{os.getpid()} {began_s} {time.monotonic()}')
        raise EngineError('fails as it was told to')
    partial = folder.with_name(f'.partial-{name}-{os.getpid()}')
    os.makedirs(partial)
    note(out / 'made', f'{job.id} {price.gpu_s!r}')
    os.rename(partial, folder)
    note(out / 'worked', f'{os.getpid()} {began_s} {time.monotonic()}')
    return Outcome(price, name)


def note(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f'{line}\n'.encode())
    os.close(descriptor)


def notes(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def start(work: Callable[..., object], *args: Any) -> Any:
    process = get_context('fork').Process(target=work, args=args)
    process.start()
    return process


def put(out: Path, wanted: list[JobOrder]) -> None:
    with Queue.open(out) as queue:
        queue.set_rates(RATES)
        queue.add(wanted)


def shift(out: Path, dies_at: int | None = None) -> None:
    """One worker; killed before its `dies_at`-th statement or change of a folder after a claim."""
    if dies_at is not None:
        die_at(dies_at, out)
    Worker(out, sleep).run()


def die_at(step: int, out: Path) -> None:
    """Arrange for this process's end, and for a note of what it was about to do."""
    alone, left = threading.get_ident(), iter(range(step))
    real_open, real_write = os.open, os.write
    opened: list[bool] = []

    def tick(what: str) -> None:
        if not opened and 'INTO attempts' not in what:
            return  # before its first claim a worker has nothing to lose
        opened.append(True)
        if threading.get_ident() == alone and next(left, None) is None:
            file = real_open(out / 'killed', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            real_write(file, f'{"_".join(what.split()[:3])}\n'.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    prepare = Database._prepare

    def watched(self: Database) -> None:
        prepare(self)
        self._connection.set_trace_callback(tick)

    Database._prepare = watched  # type: ignore[method-assign]
    for name in ('rename', 'makedirs', 'open'):
        setattr(os, name, _ticking(getattr(os, name), tick))


def _ticking(call: Callable[..., Any], tick: Callable[[str], None]) -> Callable[..., Any]:
    def wrapped(path: Any, *args: Any, **options: Any) -> Any:
        tick(f'{call.__name__} {Path(path).name if args and call.__name__ == "open" else ""}')
        return call(path, *args, **options)

    return wrapped


def kills(bench: Bench, out: Path) -> None:
    """Kill workers at one step after another until all jobs are done."""
    put(out, orders(JOBS, SECONDS / 10))
    steps, running = 0, []
    while True:
        running = [process for process in running if not _is_over(process)]
        with Queue.open(out) as queue:
            counts = queue.counts()
        if counts.get('done', 0) + counts.get('dead', 0) == JOBS:
            break
        while len(running) < WORKERS:
            running.append(start(shift, out, steps if len(running) % 2 else None))
            steps += len(running) % 2 == 0
        time.sleep(0.05)
    for process in running:
        process.join()
    report(bench, out)


def _is_over(process: Any) -> bool:
    return process.exitcode is not None


def report(bench: Bench, out: Path) -> None:
    """What was found in the queue, on disk and in the notes of the work."""
    with Queue.open(out) as queue:
        jobs, ledger = queue.jobs(), queue.ledger()
        outcomes: Counter[str] = Counter()
        done_gpu_s = 0.0
        for job in jobs:
            for attempt in queue.attempts(job.id):
                outcomes[attempt.outcome] += 1
                done_gpu_s += attempt.price.gpu_s if attempt.outcome == 'done' else 0.0
    lying = sorted(p.name for p in (out / 'candidates').iterdir() if p.name[0] != '.')
    booked = sorted(job.candidate_id for job in jobs if job.candidate_id)
    noted = {job: float(gpu_s) for job, gpu_s in notes(out / 'made')}
    done = [job.id for job in jobs if job.state == 'done']
    difference = abs(ledger.spent.money - sum(job.price.money for job in jobs))
    against_notes = abs(done_gpu_s - sum(noted[job] for job in done))
    killed = Counter(what for (what,) in notes(out / 'killed'))
    figures = {
        'jobs': JOBS,
        'done': len(done),
        'dead': sum(job.state == 'dead' for job in jobs),
        'attempts by outcome': dict(sorted(outcomes.items())),
        'found, not made again': len(notes(out / 'found')),
        'candidates on disk': len(lying),
        'duplicates': len(lying) - len(done),
        'ledger minus sum of jobs': difference,
        'ledger minus notes of the work, GPU s': against_notes,
    }
    print_table([('kills', 'figure'), *figures.items()])
    print_table([('killed before', 'times'), *sorted(killed.items())])
    bench.figures['kills'] = {**figures, 'killed before': dict(sorted(killed.items()))}
    bench.bars |= {
        'every job is done': len(done) == JOBS,
        'no duplicate': lying == booked and len(set(booked)) == len(done),
        'ledger is the sum of jobs': difference < 1e-9,
        'ledger is what the work noted': against_notes < 1e-6,
        'killed in every state': {
            'COMMIT',
            'rename',
            'makedirs',
            'open_made',
            'open_worked',
            'BEGIN_IMMEDIATE',
            'UPDATE_attempts_SET',
            'UPDATE_jobs_SET',
        }
        <= killed.keys(),
        'a candidate was found after a kill': len(notes(out / 'found')) > 0,
    }


def idle(bench: Bench, out: Path) -> None:
    """The share of time between jobs."""
    put(out, orders(40 if bench.quick else JOBS, SECONDS))
    for process in [start(shift, out) for _ in range(WORKERS)]:
        process.join()
    spans: dict[str, list[tuple[float, float]]] = {}
    for pid, began_s, ended_s in notes(out / 'worked'):
        spans.setdefault(pid, []).append((float(began_s), float(ended_s)))
    shares = []
    for worked in spans.values():
        whole_s = max(e for _, e in worked) - min(b for b, _ in worked)
        shares.append(1 - sum(e - b for b, e in worked) / whole_s)
    rows = [(f'worker {n}', f'{share:.2%}') for n, share in enumerate(shares, start=1)]
    print_table([(f'idle between jobs of {SECONDS:g} s', 'share'), *rows])
    bench.figures['idle'] = {'share by worker': [round(share, 4) for share in shares]}
    bench.bars['idle below 5 %'] = len(shares) == WORKERS and max(shares) < IDLE_BAR


def claims(bench: Bench, out: Path) -> None:
    """Claims a second of four processes, each claim with its finish."""
    count = 400 if bench.quick else CLAIMS
    put(out, orders(count, 0.0))
    began_s = time.monotonic()
    processes = [start(grab, out, f'grab_{number}') for number in range(WORKERS)]
    for process in processes:
        process.join()
    per_s = count / (time.monotonic() - began_s)
    taken = [job for n in range(WORKERS) for (job,) in notes(out / f'grab_{n}')]
    rows = [('claims', len(taken)), ('claimed twice', len(taken) - len(set(taken))),
            ('a second', f'{per_s:.0f}')]  # fmt: skip
    print_table([(f'{WORKERS} processes', ''), *rows])
    bench.figures['claims'] = {'claims': len(taken), 'a second': round(per_s, 1)}
    bench.bars['each claimed once'] = sorted(taken) == sorted(o.id for o in orders(count, 0.0))


def grab(out: Path, name: str) -> None:
    with Queue.open(out) as queue, (out / name).open('w') as file:
        mine = Claims(queue)
        while isinstance(job := mine.claim(), Job):
            file.write(f'{job.id}\n')
            mine.finish(job, Outcome(Price(), job.id))


if __name__ == '__main__':
    sys.exit(main())

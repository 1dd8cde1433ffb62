# SPDX-License-Identifier: Apache-2.0
"""Two workers against one on Ray and in processes, beside what the machine itself can give.

`busy`: jobs that only compute, about a second each. `augment`: real candidates of the demo's bags.
Both are worked off by one worker and by two, in turn, several times; what counts is the time from
the first job's beginning to the last one's end, without the start of Ray. `machine`: two processes
that compute against one, without a queue.

`measured` is the ratio of these times. Where others use the cores, two workers do not get two: so
the table says how many they got (seconds of CPU a second). `given the cores` is the ratio with
every worker on a core of its own: 2 x the CPU of all jobs done by one worker over the same done by
two x the share of their time in which two workers had a job over that of one.

`kills`: actors are killed with SIGKILL, each in the middle of a job; what is lost or twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from common import ROOT, Bench, begin, print_table

from cosmos_flywheel.cli.main import main as flywheel
from cosmos_flywheel.core.job import Job, JobOrder, Outcome, Price
from cosmos_flywheel.core.lineage import canonical_json, sha256_hex
from cosmos_flywheel.executors.base import Executor
from cosmos_flywheel.executors.ray import RayExecutor
from cosmos_flywheel.generate.attempt import Work
from cosmos_flywheel.generate.augment import Augment
from cosmos_flywheel.generate.order_work import OrderWork
from cosmos_flywheel.generate.pool import work_queue
from cosmos_flywheel.generate.produce import wish_for
from cosmos_flywheel.generate.queue import Queue
from cosmos_flywheel.store.briefs import BRIEFS, iter_briefs, read_brief
from cosmos_flywheel.store.catalogue import Catalogue

WORKERS = 2
JOBS, CANDIDATES, ROUNDS, KILLS = 16, 48, 3, 5
BLOCK = bytes(1 << 20)
BAR = 1.7


@dataclass(frozen=True, slots=True)
class Noted:
    """Work whose every job is noted: by whom, from when to when, for how much CPU."""

    work: Work

    def __call__(self, job: Job, out: Path) -> Outcome:
        """The same outcome."""
        note(out / 'begun', [os.getpid(), job.id])
        began_s, cpu_s = time.monotonic(), time.process_time()
        outcome = self.work(job, out)
        spent_s = time.process_time() - cpu_s
        note(out / 'worked', [job.id, began_s, time.monotonic(), spent_s])
        return outcome


@dataclass(frozen=True, slots=True)
class Span:
    """Jobs from the first beginning to the last end."""

    wall_s: float
    cpu_s: float
    busy: float
    """Share of the workers' time in which they had a job."""

    @property
    def cores(self) -> float:
        """Seconds of CPU a second."""
        return self.cpu_s / self.wall_s


def main() -> int:
    """Run the parts that are asked for."""
    bench = begin('ray_scale', __doc__ or '')
    if find_spec('ray') is None:
        raise SystemExit('Ray is not installed: make learn')
    for name in ('OMP', 'OPENBLAS'):  # for the workers, as `make` has it
        os.environ.setdefault(f'{name}_NUM_THREADS', '1')
    rounds = 1 if bench.quick else ROUNDS
    with tempfile.TemporaryDirectory(prefix='ray_scale_', dir=ROOT / 'bench') as scratch:
        out = Path(scratch)
        with RayExecutor(out, workers=WORKERS) as ray:
            began_s = time.monotonic()
            run(out / 'warm', [busy_order(0, 1)], busy, WORKERS, ray)
            start_s = time.monotonic() - began_s
            print(f'Ray and two actors started in {start_s:.1f} s\n')
            rows: list[Sequence[object]] = [
                ('work', 'where', 'jobs', 'measured', 'cores got by 1, 2', 'given the cores',
                 'idle of 2')
            ]  # fmt: skip
            for part in (machine, busy_jobs, candidates):
                if bench.wants(part.__name__):
                    rows += part(bench, out, ray, rounds)
            if len(rows) > 1:
                print_table(rows)
            if bench.wants('kills'):
                kills(bench, out / 'kills', ray)
    bench.figures['start of Ray, s'] = round(start_s, 1)
    return bench.finish()


def machine(bench: Bench, out: Path, _: Executor, rounds: int) -> list[Sequence[object]]:
    """What two processes without a queue come to."""
    blocks = blocks_of(4.0)

    def spin(folder: Path, count: int) -> Span:
        folder.mkdir()
        processes = [
            get_context('fork').Process(target=spun, args=(folder, blocks)) for _ in range(count)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        return span(folder, count)

    pairs = []
    for number in range(rounds):
        one, two = (spin(out / f'machine_{number}_{count}', count) for count in (1, WORKERS))
        pairs.append((one, Span(two.wall_s / WORKERS, two.cpu_s / WORKERS, two.busy)))
    return [row_of(bench, 'machine', 'no queue', 1, pairs)]


def spun(folder: Path, blocks: int) -> None:
    """As one job of `Noted`."""
    began_s, cpu_s = time.monotonic(), time.process_time()
    spin_blocks(blocks)
    note(folder / 'worked', ['', began_s, time.monotonic(), time.process_time() - cpu_s])


def busy_jobs(bench: Bench, out: Path, ray: Executor, rounds: int) -> list[Sequence[object]]:
    """Jobs that only compute."""
    count, blocks = (6 if bench.quick else JOBS), blocks_of(1.0)
    orders = [busy_order(number, blocks) for number in range(count)]
    return compared(bench, 'busy', orders, busy, lambda name: out / f'busy_{name}', ray, rounds)


def candidates(bench: Bench, out: Path, ray: Executor, rounds: int) -> list[Sequence[object]]:
    """Real candidates of backend augment."""
    source = out / 'source'
    bags = ROOT / 'demo' / 'bags' / 'mujoco_push_faults' / 'bags'
    quiet('harvest', str(bags), '--model', str(ROOT / 'demo' / 'model'), '--out', str(source))
    with Catalogue.open(source) as catalogue:
        row = min(catalogue.episodes(), key=lambda one: (one.bag, one.start_s))
        catalogue.label(row.id, 'failure', reviewer='bench', reason='')
    quiet('brief', str(source / row.id))
    brief = read_brief(next(iter_briefs(source / BRIEFS)))
    count = 12 if bench.quick else CANDIDATES
    orders = list(wish_for(brief, Augment(), count).orders[:count])

    def folder(name: str) -> Path:
        """The same source without candidates."""
        place = out / f'augment_{name}'
        place.mkdir()
        for path in source.iterdir():
            (place / path.name).symlink_to(path)
        return place

    return compared(bench, 'augment', orders, OrderWork(), folder, ray, rounds)


def compared(
    bench: Bench,
    name: str,
    orders: Sequence[JobOrder],
    work: Work,
    folder: Callable[[str], Path],
    ray: Executor,
    rounds: int,
) -> list[Sequence[object]]:
    """One worker and two in turn, in processes and on Ray."""
    pairs: dict[str, list[tuple[Span, Span]]] = {'processes': [], 'ray': []}
    for number in range(rounds):
        for where, executor in (('processes', None), ('ray', ray)):
            one, two = (
                run(folder(f'{where}_{number}_{count}'), orders, work, count, executor)
                for count in (1, WORKERS)
            )
            pairs[where].append((one, two))
    return [row_of(bench, name, where, len(orders), some) for where, some in pairs.items()]


def run(
    out: Path, orders: Sequence[JobOrder], work: Work, workers: int, executor: Executor | None
) -> Span:
    """Work them off; every one must be done once."""
    with Queue.open(made(out)) as queue:
        queue.add(orders)
    work_queue(out, Noted(work), workers, executor=executor)
    with Queue.open(out) as queue:
        states = queue.counts()
    lying = [path for path in (out / 'candidates').iterdir() if path.name[0] != '.']
    if states != {'done': len(orders)} or len(lying) != len(orders):
        raise SystemExit(f'{states} of {len(orders)} jobs, {len(lying)} candidates')
    return span(out, workers)


def row_of(
    bench: Bench, name: str, where: str, jobs: int, pairs: Sequence[tuple[Span, Span]]
) -> Sequence[object]:
    """Medians over the rounds."""
    ratios = [one.wall_s / two.wall_s for one, two in pairs]
    given = [WORKERS * one.cpu_s / two.cpu_s * two.busy / one.busy for one, two in pairs]
    got = [statistics.median(s.cores for s in some) for some in zip(*pairs, strict=True)]
    measured, alone = statistics.median(ratios), statistics.median(given)
    idle = statistics.median(1 - two.busy for _, two in pairs)
    bench.figures[f'{name}, {where}'] = {
        'measured': [round(ratio, 3) for ratio in ratios],
        'given the cores': [round(ratio, 3) for ratio in given],
        'cores got': [round(cores, 2) for cores in got],
    }
    if where == 'ray':
        bench.bars[f'{name} on Ray, measured: {BAR}'] = measured >= BAR
        bench.bars[f'{name} on Ray, given the cores: {BAR}'] = alone >= BAR
    both = ', '.join(f'{cores:.2f}' for cores in got)
    return name, where, jobs, f'{measured:.2f}', both, f'{alone:.2f}', f'{idle:.1%}'


def kills(bench: Bench, out: Path, ray: Executor) -> None:
    """Kill an actor in mid-job, again and again."""
    count, blocks = 12, blocks_of(1.0)
    killed: list[str] = []
    with Queue.open(made(out)) as queue:
        queue.add(busy_order(number, blocks) for number in range(count))

    def kill(_: Queue) -> None:
        """The one that has begun last, once a job."""
        ended = {job for job, *_ in notes(out / 'worked')}
        for pid, job in notes(out / 'begun')[-1:]:
            if len(killed) < KILLS and job not in (*ended, *killed):
                os.kill(pid, signal.SIGKILL)
                killed.append(job)

    work_queue(out, Noted(busy), WORKERS, executor=ray, progress=kill)
    with Queue.open(out) as queue:
        jobs = queue.jobs()
        lost = sum(a.outcome == 'lost' for job in jobs for a in queue.attempts(job.id))
        ledger = queue.ledger()
    lying = sorted(path.name for path in (out / 'candidates').iterdir() if path.name[0] != '.')
    booked = sorted(job.candidate_id or '' for job in jobs)
    rows = [
        ('jobs', count),
        ('actors killed in mid-job', len(killed)),
        ('attempts lost', lost),
        ('jobs done', sum(job.state == 'done' for job in jobs)),
        ('candidates', len(lying)),
        ('claims left', ledger.running),
    ]
    print_table([('kills', 'figure'), *rows])
    bench.figures['kills'] = dict(rows)
    bench.bars['nothing lost, nothing twice'] = (
        lying == booked and len(set(booked)) == count and lost == len(killed) > 0
    )


def busy_order(number: int, blocks: int) -> JobOrder:
    """One of many different ones."""
    return JobOrder(
        brief_id='ab' * 8,
        brief_sha256='cd' * 32,
        backend='busy',
        variation={'number': number},
        seed=number,
        request={'blocks': blocks},
        estimate=Price(cpu_s=1.0),
    )


def busy(job: Job, out: Path) -> Outcome:
    """Compute, then put a folder into its place."""
    spin_blocks(job.order.request['blocks'])
    name = sha256_hex(canonical_json([job.id, job.seed]))[:16]
    partial = out / 'candidates' / f'.partial-{name}-{os.getpid()}'
    os.makedirs(partial)
    os.rename(partial, partial.with_name(name))
    return Outcome(Price(cpu_s=1.0), name)


def spin_blocks(blocks: int) -> None:
    """So many megabytes through SHA-256, one after another."""
    for _ in range(blocks):
        hashlib.sha256(BLOCK).digest()


def blocks_of(seconds: float) -> int:
    """How many take so long, as long as nobody else computes."""
    cpu_s = time.process_time()
    spin_blocks(200)
    return max(1, round(200 * seconds / (time.process_time() - cpu_s)))


def span(out: Path, workers: int) -> Span:
    """From the notes."""
    worked = notes(out / 'worked')
    wall_s = max(end for _, _, end, _ in worked) - min(begin for _, begin, _, _ in worked)
    jobs_s = sum(end - begin for _, begin, end, _ in worked)
    return Span(wall_s, sum(cpu_s for *_, cpu_s in worked), jobs_s / (workers * wall_s))


def made(folder: Path) -> Path:
    """The folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def note(path: Path, row: Sequence[object]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f'{json.dumps(row)}\n'.encode())
    os.close(descriptor)


def notes(path: Path) -> list[list[Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def quiet(*words: str) -> None:
    """One verb of `flywheel`, which must do."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        code = flywheel(words)
    if code:
        raise SystemExit(f'flywheel {" ".join(words)}: {told.getvalue()}')


if __name__ == '__main__':
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""Workers do every job once, whatever kills, stops or hinders them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from queue_work import CPU_S, GPU_S, SIZE_BYTES, made, make, order

from cosmos_flywheel.core.errors import EngineError, NotNowError, StoreError, costing
from cosmos_flywheel.core.job import Job, JobOrder, Outcome, Price
from cosmos_flywheel.generate.attempt import attempt, book
from cosmos_flywheel.generate.budget import Budget
from cosmos_flywheel.generate.claims import Claims
from cosmos_flywheel.generate.pool import work_queue
from cosmos_flywheel.generate.queue import Queue
from cosmos_flywheel.generate.worker import Worker
from cosmos_flywheel.store.database import Database

PATIENCE_S = 60.0
TEST = Path(__file__).resolve().parents[1]


def put(out: Path, *orders: JobOrder) -> None:
    with Queue.open(out) as queue:
        queue.add(orders)


def jobs(out: Path) -> list[Job]:
    with Queue.open(out) as queue:
        return queue.jobs()


def candidates(out: Path) -> list[str]:
    return sorted(path.name for path in (out / 'candidates').iterdir() if path.name[0] != '.')


def wait_until(true: Callable[[], object]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < until_s, 'nothing happened'
        time.sleep(0.01)


def kill_at(step: int, work: Callable[[], object]) -> bool:
    """Run `work` in a process that dies before its `step`-th statement or change of the disk."""
    pid = os.fork()
    if pid == 0:
        left = iter(range(step))
        alone = threading.get_ident()

        def tick(*_: object) -> None:
            if threading.get_ident() == alone and next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        spy(tick)
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


def spy(tick: Callable[..., None]) -> None:
    """Call `tick` before every statement of SQLite and every change of a folder."""
    prepare = Database._prepare

    def watched(self: Database) -> None:
        self._connection.set_trace_callback(tick)
        prepare(self)

    Database._prepare = watched  # type: ignore[method-assign]
    for name in ('rename', 'makedirs', 'open'):
        setattr(os, name, ticking(getattr(os, name), tick))


def ticking(call: Callable[..., Any], tick: Callable[..., None]) -> Callable[..., Any]:
    def wrapped(*args: Any, **options: Any) -> Any:
        tick()
        return call(*args, **options)

    return wrapped


def test_a_worker_does_all_and_books_it(tmp_path: Path) -> None:
    put(tmp_path, *map(order, range(3)), order(9, request={'fails': 1}))
    shift = Worker(tmp_path, make).run()
    assert (shift.done, shift.failed) == (4, 1)
    assert {job.state for job in jobs(tmp_path)} == {'done'}
    assert candidates(tmp_path) == sorted(str(job.candidate_id) for job in jobs(tmp_path))


def test_a_refused_attempt_costs_the_gpu_seconds_that_were_measured(tmp_path: Path) -> None:
    def refused(job: Job, _: Path) -> Outcome:
        try:
            with costing(lambda: 2.0):
                raise NotNowError('in the second chunk') if job.seed == 3 else EngineError('no')
        except EngineError as error:
            with costing(lambda: 5.0):
                raise StoreError('outside the envelope') from error

    put(tmp_path, order(1, most_attempts=1), order(2, seed=3))
    with Queue.open(tmp_path) as queue:
        claims = Claims(queue)
        for _ in range(2):
            job = claims.claim()
            assert isinstance(job, Job)
            book(claims, job, attempt(refused, job, tmp_path))
        measured, put_off = queue.jobs()
        assert (measured.state, measured.price.gpu_s) == ('dead', 7.0)
        assert (put_off.state, put_off.price.gpu_s) == ('waiting', 2.0)
        assert queue.ledger().spent == measured.price + put_off.price


def test_killed_at_any_step_and_run_again_nothing_is_made_twice(tmp_path: Path) -> None:
    orders = [order(1), order(2, request={'fails': 1})]
    found = 0
    for step in range(999):
        out = tmp_path / str(step)
        put(out, *orders)
        if not kill_at(step, Worker(out, make).run):
            break
        before = len(candidates(out)) if (out / 'candidates').exists() else 0
        booked = sum(job.state == 'done' for job in jobs(out))
        found += before - booked
        Worker(out, make).run()
        assert [job.state for job in jobs(out)] == ['done', 'done']
        assert candidates(out) == sorted(str(job.candidate_id) for job in jobs(out))
        assert len(made(out)) <= 4  # three, and one that was cut off
        with Queue.open(out) as queue:
            spent = queue.ledger().spent
            assert queue.ledger().running == 0
            assert spent.gpu_s == pytest.approx(sum(job.price.gpu_s for job in queue.jobs()))
            assert spent.size_bytes == 2 * SIZE_BYTES
    assert 50 < step < 999
    assert found > 1  # the moment between candidate and booking was among them


def grab(out: Path, name: str, both: Any) -> None:
    """Claim and finish until nothing is left, noting what; `both` have a job before one ends."""
    with Queue.open(out) as queue, (out / name).open('w') as file:
        claims, job = Claims(queue), Claims(queue).claim()
        both.wait()
        while isinstance(job, Job):
            file.write(f'{job.id}\n')
            claims.finish(job, Outcome(Price(), job.id))
            job = claims.claim()


def test_two_processes_claim_200_jobs_and_none_twice(tmp_path: Path) -> None:
    put(tmp_path, *map(order, range(200)))
    names, context = ['one', 'two'], get_context('fork')
    both = context.Barrier(2)
    processes = [context.Process(target=grab, args=(tmp_path, n, both)) for n in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    shares = [(tmp_path / name).read_text().split() for name in names]
    assert sorted(chain(*shares)) == sorted(job.id for job in jobs(tmp_path))
    assert all(shares)


def test_a_pool_replaces_workers_that_die_and_buries_what_kills_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('PYTHONPATH', f'{TEST}:{os.environ.get("PYTHONPATH", "")}')
    put(
        tmp_path,
        order(1, request={'kills': 'always'}),
        order(2, request={'kills': 'once'}),
        *map(order, range(3, 9)),
    )
    work_queue(tmp_path, make, 2)
    states = [job.state for job in jobs(tmp_path)]
    assert states == ['dead'] + ['done'] * 7
    assert 'died, as 3 did over this job' in jobs(tmp_path)[0].reason


Start = Callable[..., subprocess.Popen[bytes]]
ONE = 'Worker(out, make, beat_s=0.05).run()'
POOL = 'work_queue(out, make, 2, beat_s=0.05)'


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a worker in a process of its own, or several, which do not outlive the test."""
    head = (
        'import sys; from pathlib import Path; from queue_work import make\n'
        'from cosmos_flywheel.generate.pool import work_queue\n'
        'from cosmos_flywheel.generate.worker import Worker\n'
        'out = Path(sys.argv[1])\n'
    )
    environment = {**os.environ, 'PYTHONPATH': f'{TEST}:{TEST.parent}'}
    started = []

    def begin(out: Path, what: str = ONE) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, '-c', head + what, str(out)],
            env=environment,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_worker_that_is_ended_in_mid_work_leaves_its_job_to_others(
    tmp_path: Path, start: Start, number: signal.Signals
) -> None:
    put(tmp_path, order(request={'seconds': 0.5}))
    process = start(tmp_path)
    wait_until(lambda: made(tmp_path))
    process.send_signal(number)
    code = process.wait(PATIENCE_S)
    Worker(tmp_path, make).run()
    job = jobs(tmp_path)[0]
    with Queue.open(tmp_path) as queue:
        first, second = queue.attempts(job.id)
    killed = number == signal.SIGKILL
    assert code == (-signal.SIGKILL if killed else 0)
    assert first.outcome == ('lost' if killed else 'given_back')
    assert (second.outcome, second.seed) == ('done', first.seed)


def is_empty(group: int) -> bool:
    """Whether nothing of a process group runs any more."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGKILL])
def test_a_pool_that_is_ended_leaves_no_process_and_no_job_behind(
    tmp_path: Path, start: Start, number: signal.Signals
) -> None:
    put(tmp_path, *(order(n, request={'seconds': 600}) for n in range(3)), order(9))
    process = start(tmp_path, POOL)
    wait_until(lambda: len(made(tmp_path)) == 2)
    process.send_signal(number)
    assert process.wait(PATIENCE_S) != 0
    wait_until(lambda: is_empty(process.pid))
    with Queue.open(tmp_path) as queue:
        for job in queue.jobs()[:3]:
            queue.cancel(job.id)
        Worker(tmp_path, make).run()
        assert queue.counts() == {'cancelled': 3, 'done': 1}
        assert queue.ledger().running == 0


def test_a_job_that_is_cancelled_is_let_go_in_mid_work(tmp_path: Path, start: Start) -> None:
    put(tmp_path, order(1, request={'seconds': 600}), order(2))
    process = start(tmp_path)
    wait_until(lambda: made(tmp_path))
    with Queue.open(tmp_path) as queue:
        queue.cancel(order(1, request={'seconds': 600}).id)
    assert process.wait(PATIENCE_S) == 0
    assert [job.state for job in jobs(tmp_path)] == ['cancelled', 'done']
    assert len(candidates(tmp_path)) == 1


def run_beside(worker: Worker) -> threading.Thread:
    thread = threading.Thread(target=worker.run)
    thread.start()
    return thread


def test_a_paused_queue_waits_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, order())
    with Queue.open(tmp_path) as queue:
        queue.pause()
        looked: list[object] = []
        claim = Claims.claim
        monkeypatch.setattr(Claims, 'claim', lambda self: looked.append(1) or claim(self))
        thread = run_beside(Worker(tmp_path, make))
        wait_until(lambda: len(looked) > 1)
        assert thread.is_alive()
        assert made(tmp_path) == []
        queue.resume()
        thread.join(PATIENCE_S)
    assert jobs(tmp_path)[0].state == 'done'


@pytest.mark.parametrize('request_', [{'away': True}, {'full': True}])
def test_a_server_that_is_away_and_a_full_disk_are_waited_for(
    tmp_path: Path, request_: dict[str, bool]
) -> None:
    put(tmp_path, order(request=request_))
    worker = Worker(tmp_path, make)
    thread = run_beside(worker)
    wait_until(lambda: jobs(tmp_path)[0].reason)
    worker.stop()
    thread.join()
    job = jobs(tmp_path)[0]
    assert job.state == 'waiting'
    assert job.reason in (
        'the server does not answer',
        f'{tmp_path}: the disk is full; free space on it',
    )
    assert job.price.gpu_s == 0


def test_an_episode_deleted_while_queued_is_said_by_a_dead_job(tmp_path: Path) -> None:
    put(tmp_path, order(1, request={'gone': True}), order(2))
    Worker(tmp_path, make).run()
    gone, other = jobs(tmp_path)
    assert (gone.state, gone.reason, gone.attempt) == ('dead', 'episode: is gone', 1)
    assert other.state == 'done'


def test_a_fault_of_the_program_is_a_dead_job_and_not_the_end(tmp_path: Path) -> None:
    put(tmp_path, order(1, request={'wrong': True}), order(2))
    shift = Worker(tmp_path, make).run()
    assert (shift.done, shift.failed) == (1, 3)
    assert jobs(tmp_path)[0].reason == 'ZeroDivisionError: a bug'


def test_a_worker_ends_when_the_budget_does(tmp_path: Path) -> None:
    put(tmp_path, *map(order, range(4)))
    with Queue.open(tmp_path) as queue:
        queue.set_budget(Budget(candidates=3))
    shift = Worker(tmp_path, make).run()
    assert shift.done == 3
    assert shift.idle is not None
    assert 'the budget of candidates is 3' in shift.idle.words
    with Queue.open(tmp_path) as queue:
        spent = queue.ledger().spent
    assert (spent.gpu_s, spent.cpu_s) == (3 * GPU_S, 3 * CPU_S)


def unusable(job: Job, out: Path) -> Outcome:
    """Never called: its process cannot even begin."""
    raise AssertionError


class Unreadable:
    """Work that no other process can receive."""

    def __setstate__(self, state: object) -> None:
        raise ImportError('no such module')

    def __getstate__(self) -> dict[str, int]:
        return {'some': 1}

    def __call__(self, job: Job, out: Path) -> Outcome:
        raise AssertionError


def test_a_worker_that_cannot_begin_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, order())
    with pytest.raises(StoreError, match='a worker ended by code 1'):
        work_queue(tmp_path, Unreadable(), 1)


def test_the_disk_of_the_queue_being_full_ends_the_worker_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, order())
    change = Database.change

    def full(self: Database, statement: str, *values: Any) -> int:
        if "'done'" in statement and 'UPDATE' in statement:
            import sqlite3

            raise sqlite3.OperationalError('database or disk is full')
        return change(self, statement, *values)

    with monkeypatch.context() as patched:
        patched.setattr(Database, 'change', full)
        with pytest.raises(StoreError, match='free space on the disk, then run again'):
            Worker(tmp_path, make).run()
    assert len(candidates(tmp_path)) == 1
    with Queue.open(tmp_path) as queue:
        later = Claims(queue, lease_s=-1.0)
        job = later.claim()
        assert isinstance(job, Job)
        assert later.finish(job, make(job, tmp_path))
        assert queue.ledger().spent.gpu_s == GPU_S
    assert len(made(tmp_path)) == 1

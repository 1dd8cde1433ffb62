# SPDX-License-Identifier: Apache-2.0
"""How workers take jobs from a queue and give them back: nothing twice, nothing lost.

A claim belongs to one process. That it has ended is seen at once on the same boot of the same
machine, from its number and its start. Otherwise a claim is lost when it has shown no sign of life
for the lease; from elsewhere that is measured by the watcher's own monotonic clock, from when it
first saw the last sign. So no clock that somebody sets decides who owns a job.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cosmos_flywheel.core.job import CANCELLED, CLAIMED, DEAD, WAITING, Job, Outcome, Price
from cosmos_flywheel.core.processes import ProcessId, is_gone, this_process
from cosmos_flywheel.generate.budget import Budget, Run
from cosmos_flywheel.generate.queue import Queue
from cosmos_flywheel.generate.queue_tables import PRICE, among, read_price

LEASE_S = 60.0
MOST_LOSSES = 3
"""A job whose workers die so often is dead: it may be what kills them."""
LATELY = 50
"""The mean price of so many candidates is expected of the next one."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 600.0
"""How long a backend that is away is left alone: twice as long each time."""

EMPTY, PAUSED, BUDGET, AWAY, BUSY = 'empty', 'paused', 'budget', 'away', 'busy'


@dataclass(frozen=True, slots=True)
class Idle:
    """Why there is nothing to do, one of the five words above."""

    why: str
    words: str = ''

    @property
    def is_over(self) -> bool:
        """Whether nothing will come by itself."""
        return self.why in (EMPTY, BUDGET)


class Claims:
    """One process's hand on a queue.

    Args:
        queue: where the jobs are.
        lease_s: a claim without a sign of life for so long is lost.
        me: who claims; by default this process.
        run: which jobs are taken, and what they may cost.

    """

    def __init__(
        self,
        queue: Queue,
        lease_s: float = LEASE_S,
        me: ProcessId | None = None,
        run: Run | None = None,
    ) -> None:
        self._queue = queue
        self._db = queue.database
        self._lease_s = lease_s
        self._me = me or this_process()
        self._run = run or Run()
        self._left: set[str] = set()
        """Jobs that need what this process lacks."""
        self._watched: dict[int, tuple[int, float]] = {}
        """By claim of another machine: signs of life, and since when no more came."""

    def claim(self) -> Job | Idle:
        """Take the next job that may be done, or say why there is none.

        The budget is asked in the same transaction, with what all running attempts have reserved.
        """
        with self._db.writing():
            found = self._choose()
            return found if isinstance(found, Idle) else self._begin(*found)

    def idle(self) -> Idle | None:
        """Why no job may be begun now; None if one may."""
        with self._db.writing():
            found = self._choose()
            return found if isinstance(found, Idle) else None

    def beat(self, claim: int) -> bool:
        """Show a sign of life; False if the job is no longer wanted of this process."""
        with self._db.writing():
            self._db.change(
                """UPDATE attempts SET beats = beats + 1, seen_monotonic_s = ?
                WHERE claim = ? AND outcome = 'running'""",
                (self._queue.clock.monotonic_s(), claim),
            )
        query = """SELECT 1 FROM attempts JOIN jobs ON jobs.id = job
            WHERE claim = ? AND outcome = 'running' AND state = ?"""
        return bool(self._db.ask(query, (claim, CLAIMED)))

    def finish(self, job: Job, outcome: Outcome) -> bool:
        """Book a candidate that lies in its place; False if the claim was lost meanwhile.

        A candidate that another job has made already is no new one: the attempt fails.
        """
        others = 'SELECT id FROM jobs WHERE candidate_id = ? AND id <> ?'
        with self._db.writing():
            twice = self._db.ask(others, (outcome.candidate_id, job.id))
            if twice:
                reason = f'candidate {outcome.candidate_id} is of job {twice[0][0]} already'
                return self._fail(job, reason, outcome.price)
            price, lost = self._price_now(job, outcome)
            if not self._close(job, 'done', '', price):
                return False
            self._forgive(lost)
            self._db.change(
                "UPDATE jobs SET state = 'done', candidate_id = ?, reason = '' WHERE id = ?",
                (outcome.candidate_id, job.id),
            )
            self._back(job)
        return True

    def fail(self, job: Job, reason: str, price: Price, *, for_good: bool = False) -> bool:
        """Book an attempt that came to nothing: another seed is tried, or the job is dead.

        It is dead at once where no seed would help, `for_good`.
        """
        with self._db.writing():
            return self._fail(job, reason, price, for_good=for_good)

    def postpone(self, job: Job, reason: str, price: Price) -> bool:
        """Give a job back that cannot be done now, and leave its backend alone for a while."""
        with self._db.writing():
            if not self._close(job, 'postponed', reason, price):
                return False
            self._wait_again(job, reason)
            self._leave_alone(job.order.backend, reason)
        return True

    def leave(self, job: Job, reason: str, price: Price) -> bool:
        """Give a job back for good that this process cannot do; others may."""
        self._left.add(job.id)
        with self._db.writing():
            if not self._close(job, 'given_back', reason, price):
                return False
            self._wait_again(job, reason)
        return True

    def give_back(self, job: Job, price: Price) -> bool:
        """Give a job back because this process ends, or because nobody wants it any more."""
        with self._db.writing():
            wanted = self._db.ask('SELECT 1 FROM jobs WHERE id = ? AND state = ?',
                                  (job.id, CLAIMED))  # fmt: skip
            if not self._close(job, 'given_back' if wanted else CANCELLED, '', price):
                return False
            self._wait_again(job, '')
        return True

    def lose(self, job: Job, reason: str) -> bool:
        """Give a job back whose work is known to have died, though this process lives."""
        query = """SELECT seen_monotonic_s - began_monotonic_s FROM attempts
            WHERE claim = ? AND outcome = 'running'"""
        with self._db.writing():
            rows = self._db.ask(query, (job.claim,))
            if not rows or job.claim is None:
                return False
            self._lose(job.claim, job.id, reason, rows[0][0])
        return True

    def _choose(self) -> tuple[Job, Price] | Idle:
        """The next job, and what it is expected to cost."""
        self._bury()
        if self._queue.is_paused:
            return Idle(PAUSED, 'the queue is paused; go on with: flywheel queue resume')
        job = self._next()
        if isinstance(job, Idle):
            return job
        price = self._expected(job)
        return self._stopped(price) or (job, price)

    def _next(self) -> Job | Idle:
        """The run's first job whose backend is not left alone."""
        away = {
            name: reason
            for name, reason, *since in self._db.ask(
                'SELECT backend, reason, home, since_monotonic_s, since_s, pause_s FROM away'
            )
            if self._is_away(*since)
        }
        mine, ids = among('jobs.id', self._run.jobs)
        able, names = among('backend', self._run.backends)
        gone, left = among('backend', away)
        not_mine, unfit = among('jobs.id', self._left)
        waiting = f"FROM jobs WHERE state = 'waiting' AND {mine} AND {able} AND NOT {not_mine}"
        rows = self._db.ask(
            f'SELECT id {waiting} AND NOT {gone} ORDER BY priority DESC, place LIMIT 1',
            (*ids, *names, *unfit, *left),
        )
        if rows:
            return self._queue.known(rows[0][0])
        held = self._db.ask(f'SELECT DISTINCT backend {waiting}', (*ids, *names, *unfit))
        if held:
            return Idle(AWAY, '; '.join(f'{name}: {away[name]}' for (name,) in held))
        running = self._db.ask(
            f"""SELECT COUNT(*) FROM attempts JOIN jobs ON jobs.id = job
            WHERE outcome = 'running' AND {mine} AND {able}""",
            (*ids, *names),
        )[0][0]
        return Idle(BUSY, f'{running} are being made') if running else Idle(EMPTY)

    def _stopped(self, price: Price) -> Idle | None:
        """The budget's word; what runs may yet cost less than it has reserved."""
        run = self._run
        for budget, since, jobs, remedy in (
            (self._queue.budget(), 0, None, 'flywheel queue budget'),
            (run.budget, run.since, run.jobs, 'flywheel generate --budget'),
        ):
            if budget == Budget():
                continue  # summing the ledger takes time
            ledger = self._queue.ledger(since, jobs)
            words = ledger.stopped_by(budget, price)
            if words is not None:
                words = f'{words}; raise it with: {remedy}'
                return Idle(BUSY if ledger.running else BUDGET, words)
        return None

    def _begin(self, job: Job, price: Price) -> Job:
        clock = self._queue.clock
        now_s = clock.monotonic_s()
        self._db.change(
            """UPDATE jobs SET state = 'claimed', attempt = attempt + is_used, is_used = 1
            WHERE id = ?""",
            (job.id,),
        )
        begun = self._queue.known(job.id)
        self._db.change(
            f"""INSERT INTO attempts (job, attempt, seed, outcome, home, pid, started, began_s,
                began_monotonic_s, seen_monotonic_s, {', '.join(PRICE)})
            VALUES (?, ?, ?, 'running', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (
                job.id, begun.attempt, begun.seed, self._me.home, self._me.pid, self._me.started,
                clock.wall_s(), now_s, now_s, *(getattr(price, name) for name in PRICE),
            ),
        )  # fmt: skip
        return self._queue.known(job.id)

    def _expected(self, job: Job) -> Price:
        """The estimate, or what this backend's candidates lately came to where that is more."""
        means = ', '.join(f'COALESCE(AVG({name}), 0)' for name in PRICE)
        query = f"""SELECT {means} FROM (SELECT {', '.join(PRICE)}
            FROM attempts JOIN jobs ON jobs.id = job WHERE outcome = 'done' AND backend = ?
            ORDER BY claim DESC LIMIT {LATELY})"""
        known = read_price(self._db.ask(query, (job.order.backend,))[0])
        asked = self._queue.rates().charged(job.order.estimate)
        return Price(*(max(getattr(known, name), getattr(asked, name)) for name in PRICE))

    def _close(self, job: Job, outcome: str, reason: str, price: Price) -> bool:
        """End a running attempt with its price; False if it does not run any more."""
        charged = self._queue.rates().charged(price)
        values = [getattr(charged, name) for name in PRICE]
        sets = ', '.join(f'{name} = ?' for name in PRICE)
        statement = f"""UPDATE attempts SET outcome = ?, reason = ?, ended_s = ?, {sets}
            WHERE claim = ? AND outcome = 'running'"""
        ended_s = self._queue.clock.wall_s()
        return bool(self._db.change(statement, (outcome, reason, ended_s, *values, job.claim)))

    def _fail(self, job: Job, reason: str, price: Price, *, for_good: bool = False) -> bool:
        if not self._close(job, 'failed', reason, price):
            return False
        self._db.change(
            """UPDATE jobs SET reason = ?, state = IIF(? OR attempt >= allowed, 'dead', 'waiting')
            WHERE id = ? AND state = ?""",
            (reason, for_good, job.id, CLAIMED),
        )
        self._back(job)
        return True

    def _wait_again(self, job: Job, reason: str) -> None:
        """Without an attempt used up; a job that was cancelled meanwhile stays so."""
        self._db.change(
            'UPDATE jobs SET state = ?, is_used = 0, reason = ? WHERE id = ? AND state = ?',
            (WAITING, reason, job.id, CLAIMED),
        )

    def _bury(self) -> None:
        """Give back what workers that are no more have left behind."""
        running = self._db.ask(
            """SELECT claim, home, pid, started, beats, seen_monotonic_s, began_monotonic_s, job
            FROM attempts WHERE outcome = 'running'"""
        )
        for claim, home, pid, started, beats, seen_s, began_s, job_id in running:
            owner = ProcessId(home, pid, started)
            if is_gone(owner):
                self._lose(claim, job_id, f'its worker (process {pid}) died', seen_s - began_s)
            elif self._silent_s(claim, owner, beats, seen_s) > self._lease_s:
                words = f'its worker (process {pid}) gave no sign for {self._lease_s:g} s'
                self._lose(claim, job_id, words, seen_s - began_s)

    def _silent_s(self, claim: int, owner: ProcessId, beats: int, seen_s: float) -> float:
        now_s = self._queue.clock.monotonic_s()
        if owner.home == self._me.home:
            return now_s - seen_s
        known = self._watched.get(claim)
        if known is None or known[0] != beats:
            self._watched[claim] = known = (beats, now_s)
        return now_s - known[1]

    def _lose(self, claim: int, job_id: str, reason: str, worked_s: float) -> None:
        """Charged is the time to its last sign of life, on the GPU if that was to be used."""
        job = self._queue.known(job_id)
        query = 'SELECT gpu_s > 0 FROM attempts WHERE claim = ?'
        on_gpu = bool(self._db.ask(query, (claim,))[0][0])
        worked_s = max(worked_s, 0.0)
        self._close(
            job, 'lost', reason, Price(gpu_s=worked_s) if on_gpu else Price(cpu_s=worked_s)
        )
        self._db.change('UPDATE jobs SET losses = losses + 1 WHERE id = ?', (job_id,))
        self._wait_again(job, reason)
        self._db.change(
            'UPDATE jobs SET state = ?, reason = ? WHERE id = ? AND state = ? AND losses >= ?',
            (DEAD, f'{reason}, as {MOST_LOSSES} did over this job', job_id, WAITING, MOST_LOSSES),
        )

    def _price_now(self, job: Job, outcome: Outcome) -> tuple[Price, int | None]:
        """What is charged for a candidate, and which lost attempt has made it and is paid so.

        One that nobody lost costs nothing now; where its price is not known, the loss stands.
        """
        price = outcome.price
        if not outcome.found:
            return price, None
        query = (
            "SELECT MAX(claim) FROM attempts WHERE job = ? AND attempt = ? AND outcome = 'lost'"
        )
        lost = self._db.ask(query, (job.id, job.attempt))[0][0]
        if lost is None or not (price.gpu_s or price.cpu_s or price.money):
            return Price(size_bytes=price.size_bytes), None
        return price, lost

    def _forgive(self, claim: int | None) -> None:
        sets = ', '.join(f'{name} = 0' for name in PRICE)
        self._db.change(f'UPDATE attempts SET {sets} WHERE claim = ?', (claim,))

    def _leave_alone(self, backend: str, reason: str) -> None:
        """Longer each time; several that see the same outage count as one."""
        query = """SELECT times, home, since_monotonic_s, since_s, pause_s FROM away
            WHERE backend = ?"""
        rows: list[Any] = self._db.ask(query, (backend,))
        if rows and self._is_away(*rows[0][1:]):
            return
        times = rows[0][0] + 1 if rows else 1
        pause_s = min(FIRST_PAUSE_S * 2.0 ** min(times - 1, 20), LONGEST_PAUSE_S)
        clock = self._queue.clock
        self._db.change(
            'INSERT OR REPLACE INTO away VALUES (?, ?, ?, ?, ?, ?, ?)',
            (backend, times, reason, self._me.home, clock.monotonic_s(), clock.wall_s(), pause_s),
        )

    def _is_away(self, home: str, monotonic_s: float, wall_s: float, pause_s: float) -> bool:
        """By the monotonic clock on the same boot, by the wall from elsewhere."""
        clock = self._queue.clock
        if home == self._me.home:
            return clock.monotonic_s() - monotonic_s < pause_s
        return 0 <= clock.wall_s() - wall_s < pause_s

    def _back(self, job: Job) -> None:
        """Its backend has answered."""
        self._db.change('DELETE FROM away WHERE backend = ?', (job.order.backend,))

# SPDX-License-Identifier: Apache-2.0
"""The queue gives each job to one worker, keeps to its budget, and books what everything cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from queue_work import order

from cosmos_flywheel.core.errors import ConfigError, StoreError
from cosmos_flywheel.core.job import Job, Outcome, Price, attempt_seed
from cosmos_flywheel.core.processes import ProcessId, this_process
from cosmos_flywheel.generate.budget import Budget, Rates, Run, changed
from cosmos_flywheel.generate.claims import (
    BUDGET,
    EMPTY,
    LEASE_S,
    LONGEST_PAUSE_S,
    MOST_LOSSES,
    Claims,
    Idle,
)
from cosmos_flywheel.generate.queue import QUEUE, Clock, Queue
from cosmos_flywheel.store.database import BrokenDatabaseError

PRICE = Price(gpu_s=2.0, cpu_s=1.0, size_bytes=10)
ELSEWHERE = ProcessId('another boot/1', 17, 99)


class Time:
    """Two clocks that a test sets."""

    monotonic_s, wall_s = 100.0, 1e9

    def clock(self) -> Clock:
        return Clock(lambda: self.monotonic_s, lambda: self.wall_s)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def queue(tmp_path: Path, time: Time) -> Iterator[Queue]:
    with Queue.open(tmp_path, time.clock()) as opened:
        yield opened


@pytest.fixture
def claims(queue: Queue) -> Claims:
    return Claims(queue)


def claimed(claims: Claims) -> Job:
    job = claims.claim()
    assert isinstance(job, Job), job
    return job


def idle(claims: Claims) -> Idle:
    job = claims.claim()
    assert isinstance(job, Idle), job
    return job


def done(number: int) -> Outcome:
    return Outcome(PRICE, f'{number:016x}')


def test_the_same_order_twice_is_one_job(queue: Queue) -> None:
    assert queue.add([order(1), order(2), order(1)]) == 2
    assert queue.add([order(2, priority=5)]) == 0
    assert [job.state for job in queue.jobs()] == ['waiting', 'waiting']
    assert [job.order.priority for job in queue.jobs()] == [5, 0], 'whoever wants it sooner'


@pytest.mark.parametrize(
    'change',
    [
        {'brief_sha256': 'ef' * 32},
        {'backend': 'sim'},
        {'variation': {}},
        {'seed': 8},
        {'request': {'steps': 4}},
    ],
)
def test_whatever_decides_the_result_makes_another_job(change: dict[str, object]) -> None:
    assert order(**change).id != order().id


@pytest.mark.parametrize('change', [{'priority': 3}, {'most_attempts': 9}, {'brief_id': 'x'}])
def test_what_decides_nothing_makes_no_other_job(change: dict[str, object]) -> None:
    assert order(**change).id == order().id


def test_a_job_comes_out_as_it_went_in(queue: Queue) -> None:
    asked = order(request={'steps': 4, 'words': '\x1b[31m'}, priority=-2, most_attempts=5)
    queue.add([asked])
    assert queue.job(asked.id[:6]).order == asked


@pytest.mark.parametrize('change', [{'seed': -1}, {'seed': 2**32}, {'most_attempts': 0}])
def test_an_order_that_cannot_be_met_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        order(**change)


def test_higher_priority_goes_first_and_then_who_came_first(queue: Queue, claims: Claims) -> None:
    orders = [order(1), order(2, priority=1), order(3), order(4, priority=1)]
    queue.add(orders)
    assert [claimed(claims).id for _ in orders] == [orders[i].id for i in (1, 3, 0, 2)]
    assert idle(claims).why == 'busy'


def test_a_finished_job_is_done_with_its_candidate_and_its_price(
    queue: Queue, claims: Claims
) -> None:
    queue.add([order()])
    assert claims.finish(claimed(claims), done(5))
    job = queue.jobs()[0]
    assert (job.state, job.candidate_id, job.price) == ('done', f'{5:016x}', PRICE)
    assert idle(claims).why == 'empty'


def test_finishing_twice_is_finishing_once(queue: Queue, claims: Claims) -> None:
    queue.add([order()])
    job = claimed(claims)
    assert claims.finish(job, done(5))
    assert not claims.finish(job, done(6))
    assert queue.ledger().spent == PRICE


def test_a_failure_is_tried_again_with_other_seeds_and_then_dead(
    queue: Queue, claims: Claims
) -> None:
    queue.add([order()])
    seeds = []
    for number in range(3):
        job = claimed(claims)
        seeds.append(job.seed)
        claims.fail(job, f'reason {number}', PRICE)
    assert idle(claims).why == 'empty'
    assert seeds == [attempt_seed(order(), attempt) for attempt in (1, 2, 3)]
    assert len(set(seeds)) == 3
    assert seeds[0] == order().seed
    job = queue.jobs('dead')[0]
    assert job.reason == 'reason 2'
    assert [a.reason for a in queue.attempts(job.id)] == ['reason 0', 'reason 1', 'reason 2']


def test_a_dead_job_that_is_retried_gets_as_many_new_seeds(queue: Queue, claims: Claims) -> None:
    queue.add([order(most_attempts=2)])
    for _ in range(2):
        claims.fail(claimed(claims), 'no', PRICE)
    queue.retry(order().id)
    attempts = []
    while isinstance(job := claims.claim(), Job):
        attempts.append(job.attempt)
        claims.fail(job, 'no', PRICE)
    assert attempts == [3, 4]
    assert queue.jobs()[0].state == 'dead'


def test_what_is_done_is_neither_retried_nor_cancelled(queue: Queue, claims: Claims) -> None:
    queue.add([order()])
    claims.finish(claimed(claims), done(1))
    for verb in (queue.retry, queue.cancel):
        with pytest.raises(StoreError, match='is done; only'):
            verb(order().id)


def test_what_cannot_be_done_now_uses_no_attempt(queue: Queue, claims: Claims, time: Time) -> None:
    queue.add([order()])
    for _ in range(5):
        job = claimed(claims)
        assert (job.attempt, job.seed) == (1, order().seed)
        claims.postpone(job, 'the server does not answer', Price())
        assert idle(claims) == Idle('away', 'made_up: the server does not answer')
        time.monotonic_s += LONGEST_PAUSE_S


def test_a_backend_that_is_away_does_not_hold_up_others(queue: Queue, claims: Claims) -> None:
    queue.add([order(1), order(2), order(3, backend='sim')])
    claims.postpone(claimed(claims), 'taken', Price())
    assert claimed(claims).order.backend == 'sim'


def test_a_backend_that_stays_away_is_asked_more_and_more_seldom(
    queue: Queue, claims: Claims, time: Time
) -> None:
    queue.add([order()])
    pauses = []
    for _ in range(10):
        claims.postpone(claimed(claims), 'away', Price())
        began_s = time.monotonic_s
        while isinstance(claims.claim(), Idle):
            time.monotonic_s += 1.0
        pauses.append(time.monotonic_s - began_s)
        claims.give_back(queue.jobs()[0], Price())
    assert pauses[:4] == [5, 10, 20, 40]
    assert pauses[-1] == LONGEST_PAUSE_S


def test_resuming_asks_at_once(queue: Queue, claims: Claims) -> None:
    queue.add([order()])
    claims.postpone(claimed(claims), 'away', Price())
    queue.pause()
    assert idle(claims).why == 'paused'
    queue.resume()
    assert claimed(claims).id == order().id


def test_a_cancelled_job_is_taken_from_its_worker(queue: Queue, claims: Claims) -> None:
    queue.add([order()])
    job = claimed(claims)
    assert claims.beat(job.claim)
    queue.cancel(job.id)
    assert not claims.beat(job.claim)
    with pytest.raises(StoreError, match='still runs'):
        queue.retry(job.id)
    assert claims.give_back(job, PRICE)
    assert queue.job(job.id).state == 'cancelled'
    assert queue.ledger().spent == PRICE
    queue.retry(job.id)
    assert claimed(claims).id == job.id


def test_a_candidate_of_another_job_is_no_new_one(queue: Queue, claims: Claims) -> None:
    queue.add([order(1), order(2, most_attempts=1)])
    claims.finish(claimed(claims), done(1))
    claims.finish(claimed(claims), done(1))
    assert queue.counts() == {'done': 1, 'dead': 1}
    assert 'is of job' in queue.jobs('dead')[0].reason


BUDGETS = [
    (Budget(candidates=3), 'candidates'),
    (Budget(gpu_s=7.0), 'gpu_s'),
    (Budget(money=0.7), 'money'),
    (Budget(disk_bytes=3999), 'disk_bytes'),
]


@pytest.mark.parametrize(('budget', 'name'), BUDGETS)
def test_workers_that_run_together_cannot_overrun_a_budget(
    queue: Queue, budget: Budget, name: str
) -> None:
    queue.set_budget(budget)
    queue.set_rates(Rates(gpu_s=0.1))
    queue.add(order(number) for number in range(9))
    workers = [Claims(queue) for _ in range(4)]
    running = [claimed(worker) for worker in workers[:3]]
    stopped = idle(workers[3])
    assert stopped.why == 'busy'  # what runs may cost less
    for number, (worker, job) in enumerate(zip(workers, running, strict=False)):
        worker.finish(job, Outcome(job.order.estimate, f'{number:016x}'))
    stopped = idle(workers[3])
    assert stopped.is_over
    assert f'the budget of {name} is' in stopped.words
    spent = queue.ledger().spent
    assert spent.money == pytest.approx(0.1 * spent.gpu_s)
    queue.set_budget(Budget())
    assert claimed(workers[3]).state == 'claimed'


def test_what_a_backend_was_seen_to_cost_is_reserved(queue: Queue, claims: Claims) -> None:
    queue.add(order(number, estimate=Price()) for number in range(3))
    queue.set_budget(Budget(gpu_s=10.0))
    claims.finish(claimed(claims), Outcome(Price(gpu_s=6.0), f'{1:016x}'))
    assert '6 are spent or reserved, and the next attempt wants 6' in idle(claims).words


@pytest.mark.parametrize('value', [-1, math.inf, math.nan])
def test_a_limit_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match='gpu_s'):
        Budget(gpu_s=value)


def test_the_ledger_is_the_sum_of_the_jobs(queue: Queue, claims: Claims, time: Time) -> None:
    queue.set_rates(Rates(gpu_s=0.01, cpu_s=0.001))
    queue.add(order(number) for number in range(20))
    ends: list[Callable[[Job], bool]] = [
        lambda job: claims.finish(job, Outcome(PRICE, job.id)),
        lambda job: claims.fail(job, 'no', replace(PRICE, gpu_s=1 / 3)),
        lambda job: claims.give_back(job, replace(PRICE, cpu_s=0.1)),
        lambda job: claims.postpone(job, 'away', Price(cpu_s=0.2)),
    ]
    for number in range(60):
        time.monotonic_s += LONGEST_PAUSE_S
        if isinstance(job := claims.claim(), Job):
            ends[number % 4](job)
    spent = queue.ledger().spent
    jobs = queue.jobs()
    assert sum(job.state == 'done' for job in jobs) > 5
    for name in Price.__slots__:
        assert getattr(spent, name) > 0
        assert getattr(spent, name) == pytest.approx(sum(getattr(j.price, name) for j in jobs))


@pytest.mark.parametrize('by_s', [-1e8, 1e8])
def test_a_wall_clock_that_is_set_takes_no_job_from_its_worker(
    queue: Queue, claims: Claims, time: Time, by_s: float
) -> None:
    queue.add([order()])
    job = claimed(claims)
    time.wall_s += by_s
    assert idle(Claims(queue)).why == 'busy'
    assert claims.finish(job, done(1))


@pytest.mark.parametrize('me', [this_process(), ELSEWHERE])
def test_a_claim_without_a_sign_of_life_is_lost_and_cannot_be_finished(
    queue: Queue, time: Time, me: ProcessId
) -> None:
    queue.add([order()])
    silent, other = Claims(queue, me=me), Claims(queue)
    job = claimed(silent)
    assert idle(other).why == 'busy'
    time.monotonic_s += LEASE_S - 1
    silent.beat(job.claim or 0)
    assert idle(other).why == 'busy'
    time.monotonic_s += LEASE_S + 1
    again = claimed(other)
    assert (again.id, again.attempt, again.seed) == (job.id, 1, job.seed)
    assert not silent.finish(job, done(1))
    assert other.finish(again, done(2))
    assert queue.jobs()[0].candidate_id == f'{2:016x}'


def test_a_lost_attempt_is_charged_to_its_last_sign_of_life(queue: Queue, time: Time) -> None:
    queue.add([order()])
    silent = Claims(queue)
    job = claimed(silent)
    time.monotonic_s += 30
    silent.beat(job.claim or 0)
    time.monotonic_s += LEASE_S + 1
    claimed(Claims(queue))
    assert queue.ledger().spent == Price(gpu_s=30)


def test_a_candidate_found_after_a_loss_is_charged_once(queue: Queue, time: Time) -> None:
    queue.add([order()])
    job = claimed(Claims(queue))
    time.monotonic_s += 30
    assert Claims(queue).beat(job.claim or 0)
    time.monotonic_s += LEASE_S + 1
    other = Claims(queue)
    other.finish(claimed(other), replace(done(1), found=True))
    assert queue.ledger().spent == PRICE


def test_a_candidate_found_without_its_price_leaves_the_loss_as_it_is(
    queue: Queue, time: Time
) -> None:
    queue.add([order()])
    job = claimed(Claims(queue))
    time.monotonic_s += 30
    Claims(queue).beat(job.claim or 0)
    time.monotonic_s += LEASE_S + 1
    other = Claims(queue)
    other.finish(claimed(other), Outcome(Price(size_bytes=10), f'{1:016x}', found=True))
    assert queue.ledger().spent == Price(gpu_s=30, size_bytes=10)


def test_a_candidate_that_was_there_before_it_was_ordered_costs_nothing(
    queue: Queue, claims: Claims
) -> None:
    queue.add([order()])
    claims.finish(claimed(claims), replace(done(1), found=True))
    assert queue.ledger().spent == Price(size_bytes=10)


def test_a_job_over_which_workers_die_again_and_again_is_dead(queue: Queue, time: Time) -> None:
    queue.add([order()])
    for _ in range(MOST_LOSSES):
        claimed(Claims(queue))
        time.monotonic_s += LEASE_S + 1
    assert idle(Claims(queue)).why == 'empty'
    assert f'as {MOST_LOSSES} did over this job' in queue.jobs('dead')[0].reason


def test_a_spoilt_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / QUEUE).write_bytes(b'garbage' * 1000)
    with pytest.raises(BrokenDatabaseError, match=rf'{QUEUE}.*move .* away and order again'):
        Queue.open(tmp_path)


def test_an_unknown_job_is_named(queue: Queue) -> None:
    with pytest.raises(StoreError, match="no job begins with 'zz'"):
        queue.job('zz')


@pytest.mark.parametrize(
    ('text', 'limits'),
    [
        ('gpu_s=600,candidates=40,money=.5', {'gpu_s': 600, 'candidates': 40, 'money': 0.5}),
        ('gpu_hours=2,disk=1.5GB', {'gpu_s': 7200, 'disk_bytes': 1.5e9}),
        ('disk=2048,money=none', {'disk_bytes': 2048, 'money': None}),
    ],
)
def test_limits_are_read_from_words(text: str, limits: dict[str, Any]) -> None:
    assert changed(Budget(), text) == Budget(**limits)


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ('gpus=2', "no limit 'gpus'"),
        ('gpu_s=1,gpu_hours=1', 'limits gpu_s twice'),
        ('gpu_s=2GB', 'give a number from 0, or none'),
        ('disk=2 GB', 'GB or TB, or none'),
        ('money=nan', 'give a number from 0, or none'),
        ('candidates', 'give a number from 0, or none'),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        changed(Budget(), text)


def test_a_run_takes_its_jobs_only_and_keeps_to_its_own_budget(queue: Queue) -> None:
    queue.add([order(n, backend=f'b{n % 2}') for n in range(6)])
    before = Claims(queue)
    before.finish(claimed(before), done(0))
    mine = frozenset(order(n, backend=f'b{n % 2}').id for n in (1, 3, 4))
    run = Run(mine, frozenset({'b1'}), Budget(candidates=1), queue.last_claim())
    claims = Claims(queue, run=run)
    job = claimed(claims)
    assert job.id == order(1, backend='b1').id
    claims.finish(job, done(1))
    stopped = claims.idle()
    assert stopped is not None
    assert (stopped.why, stopped.is_over) == (BUDGET, True)
    assert 'the budget of candidates is 1: 1 are spent' in stopped.words
    more = Claims(queue, run=replace(run, budget=Budget()))
    last = claimed(more)
    assert last.id == order(3, backend='b1').id
    more.finish(last, done(2))
    assert idle(more) == Idle(EMPTY), 'the others are of another backend or another run'

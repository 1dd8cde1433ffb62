# SPDX-License-Identifier: Apache-2.0
"""Each candidate of a queue is told of once, whoever tells and whoever dies over it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from queue_work import order

from cosmos_flywheel.core.job import Job, Outcome, Price
from cosmos_flywheel.core.processes import ProcessId, this_process
from cosmos_flywheel.generate.claims import LEASE_S, Claims
from cosmos_flywheel.generate.news import News
from cosmos_flywheel.generate.queue import QUEUE, Clock, Queue
from cosmos_flywheel.generate.queue_tables import STEPS, order_row
from cosmos_flywheel.store.database import migrate

HERE = this_process().home
DEAD = ProcessId(HERE, os.getpid(), 0)
OTHER = ProcessId(HERE, os.getppid(), 0)
ELSEWHERE = ProcessId('another boot/1', 17, 99)


def make(out: Path, *numbers: int) -> list[str]:
    """Do so many jobs; their ids, in the order in which they were done."""
    with Queue.open(out) as queue:
        queue.add([order(number, priority=-number) for number in numbers])
        return [finish(queue) for _ in numbers]


def finish(queue: Queue) -> str:
    claims = Claims(queue)
    job = claims.claim()
    assert isinstance(job, Job)
    claims.finish(job, Outcome(Price(), job.id))
    return job.id


def claimed(news: News, most: int = 100) -> list[str]:
    return [job.id for job in news.claim(most)]


def test_what_one_tells_no_other_tells(tmp_path: Path) -> None:
    with Queue.open(tmp_path) as queue:
        queue.add([order(9)])  # waits, and is nothing to tell of
    first, second = News(tmp_path), News(tmp_path, me=ELSEWHERE)
    jobs = make(tmp_path, 1, 2, 3)
    assert claimed(first, most=2) == jobs[:2]
    assert claimed(first, most=2) == jobs[2:], 'its own do not come again'
    assert claimed(second) == []
    first.confirm(jobs)
    assert claimed(first) == claimed(News(tmp_path)) == []


def test_what_was_not_taken_goes_to_who_asks_next(tmp_path: Path) -> None:
    jobs = make(tmp_path, 1, 2)
    first = News(tmp_path)
    first.give_back(claimed(first)[:1])
    assert claimed(News(tmp_path, me=ELSEWHERE)) == jobs[:1]


def test_what_a_dead_teller_left_unconfirmed_is_told_by_the_next_one(tmp_path: Path) -> None:
    jobs = make(tmp_path, 1, 2)
    dead = News(tmp_path, me=DEAD)
    dead.confirm(claimed(dead, most=1))
    assert claimed(dead) == jobs[1:]
    assert claimed(News(tmp_path)) == jobs[1:]
    dead.confirm(jobs)
    assert claimed(News(tmp_path, me=OTHER)) == [], 'it is the living one who tells'


def test_of_a_teller_on_another_boot_the_lease_decides(tmp_path: Path) -> None:
    now_s = [0.0]
    jobs = make(tmp_path, 1)
    assert claimed(News(tmp_path, me=ELSEWHERE)) == jobs
    here = News(tmp_path, clock=Clock(lambda: now_s[0]))
    assert claimed(here) == []
    now_s[0] = LEASE_S
    assert claimed(here) == []
    now_s[0] = LEASE_S + 1
    assert claimed(here) == jobs


def test_a_queue_of_before_is_brought_up_to_date_and_its_candidates_are_told(
    tmp_path: Path,
) -> None:
    connection = sqlite3.connect(tmp_path / QUEUE, isolation_level=None)
    migrate(connection, {name: step for name, step in STEPS.items() if name < 'm004'})
    made = order()
    row = {**order_row(made), 'state': 'done', 'allowed': 3, 'candidate_id': made.id}
    marks = ', '.join(f':{name}' for name in row)
    connection.execute(f'INSERT INTO jobs ({", ".join(row)}) VALUES ({marks})', row)
    connection.close()
    news = News(tmp_path)
    assert claimed(news) == [made.id]
    news.confirm([made.id])
    assert claimed(News(tmp_path, me=ELSEWHERE)) == []

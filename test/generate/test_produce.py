# SPDX-License-Identifier: Apache-2.0
"""Orders go through the queue until each wish is met: what is refused is replaced, and told."""

from __future__ import annotations

from pathlib import Path

import pytest
from queue_work import made, make, order

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.job import JobOrder
from cosmos_flywheel.generate.budget import Budget
from cosmos_flywheel.generate.produce import Wish, produce, queued_wishes
from cosmos_flywheel.generate.queue import Queue


def wish(*orders: JobOrder, count: int) -> Wish:
    return Wish('ab' * 8, 'made_up', orders, count)


def test_the_next_orders_stand_in_for_those_that_are_refused(tmp_path: Path) -> None:
    bad = order(1, request={'fails': 9})
    (done,), stopped = produce(tmp_path, [wish(bad, *map(order, range(2, 6)), count=2)], make)
    assert [job.id for job in done.made] == [order(2).id, order(3).id]
    assert [(job.id, job.attempt) for job in done.refused] == [(bad.id, 3)]
    assert (done.is_short, stopped) == (False, '')
    (again,), _ = produce(tmp_path, [wish(bad, *map(order, range(2, 6)), count=2)], make)
    assert (len(again.made), len(again.found), len(made(tmp_path))) == (0, 2, 5)
    (fewer,), _ = produce(tmp_path, [wish(bad, *map(order, range(2, 6)), count=1)], make)
    assert len(fewer.found) == 1


def test_what_was_dead_is_tried_again_where_nothing_else_is_left(tmp_path: Path) -> None:
    needy = wish(*(order(n, request={'needs': 'episode'}) for n in range(2)), count=2)
    (first,), _ = produce(tmp_path, [needy], make)
    assert first.is_short
    assert [job.reason for job in first.refused] == ['episode: is gone'] * 2
    (tmp_path / 'episode').touch()
    (second,), _ = produce(tmp_path, [needy], make)
    assert len(second.made) == 2


def test_a_run_ends_at_its_own_limit_and_leaves_the_rest_in_the_queue(tmp_path: Path) -> None:
    with Queue.open(tmp_path) as queue:
        queue.add([order(9)])
    several = wish(*map(order, range(4)), count=4)
    (done,), stopped = produce(tmp_path, [several], make, budget=Budget(candidates=3))
    assert (len(done.made), len(done.left)) == (3, 1)
    assert 'the budget of candidates is 3' in stopped
    with Queue.open(tmp_path) as queue:
        assert queue.counts() == {'done': 3, 'waiting': 2}, "another's order is not touched"
    assert queued_wishes(tmp_path, {'augment'}) == ([], {'made_up': 2})
    wishes, _ = queued_wishes(tmp_path, {'made_up'})
    with pytest.raises(ConfigError, match='what seconds cost: flywheel queue budget'):
        produce(tmp_path, wishes, make, budget=Budget(money=1))
    (rest,), stopped = produce(tmp_path, wishes, make, budget=Budget(candidates=3))
    assert (len(rest.made), stopped) == (2, '')

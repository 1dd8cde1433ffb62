# SPDX-License-Identifier: Apache-2.0
"""So many candidates of one brief: what is refused is tried with other seeds, and told."""

from __future__ import annotations

import numpy as np
import pytest
from order_maker import FAMILIES, ROBOT, make_brief, make_episode

from cosmos_flywheel.core.errors import ConfigError, StoreError
from cosmos_flywheel.generate.augment import Augment
from cosmos_flywheel.generate.base import Made
from cosmos_flywheel.generate.produce import SEEDS_APART, Source, produce


class Picky(Augment):
    """Refuses the orders of some seeds."""

    name = 'picky'

    def __init__(self, *refused: int, error: type[Exception] = ConfigError) -> None:
        self.refused, self.error = refused, error
        self.asked: list[int] = []

    def make(self, order) -> Made:
        self.asked.append(order.seed)
        if order.seed in self.refused:
            raise self.error(f'not with seed {order.seed}')
        return Made(np.zeros((3, 16, 16, 3), np.uint8), 15.0, None, None)


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    episode = make_episode(tmp_path_factory.mktemp('out'))
    return Source(make_brief(episode, families=FAMILIES), episode, ROBOT)


def test_a_refused_order_is_tried_with_other_seeds(source, tmp_path):
    picky = Picky(0)
    done = produce(tmp_path, source, picky, 2)
    assert len(done.made) == 2
    assert done.refused == ()
    assert done.tries == 2
    assert picky.asked == [0, SEEDS_APART, 0, SEEDS_APART]


def test_an_order_that_no_seed_meets_is_told_with_the_reason(source, tmp_path):
    picky = Picky(0, SEEDS_APART, 2 * SEEDS_APART)
    done = produce(tmp_path, source, picky, 4)
    assert len(done.made) == 4
    assert picky.asked[-4:] == [1, 1, 2, 2]
    assert len(done.refused) == 2
    assert f'not with seed {2 * SEEDS_APART}' in done.refused[0]
    assert done.unmade[0].startswith('recovery, nominal commands')


def test_a_generator_that_refuses_everything_is_given_up(source, tmp_path):
    picky = Picky(*range(4), *(n + k * SEEDS_APART for n in range(4) for k in (1, 2)))
    done = produce(tmp_path, source, picky, 3)
    assert done.made == ()
    assert len(done.refused) == 6


def test_what_is_no_refusal_ends_the_work(source, tmp_path):
    with pytest.raises(StoreError, match='not with seed 0'):
        produce(tmp_path, source, Picky(0, error=StoreError), 2)

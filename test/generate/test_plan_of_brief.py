# SPDX-License-Identifier: Apache-2.0
"""Which cells a generator is asked for, with which seeds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from order_maker import make_brief, make_episode

from cosmos_flywheel.core.brief import Family
from cosmos_flywheel.generate.augment import Augment
from cosmos_flywheel.generate.backends import usual_backend
from cosmos_flywheel.generate.plan import make_plan

SAME = 'same_failure_new_scene'


@pytest.fixture(scope='module')
def episode(tmp_path_factory):
    return make_episode(tmp_path_factory.mktemp('out'))


def brief_of(episode, *families):
    return make_brief(episode, families=families)


def test_cells_come_in_turn_and_then_with_the_next_seed(episode):
    brief = brief_of(episode, Family(SAME, 'recorded', {'light': ('dim', 'warm')}))
    orders = make_plan(brief, Augment(), 5, seed=7).orders
    assert [cell.cell['light'] for cell, _ in orders] == ['dim', 'warm', 'dim', 'warm', 'dim']
    assert [seed for _, seed in orders] == [7, 7, 8, 8, 9]


def test_what_a_generator_knows_nothing_of_is_not_claimed(episode):
    axes = {'light': ('dim', 'pink'), 'surface': ('wood', 'steel')}
    plan = make_plan(brief_of(episode, Family(SAME, 'recorded', axes)), Augment(), 4)
    assert {tuple(cell.cell.items()) for cell, _ in plan.orders} == {(('light', 'dim'),), ()}
    assert plan.left_open == ('surface wood', 'surface steel', 'light pink')


def test_what_a_generator_does_not_make_is_told_once_with_the_reason(episode):
    brief = brief_of(
        episode, Family('recovery', 'nominal', {'after': ('a', 'b')}), Family(SAME, 'recorded', {})
    )
    plan = make_plan(brief, Augment(), 3)
    assert len(plan.orders) == 3
    (refused,) = plan.refused
    assert refused.startswith('recovery, nominal commands: ')


def test_nothing_is_ordered_where_nothing_can_be_made(episode):
    plan = make_plan(brief_of(episode, Family('recovery', 'nominal', {})), Augment(), 8)
    assert plan.orders == ()
    assert len(plan.refused) == 1


def test_a_failure_that_a_twin_can_act_out_goes_to_the_simulator(episode):
    families = (Family(SAME, 'recorded', {'surface': ('wood',)}),)
    brief = make_brief(episode, families=families)
    assert usual_backend(brief).name == 'augment'
    twin = replace(
        brief,
        origin=replace(brief.origin, robot='sim_arm'),
        failure=replace(brief.failure, cause='object_moved'),
    )
    assert usual_backend(twin).name == 'sim'
    unknown = replace(twin, failure=replace(twin.failure, cause='unknown'))
    assert usual_backend(unknown).name == 'augment'

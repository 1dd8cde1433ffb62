# SPDX-License-Identifier: Apache-2.0
"""A plan fills the cells that failures and earlier candidates leave empty, worthiest first."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from cosmos_flywheel.core.brief import Brief, Family
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.generate.coverage import Costs, Tried, plan_coverage, survival
from cosmos_flywheel.generate.grid import Real, cell_key, current, make_grid

EXAMPLE = Path(__file__).parents[1] / 'schemas/examples/brief-v1.json'
LIGHT = Family('same_failure_new_scene', 'recorded', {'light': ('dim', 'bright')})
RECOVERY = Family('recovery', 'nominal', {})


def brief(cause: str, thing: str = 'the box', *families: Family, episode: str = '0' * 16) -> Brief:
    whole = Brief.from_document(json.loads(EXAMPLE.read_text()))
    return replace(
        whole,
        origin=replace(whole.origin, id=episode),
        failure=replace(whole.failure, cause=cause, object=thing),
        families=families or (LIGHT,),
    )


def reals(**counts: int) -> list[Real]:
    return [Real(f'{cause}{n}', cause, 'the box') for cause, k in counts.items() for n in range(k)]


def tried(order: Brief, light: str, seed: int = 0, state: str = 'waiting') -> Tried:
    (cell,) = [c for c in make_grid([order], []) if c.variation.cell == {'light': light}]
    return Tried(order.id, cell.key, seed, state)  # type: ignore[arg-type]


def test_every_cell_of_every_brief_is_in_the_grid_once() -> None:
    two = [brief('slip'), brief('slip', episode='1' * 16)]
    grid = make_grid([*two, brief('lost', 'the cup', LIGHT, RECOVERY)], [])
    assert [(c.cause, c.variation.family, dict(c.variation.cell)) for c in grid] == [
        ('lost', 'recovery', {}),
        ('lost', 'same_failure_new_scene', {}),
        ('lost', 'same_failure_new_scene', {'light': 'bright'}),
        ('lost', 'same_failure_new_scene', {'light': 'dim'}),
        ('slip', 'same_failure_new_scene', {}),
        ('slip', 'same_failure_new_scene', {'light': 'bright'}),
        ('slip', 'same_failure_new_scene', {'light': 'dim'}),
    ]
    assert sorted(grid[-1].briefs) == sorted(one.id for one in two)


def test_probabilities_follow_the_failures_and_leave_room_for_the_unmet() -> None:
    grid = make_grid([brief('slip'), brief('lost', 'the box', LIGHT, RECOVERY)], reals(slip=3))
    assert sum(cell.probability for cell in grid) == pytest.approx(1)
    slip = sum(cell.probability for cell in grid if cell.cause == 'slip')
    assert slip == pytest.approx(3.5 / 4)
    lost = {(c.variation.family, *c.variation.cell.values()): c.probability for c in grid[:4]}
    assert lost['recovery',] == pytest.approx(0.5 / 4 / 2)
    assert lost['same_failure_new_scene', 'dim'] == pytest.approx(0.5 / 4 / 2 / 3)


def test_the_light_in_which_failures_were_seen_counts() -> None:
    seen = [replace(real, seen={'light': 'dim'}) for real in reals(slip=3)]
    as_it_was, bright, dim = make_grid([brief('slip')], seen)
    assert dim.probability == pytest.approx(3.5 / 4.5)
    assert (as_it_was.real, bright.real, dim.real) == (0, 0, 3)
    plan = plan_coverage([as_it_was, bright, dim], [], 2)
    assert {order.variation.cell.get('light') for order in plan.orders} == {None, 'bright'}


def test_a_failure_lies_where_nothing_is_varied() -> None:
    as_it_was, bright, dim = make_grid([brief('slip')], reals(slip=2))
    assert (as_it_was.real, bright.real, dim.real) == (2, 0, 0)
    assert as_it_was.probability == pytest.approx(2.5 / 3.5)
    assert plan_coverage([as_it_was, bright, dim], [], 1).cells[0].before == 1.0


def test_the_most_probable_and_most_costly_cells_come_first() -> None:
    grid = make_grid([brief('slip'), brief('lost')], reals(slip=3, lost=1))
    assert [o.variation.cell['light'] for o in plan_coverage(grid, [], 2).orders] == [
        'bright', 'dim',
    ]  # fmt: skip
    names = [order.why for order in plan_coverage(grid, [], 2).orders]
    assert all('7.8% of failures, cost 1, is empty' in why for why in names)
    dear = plan_coverage(grid, [], 2, costs=Costs(causes={'lost': 10}))
    assert all('cost 10' in order.why for order in dear.orders)


def test_cells_that_have_candidates_come_later() -> None:
    slip = brief('slip')
    grid = make_grid([slip], reals(slip=1))
    plan = plan_coverage(grid, [tried(slip, 'bright')], 1)
    assert plan.orders[0].variation.cell == {'light': 'dim'}


def test_an_accepted_candidate_covers_its_cell_and_a_rejected_one_does_not() -> None:
    slip = brief('slip')
    grid = make_grid([slip], reals(slip=1))
    plan = plan_coverage(grid, [tried(slip, 'bright', state='accepted')], 5)
    assert {order.variation.cell['light'] for order in plan.orders} == {'dim'}
    assert [cell.before for cell in plan.cells] == [1.0, 1.0, 0.0]
    plan = plan_coverage(grid, [tried(slip, 'bright', state='rejected')], 1)
    assert plan.orders[0].variation.cell == {'light': 'bright'}
    assert plan.orders[0].seed == 1
    assert plan.orders[0].why.endswith('has 1 rejected')


def test_survival_is_counted_from_those_that_were_judged() -> None:
    slip = brief('slip')
    judged = [
        tried(slip, 'dim', seed, 'accepted' if seed < 3 else 'rejected') for seed in range(4)
    ]
    assert survival([]) == 0.5
    assert survival([*judged, tried(slip, 'bright')]) == pytest.approx(3.5 / 5)


def test_what_is_expected_to_be_covered_is_told_before_and_after() -> None:
    slip = brief('slip')
    grid = make_grid([slip], [])
    plan = plan_coverage(grid, [tried(slip, 'bright')], 3)
    assert plan.share(after=False) == pytest.approx(0.5 / 3)
    # Two cells gain ½ of their third, then all three ¼ of it: the first of the grid is taken.
    assert [order.variation.cell.get('light') for order in plan.orders] == [None, 'dim', None]
    assert plan.share(after=True) == pytest.approx((0.75 + 0.5 + 0.5) / 3)
    assert sum(order.gain for order in plan.orders) == pytest.approx(
        plan.share(after=True) - plan.share(after=False)
    )


def test_more_orders_than_cells_give_second_candidates_with_other_seeds() -> None:
    orders = plan_coverage(make_grid([brief('slip')], reals(slip=1)), [], 4, seed=7).orders
    made = [(order.variation.cell['light'], order.seed) for order in orders]
    assert made == [('bright', 7), ('dim', 7), ('bright', 8), ('dim', 8)]


def test_briefs_of_one_cell_take_turns() -> None:
    two = [brief('slip', 'the box', RECOVERY, episode=c * 16) for c in 'ab']
    orders = plan_coverage(make_grid(two, []), [], 4).orders
    assert [order.brief for order in orders] == sorted(one.id for one in two) * 2
    assert [order.seed for order in orders] == [0, 0, 1, 1]


def test_what_no_generator_makes_stays_empty_and_says_why() -> None:
    grid = make_grid([brief('slip')], reals(slip=1))
    bright = grid[1].variation

    def makers(_brief: str, asked: Variation) -> tuple[tuple[str, ...], str]:
        return (('augment',), '') if asked == bright else ((), 'none varies light')

    plan = plan_coverage(grid, [], 9, makers=makers)
    assert {order.backends for order in plan.orders} == {('augment',)}
    assert {order.variation.cell['light'] for order in plan.orders} == {'bright'}
    assert [one.refusal for one in plan.cells] == ['none varies light', '', 'none varies light']
    assert 0.6 < plan.share(after=True) < 0.8


def test_the_choice_is_the_best_there_is() -> None:
    grid = make_grid([brief('slip'), brief('lost')], reals(slip=3))
    best = max(
        sum(
            c.probability * (1 - 0.5**n if not c.real else 1)
            for c, n in zip(grid, counts, strict=True)
        )
        for counts in product(range(6), repeat=len(grid))
        if sum(counts) == 5
    )
    assert plan_coverage(grid, [], 5).share(after=True) == pytest.approx(best)


def test_a_brief_that_was_edited_is_planned_as_it_is_now() -> None:
    old = brief('unknown')
    new = replace(brief('slip'), parents=(f'brief:{old.id}',))
    assert current([old, new]) == [new]


def test_the_order_of_briefs_does_not_matter() -> None:
    briefs = [brief(cause) for cause in ('slip', 'lost', 'stall')]
    known = reals(slip=2, stall=1)
    assert make_grid(current(briefs), known) == make_grid(current(briefs[::-1]), known)


def test_a_grid_beyond_all_bounds_is_refused() -> None:
    wide = {f'axis {n}': tuple(map(str, range(10))) for n in range(6)}
    with pytest.raises(ConfigError, match='orders 1771561 cells, limit 100000'):
        make_grid([brief('slip', 'the box', Family('harder', 'perturbed', wide))], [])
    with pytest.raises(ConfigError, match='no brief to plan for'):
        make_grid([], [])


def test_a_variation_finds_its_cell() -> None:
    slip = brief('slip')
    grid = {cell.key: cell for cell in make_grid([slip], [])}
    for cell in grid.values():
        assert grid[cell_key(slip, cell.variation)] is cell

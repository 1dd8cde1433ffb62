# SPDX-License-Identifier: Apache-2.0
"""How often `sim` finds a recovery within a nominal envelope, by robot, task and fault.

Recoveries from every fault that one can follow are ordered, with other seeds each, and rehearsed;
envelopes come from six nominal episodes of the same task. Counted are orders that are met, those
that the first scene meets, the median strength of their faults, and why the others are refused.
Nothing is rendered.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from statistics import median
from types import SimpleNamespace
from typing import Any

from common import Bench, begin, print_table

from cosmos_flywheel.core.envelope import Envelope, measure_envelope
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.generate.base import Order
from cosmos_flywheel.generate.sim import unfit
from cosmos_flywheel.generate.staging import Twin, setup_for
from cosmos_flywheel.sim import find_robot
from cosmos_flywheel.sim.record import rehearse
from cosmos_flywheel.sim.world import Robot, Setup
from cosmos_flywheel.store.robots import load_robot

SEEDS, QUICK_SEEDS = 12, 3
NOMINAL_SEEDS = range(9701, 9707)
FAMILY = 'recovery'


def main() -> int:
    """A row for each robot, task and fault."""
    bench = begin('recoveries', __doc__ or '')
    head = ('robot', 'task', 'fault', 'orders', 'met', 'by the first scene', 'strength', 'else')
    rows: list[tuple[object, ...]] = [head]
    for name in ('arm', 'base'):
        robot = find_robot(name)
        for task in robot.tasks:
            if bench.wants(name):
                rows += tried(bench, robot, task)
    print_table(rows)
    bench.bars['recoveries_that_packs_order_are_met'] = all(
        figures['met'] >= 0.8 * figures['orders']
        for name, figures in bench.figures.items()
        if not name.endswith((' lost', ' double_pick'))  # no pack orders these
    )
    return bench.finish()


def tried(bench: Bench, robot: Robot, task: str) -> Iterator[tuple[object, ...]]:
    """Every fault of a task."""
    names = load_robot(f'sim_{robot.name}').action_names
    scripts = [rehearse(robot, Setup(task, seed)).commands for seed in NOMINAL_SEEDS]
    envelope = measure_envelope(names, ('',) * len(names), robot.camera_hz, scripts)
    for fault in robot.faults.values():
        if task not in fault.tasks or unfit(robot.name, fault, FAMILY):
            continue
        orders = QUICK_SEEDS if bench.quick else SEEDS
        places: list[int] = []
        strengths: list[float] = []
        reasons: Counter[str] = Counter()
        for seed in range(orders):
            try:
                setup, place = setup_for(
                    order_of(robot.name, fault.name, envelope, seed), Twin(robot, task, fault)
                )
            except ConfigError as error:
                reasons[re.sub(r'.*seed \d+: | at step.*| \(\d+ times.*', '', str(error))] += 1
                continue
            places.append(place)
            strengths.append(setup.strength)
        bench.figures[f'{robot.name} {task} {fault.name}'] = {
            'orders': orders, 'met': len(places), 'first': places.count(0),
        }  # fmt: skip
        middle = f'{median(strengths):.2f}' if strengths else '-'
        said = '; '.join(f'{count}: {reason}' for reason, count in reasons.most_common(2))
        yield (
            robot.name, task, fault.name, orders, len(places), places.count(0), middle, said
        )  # fmt: skip


def order_of(robot: str, fault: str, envelope: Envelope, seed: int) -> Order:
    """What rehearsal asks of an order; it has no clip."""
    brief: Any = SimpleNamespace(id=f'{robot} {fault}', envelope=envelope)
    clip: Any = None
    return Order(brief, clip, load_robot(f'sim_{robot}'), Variation(FAMILY, 'expert'), seed)


if __name__ == '__main__':
    raise SystemExit(main())

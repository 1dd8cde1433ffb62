# SPDX-License-Identifier: Apache-2.0
"""An order → the scene, the changes and the strength with which the simulator acts it out.

How strong the fault is, is found by rehearsal: a near miss is the strongest that still ends well,
a failure one that does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cosmos_flywheel.core.envelope import Envelope
from cosmos_flywheel.core.errors import ConfigError, OrderError
from cosmos_flywheel.generate.acts import HALF, acts_of
from cosmos_flywheel.generate.base import Order, whole_cell
from cosmos_flywheel.generate.rehearsal import SCENES, Wanted, rehearsed
from cosmos_flywheel.sim.world import Change, Fault, Robot, Setup

FASTER, SLOWER = 1.08, 0.9
STRENGTHS = (1.0, 0.85, 0.7, 0.55, 0.4, 0.3, 0.2, 0.12, 0.06)
BANDS: Mapping[str, tuple[float, float]] = {
    'any': (0.0, 1.0),
    'weak': (0.0, 0.5),
    'strong': (0.7, 1.0),
}
"""Between which strengths each value of axis `strength` lies."""
LEAST_DRAWN = 0.25
"""No weaker strength is tried at first."""

AXES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    'light': {
        'usual': {},
        'dim': {'light': 0.65},
        'bright': {'light': 1.3},
    },
    'surface': {'usual': {}, 'other': {'surface': 0.8}},
    'camera': {
        'usual': {},
        'shifted': {'camera_m': (0.0, 0.03, 0.02)},
        'closer': {'camera_m': (-0.05, 0.0, 0.0)},
    },
    'friction': {'usual': {}, 'low': {'friction': 0.7}, 'high': {'friction': 1.3}},
    'strength': {'any': {}, 'weak': {}, 'strong': {}},
}
"""What each value of each axis changes. Objects and start are elsewhere with every seed."""
_FAMILY_CHANGES: Mapping[str, Mapping[str, Any]] = {
    'earlier': {'onset': (0.0, 0.34)},
    'later': {'onset': (0.66, 1.0)},
    'faster': {'pace': FASTER},
    'slower': {'pace': SLOWER},
}
_ENDS: Mapping[str, bool] = {'near_miss': True, 'recovery': True}
"""How a family's episodes are to end; the others are to end badly, where the fault can do that."""


@dataclass(frozen=True, slots=True)
class Twin:
    """What is acted out."""

    robot: Robot
    task: str
    fault: Fault


def setup_for(order: Order, twin: Twin) -> tuple[Setup, int]:
    """Scenes by the seed, changes by the cell, strength by rehearsal; with the scene's place."""
    family = order.variation.family
    changes: dict[str, Any] = {}
    for axis, value in cell_of(order).items():
        changes |= AXES.get(axis, {}).get(value, {})
    changes |= _FAMILY_CHANGES.get(family, {})
    for act in acts_of(order.variation):
        changes |= act.change
    fault, change, recovers = twin.fault, Change(**changes), family == 'recovery'
    seeds = order.chance('scene').integers(1, 2**31, SCENES)
    scenes = [Setup(twin.task, int(seed), fault, 1.0, change, recovers) for seed in seeds]
    ends_well = None if fault.kind == 'sensor' else _ENDS.get(family, False)
    needed = recovers and spoils(order, fault)
    wanted = Wanted(_strengths(order), ends_well, needed, _bounds(order))
    try:
        return rehearsed(twin.robot, scenes, wanted)
    except ConfigError as error:
        raise ConfigError(f'sim: {order.variation}, seed {order.seed}: {error}') from error


def cell_of(order: Order) -> dict[str, str]:
    """A value on every axis; a strength that nobody ordered is found by rehearsal alone."""
    return dict(
        sorted({**whole_cell(order, AXES), 'strength': 'any', **order.variation.cell}.items())
    )


def spoils(order: Order, fault: Fault) -> bool:
    """Whether the task is to end badly where no expert takes over.

    A joint that stalls need not spoil it, nor does who turns back half of the way.
    """
    return fault.name != 'stall' and order.variation.cell.get('after') != HALF


def _strengths(order: Order) -> tuple[float, ...]:
    """Of the fault, to rehearse, the most wanted first."""
    family = order.variation.family
    told = tuple(act.strength for act in acts_of(order.variation) if act.strength is not None)
    least, most = BANDS[cell_of(order)['strength']]
    within = tuple(s for s in STRENGTHS if least <= s <= most)
    if told or family == 'harder':
        return told or (1.0,)
    if family == 'near_miss':
        return within
    low = max(least, LEAST_DRAWN)
    drawn = round(float(order.chance('strength').uniform(low, most)), 3)
    stronger = tuple(s for s in reversed(within) if s > drawn)
    if family == 'recovery':
        return (drawn, *(s for s in within if s < drawn), *stronger)
    return (drawn, *stronger)


def _bounds(order: Order) -> Envelope | None:
    """The brief's envelope at the robot's clock.

    Raises:
        OrderError: there is none, and a recovery is ordered.

    """
    envelope = order.brief.envelope
    if envelope is not None:
        return replace(envelope, hz=order.robot.clock.hz)
    if order.variation.family == 'recovery':
        raise OrderError(
            'an expert needs an envelope to keep within and the brief has none; make the brief '
            'again with nominal bags'
        )
    return None

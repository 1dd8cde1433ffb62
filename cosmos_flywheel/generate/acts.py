# SPDX-License-Identifier: Apache-2.0
"""What a brief may ask that the simulator acts out: which value, of which family and fault.

A value stands here only if what happens is what it says, and `unproved` holds the truth of an
episode against it. All other values are words, which no simulator heeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.sim.messages import COMPRESSED_IMAGE
from cosmos_flywheel.sim.record import Recording
from cosmos_flywheel.sim.world import LASTS_S, Numbers

FOLLOWS, HALF = 'the joint follows again', 'half of the way'
BEHIND_RAD = 0.06
"""So far a joint that stalls has to be from where it should be."""
ABOUT_HALF = (0.4, 0.6)
"""Of the way from one object to the other that the hand has come before it turns back."""
MOVED_M = 0.01
"""A cube so far from where it lay is taken."""
MISSING = {'half of the pictures': (0.5, 0.3, 0.7), 'most pictures': (1.0, 0.7, 1.0)}
"""Strength of the fault, and the shares of its pictures between which the missing ones must be."""


@dataclass(frozen=True, slots=True)
class Act:
    """Where a value is acted out, and how."""

    family: str = ''
    """'' for every one."""
    faults: tuple[str, ...] = ()
    """Of the twin; empty for every one."""
    robot: str = ''
    """The twin; '' for every one."""
    strength: float | None = None
    """Of the fault; None where it is drawn."""
    change: Mapping[str, Any] = field(default_factory=dict)
    """Of the whole episode: fields of `sim.world.Change`."""


ACTS: Mapping[str, Mapping[str, Act]] = {
    # The fault shows itself, the expert takes over once it is over, and the task gets done.
    'after': {
        'the slip': Act('recovery', ('slip',)),
        'the push': Act('recovery', ('kick',)),
        'the fall': Act('recovery', ('weak_grip',)),
        'one miss': Act('recovery', ('missed_grasp',)),
        FOLLOWS: Act('recovery', ('stall',)),
        HALF: Act('recovery', ('wrong_object',), strength=0.25),
    },
    'way': {
        'a stop before the person': Act('recovery', ('person',)),
        'a stop before the cage': Act('recovery', ('blocked_aisle',)),
        'a stop before the carton': Act('recovery', ('fallen_carton',)),
    },
    'pace': {
        'four fifths': Act('slower', change={'pace': 0.8}),
        'a fifth faster': Act('faster', change={'pace': 1.2}),
    },
    'surface': {
        material: Act(robot='arm', change={'material': material}) for material in ('wood', 'steel')
    },
    'missing': {
        value: Act('harder', ('dropped_frames',), strength=strength)
        for value, (strength, _, _) in MISSING.items()
    },
}
"""By axis and value."""


def acts_of(variation: Variation) -> Iterator[Act]:
    """Those that a variation asks for."""
    for axis, value in sorted(variation.cell.items()):
        act = ACTS.get(axis, {}).get(value)
        if act is not None:
            yield act


def not_acted(variation: Variation, robot: str, fault: str) -> str:
    """Which value is not acted out by this twin, family and fault, in words; '' if all are."""
    here = {'robot': robot, 'family': variation.family, 'fault': fault}
    for axis, value in sorted(variation.cell.items()):
        act = ACTS.get(axis, {}).get(value, Act())
        asked = {'robot': (act.robot,), 'family': (act.family,), 'fault': act.faults or ('',)}
        for name, known in asked.items():
            if not {here[name], ''} & set(known):
                words = ' or '.join(known)
                return f'acts out {axis} {value!r} with {name} {words}, not with {here[name]}'
    return ''


def unproved(variation: Variation, recording: Recording) -> str:
    """What of a variation did not come true in an episode, in words; '' if all did.

    That other faults spoil the task where no expert takes over is known from the rehearsal.
    """
    cell = variation.cell
    if cell.keys() & {'after', 'way'} and not recording.ends_well:
        return 'the task does not end well'
    if cell.get('after') == HALF:
        share = share_of_way(recording.truth)
        if not ABOUT_HALF[0] <= share <= ABOUT_HALF[1]:
            return f'the hand has come {share:.0%} of the way, not half of it'
    if cell.get('after') == FOLLOWS:
        behind_rad = most_behind_rad(recording.truth)
        if behind_rad < BEHIND_RAD:
            return f'the joint stays within {behind_rad:.2f} rad of where it should be'
    if 'missing' in cell:
        share = share_missing(recording)
        _, least, most = MISSING[cell['missing']]
        if not least <= share <= most:
            return f'{share:.0%} of the pictures are missing, not {cell["missing"]}'
    return ''


def share_of_way(truth: Mapping[str, Numbers]) -> float:
    """How far the hand has come from above the cube to the other one, before it takes the cube."""
    cube, hand = truth['pose_cube'][:, :2], truth['hand'][:, :2]
    way = truth['pose_other'][0, :2] - cube[0]
    begun = truth['is_affected'].argmax()
    is_taken = np.hypot(*(cube - cube[0]).T) > MOVED_M
    end = is_taken.argmax() if is_taken.any() else len(cube)
    return float(((hand - cube[0]) @ way / (way @ way))[begun:end].max(initial=0.0))


def most_behind_rad(truth: Mapping[str, Numbers]) -> float:
    """How far the arm's base joint has been from its twin's while the fault lasts."""
    since_s = truth['time_s'] - truth['time_s'][truth['is_affected'].argmax()]
    apart = np.abs(truth['joints'][:, 0] - truth['twin_joints'][:, 0])
    return float(apart[(since_s >= 0) & (since_s < LASTS_S)].max())


def share_missing(recording: Recording) -> float:
    """Of the pictures while the fault lasts."""
    there = sum(message.msgtype == COMPRESSED_IMAGE for message in recording.messages)
    frames = recording.truth['is_affected']
    return float((len(frames) - there) / max(frames.sum(), 1))

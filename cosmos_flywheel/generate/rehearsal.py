# SPDX-License-Identifier: Apache-2.0
"""A scene and a strength of the fault at which an episode goes as it was ordered.

Found by running it without pictures. What leaves the envelope is not planned: another strength is
tried, then another scene, and if none will do the order is refused with the reasons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cosmos_flywheel.core.envelope import Envelope
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.sim.record import Rehearsal, rehearse
from cosmos_flywheel.sim.world import Robot, Setup

SCENES = 6
"""So many are laid for one order."""
HARMLESS = 2
"""In so many scenes a fault may do no harm; one that never does is taken as it is."""
UNNEEDED = 'the task ends well without a recovery, too'


@dataclass(frozen=True, slots=True)
class Wanted:
    """How an episode is to go."""

    strengths: tuple[float, ...]
    """Of its fault, the most wanted first."""
    ends_well: bool | None
    """None where that is all the same. A fault that cannot spoil the task need not."""
    is_needed: bool
    """Whether the task is to end badly where no expert takes over."""
    envelope: Envelope | None
    """At the camera's rate."""


def rehearsed(robot: Robot, scenes: Sequence[Setup], wanted: Wanted) -> tuple[Setup, int]:
    """The first scene that will do, with the first strength that does, and its place from 0.

    Raises:
        ConfigError: none does; with the reasons.

    """
    reasons: Counter[str] = Counter()
    examples: dict[str, str] = {}
    harmless: list[tuple[Setup, int]] = []
    for place, scene in enumerate(scenes):
        spared = 0.0  # up to this strength nothing needs a recovery
        for strength in wanted.strengths:
            if strength <= spared:
                continue
            setup = replace(scene, strength=strength)
            found = rehearse(robot, setup)
            step, left = _left(found, wanted.envelope)
            reason = left or _unlike(robot, setup, found, wanted)
            if not reason:
                return setup, place
            reasons[reason.split(':')[0]] += 1
            examples[reason.split(':')[0]] = reason
            if step < found.onset:  # whatever the fault does
                break
            if reason == UNNEEDED:
                spared = strength
            if not left and not wanted.ends_well and strength == wanted.strengths[0]:
                harmless.append((setup, place))
        if len(harmless) >= HARMLESS:
            break
    if harmless:
        return harmless[0]
    told = '; '.join(f'{examples[name]} ({count} times)' for name, count in reasons.most_common())
    raise ConfigError(
        f'{told}: tried in {len(scenes)} scenes; take another seed, or widen the envelope of the '
        'brief by hand if the robot may do this'
    )


def _left(found: Rehearsal, envelope: Envelope | None) -> tuple[int, str]:
    """The first step that leaves the envelope, and how; the end and '' if none does."""
    left = () if envelope is None else envelope.violations(found.commands)
    if not left:
        return len(found.commands), ''
    first = min(left, key=lambda one: one.step)
    return first.step, f'expert commands are refused: {first}'


def _unlike(robot: Robot, setup: Setup, found: Rehearsal, wanted: Wanted) -> str:
    """In what the end is not the wanted one; '' if it is."""
    if wanted.ends_well is None:
        return ''
    if found.ends_well != wanted.ends_well:
        return 'the task does not end well' if wanted.ends_well else 'the task ends well'
    if wanted.is_needed and rehearse(robot, replace(setup, recovers=False)).ends_well:
        return UNNEEDED
    return ''

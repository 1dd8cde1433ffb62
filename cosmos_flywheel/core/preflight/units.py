# SPDX-License-Identifier: Apache-2.0
"""Is one of the action one of the state?"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

import numpy as np

from cosmos_flywheel.core.preflight.belief import Belief
from cosmos_flywheel.core.preflight.finding import Finding, cannot_tell, listed
from cosmos_flywheel.core.preflight.match import Match, is_off
from cosmos_flywheel.core.preflight.meaning import units

UNITS = 'units'
NEAR = 1.15
KNOWN = (
    (180 / pi, 'rad', 'the action is in rad and the state in deg'),
    (pi / 180, 'rad', 'the action is in deg and the state in rad'),
    (1000.0, 'm', 'the action is in m and the state in mm'),
    (0.001, 'm', 'the action is in mm and the state in m'),
    (100.0, 'm', 'the action is in m and the state in cm'),
    (0.01, 'm', 'the action is in cm and the state in m'),
)


def check_units(belief: Belief, found: Sequence[Match]) -> Finding:
    """Whether commands explain what was measured only when multiplied by something."""
    known = [match for match in found if match.is_known]
    if not known:
        return cannot_tell(UNITS, 'no element of the action explains an element of the state')
    off = [match for match in known if is_off(match)]
    typical = float(np.median([abs(m.slope) for m in known]))
    if not off:
        why = f'for 1 told, {typical:.2f} is reached (median of {len(known)} elements)'
        return Finding(UNITS, 'ok', why, numbers={'factor': typical})
    factor = float(np.median([abs(m.slope) for m in off]))
    names = tuple(match.name for match in off)
    unit = units(belief.study.robot.action_sources)[off[0].action]
    position = belief.study.meaning.position
    unit = unit or ('m' if position and off[0].action in position[0] else '')
    guess = _guess(factor, unit)
    why = (
        f'{listed(names)}: actions explain the state ({off[0].explained:.2f}) when multiplied by '
        f'{factor:.3g}' + (f': {guess}' if guess else '')
    )
    fix = (
        f'record the action times {factor:.3g}, or write the units as they are'
        if guess
        else f'record the action times {factor:.3g}: it looks scaled or normalised'
    )
    return Finding(UNITS, 'wrong', why, names, fix, {'factor': factor})


def _guess(factor: float, unit: str) -> str:
    """What the factor is known for; '' if it is not, or not with this unit."""
    for known, family, said in KNOWN:
        if unit in ('', family) and 1 / NEAR < factor / known < NEAR:
            return said
    return ''

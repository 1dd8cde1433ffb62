# SPDX-License-Identifier: Apache-2.0
"""Does each element of the action move the element that the robot file says, and the right way?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cosmos_flywheel.core.preflight.belief import Belief
from cosmos_flywheel.core.preflight.finding import Finding, cannot_tell, listed
from cosmos_flywheel.core.preflight.frame import is_frame
from cosmos_flywheel.core.preflight.match import Match

ORDER, SIGN = 'order', 'sign'


def check_order(belief: Belief, found: Sequence[Match]) -> Finding:
    """Whether another element is moved instead."""
    known = [match for match in found if match.is_known]
    if not known:
        return cannot_tell(ORDER, 'no element of the action explains an element of the state')
    mixed = [] if is_frame(belief) else [m for m in known if m.state != m.written]
    if not mixed:
        why = f'{len(known)} of {len(found)} elements move what they name; the others hardly move'
        return Finding(ORDER, 'ok', why, numbers={'judged': len(known), 'elements': len(found)})
    names = belief.study.robot.state_names
    told = [
        f'{m.name} moves {names[m.state]} (explains {m.explained:.2f}) and not '
        f'{names[m.written]} ({m.written_explained:.2f})'
        for m in mixed
    ]
    fix = ', '.join(f'{m.name} → {names[m.state]}' for m in mixed[:6])
    return Finding(
        ORDER,
        'wrong',
        listed(told, 2),
        tuple(m.name for m in mixed),
        f'put names of action.sources in the order of the message: {fix}',
        {'explained': mixed[0].explained, 'as_written': mixed[0].written_explained},
    )


def check_sign(belief: Belief, found: Sequence[Match]) -> Finding:
    """Whether an element moves the other way."""
    known = [match for match in found if match.is_known]
    if not known:
        return cannot_tell(SIGN, 'no element of the action explains an element of the state')
    turn = None if belief.study.meaning.position is None else belief.axes[0]
    told = belief.study.meaning.position[0] if belief.study.meaning.position else ()
    against = []
    for match in known:
        sign = 1.0
        if turn is not None and match.action in told:
            sign = float(turn[:, told.index(match.action)].sum())
        if match.slope * sign < 0:
            against.append(replace(match, slope=match.slope * sign))
    if is_frame(belief):
        against = [match for match in against if match.action not in told]
    if not against:
        return Finding(SIGN, 'ok', f'{len(known)} elements move the way that they are told')
    names = tuple(match.name for match in against)
    why = f'{listed(names)}: the robot moves the other way (for 1 told, {against[0].slope:.2f})'
    fix = f'turn the sign of {listed(names)} where it is recorded, or name its true axis'
    return Finding(SIGN, 'wrong', why, names, fix, {'slope': against[0].slope})

# SPDX-License-Identifier: Apache-2.0
"""Are the numbers in the frame that the robot file names?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosmos_flywheel.core.preflight.belief import Belief
from cosmos_flywheel.core.preflight.finding import Finding, cannot_tell
from cosmos_flywheel.core.preflight.log import Floats
from cosmos_flywheel.core.preflight.match import Match, is_off
from cosmos_flywheel.core.preflight.meaning import units
from cosmos_flywheel.core.preflight.rotations import turned_by
from cosmos_flywheel.core.preflight.study import clearly, fitted_turn, shares_explained
from cosmos_flywheel.core.timeline import NS

FRAME = 'frame'
ASIDE = 0.5
"""Commands lie in another frame if they are so large a part of the motion's range aside."""
STEADY = 10.0
"""And if that is so many times what they otherwise miss by."""


def is_frame(belief: Belief) -> bool:
    """Whether the axes are turned as a whole, not swapped or flipped one by one."""
    return belief.study.meaning.position is not None and _is_turn(belief.axes[0])


def check_frame(belief: Belief, found: Sequence[Match]) -> Finding:
    """Whether another frame explains the motion clearly better."""
    study = belief.study
    if study.meaning.position is None:
        return _beside(belief, found) or cannot_tell(
            FRAME, 'action and state hold no position x, y, z'
        )
    if not belief.is_known:
        return cannot_tell(FRAME, 'the actions do not explain the measured motion')
    written, believed = belief.written, belief.believed
    if believed.kind == written.kind and believed.frame != written.frame:
        why = (
            f'deltas explain {believed.in_time:.2f} of the motion in the frame of the '
            f'{believed.frame}, {written.in_time:.2f} in that of the {written.frame}'
        )
        numbers = {believed.frame: believed.in_time, written.frame: written.in_time}
        return Finding(FRAME, 'wrong', why, fix=f'action.frame: {believed.frame}', numbers=numbers)
    return _turned(belief) or _beside(belief, found) or _well(belief)


def _turned(belief: Belief) -> Finding | None:
    """The finding that the axes are turned, by quarters or by any angle."""
    study = belief.study
    turn, best, written = belief.axes
    if not _is_turn(turn):
        output, part = study.position(belief.believed.kind, belief.believed.frame, belief.lag_s)
        free = fitted_turn(output, part)
        freely = float(shares_explained(output, part, [free])[0])
        if not clearly(freely, best) or written < best:
            return None
        turn, best = free, freely
    angle = float(np.degrees(turned_by(turn)))
    said = f'turned by {angle:.0f}°' if np.linalg.det(turn) > 0 else 'mirrored'
    why = f'x, y, z explain {best:.2f} of the motion when {said}, {written:.2f} as written'
    names = tuple(study.robot.action_names[i] for i in (study.meaning.position or ((), ()))[0])
    rows = '; '.join(' '.join(f'{value:+.2f}' for value in row) for row in turn)
    fix = f'give the action in the frame of the state (turn by [{rows}]), or name the right frame'
    numbers = {'turned_deg': angle, 'explained': best, 'as_written': written}
    return Finding(FRAME, 'wrong', why, names, fix, numbers)


def _well(belief: Belief) -> Finding:
    share = belief.axes[1]
    frame = belief.study.robot.action.frame
    return Finding(
        FRAME, 'ok', f'x, y, z explain {share:.2f} of the motion in frame {frame!r}',
        numbers={'explained': share},
    )  # fmt: skip


def _beside(belief: Belief, found: Sequence[Match]) -> Finding | None:
    """The finding that absolute commands lie far beside what is reached."""
    study = belief.study
    if belief.believed.kind != 'absolute' or not belief.is_known:
        return None
    sound = [m for m in found if m.is_known and m.state == m.written and m.slope > 0]
    if not sound or any(is_off(match) for match in found if match.is_known):
        return None
    gaps, spans = _gaps(belief, sound)
    unit = units(study.robot.state_sources)
    families = ['m' if _is_axis(belief, m) else unit[m.state] for m in sound]
    aside = []
    for place, (match, family) in enumerate(zip(sound, families, strict=True)):
        gap = gaps[:, place][np.isfinite(gaps[:, place])]
        if family not in ('m', 'rad') or not len(gap):
            continue
        middle = float(np.median(gap))
        if family == 'rad':
            middle = float(np.remainder(middle + np.pi, 2 * np.pi) - np.pi)
        spread = float(np.median(np.abs(gap - np.median(gap))))
        widest = max(span for span, other in zip(spans, families, strict=True) if other == family)
        if abs(middle) > max(ASIDE * widest, STEADY * spread):
            aside.append((match.name, middle))
    if not aside:
        return None
    said = ', '.join(f'{name} {gap:+.3g}' for name, gap in aside[:4])
    why = f'what is reached lies steadily beside what is told: {said}'
    fix = 'give commands and states in one frame: another origin, zero or tool is meant'
    names = tuple(name for name, _ in aside)
    return Finding(FRAME, 'wrong', why, names, fix, {'aside': aside[0][1]})


def _is_axis(belief: Belief, match: Match) -> bool:
    position = belief.study.meaning.position
    return position is not None and match.action in position[0]


def _gaps(belief: Belief, found: Sequence[Match]) -> tuple[Floats, Floats]:
    """(N, P) reached minus told, and (P,) the range of what is reached."""
    study = belief.study
    actions, states = [m.action for m in found], [m.state for m in found]
    told = np.concatenate([stretch.action[:, actions] for stretch in study.stretches])
    reached = np.concatenate([
        study.state_at(s, s.times_ns + round(belief.lag_s * NS))[:, states]
        for s in study.stretches
    ])  # fmt: skip
    known = np.where(np.isfinite(reached), reached, np.nan)
    spans = np.nan_to_num(np.fmax.reduce(known, axis=0) - np.fmin.reduce(known, axis=0))
    return reached - told, spans


def _is_turn(turn: Floats) -> bool:
    """Neither the identity, nor a plain change of order, nor one flipped axis."""
    minus = int((turn < 0).sum())
    is_order = minus == 0
    is_sign = minus == 1 and np.count_nonzero(np.diag(turn)) == 3
    return not (is_order or is_sign)

# SPDX-License-Identifier: Apache-2.0
"""Are commands cut off, by a recorder or by the model's normaliser?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosmos_flywheel.core.preflight.belief import Belief
from cosmos_flywheel.core.preflight.finding import Finding, cannot_tell, listed
from cosmos_flywheel.core.preflight.log import Floats
from cosmos_flywheel.core.preflight.match import Match
from cosmos_flywheel.core.timeline import NS

CLAMPED = 'clamped'
LEAST_SHARE = 0.02
"""So many of the commands stand at the same extreme before it is called a limit."""
BEYOND_SHARE = 0.05
"""The robot goes so far beyond it, as a part of the range of the commands."""
TIMES = 3.0
"""And so many times what it otherwise misses by."""


def check_clamped(belief: Belief, found: Sequence[Match]) -> Finding:
    """Elements that stand at a limit which the robot passes: it was told to go further."""
    known = [m for m in found if m.is_known and m.state == m.written and m.slope > 0]
    if not known:
        return cannot_tell(CLAMPED, 'no element of the action explains an element of the state')
    shares = {m.name: 0.0 for m in known}
    cut: list[tuple[Match, float]] = []
    for match in known:
        told, reached = _told_and_reached(belief, match)
        for side in (1.0, -1.0):
            share, beyond = _beyond(side * told, side * reached)
            shares[match.name] = max(shares[match.name], share)
            if beyond > 0:
                cut.append((match, share))
    most = max(shares, key=lambda name: shares[name])
    numbers = {'share': shares[most]}
    if not cut:
        why = (
            f'at most {shares[most]:.0%} of an element ({most}) stand at an extreme, and the '
            f'robot goes no further'
        )
        return Finding(CLAMPED, 'ok', why, numbers=numbers)
    names = tuple(dict.fromkeys(match.name for match, _ in cut))
    share = max(share for _, share in cut)
    why = (
        f'{share:.0%} of {listed(names)} stand at one value that the robot goes beyond: what it '
        f'was told is cut off'
    )
    fix = 'record the commands before they are clamped, or widen the limits of who clamps them'
    return Finding(CLAMPED, 'wrong', why, names, fix, {'share': share})


def _told_and_reached(belief: Belief, match: Match) -> tuple[Floats, Floats]:
    """(N,) commands, and what came of each: the state, or the step, in the action's axes."""
    study = belief.study
    told, reached = [], []
    for stretch in study.stretches:
        values = stretch.action[:, match.action]
        lag_ns = round(belief.lag_s * NS)
        state = study.state_at(stretch, stretch.times_ns + lag_ns)
        if belief.believed.kind == 'absolute':
            came = state[:, match.state]
        else:
            came = _steps(belief, match, state)
            values = values[:-1]
        told.append(values)
        reached.append(came)
    values, came = np.concatenate(told), np.concatenate(reached)
    sound = np.isfinite(values) & np.isfinite(came)
    return values[sound], came[sound]


def _steps(belief: Belief, match: Match, state: Floats) -> Floats:
    """(N − 1,) measured steps, in the tool's axes where deltas are."""
    position = belief.study.meaning.position
    if position is None or match.state not in position[1] or belief.believed.frame != 'tool':
        step: Floats = np.diff(state[:, match.state])
        return step
    moved = np.diff(state[:, list(position[1])], axis=0)
    turn = belief.study.turns(state)[:-1]
    own: Floats = np.einsum('nji,nj->ni', turn, moved)[:, position[1].index(match.state)]
    return own


def _beyond(told: Floats, reached: Floats) -> tuple[float, float]:
    """Share of commands at their maximum, and how far beyond it the robot goes; 0 if it stays."""
    if len(told) == 0:
        return 0.0, 0.0
    most, span = float(told.max()), float(np.ptp(told))
    at = told >= most - 1e-6 * max(span, 1e-12)
    share = float(at.mean())
    if not LEAST_SHARE <= share < 1:
        return share, 0.0
    missed = reached[~at] - told[~at]
    usual = float(np.quantile(np.abs(missed - np.median(missed)), 0.9))
    beyond = float(np.quantile(reached[at] - most - np.median(missed), 0.75))
    return share, beyond if beyond > max(BEYOND_SHARE * span, TIMES * usual) else 0.0

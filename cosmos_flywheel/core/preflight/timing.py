# SPDX-License-Identifier: Apache-2.0
"""Do commands come when the robot file's clocks say, and how often it says?"""

from __future__ import annotations

import numpy as np

from cosmos_flywheel.core.preflight.belief import LATEST_REACHED_S, Belief
from cosmos_flywheel.core.preflight.finding import Finding, cannot_tell
from cosmos_flywheel.core.preflight.meaning import units
from cosmos_flywheel.core.timeline import NS

RATE, OFFSET = 'rate', 'time offset'
RATE_TIMES = 1.2
DIGITS = 1e-6
"""Numbers that agree so well were copied: a robot never reaches a command to the last digit."""
MOST_COPIED = 0.9
MOST_STEPS = 4
TIGHT = 0.99


def check_rate(belief: Belief) -> Finding:
    """The median step of the commands against `action.rate_hz`, the domain's against the clock."""
    robot, period_s = belief.study.robot, belief.study.period_s
    measured = 1 / period_s
    written = robot.action.rate_hz
    numbers = {'measured_hz': measured, 'written_hz': written or float('nan')}
    fps = robot.cosmos.fps
    if fps is not None and robot.domain is not None and not _close(fps, robot.clock.hz):
        why = (
            f'domain {robot.domain.name} was trained at {fps:g} Hz, the clock has '
            f'{robot.clock.hz:g}'
        )
        return Finding(RATE, 'wrong', why, fix=f'clock.hz: {fps:g}', numbers=numbers)
    if written is None:
        return cannot_tell(RATE, f'action.rate_hz is not written; {measured:.1f} Hz was measured')
    if _close(measured, written):
        return Finding(RATE, 'ok', f'commands at {measured:.1f} Hz', numbers=numbers)
    why = f'commands come at {measured:.1f} Hz and not at {written:g}'
    return Finding(RATE, 'wrong', why, fix=f'action.rate_hz: {measured:.3g}', numbers=numbers)


def check_offset(belief: Belief) -> Finding:
    """Whether states follow their commands, and not too late."""
    study = belief.study
    if not belief.is_known:
        return cannot_tell(OFFSET, 'the actions do not explain the measured motion')
    score = belief.timed
    best, allowed = float(score[belief.best_place]), float(score[belief.allowed_place])
    lag_s, period_s = float(study.lags_s[belief.place]), study.period_s
    numbers = {'lag_s': lag_s, 'explained': best, 'explained_in_time': allowed}
    topics = [source.topic for source in study.robot.action_sources]
    if belief.place != belief.allowed_place:
        early = lag_s < 0
        what = 'before its command' if early else 'after its command'
        why = (
            f'the robot moves {abs(lag_s):.3g} s {what}: that explains {best:.4f} of the motion, '
            f'a lag from 0 to {LATEST_REACHED_S:g} s {allowed:.4f}'
        )
        return Finding(OFFSET, 'wrong', why, fix=_fix(topics, lag_s, period_s), numbers=numbers)
    strange = _of_another_row(belief, lag_s, best)
    if strange:
        return Finding(
            OFFSET, 'wrong', strange, fix=_fix(topics, lag_s, period_s), numbers=numbers
        )
    return Finding(
        OFFSET, 'ok', f'the robot follows its commands by {lag_s:.3g} s ({best:.2f} explained)',
        numbers=numbers,
    )  # fmt: skip


def _of_another_row(belief: Belief, lag_s: float, best: float) -> str:
    """Why commands that fit too well belong to another step; '' if they do not."""
    study = belief.study
    steps = lag_s / study.period_s
    if belief.believed.kind == 'delta':
        written = float(belief.timed[int(np.argmin(np.abs(study.lags_s)))])
        if steps >= 0.75 and best > TIGHT and (1 - best) * 3 < 1 - written:
            return (
                f'deltas explain {best:.4f} of the motion {lag_s:.3g} s later and {written:.4f} '
                f'of their own step: they belong to a later step'
            )
        return ''
    return _copied(belief)


def _copied(belief: Belief) -> str:
    """Why commands that are states, digit by digit, are of the wrong row; '' if they are not."""
    study = belief.study
    is_velocity = any(unit.endswith('/s') for unit in units(study.robot.action_sources))
    if is_velocity or belief.believed.kind != 'absolute':
        return ''
    shares = {steps: _share_copied(belief, steps) for steps in range(MOST_STEPS + 1)}
    steps = max(shares, key=lambda step: shares[step])
    if shares[steps] < MOST_COPIED or steps == 1:
        return ''
    if steps == 0:
        return 'commands are copies of the states of the same instant: they foretell nothing'
    return f'commands are copies of the states {steps} rows later, not of the next one'


def _share_copied(belief: Belief, steps: int) -> float:
    """Share of the commands on the move that equal the state so many rows later."""
    study = belief.study
    pairs = [(pair.action, pair.state) for pair in study.meaning.pairs]
    if study.meaning.position is not None:
        pairs += list(zip(*study.meaning.position, strict=True))
    if not pairs:
        return 0.0
    actions, states = [a for a, _ in pairs], [s for _, s in pairs]
    same, count = 0, 0
    for stretch in study.stretches:
        later = stretch.times_ns + round(steps * study.period_s * NS)
        told, reached = stretch.action[:, actions], study.state_near(stretch, later)[:, states]
        moves = np.zeros(told.shape, bool)
        moves[1:] = told[1:] != told[:-1]
        moves &= np.isfinite(reached) & np.isfinite(told)
        same += int((np.abs(told - reached) <= DIGITS * np.abs(told))[moves].sum())
        count += int(moves.sum())
    return same / count if count else 0.0


def _fix(topics: list[str], lag_s: float, period_s: float) -> str:
    """Where it is no clock, it is a shift by whole steps."""
    steps = round(lag_s / period_s)
    named = ', '.join(f'{topic}: {lag_s:+.3f}' for topic in dict.fromkeys(topics))
    shift = f' (or move the actions by {-steps or 1:+d} steps when they are recorded)'
    return f'clock.topic_offsets: {{{named}}}{shift}'


def _close(one: float, other: float) -> bool:
    return 1 / RATE_TIMES <= one / other <= RATE_TIMES

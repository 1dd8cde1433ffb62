# SPDX-License-Identifier: Apache-2.0
"""Is the rotation among the numbers written in the form that the robot file names?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cosmos_flywheel.core.preflight.belief import Belief
from cosmos_flywheel.core.preflight.finding import Finding, cannot_tell
from cosmos_flywheel.core.preflight.log import Floats
from cosmos_flywheel.core.preflight.rotations import (
    nearest_rotation,
    readings,
    rotations,
    turned_by,
)
from cosmos_flywheel.core.preflight.study import Stretch
from cosmos_flywheel.core.timeline import NS

ROTATION = 'rotation'
WRITTEN = 'as written'
GOOD_DEG = 6.0
"""Commands about so near to what is reached are read rightly."""
GOOD_SHARE = 0.5
"""Or so small a part of the turn over one horizon is left."""
TIMES = 4.0
LEAST_DEG = 1.0
"""A robot that turns less over one horizon tells nothing of how turns are written."""


def check_rotation(belief: Belief) -> Finding:
    """Every form that the numbers may have, held against the measured orientation."""
    study = belief.study
    meaning, action = study.meaning, study.robot.action
    if action.rotation == 'none' and not meaning.rotation:
        return cannot_tell(ROTATION, 'the action holds no rotation')
    if not meaning.rotation:
        return cannot_tell(
            ROTATION, f'no elements of the action are named as {action.rotation} has them'
        )
    if not meaning.measured_rotation:
        return cannot_tell(ROTATION, 'the state holds no orientation to compare with')
    names = tuple(study.robot.action_names[i] for i in meaning.rotation)
    if belief.believed.kind == 'delta':
        return _by_steps(belief, names)
    return _by_pose(belief, names)


def _by_pose(belief: Belief, names: tuple[str, ...]) -> Finding:
    """Absolute commands: the angle between what is told and what is reached."""
    told, reached = _poses(belief)
    if not len(reached):
        return cannot_tell(ROTATION, 'no orientation is known beside a command', names)
    off = {way: _median_deg(turn, reached) for way, turn in _ways(belief, told).items()}
    off |= _other_states(belief, told)
    return _judged(names, off, GOOD_DEG, '° from what is reached', _fixed_turn(belief, told))


def _by_steps(belief: Belief, names: tuple[str, ...]) -> Finding:
    """Deltas: what is left of the turn over one horizon, as a part of it."""
    frame = belief.believed.frame
    turns: list[tuple[Floats, Floats, Stretch]] = []
    for stretch in belief.study.stretches:
        state = belief.study.state_at(stretch, stretch.times_ns + round(belief.lag_s * NS))
        turns.append((_measured(belief, state), stretch.action, stretch))
    moved = np.concatenate([_moved(turn, stretch) for turn, _, stretch in turns])
    typical = _middle_deg(turned_by(moved))
    if not typical >= LEAST_DEG:
        why = f'the robot turns by {typical:.1f}° in one horizon: too little to tell'
        return cannot_tell(ROTATION, why, names, {'turned_deg': typical})
    off: dict[str, float] = {}
    for told_frame in dict.fromkeys((frame, 'tool', 'base')):
        left: dict[str, list[Floats]] = {}
        for turn, action, stretch in turns:
            for way, step in _ways(belief, action[:, list(belief.study.meaning.rotation)]).items():
                left.setdefault(way, []).append(_left(turn, step, stretch, told_frame))
        for way, parts in left.items():
            other = way if told_frame == frame else f'{way}, in the frame of the {told_frame}'
            off[other] = _middle_deg(np.concatenate(parts)) / typical
    return _judged(names, off, GOOD_SHARE, ' of the turn is left', {})


def _judged(
    names: tuple[str, ...],
    off: Mapping[str, float],
    good: float,
    unit: str,
    turned: Mapping[str, float],
) -> Finding:
    written = off[WRITTEN]
    ways = {way: value for way, value in off.items() if np.isfinite(value)}
    best = min(ways, key=lambda way: ways[way], default=WRITTEN)
    numbers = {'as_written': written, 'best': ways.get(best, float('nan'))}
    if not np.isfinite(written):
        return cannot_tell(ROTATION, 'the rotation is never a number', names, numbers=numbers)
    if written > good and ways[best] < min(good, written / TIMES):
        why = f'{ways[best]:.2g}{unit} when read {best}, {written:.2g} as written'
        fix = f'action.rotation: the numbers are {best}'
        return Finding(ROTATION, 'wrong', why, names, fix, numbers)
    if written <= good:
        return Finding(ROTATION, 'ok', f'{written:.2g}{unit}', names, numbers=numbers)
    for way, left in turned.items():
        if left < min(good, written / TIMES):
            why = f'{left:.2g}{unit} after {way}, {written:.2g} as written'
            fix = 'give the action in the frame and for the tool that the state has'
            return Finding(ROTATION, 'wrong', why, names, fix, numbers | {'best': left})
    return cannot_tell(
        ROTATION, f'no form explains the orientation ({written:.2g}{unit} as written)', names,
        numbers=numbers,
    )  # fmt: skip


def _ways(belief: Belief, values: Floats) -> dict[str, Floats]:
    form = belief.study.meaning.form
    return {WRITTEN: rotations(values, form), **readings(values, form)}


def _poses(belief: Belief) -> tuple[Floats, Floats]:
    """Numbers (N, n) told, and orientations (N, 3, 3) reached."""
    study = belief.study
    told, reached = [], []
    for stretch in study.stretches:
        values = stretch.action[:, list(study.meaning.rotation)]
        state = study.state_at(stretch, stretch.times_ns + round(belief.lag_s * NS))
        turn = _measured(belief, state)
        sound = np.isfinite(values).all(1) & np.isfinite(turn).all((1, 2))
        told.append(values[sound])
        reached.append(turn[sound])
    return np.concatenate(told), np.concatenate(reached)


def _measured(belief: Belief, state: Floats) -> Floats:
    meaning = belief.study.meaning
    return rotations(state[:, list(meaning.measured_rotation)], meaning.measured_form)


def _other_states(belief: Belief, told: Floats) -> dict[str, float]:
    """The same for other forms of the state's quaternion."""
    study = belief.study
    if study.meaning.measured_form != 'quaternion_xyzw':
        return {}
    found: dict[str, float] = {}
    turn = rotations(told, study.meaning.form)
    states = np.concatenate([
        study.state_at(s, s.times_ns + round(belief.lag_s * NS))[
            :, list(study.meaning.measured_rotation)
        ][np.isfinite(s.action[:, list(study.meaning.rotation)]).all(1)]
        for s in study.stretches
    ])  # fmt: skip
    sound = np.isfinite(states).all(1)
    if sound.sum() == len(turn):
        for way, other in readings(states[sound], 'quaternion_xyzw').items():
            found[f'with the state {way}'] = _median_deg(turn, other)
    return found


def _fixed_turn(belief: Belief, told: Floats) -> dict[str, float]:
    """Degrees left after one constant turn of the frame, or of the tool."""
    turn = rotations(told, belief.study.meaning.form)
    _, reached = _poses(belief)
    back = np.swapaxes(turn, -1, -2)
    tool = nearest_rotation((back @ reached).mean(axis=0))
    base = nearest_rotation((reached @ back).mean(axis=0))
    return {
        f'a turn of the frame by {_deg(base):.0f}°': _median_deg(base @ turn, reached),
        f'a turn of the tool by {_deg(tool):.0f}°': _median_deg(turn @ tool, reached),
    }


def _moved(turn: Floats, stretch: Stretch) -> Floats:
    begin = stretch.anchors.astype(int)
    moved: Floats = np.swapaxes(turn[begin], -1, -2) @ turn[begin + stretch.ahead]
    return moved[np.isfinite(moved).all((1, 2))]


def _left(turn: Floats, step: Floats, stretch: Stretch, frame: str) -> Floats:
    """(M,) radians between where summed deltas lead and where the robot is."""
    begin = stretch.anchors.astype(int)
    reached = turn[begin]
    for number in range(stretch.ahead):
        delta = step[begin + number]
        reached = reached @ delta if frame == 'tool' else delta @ reached
    left = np.swapaxes(reached, -1, -2) @ turn[begin + stretch.ahead]
    return turned_by(left[np.isfinite(left).all((1, 2))])


def _median_deg(told: Floats, reached: Floats) -> float:
    left = np.swapaxes(told, -1, -2) @ reached
    return _middle_deg(turned_by(left[np.isfinite(left).all((1, 2))]))


def _middle_deg(angles: Floats) -> float:
    """Median of radians in degrees; NaN of none."""
    return float(np.degrees(np.median(angles))) if len(angles) else float('nan')


def _deg(turn: Floats) -> float:
    return float(np.degrees(turned_by(turn)))

# SPDX-License-Identifier: Apache-2.0
"""Does the gripper open where the robot file says, and is its range the one that is written?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cosmos_flywheel.core.preflight.belief import Belief
from cosmos_flywheel.core.preflight.finding import Finding, cannot_tell
from cosmos_flywheel.core.preflight.log import Floats
from cosmos_flywheel.core.timeline import NS

RANGE, SENSE = 'gripper range', 'gripper sense'
OUTSIDE = 0.15
"""Commands may lie so far outside of the written range, as a part of it."""
USED = 0.1
"""A gripper that moves by less than such a part of the written range has another range."""
AT_END = 0.1
STAND_S = 0.4
"""A command counts once it stood for so long."""
HELD = 0.15
"""Fingers that stop so far before their command, as a part of their range, hold something."""
FREE = 0.05
FEWEST_GRASPS = 3


def check_gripper_range(belief: Belief) -> Finding:
    """The commands against the two ends that the robot file gives."""
    gripper = belief.study.robot.action.gripper
    if gripper is None:
        return cannot_tell(RANGE, 'action.gripper is not written')
    commands = np.concatenate([one.told for one in _streams(belief)] or [np.empty(0)])
    commands = commands[np.isfinite(commands)]
    if not len(commands):
        return cannot_tell(RANGE, f'{gripper.name} is never commanded', (gripper.name,))
    low, high = np.quantile(commands, (0.005, 0.995))
    numbers = {'lowest': float(low), 'highest': float(high)}
    if high == low:
        why = f'{gripper.name} is always {low:.3g}'
        return cannot_tell(RANGE, why, (gripper.name,), numbers=numbers)
    openness = gripper.openness([low, high])
    outside = max(-float(openness.min()), float(openness.max()) - 1)
    used = float(np.ptp(openness))
    written = f'{gripper.closed:g} (closed) … {gripper.open:g} (open)'
    said = f'{gripper.name} is told {low:.3g} … {high:.3g}, written are {written}'
    if outside > OUTSIDE or used < USED:
        down = gripper.closed < gripper.open
        closed, opened = (low, high) if down else (high, low)
        fix = f'action.gripper: {{name: {gripper.name}, closed: {closed:.3g}, open: {opened:.3g}}}'
        return Finding(RANGE, 'wrong', said, (gripper.name,), fix, numbers)
    return Finding(RANGE, 'ok', said, (gripper.name,), numbers=numbers)


def check_gripper_sense(belief: Belief) -> Finding:
    """Where fingers stop before their command they hold something: that end is closed."""
    gripper = belief.study.robot.action.gripper
    if gripper is None:
        return cannot_tell(SENSE, 'action.gripper is not written')
    streams = _streams(belief)
    by_fingers = _by_fingers(belief, streams)
    return by_fingers or _by_rest(belief, streams)


class _Stream(NamedTuple):
    """The gripper along one recording."""

    times_ns: Floats
    told: Floats
    openness: Floats
    """Of the command, by the robot file."""
    reached: Floats
    """(N,) the measured finger, NaN where none is."""


def _streams(belief: Belief) -> list[_Stream]:
    study = belief.study
    gripper = study.robot.action.gripper
    assert gripper is not None
    place = study.robot.action_names.index(gripper.name)
    names = study.robot.state_names
    found = []
    for stretch in study.stretches:
        told = stretch.action[:, place] / study.meaning.action_si[place]
        reached = np.full(len(told), np.nan)
        if gripper.name in names:
            reached = study.state_at(stretch, stretch.times_ns)[:, names.index(gripper.name)]
        times = (stretch.times_ns - stretch.times_ns[0]).astype(np.float64)
        found.append(_Stream(times, told, gripper.openness(told), reached))
    return found


def _by_fingers(belief: Belief, streams: list[_Stream]) -> Finding | None:
    """None where fingers are not measured, or never held anything."""
    short: dict[str, list[float]] = {'closed': [], 'open': []}
    every = np.concatenate([one.reached for one in streams] or [np.empty(0)])
    every = every[np.isfinite(every)]
    if len(every) < 2 or np.ptp(every) == 0:
        return None
    low, high = float(every.min()), float(every.max())
    rising = _rises(streams)
    if rising is None:
        return None
    for one in streams:
        for begin, end, side in _stands(one):
            came = (one.reached[end - 1] - low) / (high - low)
            wants_high = (one.told[begin] > _middle(streams)) == rising
            short[side].append(float(1 - came if wants_high else came))
    if not short['closed'] or not short['open']:
        return None
    held = {side: float(np.median(values)) for side, values in short.items()}
    most = {side: max(values) for side, values in short.items()}
    numbers = {f'short_of_{side}': value for side, value in most.items()}
    if most['closed'] > HELD and held['open'] < FREE:
        why = f'fingers stop {most["closed"]:.0%} before closed, as on an object'
        return Finding(SENSE, 'ok', why, (_name(belief),), numbers=numbers)
    if most['open'] > HELD and held['closed'] < FREE and most['closed'] < FREE:
        why = f'fingers stop {most["open"]:.0%} before open and never before closed'
        return Finding(SENSE, 'wrong', why, (_name(belief),), _swapped(belief), numbers)
    return None


def _by_rest(belief: Belief, streams: list[_Stream]) -> Finding:
    """Hands begin and end open; said only of hands that grasp several times in between."""
    grasps, rests = 0, []
    for one in streams:
        openness = one.openness[np.isfinite(one.openness)]
        if not len(openness):
            continue
        rests += [float(openness[0]), float(openness[-1])]
        ends = np.where(openness < AT_END, -1, np.where(openness > 1 - AT_END, 1, 0))
        ends = ends[ends != 0]
        grasps += int((np.diff(ends) != 0).sum()) // 2
    name = (_name(belief),)
    numbers = {'grasps': float(grasps), 'recordings': float(len(streams))}
    if grasps < FEWEST_GRASPS:
        return cannot_tell(
            SENSE, 'fingers are not measured on an object, and it grasps too seldom', name,
            numbers=numbers,
        )  # fmt: skip
    if all(rest > 1 - AT_END for rest in rests):
        why = f'begins and ends open and closes {grasps} times in between, as hands do'
        return Finding(SENSE, 'ok', why, name, numbers=numbers)
    if all(rest < AT_END for rest in rests):
        why = (
            f'begins and ends closed and opens {grasps} times in between: hands do the opposite '
            f'(fingers are not measured)'
        )
        return Finding(SENSE, 'wrong', why, name, _swapped(belief), numbers)
    return cannot_tell(SENSE, 'begins or ends neither open nor closed', name, numbers=numbers)


def _rises(streams: list[_Stream]) -> bool | None:
    """Whether a larger command gives a larger finger position; None where they do not agree."""
    told = np.concatenate([one.told for one in streams])
    reached = np.concatenate([one.reached for one in streams])
    sound = np.isfinite(told) & np.isfinite(reached)
    if np.ptp(told[sound]) == 0:
        return None
    alike = float(np.corrcoef(told[sound], reached[sound])[0, 1])
    return None if abs(alike) < 0.5 else alike > 0


def _stands(one: _Stream) -> list[tuple[int, int, str]]:
    """Stretches at one end: begin, end, and which end the robot file calls it."""
    side = np.where(one.openness < AT_END, -1, np.where(one.openness > 1 - AT_END, 1, 0))
    borders = np.flatnonzero(np.diff(side)) + 1
    found = []
    for begin, end in zip([0, *borders], [*borders, len(side)], strict=True):
        lasts = one.times_ns[end - 1] - one.times_ns[begin] >= STAND_S * NS
        if side[begin] and lasts and np.isfinite(one.reached[end - 1]):
            found.append((int(begin), int(end), 'open' if side[begin] > 0 else 'closed'))
    return found


def _middle(streams: list[_Stream]) -> float:
    told = np.concatenate([one.told for one in streams])
    told = told[np.isfinite(told)]
    return float(told.min() + told.max()) / 2


def _name(belief: Belief) -> str:
    gripper = belief.study.robot.action.gripper
    return gripper.name if gripper else ''


def _swapped(belief: Belief) -> str:
    gripper = belief.study.robot.action.gripper
    assert gripper is not None
    return (
        f'action.gripper: {{name: {gripper.name}, closed: {gripper.open:g}, '
        f'open: {gripper.closed:g}}}'
    )

# SPDX-License-Identifier: Apache-2.0
"""Do pictures change when the robot moves, at the same instant, and does it move when told?"""

from __future__ import annotations

import numpy as np

from cosmos_flywheel.core.preflight.belief import Belief
from cosmos_flywheel.core.preflight.finding import Finding, cannot_tell
from cosmos_flywheel.core.preflight.log import SPAN_S, Floats, Log, Sight
from cosmos_flywheel.core.preflight.meaning import units
from cosmos_flywheel.core.timeline import NS

TOLD, STILL, TIME = 'told', 'still pictures', 'picture time'
STILL_LEVELS = 0.02
"""Mean grey levels: a camera that looks at anything has more noise than this."""
MOST_STILL = 0.5
SMOOTH_S = 0.2
"""Cameras repeat pictures; motion is compared over so long."""
FARTHEST_S = 1.0
STEP_S = 1 / 30
MOST_APART_S = 0.3
"""Transport and exposure take less."""
ALIKE = 0.3
"""Pictures that change so little as the robot moves tell nothing of time."""
BETTER = 0.15
AGREE_S = 0.2
"""Both halves of the recordings must say so."""
LEAST_S = 25.0
"""Shorter recordings have a motion that goes with anything."""
FEWEST = 20
FORCES = ('N', 'N·m')


def check_still(belief: Belief) -> Finding:
    """Pictures that stay the same while the robot moves."""
    study = belief.study
    camera = study.robot.primary_camera
    moving = [_moving(belief, log) for log in study.logs if log.sight is not None]
    spans = [log.sight.span for log in study.logs if log.sight is not None]
    if camera is None or not moving:
        return cannot_tell(STILL, 'no pictures')
    fast, span = np.concatenate(moving), np.concatenate(spans)
    known = np.isfinite(fast) & np.isfinite(span)
    fast, span = fast[known], span[known]
    floor = 0.25 * float(np.quantile(fast, 0.95)) if len(fast) else 0.0
    chosen = span[fast > floor] if floor > 0 else np.empty(0)
    if len(chosen) < FEWEST:
        return cannot_tell(STILL, 'the robot hardly moves while there are pictures')
    share = float((chosen <= STILL_LEVELS).mean())
    numbers = {'still': share, 'grey_levels': float(np.median(chosen))}
    if share > MOST_STILL:
        why = f'{share:.0%} of the pictures stay the same over {SPAN_S:g} s while the robot moves'
        fix = f'cameras.{camera.name}.topic: a live camera, or mend who publishes {camera.topic}'
        return Finding(STILL, 'wrong', why, (camera.name,), fix, numbers)
    why = f'pictures change by {np.median(chosen):.2g} grey levels while the robot moves'
    return Finding(STILL, 'ok', why, (camera.name,), numbers=numbers)


def check_picture_time(belief: Belief) -> Finding:
    """At which shift the change of pictures goes best with the motion of the robot."""
    study = belief.study
    camera = study.robot.primary_camera
    logs = [log for log in study.logs if log.sight is not None]
    if camera is None or not logs:
        return cannot_tell(TIME, 'no pictures')
    count = round(FARTHEST_S / STEP_S)
    shifts: Floats = np.arange(-count, count + 1, dtype=np.float64) * STEP_S
    parts = np.array([[_sums(belief, log, shifts, half) for half in range(2)] for log in logs])
    # Of several recordings every other one, of a single one its halves.
    halves = parts[0] if len(logs) == 1 else np.stack([parts[i::2].sum((0, 1)) for i in range(2)])
    alike = _correlations(halves.sum(axis=0))
    best = int(np.argmax(alike))
    apart_s = [
        float(shifts[int(np.argmax(_correlations(half)))] - shifts[best]) for half in halves
    ]
    near = float(alike[np.abs(shifts) <= MOST_APART_S / 2].max())
    shift, most = float(shifts[best]), float(alike[best])
    numbers = {'shift_s': shift, 'alike': most, 'alike_in_time': near}
    if near < ALIKE and most < ALIKE:
        why = f'pictures change with the robot too little to tell (correlation {most:.2f})'
        return cannot_tell(TIME, why, numbers=numbers)
    if abs(shift) <= MOST_APART_S or near > most - BETTER:
        why = (
            f'pictures change as the robot moves (correlation {near:.2f} within '
            f'{MOST_APART_S / 2:g} s)'
        )
        return Finding(TIME, 'ok', why, (camera.name,), numbers=numbers)
    seconds = sum(float(np.ptp(log.sight.stamps_ns)) / NS for log in logs if log.sight)
    if seconds < LEAST_S or max(map(abs, apart_s)) > AGREE_S or best in (0, len(shifts) - 1):
        why = (
            f'pictures go best with the robot {shift:+.2g} s away (correlation {most:.2f} against '
            f'{near:.2f}), but not in all of {seconds:.0f} s'
        )
        return cannot_tell(TIME, why, numbers=numbers)
    side = 'after' if shift < 0 else 'before'
    why = (
        f'pictures change {abs(shift):.2g} s {side} the robot moves (correlation {most:.2f}, '
        f'as stamped {near:.2f})'
    )
    fix = f'clock.topic_offsets: {{{camera.topic}: {shift:+.2f}}}'
    return Finding(TIME, 'wrong', why, (camera.name,), fix, numbers)


def check_told(belief: Belief) -> Finding:
    """Motion by commands that never change, or are always zero."""
    study = belief.study
    if study.is_told:
        return Finding(TOLD, 'ok', 'the commands change as the recordings go on')
    told = np.concatenate([stretch.action for stretch in study.stretches])
    is_rate = belief.written.kind == 'delta' or any(
        unit.endswith('/s') for unit in units(study.robot.action_sources)
    )
    moving = [i for i in range(told.shape[1]) if i not in study.meaning.rotation]
    if is_rate and np.nan_to_num(told[:, moving]).any():
        return cannot_tell(TOLD, 'the same velocity or step is told all the time')
    speeds = np.concatenate([_speed(belief, log)[1] for log in study.logs])
    if not np.nanmax(speeds, initial=0.0) > 0:
        return cannot_tell(TOLD, 'neither commands nor states ever change')
    topics = tuple(dict.fromkeys(source.topic for source in study.robot.action_sources))
    why = 'the commands never change, and the robot moves'
    fix = f'action.sources: name the topic that moves the robot, not {", ".join(topics)}'
    return Finding(TOLD, 'wrong', why, topics, fix)


def _moving(belief: Belief, log: Log) -> Floats:
    """(N,) how much the robot moved over the span of each picture."""
    assert log.sight is not None
    times, speed = _speed(belief, log)
    if len(times) < 2:
        return np.full(len(log.sight.stamps_ns), np.nan)
    way = np.concatenate([[0.0], np.cumsum(np.nan_to_num(speed[:-1]) * np.diff(times))])
    at = _seconds(log.sight.stamps_ns, log)
    moved: Floats = np.interp(at, times, way, np.nan, np.nan) - np.interp(
        at - SPAN_S, times, way, np.nan, np.nan
    )
    return moved


def _speed(belief: Belief, log: Log) -> tuple[Floats, Floats]:
    """Seconds (N,) since the log began, and how fast all elements go, each by its own size."""
    study = belief.study
    stretch = next((s for s in study.stretches if s.log is log), None)
    if stretch is None:
        return np.empty(0), np.empty(0)
    state = study.state_at(stretch, stretch.times_ns)
    times = _seconds(stretch.times_ns, log)
    steps = np.abs(np.diff(state, axis=0)) / np.diff(times)[:, None]
    kinds = units(study.robot.state_sources)
    is_rate = np.array([unit.endswith('/s') for unit in kinds], bool)
    is_force = np.array([unit in FORCES for unit in kinds], bool)
    rates = np.abs(state[1:] + state[:-1]) / 2
    sizes = _sizes(belief)
    counts = (sizes > 0) & ~is_force
    sized = np.where(is_rate, rates, steps) / np.where(counts, sizes, np.inf)
    speed = np.where(np.isfinite(sized), sized, 0.0).sum(axis=1)
    return times, np.concatenate([speed, speed[-1:]])


def _sizes(belief: Belief) -> Floats:
    """(S,) the usual size of each element of the state."""
    study = belief.study
    states = np.concatenate([study.state_at(s, s.times_ns) for s in study.stretches])
    known = np.isfinite(states)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, states, 0.0).sum(0) / count
    size: Floats = np.sqrt(np.where(known, (states - mean) ** 2, 0.0).sum(0) / count)
    return size


def _sums(belief: Belief, log: Log, shifts: Floats, half: int) -> Floats:
    """(K, 3) sums of a correlation between change and speed, by shift, of half a log."""
    assert log.sight is not None
    times, speed = _speed(belief, log)
    found = np.zeros((len(shifts), 3))
    at, change = _change(log.sight, log)
    if len(times) < 3 or len(at) < FEWEST:
        return found
    part = slice(len(at) // 2) if half == 0 else slice(len(at) // 2, None)
    at, change, smooth = at[part], change[part], _smooth(times, speed)
    for place, shift in enumerate(shifts):
        there = np.interp(at + shift, times, smooth, np.nan, np.nan)
        sound = np.isfinite(there) & np.isfinite(change)
        if sound.sum() >= 3:
            x, y = there[sound] - there[sound].mean(), change[sound] - change[sound].mean()
            found[place] = (x * y).sum(), (x * x).sum(), (y * y).sum()
    return found


def _correlations(sums: Floats) -> Floats:
    size = np.sqrt(sums[:, 1] * sums[:, 2])
    alike: Floats = np.where(size > 0, sums[:, 0] / np.where(size > 0, size, 1.0), -1.0)
    return alike


def _change(sight: Sight, log: Log) -> tuple[Floats, Floats]:
    """Seconds in the middle of each step between pictures, and the smoothed change a second."""
    times = _seconds(sight.stamps_ns, log)
    if len(times) < 3:
        return np.empty(0), np.empty(0)
    change = np.sqrt(np.nan_to_num(sight.step[1:]))
    middle = (times[1:] + times[:-1]) / 2
    return middle, _smooth(middle, change)


def _smooth(times: Floats, values: Floats) -> Floats:
    """Mean over about `SMOOTH_S`."""
    width = max(1, round(SMOOTH_S / float(np.median(np.diff(times)))))
    kernel = np.ones(width)
    total = np.convolve(np.nan_to_num(values), kernel, 'same')
    smooth: Floats = total / np.convolve(np.ones(len(values)), kernel, 'same')
    return smooth


def _seconds(stamps_ns: np.ndarray[tuple[int], np.dtype[np.int64]], log: Log) -> Floats:
    """Since the log's first message: whole stamps are more than a float holds."""
    first = min(int(track.stamps_ns[0]) for track in log.tracks.values())
    seconds: Floats = (stamps_ns - first).astype(np.float64) / NS
    return seconds

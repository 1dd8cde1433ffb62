# SPDX-License-Identifier: Apache-2.0
"""Nominal recordings' states and actions → how unlike them the course of a moment is.

Two views that miss different failures, chosen by measurement (`docs/channels.md`):

- *step*: ridge regression from the last second to the next action, element by element. It sees
  commands that answer the state otherwise than usual.
- *course*: the distance of the last four seconds, or a little more for one who goes slowly,
  whitened by their principal axes, to the nearest nominal ones. It sees steps that are each
  usual in an order that is not.

Each is told in multiples of the largest value that a nominal recording reached when it was held
out, so that a value of 1 means as unlike as nominal recordings are to one another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.types import Vector
from cosmos_flywheel.core.windows import (
    Numbers,
    Stamps,
    before,
    runs,
    steps,
    trailing_mean,
    windows,
)

STEP_S, STEP_SAMPLES = 1.0, 5
"""What the next action is predicted from: so much of the past, by so many samples."""
SMOOTH_S = 0.5
"""Errors of so long count together: one tick's jitter of a command is nothing, a course is."""
COURSE_S, COURSE_SAMPLES = 4.0, 9
"""What is held against nominal courses; shorter recordings have none."""
PACES = (1.0, 1.2, 1.4, 1.7)
"""A course that takes so many times as long is the same course: to go slowly is no failure."""
MOST_AXES = 48
"""Principal axes of a course that are kept: with 24, a threshold hangs on which ones they are."""
LEAST_VARIANCE = 1e-6
"""Of all variance; an axis with less is a rounding error."""
MOST_COURSES = 4096
"""Nominal courses that are kept, evenly thinned: 1.6 MB."""
FEWEST_RECORDINGS = 3
"""Two to learn from while one is held out, also when one more is held out for its threshold."""
RIDGES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Penalties that are tried, as shares of the number of ticks; held-out recordings decide."""
MOST_FOLDS = 8
"""Within one fit, so many groups of recordings are held out in turn."""
MOST_OUTER_FOLDS = 24
"""For a threshold, so many groups are; each recording alone if they are no more than that."""
LEAST_SIZE = 2e-3
"""An element that moves less than this, in its own unit, stands still: encoder noise."""
LEAST_ERROR = 1e-3
"""In an element's usual size: a prediction that is nearer is as good as perfect."""
LEAST_SCALE = 0.03
"""In an element's usual size: a command that falls into the next tick errs by so much. Without
it, bags with perfect clocks would make every jitter of a later one surprising."""
_T = TypeVar('_T')
_NAMES = ('about', 'used', 'mean', 'size', 'weights', 'axes', 'courses', 'scale')


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """What one recording tells a prior, a row a tick; NaN where nothing was known."""

    stamps_ns: Stamps
    """(T,); where they step back, a new run begins."""
    states: Vector
    """(T, S)."""
    actions: Vector
    """(T, A)."""

    @property
    def rows(self) -> Numbers:
        """(T, S + A)."""
        return np.concatenate([self.states, self.actions], axis=1).astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """What states and actions of nominal recordings are like; see `fit_prior`."""

    hz: float
    """Of the ticks."""
    states: int
    """S of the S + A elements."""
    used: NDArray[np.bool_]
    """(S + A,), the elements that nominal recordings told most of the time."""
    mean: Numbers
    """(S + A,), in the elements' own units."""
    size: Numbers
    """(S + A,), standard deviation, never zero."""
    weights: Numbers
    """(samples · used + 1, A), from a window to the next step of the action."""
    axes: Numbers
    """(samples · used, k), whitening."""
    courses: Numbers
    """(N, k), nominal ones."""
    scale: Numbers
    """(A + 1,), the largest that held-out nominal recordings reached, never zero."""

    @property
    def past_ticks(self) -> int:
        """So many ticks, the newest included, decide what `evidence` says of the newest."""
        return round(COURSE_S * PACES[-1] * self.hz) + 2

    def evidence(self, recording: Recording) -> Vector:
        """(T, A + 1): by action, how unlike its next step is; last, how unlike the course is.

        NaN where the past is too short or has a gap, or where an element is unknown.
        """
        evidence: Vector = (_judge(self, recording) / self.scale).astype(np.float32)
        return evidence

    def newest(self, recording: Recording) -> Vector:
        """(A + 1,): the last row of `evidence`, sooner."""
        newest: Vector = (_judge(self, recording, last=1)[-1] / self.scale).astype(np.float32)
        return newest

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything, for a file of arrays."""
        about = np.array([self.hz, self.states])
        return {name: about if name == 'about' else getattr(self, name) for name in _NAMES}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Prior:
        """Read back what `to_arrays` gave.

        Raises:
            ConfigError: something is missing, not finite, or of another shape.

        """
        missing = [name for name in _NAMES if name not in arrays]
        if missing:
            raise ConfigError(f'the prior of actions lacks {", ".join(missing)}; fit again')
        about, used, *numbers = (np.asarray(arrays[name], np.float64) for name in _NAMES)
        if about.shape != (2,) or not all(np.isfinite(a).all() for a in (about, *numbers)):
            raise ConfigError('the prior of actions holds numbers that are not finite; fit again')
        prior = cls(float(about[0]), int(about[1]), used.astype(bool), *numbers)
        _check(prior)
        return prior


def fit_prior(recordings: Sequence[Recording], hz: float) -> Prior:
    """Learn what nominal recordings are like.

    Args:
        recordings: two at least, all of the same elements.
        hz: of their ticks.

    Raises:
        ConfigError: they are too few or too short, tell of no action, or are not alike.

    """
    _require_alike(recordings)
    ridge = _choose_ridge(recordings, hz)
    peaks = [np.full(recordings[0].actions.shape[1] + 1, LEAST_SCALE)]
    for fold in _folds(len(recordings), MOST_FOLDS):
        others = _fit(_without(recordings, fold), hz, ridge)
        peaks += [_peak(_judge(others, recordings[i])) for i in fold]
    return replace(_fit(recordings, hz, ridge), scale=np.fmax.reduce(peaks, axis=0))


def held_out_evidence(recordings: Sequence[Recording], hz: float) -> list[Vector]:
    """Evidence (T, A + 1) of each recording by a prior that was fitted without it.

    A recording that the prior knows surprises nobody: thresholds must come from this. Of more
    than `MOST_OUTER_FOLDS` recordings, a few are held out together.

    Raises:
        ConfigError: as `fit_prior`; also of fewer than `FEWEST_RECORDINGS`.

    """
    _require_alike(recordings, FEWEST_RECORDINGS)
    found: dict[int, Vector] = {}
    for fold in _folds(len(recordings), MOST_OUTER_FOLDS):
        prior = fit_prior(_without(recordings, fold), hz)
        found.update({i: prior.evidence(recordings[i]) for i in fold})
    return [found[i] for i in range(len(recordings))]


def _judge(prior: Prior, recording: Recording, last: int = 0) -> Numbers:
    """(T, A + 1): root mean square errors of the steps, distances of the courses; no scale.

    With `last`, only the so many rows at the end of a run are right; 0 for all.
    """
    found = np.full((len(recording.stamps_ns), len(prior.scale)), np.nan)
    ticks = max(1, round(SMOOTH_S * prior.hz))
    # The steps of one tick hang on no more of its past than this.
    enough = last and last + ticks + round(STEP_S * prior.hz) + 2
    for run, stamps_ns, rows in _placed(prior, recording):
        tail = slice(-enough, None)
        past, moved = _step_pairs(prior, stamps_ns[tail], recording.actions[run][tail], rows[tail])
        errors = trailing_mean((moved - past @ prior.weights) ** 2, ticks)
        found[run, :-1][tail] = np.sqrt(errors)
        found[run, -1][-last:] = _apart(prior, stamps_ns, rows, last)
    return found


def _peak(judged: Numbers) -> Numbers:
    """(n,): the largest of each element, NaN if it was always blind."""
    return np.asarray(np.fmax.reduce(judged, axis=0, initial=np.nan))


def _apart(prior: Prior, stamps_ns: Stamps, rows: Numbers, last: int) -> Numbers:
    """(T or `last`,): how far each course is from the nearest nominal one, at any pace."""
    courses = [
        windows(stamps_ns, rows, COURSE_S * pace, COURSE_SAMPLES, prior.hz, last) for pace in PACES
    ]
    points = np.concatenate(courses) @ prior.axes
    by_pace = _distances(points, prior.courses).reshape(len(PACES), -1)
    return np.where(np.isnan(by_pace[0]), np.nan, np.fmin.reduce(by_pace, axis=0))


def _fit(recordings: Sequence[Recording], hz: float, ridge: float) -> Prior:
    """Without a scale: it is all ones."""
    blank = _blank(recordings, hz)
    pairs = [_known_pairs(blank, recording) for recording in recordings]
    past, moved = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    weights = _solve(past.T @ past, past.T @ moved, ridge * max(1, len(past)))
    every = np.concatenate(
        [
            windows(stamps_ns, rows, COURSE_S, COURSE_SAMPLES, hz)
            for recording in recordings
            for _, stamps_ns, rows in _placed(blank, recording)
        ]
    )
    courses = every[np.isfinite(every).all(axis=1)]
    axes = _whitening(courses)
    kept = np.linspace(0, max(0, len(courses) - 1), min(MOST_COURSES, len(courses)))
    points = courses[kept.round().astype(np.intp)] @ axes
    return replace(blank, weights=weights, axes=axes, courses=points)


def _blank(recordings: Sequence[Recording], hz: float) -> Prior:
    """Knows the elements' means and sizes, and nothing else yet."""
    rows = np.concatenate([recording.rows for recording in recordings])
    known = np.isfinite(rows)
    counts = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, rows, 0.0).sum(axis=0) / counts
    size = np.sqrt((np.where(known, rows - mean, 0.0) ** 2).sum(axis=0) / counts)
    states = recordings[0].states.shape[1]
    none = np.empty((0, 0))
    return Prior(
        hz=hz,
        states=states,
        used=known.mean(axis=0) > 0.5,
        mean=mean,
        size=np.maximum(size, LEAST_SIZE),
        weights=none,
        axes=none,
        courses=none,
        scale=np.ones(rows.shape[1] - states + 1),
    )


def _choose_ridge(recordings: Sequence[Recording], hz: float) -> float:
    """The penalty under which held-out recordings are predicted best, each element by itself."""
    blank = _blank(recordings, hz)
    pairs = [_known_pairs(blank, recording) for recording in recordings]
    if not any(len(past) for past, _ in pairs):
        raise ConfigError(
            f'no nominal bag tells of states and actions for {STEP_S:g} s without a gap; record '
            'longer ones'
        )
    grams = [(past.T @ past, past.T @ moved) for past, moved in pairs]
    squares: list[list[Numbers]] = [[] for _ in RIDGES]
    for fold in _folds(len(recordings), MOST_FOLDS):
        rest = _without(range(len(recordings)), fold)
        gram, product = (np.sum([grams[i][side] for i in rest], axis=0) for side in (0, 1))
        ticks = max(1, sum(len(pairs[i][0]) for i in rest))
        for place, ridge in enumerate(RIDGES):
            weights = _solve(gram, product, ridge * ticks)
            squares[place] += [(pairs[i][1] - pairs[i][0] @ weights) ** 2 for i in fold]
    errors = [np.concatenate(found).mean(axis=0) for found in squares]
    return RIDGES[int(np.argmin([np.log(e + LEAST_ERROR**2).sum() for e in errors]))]


def _known_pairs(prior: Prior, recording: Recording) -> tuple[Numbers, Numbers]:
    """`_step_pairs` of a whole recording where all of them is known."""
    nothing = np.empty((0, len(prior.used)))[:, prior.used]
    found = [
        _step_pairs(prior, stamps_ns, recording.actions[run], rows)
        for run, stamps_ns, rows in _placed(prior, recording)
    ] or [_step_pairs(prior, recording.stamps_ns, recording.actions, nothing)]
    past, moved = (np.concatenate([pair[side] for pair in found]) for side in (0, 1))
    moved[:, ~prior.used[prior.states :]] = 0.0
    known = np.isfinite(past).all(axis=1) & np.isfinite(moved).all(axis=1)
    return past[known], moved[known]


def _step_pairs(
    prior: Prior, stamps_ns: Stamps, actions: Vector, rows: Numbers
) -> tuple[Numbers, Numbers]:
    """What was known a tick ago, with a one at its end, and how far the action moved since."""
    past = before(windows(stamps_ns, rows, STEP_S, STEP_SAMPLES, prior.hz))
    moved = steps(stamps_ns, actions.astype(np.float64), prior.hz) / prior.size[prior.states :]
    return np.concatenate([past, np.ones((len(past), 1))], axis=1), moved


def _placed(prior: Prior, recording: Recording) -> Iterator[tuple[slice, Stamps, Numbers]]:
    """Run by run: which ticks, their stamps, and (T, used) rows in usual sizes."""
    placed = ((recording.rows - prior.mean) / prior.size)[:, prior.used]
    for run in runs(recording.stamps_ns):
        yield run, recording.stamps_ns[run], placed[run]


def _distances(points: Numbers, known: Numbers) -> Numbers:
    """(T,): how far each point is from the nearest known one; NaN if there is none."""
    found = np.full(len(points), np.nan)
    sound = np.flatnonzero(np.isfinite(points).all(axis=1))
    if len(known) and len(sound):
        squares = (known**2).sum(axis=1) - 2 * points[sound] @ known.T
        nearest = squares.min(axis=1) + (points[sound] ** 2).sum(axis=1)
        found[sound] = np.sqrt(np.maximum(nearest, 0.0) / known.shape[1])
    return found


def _whitening(courses: Numbers) -> Numbers:
    """(n, k): the principal axes of what varies, each to unit variance."""
    if len(courses) < 2:
        return np.zeros((courses.shape[1], 1))
    deviations = courses - courses.mean(axis=0)
    variances, axes = np.linalg.eigh(deviations.T @ deviations / len(courses))
    order = np.argsort(variances)[::-1][:MOST_AXES]
    order = order[variances[order] > LEAST_VARIANCE * max(variances.sum(), LEAST_VARIANCE)]
    return np.asarray(axes[:, order] / np.sqrt(variances[order]))


def _solve(gram: Numbers, product: Numbers, penalty: float) -> Numbers:
    return np.asarray(np.linalg.solve(gram + penalty * np.eye(len(gram)), product))


def _folds(count: int, most: int) -> list[range]:
    """Groups of indices, alone if they are few, as equal as can be."""
    groups = min(count, most)
    return [range(start, count, groups) for start in range(groups)]


def _without(items: Sequence[_T], fold: Sequence[int]) -> list[_T]:
    return [item for i, item in enumerate(items) if i not in fold]


def _require_alike(recordings: Sequence[Recording], fewest: int = FEWEST_RECORDINGS - 1) -> None:
    if len(recordings) < fewest:
        raise ConfigError(
            f'action surprise needs {FEWEST_RECORDINGS} nominal bags, these are '
            f'{len(recordings)}; record more'
        )
    if len({(r.states.shape[1], r.actions.shape[1]) for r in recordings}) > 1:
        raise ConfigError(
            'the nominal bags do not tell the same states and actions; fit on bags of one robot'
        )
    if not np.isfinite(np.concatenate([r.actions for r in recordings])).any():
        raise ConfigError('the nominal bags tell of no action; name one in the robot file')


def _check(prior: Prior) -> None:
    """Raise ConfigError if the arrays do not fit one another."""
    elements, told = len(prior.used), int(prior.used.sum())
    actions, axes = elements - prior.states, prior.axes.shape[-1]
    wanted = {
        'mean': (elements,),
        'size': (elements,),
        'weights': (STEP_SAMPLES * told + 1, actions),
        'axes': (COURSE_SAMPLES * told, axes),
        'courses': (len(prior.courses), axes),
        'scale': (actions + 1,),
    }
    for name, shape in wanted.items():
        if getattr(prior, name).shape != shape:
            raise ConfigError(
                f'the prior of actions: {name} is {getattr(prior, name).shape}, not {shape}; '
                'fit again'
            )
    if not ((prior.size > 0).all() and (prior.scale > 0).all() and prior.hz > 0):
        raise ConfigError('the prior of actions has a size of zero; fit again')

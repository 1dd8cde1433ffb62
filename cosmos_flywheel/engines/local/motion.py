# SPDX-License-Identifier: Apache-2.0
"""States and commands → how the robot is expected to move, and what the network is told of it.

The state model is linear, one ridge regression per horizon (Hoerl and Kennard, 1970), on how fast
the robot moves, how its command changes, and how far the command is ahead of the state. Rigid
servos are near to linear over a second; what is not is left to the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HORIZONS = (1, 2, 4, 8, 16)
"""Ticks ahead that models are fitted for; those between are interpolated."""
FOLDS = 5
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Regularisation that is tried, per sample; cross-validation chooses for every horizon."""
OTHERS_MUST_GAIN = 0.9
"""Other joints are looked at only where that takes a tenth off the held-out error."""
CLIP = 6.0
"""Standard deviations; a jump beyond them (an angle that wraps) says nothing linear."""
SPEED_GAIN = 4.0
"""Steps between ticks are small beside the range of a joint: this evens their sizes out."""
LEAST_SPREAD = 1e-3
"""In the value's own unit; a joint that never moved is not divided by nothing."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Situation:
    """Where the robot is and what it is told, N times."""

    state: Floats
    """(N, S)."""
    before: Floats
    """(N, S), one tick earlier."""
    command: Floats
    """(N, A), in force one tick earlier."""
    target: Floats
    """(N, A), the last command of the horizon."""


@dataclass(frozen=True, slots=True)
class MotionModel:
    """Turns a situation into the expected change of state."""

    state_mean: Floats
    state_spread: Floats
    """(S,), standard deviations of the nominal recordings."""
    command_spread: Floats
    """(A,)."""
    pairs: tuple[tuple[int, int], ...]
    """(action index, state index) of the same quantity in the same unit."""
    weights: Floats
    """(len(HORIZONS), F, S)."""

    @property
    def width(self) -> int:
        """Numbers that `condition` gives."""
        states = len(self.state_mean)
        return int(3 * states + self.weights.shape[1] - 1 + len(HORIZONS) + 1)

    def change(self, situation: Situation, steps: int) -> Floats:
        """Expected change of state within so many ticks, (N, S), in spreads."""
        features = self._features(situation)
        shares = interpolate(steps)
        mixed = np.einsum('h,hfs->fs', shares, self.weights)
        change: Floats = np.clip(features @ mixed, -CLIP, CLIP).astype(np.float32)
        return change

    def predict(self, situation: Situation, steps: int) -> Floats:
        """Expected state so many ticks later, (N, S), in its own units; NaN where unknown."""
        return situation.state + self.change(situation, steps) * self.state_spread

    def condition(self, situation: Situation, steps: int) -> Floats:
        """What the network is told for this horizon: (N, width).

        Laid out as: normalised state, twice the expected change, the features, the horizon, the
        ratio of the expected motion to going on as before, and the expected change once more.
        """
        change = self.change(situation, steps)
        state = _known((situation.state - self.state_mean) / self.state_spread)
        speed = _known((situation.state - situation.before) / self.state_spread)
        along = (change * speed).sum(1, keepdims=True)
        onward = steps * (speed * speed).sum(1, keepdims=True) + steps * LEAST_SPREAD
        horizon = np.broadcast_to(interpolate(steps), (len(state), len(HORIZONS)))
        parts = [
            np.clip(state, -CLIP, CLIP),
            2 * change,
            self._features(situation)[:, 1:],
            horizon,
            np.clip(along / onward, -2, 2),
            change,
        ]
        return np.concatenate(parts, 1, dtype=np.float32)

    def _features(self, situation: Situation) -> Floats:
        return features(situation, self.state_spread, self.command_spread, self.pairs)


def features(
    situation: Situation,
    state_spread: Floats,
    command_spread: Floats,
    pairs: Sequence[tuple[int, int]],
) -> Floats:
    """What the regression looks at: (N, F), the first column ones."""
    speed = (situation.state - situation.before) / state_spread * SPEED_GAIN
    turn = (situation.target - situation.command) / command_spread
    parts = [speed, turn]
    if pairs:
        told, reached = (list(side) for side in zip(*pairs, strict=True))
        spread = state_spread[reached]
        parts.append((situation.command[:, told] - situation.state[:, reached]) / spread)
        parts.append((situation.target[:, told] - situation.state[:, reached]) / spread)
    known = np.clip(_known(np.concatenate(parts, 1)), -CLIP, CLIP)
    return np.concatenate([np.ones((len(known), 1), np.float32), known], 1, dtype=np.float32)


def fit_motion(
    examples: Sequence[tuple[Situation, Floats]],
    groups: Sequence[NDArray[np.intp]],
    pairs: Sequence[tuple[int, int]],
) -> MotionModel:
    """Fit one regression per horizon.

    Args:
        examples: for each of HORIZONS, situations and the (N, S) states that followed.
        groups: for each of HORIZONS, (N,) which recording an example is of: cross-validation
            leaves whole recordings out.
        pairs: (action index, state index) of the same quantity in the same unit.

    """
    first = examples[0][0]
    mean = _known(np.nanmean(_some(first.state), 0))
    spread = _known(np.nanstd(_some(first.state), 0)) + LEAST_SPREAD
    command_spread = _known(np.nanstd(_some(first.command), 0)) + LEAST_SPREAD
    own = _own(len(mean), first.command.shape[1], pairs)
    weights = []
    for (situation, later), group in zip(examples, groups, strict=True):
        inputs = features(situation, spread, command_spread, pairs)
        wanted = np.clip(_known((later - situation.state) / spread), -CLIP, CLIP)
        weights.append(_ridge(inputs.astype(np.float64), wanted.astype(np.float64), group, own))
    return MotionModel(
        mean.astype(np.float32),
        spread.astype(np.float32),
        command_spread.astype(np.float32),
        tuple(pairs),
        np.stack(weights).astype(np.float32),
    )


def interpolate(steps: int) -> Floats:
    """How much each of HORIZONS counts for a horizon of so many ticks: (len(HORIZONS),)."""
    if not 1 <= steps <= HORIZONS[-1]:
        raise ValueError(f'a horizon of {steps} ticks; give 1 to {HORIZONS[-1]}')
    place = np.interp(np.log2(steps), np.log2(HORIZONS), np.arange(len(HORIZONS)))
    shares: Floats = np.clip(1 - np.abs(np.arange(len(HORIZONS)) - place), 0, 1).astype(np.float32)
    return shares


def _ridge(
    inputs: NDArray[np.float64],
    wanted: NDArray[np.float64],
    group: NDArray[np.intp],
    own: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Weights (F, S), each state by all features or by its own only, whichever foretells better.

    A joint that follows its command needs no other joint's; a few recordings make other joints
    look as if they helped.
    """
    many = len(np.unique(group)) > 1
    fold = group % FOLDS if many else np.arange(len(group)) * FOLDS // max(len(group), 1)
    masks = (own, np.ones_like(own))
    errors = np.zeros((len(masks), len(STRENGTHS), wanted.shape[1]))
    for left_out in np.unique(fold):
        kept = fold != left_out
        if not kept.any():
            continue
        for i, mask in enumerate(masks):
            for j, strength in enumerate(STRENGTHS):
                weights = _solve_masked(inputs[kept], wanted[kept], strength, mask)
                errors[i, j] += ((inputs[~kept] @ weights - wanted[~kept]) ** 2).sum(0)
    best = []
    for i, mask in enumerate(masks):
        strength = STRENGTHS[int(errors[i].sum(1).argmin())]
        best.append(_solve_masked(inputs, wanted, strength, mask))
    least = errors.sum(2).argmin(1)
    chosen = errors[1, least[1]] < OTHERS_MUST_GAIN * errors[0, least[0]]
    return np.where(chosen, best[1], best[0])


def _solve_masked(
    inputs: NDArray[np.float64],
    wanted: NDArray[np.float64],
    strength: float,
    mask: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Ridge with only those (F, S) weights that the mask allows."""
    if mask.all():
        return _solve(inputs, wanted, strength)
    weights = np.zeros(mask.shape)
    for state in range(mask.shape[1]):
        kept = mask[:, state]
        weights[kept, state] = _solve(inputs[:, kept], wanted[:, state], strength)
    return weights


def _own(states: int, commands: int, pairs: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Which features are a state's own: (F, S), rows as `features` lays them out."""
    told = np.zeros((commands, states), bool)
    ahead = np.zeros((len(pairs), states), bool)
    for index, (command, state) in enumerate(pairs):
        told[command, state] = ahead[index, state] = True
    return np.concatenate(
        [np.ones((1, states), bool), np.eye(states, dtype=bool), told, ahead, ahead]
    )


def _solve(
    inputs: NDArray[np.float64], wanted: NDArray[np.float64], strength: float
) -> NDArray[np.float64]:
    penalty = strength * len(inputs) * np.eye(inputs.shape[1])
    return np.asarray(np.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ wanted))


def _known(values: Floats) -> Floats:
    """Zero, which is the mean or no change, where nothing is known."""
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def _some(values: Floats) -> Floats:
    """A row of zeros where there is none at all, so that a mean exists."""
    return values if len(values) and np.isfinite(values).any() else np.zeros_like(values[:1])

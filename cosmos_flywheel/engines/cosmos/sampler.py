# SPDX-License-Identifier: Apache-2.0
"""A schedule → the coefficients by which each state follows from the noise and the velocities.

With a fixed schedule every step of UniPC is linear, so the state after step i is a sum of the
first state and the velocities so far: x[i+1] = Σ C[i, j] · (x[0], v[0], …, v[i])[j]. C is found
once by walking unit vectors through the solver in float64; the device then does one small product
a step.

Solver: UniPC, order 2, B(h) = expm1(h), predicting x0 (Zhao et al., "UniPC", NeurIPS 2023,
algorithms 5 to 8), on flow matching: alpha = 1 - sigma, x0 = x - sigma · v. Schedule as diffusers
0.42.1 `UniPCMultistepScheduler` with `use_flow_sigmas`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.errors import EngineError

TRAIN_STEPS = 1000
NEARLY_ONE = 1 - 1e-6
"""diffusers keeps the first sigma below 1, where the logarithm of alpha ends."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a loop needs of a sampler."""

    timesteps: NDArray[np.int64]
    """(steps,), 999 … 0."""
    coefficients: Floats
    """(steps, steps + 1)."""

    @property
    def steps(self) -> int:
        """How many velocities are asked for."""
        return len(self.timesteps)


def make_schedule(steps: int, shift: float) -> Schedule:
    """UniPC of so many steps with the given flow shift (10 in code defaults, 5 in the report).

    Raises:
        EngineError: fewer than one step, or a shift that is not positive.

    """
    if steps < 1 or shift <= 0:
        raise EngineError(f'{steps} steps with shift {shift} given; both must be above 0')
    even = np.linspace(1, 1 / TRAIN_STEPS, steps + 1)[:-1]
    sigmas = np.minimum(shift * even / (1 + (shift - 1) * even), NEARLY_ONE)
    timesteps = (sigmas * TRAIN_STEPS).astype(np.int64)
    sigmas = np.append(sigmas, 0.0)
    return Schedule(timesteps, _walk(sigmas.astype(np.float32).astype(np.float64)))


def _walk(sigmas: Floats) -> Floats:
    """Unit vectors through the solver."""
    steps = len(sigmas) - 1
    unit = np.eye(steps + 1)
    state, rows = unit[0], []
    guesses: list[Floats] = []
    before, order = state, 1
    for i in range(steps):
        guess = state - sigmas[i] * unit[i + 1]
        if i > 0:
            state = _advance(sigmas, i, before, guesses, order, guess)
            # The corrected state is what the next step starts from; its guess stays.
        guesses = [*guesses[-1:], guess]
        order = min(2, i + 1, steps - i)
        before = state
        state = _advance(sigmas, i + 1, before, guesses, order, None)
        rows.append(state)
    return np.stack(rows)


def _advance(
    sigmas: Floats,
    to: int,
    state: Floats,
    guesses: list[Floats],
    order: int,
    arrived: Floats | None,
) -> Floats:
    """From sigma `to` - 1 to sigma `to`; with the guess at the arrival it is the corrector."""
    here = to - 1
    span = _log_ratio(sigmas[to]) - _log_ratio(sigmas[here])
    base = math.expm1(-span)
    newest = guesses[-1]
    plain = sigmas[to] / sigmas[here] * state - (1 - sigmas[to]) * base * newest
    ratios, slopes = [], []
    if order == 2:
        ratio = (_log_ratio(sigmas[here - 1]) - _log_ratio(sigmas[here])) / span
        ratios, slopes = [ratio], [(guesses[-2] - newest) / ratio]
    weights = _weights([*ratios, 1.0], -span, base, corrector=arrived is not None)
    if arrived is not None:
        slopes = [*slopes, arrived - newest]
    bend = sum((w * s for w, s in zip(weights, slopes, strict=True)), np.zeros_like(state))
    return np.asarray(plain - (1 - sigmas[to]) * base * bend)


def _weights(ratios: list[float], span: float, base: float, *, corrector: bool) -> list[float]:
    if not corrector:
        return [0.5] * (len(ratios) - 1)
    if len(ratios) == 1:
        return [0.5]
    powers, wanted = [], []
    term, factorial = base / span - 1, 1
    for i in range(1, len(ratios) + 1):
        powers.append(np.power(ratios, i - 1))
        wanted.append(term * factorial / base)
        factorial *= i + 1
        term = term / span - 1 / factorial
    return [float(w) for w in np.linalg.solve(np.array(powers), np.array(wanted))]


def _log_ratio(sigma: float) -> float:
    return math.inf if sigma == 0 else math.log(1 - sigma) - math.log(sigma)

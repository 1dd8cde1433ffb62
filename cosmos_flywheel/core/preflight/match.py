# SPDX-License-Identifier: Apache-2.0
"""Each element of the action → the measured element that it really moves, and by how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosmos_flywheel.core.preflight.belief import Belief
from cosmos_flywheel.core.preflight.log import Floats
from cosmos_flywheel.core.preflight.study import EXPLAINED, along, clearly

SURE = 0.8
"""Another state must be explained so well before an order is called wrong."""
LEAST_SHARE = 0.02
"""An axis that makes up less of the motion is not judged."""
TIMES = 3.0
"""Robots fall short of commands and overshoot them, but not by so much."""


@dataclass(frozen=True, slots=True)
class Match:
    """One element of the action."""

    action: int
    name: str
    state: int
    """The state that it explains."""
    written: int
    """The state that the robot file names."""
    explained: float
    """Share of the squared change of `state`, 0 … 1."""
    written_explained: float
    slope: float
    """Change of the state for one of the command, both in SI; NaN where it is not known."""

    @property
    def is_known(self) -> bool:
        """Whether it moved enough to be judged."""
        return self.explained >= EXPLAINED and np.isfinite(self.slope)


def is_off(match: Match) -> bool:
    """Whether the factor is far from 1, whichever of the two is taken for free of noise."""
    least, most = abs(match.slope), abs(match.slope) / match.explained
    return match.explained >= SURE and not (most >= 1 / TIMES and least <= TIMES)


def matches(belief: Belief) -> list[Match]:
    """Single elements and the axes of the position, in the order of the action."""
    found = [*_single(belief), *_axes(belief)]
    return sorted(found, key=lambda match: match.action)


def _single(belief: Belief) -> list[Match]:
    study = belief.study
    pairs = study.meaning.pairs
    if not pairs:
        return []
    fit = study.fit(belief.believed.kind)
    states = sorted({pair.state for pair in pairs})
    near = np.nan_to_num(fit.explained[belief.near])
    explained: Floats = near.max(axis=0)
    at = near.argmax(axis=0) + belief.near.start
    found = []
    for pair in pairs:
        row = explained[pair.action]
        other = max(states, key=lambda state: row[state])
        mixed = row[other] >= SURE > row[pair.state] and clearly(row[other], row[pair.state])
        state = other if mixed else pair.state
        slope = fit.slope[at[pair.action, state], pair.action, state]
        found.append(
            Match(
                action=pair.action,
                name=pair.name,
                state=state,
                written=pair.state,
                explained=float(row[state]),
                written_explained=float(row[pair.state]),
                slope=float(slope),
            )
        )
    return found


def _axes(belief: Belief) -> list[Match]:
    study = belief.study
    if study.meaning.position is None:
        return []
    told, measured = study.meaning.position
    turn, explained, written = belief.axes
    output, part = study.position(belief.believed.kind, belief.believed.frame, belief.lag_s)
    meant = np.stack([along(part, turn * (np.arange(3) == axis)) for axis in range(3)], axis=-1)
    flat = meant.reshape(-1, 3)
    slopes = np.linalg.lstsq(flat, output.reshape(-1), rcond=1e-9)[0]
    whole = float((output**2).sum())
    found = []
    for axis, (action, state) in enumerate(zip(told, measured, strict=True)):
        weight = float(((slopes[axis] * flat[:, axis]) ** 2).sum()) / whole if whole else 0.0
        found.append(
            Match(
                action=action,
                name=study.robot.action_names[action],
                state=measured[int(np.argmax(np.abs(turn[:, axis])))],
                written=state,
                explained=explained,
                written_explained=written,
                slope=float(slopes[axis]) if weight >= LEAST_SHARE else float('nan'),
            )
        )
    return found

# SPDX-License-Identifier: Apache-2.0
"""What every channel of surprise has in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.timeline import Tick
from cosmos_flywheel.core.types import Picture, Vector


@dataclass(frozen=True, slots=True)
class Moment:
    """One tick beside what was predicted for it, from each horizon; the unknown is None."""

    tick: Tick
    predicted: Picture | None = None
    """(H, W, 3) RGB, what the engine expected the primary camera to see, nearest horizon."""
    residuals: tuple[NDArray[np.float32] | None, ...] = ()
    """By horizon, (H, W) of the primary picture against its prediction, in grey levels."""
    predicted_states: tuple[Vector | None, ...] = ()
    """By horizon, (S,)."""

    @property
    def residual(self) -> NDArray[np.float32] | None:
        """The nearest horizon's."""
        return self.residuals[0] if self.residuals else None

    @property
    def predicted_state(self) -> Vector | None:
        """The nearest horizon's."""
        return self.predicted_states[0] if self.predicted_states else None


class Channel(Protocol):
    """Turns moments into evidence: one non-negative number per element, NaN where it is blind."""

    name: str
    elements: tuple[str, ...]
    """What each number is about: a joint, a region, a topic's check."""
    adaptive: bool
    """Whether what is normal must be learnt; otherwise `floors` are limits by themselves."""
    floors: Vector
    """(n,), the least that ever counts as surprising, in the evidence's own unit."""

    def evidence(self, moment: Moment) -> Vector:
        """The (n,) numbers of this moment; called once a tick, in order."""

    def settle(self, sizes: Vector) -> Vector:
        """What may count as normal, given (n,) sizes measured element by element."""

    def reset(self) -> None:
        """Forget the past: the clock began anew."""


def ahead_in_words(ahead_s: Sequence[float], one_s: float) -> str:
    """Which horizon an element is of, where there are several."""
    return f' {one_s:.2g} s ahead' if len(ahead_s) > 1 else ''


class Elementwise:
    """A channel whose elements have nothing to do with one another."""

    floors: Vector

    def settle(self, sizes: Vector) -> Vector:
        """Each element by itself, and never below its floor."""
        return np.fmax(sizes, self.floors)

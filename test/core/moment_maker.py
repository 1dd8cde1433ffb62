# SPDX-License-Identifier: Apache-2.0
"""Makes moments by hand, for tests of what judges them."""

from __future__ import annotations

import numpy as np

from cosmos_flywheel.core.channels.base import Elementwise, Moment
from cosmos_flywheel.core.timeline import NS, Tick
from cosmos_flywheel.core.types import Vector

HZ = 10
PERIOD_NS = NS // HZ
EMPTY = np.empty(0, np.float32)


def vector(*values: float) -> Vector:
    return np.array(values, np.float32)


def moment(
    index: int,
    state: Vector = EMPTY,
    action: Vector = EMPTY,
    *,
    pictures: list[np.ndarray] | None = None,
    arrived: dict[str, list[int]] | None = None,
    **known,
) -> Moment:
    """The tick of this index at 10 Hz; `pictures` are those of camera `top` since the last."""
    last = pictures[-1] if pictures else None
    tick = Tick(
        index * PERIOD_NS,
        last,
        {} if last is None else {'top': last},
        state,
        action,
        0,
        {'top': pictures} if pictures else {},
        arrived or {},
    )
    return Moment(tick, **known)


class GivenChannel(Elementwise):
    """Says what it is told: a moment's evidence is its state."""

    def __init__(self, floors: Vector, name: str = 'state', adaptive: bool = True) -> None:
        self.name = name
        self.adaptive = adaptive
        self.floors = floors
        self.elements = tuple(f'element {i}' for i in range(len(floors)))
        self.resets = 0

    def evidence(self, moment: Moment) -> Vector:
        return moment.tick.state

    def reset(self) -> None:
        self.resets += 1

# SPDX-License-Identifier: Apache-2.0
"""Ticks of a nominal recording → the same with something wrong from an instant on.

What a level finds of faults cannot be asked of nominal recordings, and labelled failures are rare.
So a fault is laid into the ticks, before anything is foretold or compared. These are crude on
purpose: a level that misses them will not find finer ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cosmos_flywheel.capture.hindsight import Hindsight
from cosmos_flywheel.core.channels import Moment
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.timeline import Tick
from cosmos_flywheel.core.types import Picture, Prediction
from cosmos_flywheel.engines.base import WorldModel

COVERED = slice(1, 3)
"""Of the four parts of each side of the picture, those that an occlusion covers: a quarter of the
area, in the middle."""
SHIFT_S = 1.0
"""So old are commands that come late."""
JUMP_PX_SHARE = 0.1
"""Share of the width by which a camera that was knocked is off."""

Change = Callable[[Tick, Sequence[Tick]], Tick]
"""Of a tick and the untouched ones before it, the newest last; the first of these is the one at
which the fault began, or `SHIFT_S` ago."""


def _freeze(tick: Tick, past: Sequence[Tick]) -> Tick:
    """The cameras go on sending the picture that they had."""
    begin = past[0]
    seen = {
        name: [begin.pictures[name]] * len(pictures)
        for name, pictures in tick.seen.items()
        if name in begin.pictures
    }
    picture = None if tick.picture is None else begin.picture
    pictures = {name: begin.pictures.get(name, one) for name, one in tick.pictures.items()}
    return replace(tick, picture=picture, pictures=pictures, seen=seen)


def _occlude(tick: Tick, _: Sequence[Tick]) -> Tick:
    """Something black hangs before the cameras."""
    return _repaint(tick, _covered)


def _knock(tick: Tick, _: Sequence[Tick]) -> Tick:
    """The cameras look elsewhere than they did."""
    return _repaint(tick, lambda p: np.roll(p, round(JUMP_PX_SHARE * p.shape[1]), 1))


def _delay(tick: Tick, past: Sequence[Tick]) -> Tick:
    """The commands that are told are older than what the robot does."""
    return replace(tick, action=past[0].action)


def _stall(tick: Tick, past: Sequence[Tick]) -> Tick:
    """The state stays what it was."""
    return replace(tick, state=past[0].state)


FAULTS: Mapping[str, Change] = {
    'camera frozen': _freeze,
    'lens covered': _occlude,
    'camera knocked': _knock,
    'commands late': _delay,
    'state stalled': _stall,
}
"""By name."""
OF_PICTURES = ('camera frozen', 'lens covered', 'camera knocked')
"""Those of the cameras, which a prediction of pictures must find by itself …"""
SUDDEN = ('lens covered', 'camera knocked')
"""… and of these, which change the picture at once."""
SLIDING = ('commands late',)
"""Those whose past moves along with the tick."""


class Injecting(Hindsight):
    """Hindsight of ticks in which something is wrong from an instant on.

    Args:
        robot: as Hindsight.
        engine: likewise.
        fault: one of FAULTS.
        onset_ns: stamp of the first tick that is changed.

    """

    def __init__(self, robot: Robot, engine: WorldModel, fault: str, onset_ns: int) -> None:
        super().__init__(robot, engine)
        self._change, self._onset_ns = FAULTS[fault], onset_ns
        slides = fault in SLIDING
        self._before: deque[Tick] = deque(maxlen=round(SHIFT_S * robot.clock.hz) if slides else 1)
        self._slides = slides
        self._now: Tick | None = None

    def foretell(self, tick: Tick) -> tuple[Prediction | None, ...]:
        """Of the changed tick."""
        self._now = tick
        if tick.stamp_ns >= self._onset_ns and self._before:
            self._now = self._change(tick, self._before)
        if self._slides or tick.stamp_ns < self._onset_ns:
            self._before.append(tick)
        return super().foretell(self._now)

    def compare(self, tick: Tick, predictions: Sequence[Prediction | None]) -> Moment:
        """The changed tick beside its predictions."""
        assert self._now is not None
        return super().compare(self._now, predictions)


def _repaint(tick: Tick, paint: Callable[[Picture], Picture]) -> Tick:
    return replace(
        tick,
        picture=None if tick.picture is None else paint(tick.picture),
        pictures={name: paint(one) for name, one in tick.pictures.items()},
        seen={name: [paint(one) for one in ones] for name, ones in tick.seen.items()},
    )


def _covered(picture: Picture) -> Picture:
    changed: Picture = picture.copy()
    rows, columns = (np.linspace(0, side, 5).astype(int) for side in picture.shape[:2])
    down, across = (slice(at[COVERED.start], at[COVERED.stop]) for at in (rows, columns))
    changed[down, across] = 0
    return changed

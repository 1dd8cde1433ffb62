# SPDX-License-Identifier: Apache-2.0
"""A part of a bag → moments in which the engine was asked within that part only.

What lies before is shown to the engine, which needs a past, and asked nothing; what lies after is
not even shown. So a part costs hardly more than its own predictions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cosmos_flywheel.capture.hindsight import Hindsight
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.timeline import NS, Tick
from cosmos_flywheel.core.types import Prediction
from cosmos_flywheel.engines.base import WorldModel

PAST_S = 5.0
"""Shown to the engine before it is asked: engine local forgets a picture within about 3 s, and a
chunk of Cosmos is shorter."""
MARGIN_S = 1.0
"""Messages come this much later than their stamps at most, and captures close by a later tick."""


@dataclass(frozen=True, slots=True)
class Focus:
    """Instants of the recorder's clock, in order."""

    read_ns: int
    """Messages count from here …"""
    told_ns: int
    """… the engine is shown them from here …"""
    begin_ns: int
    """… and asked from here …"""
    end_ns: int
    """… to here, which is left out."""
    stop_ns: int
    """No message counts from here on."""

    @classmethod
    def on(cls, begin_ns: int, end_ns: int, pre_roll_s: float, post_roll_s: float) -> Focus:
        """What an alarm within [begin, end) needs around it to be captured."""
        past_ns = round(max(PAST_S, pre_roll_s + MARGIN_S) * NS)
        return cls(
            begin_ns - past_ns,
            begin_ns - round(PAST_S * NS),
            begin_ns,
            end_ns,
            end_ns + round((post_roll_s + MARGIN_S) * NS),
        )


class Focused(Hindsight):
    """Asks what should be seen now, within one part of a recording.

    Args:
        robot: whose recording it is.
        engine: is opened here.
        focus: the part.
        log_ns: a tick's instant on the recorder's clock.

    """

    def __init__(
        self, robot: Robot, engine: WorldModel, focus: Focus, log_ns: Callable[[Tick], int]
    ) -> None:
        super().__init__(robot, engine)
        self._focus = focus
        self._log_ns = log_ns

    def foretell(self, tick: Tick) -> tuple[Prediction | None, ...]:
        """As of every recording within the part; None outside."""
        log_ns, focus = self._log_ns(tick), self._focus
        if focus.begin_ns <= log_ns < focus.end_ns:
            return super().foretell(tick)
        self._shown = 0
        if focus.told_ns <= log_ns < focus.begin_ns:
            self.observe(tick)
        return (None,) * len(self._horizons)

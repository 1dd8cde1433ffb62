# SPDX-License-Identifier: Apache-2.0
"""Ticks → moments: what was seen beside what had been to be expected, by the commands executed.

Predictions are made when their instant has come, from what was known so many ticks before and the
commands since. Nothing is read ahead: a moment holds what was known at its tick. An engine with a
stride predicts from the first tick of each only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from cosmos_flywheel.core.channels import Moment
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.stride import Stride
from cosmos_flywheel.core.timeline import NS, Tick
from cosmos_flywheel.core.types import ActionChunk, Observation, Picture, Prediction
from cosmos_flywheel.engines.base import WorldModel


class Hindsight:
    """Asks the engine what should be seen now, from each of its horizons ago."""

    def __init__(self, robot: Robot, engine: WorldModel) -> None:
        self._robot = robot
        self._engine = engine
        self._horizons = engine.spec.horizons
        self.stride = Stride(engine.spec.stride, round(NS / robot.clock.hz))
        self._ticks: deque[Tick] = deque(maxlen=max(self._horizons) + 1)
        self._begins: deque[bool] = deque(maxlen=max(self._horizons) + 1)
        """Of each tick, whether predictions start from it."""
        self._shown = 0
        """The horizon whose picture can be shown of the newest tick; 0 for none."""
        engine.open(robot.name, robot.task)

    @property
    def horizons(self) -> tuple[int, ...]:
        """How many ticks ahead predictions are compared."""
        return self._horizons

    def foretell(self, tick: Tick) -> tuple[Prediction | None, ...]:
        """Take note of a tick; what was to be expected at it, by horizon.

        None where there is no past.
        """
        self.observe(tick)
        predictions = tuple(self._predict(horizon) for horizon in self._horizons)
        made = zip(self._horizons, predictions, strict=True)
        self._shown = next((h for h, p in made if p is not None and _has_pictures(p)), 0)
        return predictions

    def observe(self, tick: Tick) -> None:
        """Take note of a tick of which nothing is asked."""
        if self._ticks and self._ticks[-1].segment != tick.segment:
            self._ticks.clear()
            self._begins.clear()
            self._engine.open(self._robot.name, self._robot.task)
        before_ns = self._ticks[-1].stamp_ns if self._ticks else None
        self._ticks.append(tick)
        self._begins.append(self.stride.begins(tick.stamp_ns, before_ns))
        self._shown = 0
        self._engine.observe(observation_of(tick))

    def asked(self, ticks: Sequence[Tick], *, ahead: bool) -> list[int]:
        """Which of the ticks to come, by index, are predicted, or `ahead`, are predicted from."""
        if self.stride.ticks == 1:
            return list(range(len(ticks)))
        horizons = (0,) if ahead else self._horizons
        begins = list(self._begins)
        before = self._ticks[-1] if self._ticks else None
        found = []
        for index, tick in enumerate(ticks):
            if before is not None and before.segment != tick.segment:
                begins, before = [], None
            begins.append(self.stride.begins(tick.stamp_ns, before.stamp_ns if before else None))
            before = tick
            if any(h < len(begins) and begins[-1 - h] for h in horizons):
                found.append(index)
        return found

    def plan(self, tick: Tick, planned: ActionChunk) -> Prediction:
        """What is to be expected after the tick, the last observed, if the plan is followed."""
        steps = [horizon - 1 for horizon in self._horizons]
        return self._engine.predict(observation_of(tick), planned, steps)

    def compare(self, tick: Tick, predictions: Sequence[Prediction | None]) -> Moment:
        """The tick beside its predictions, by horizon; they may come from another process."""
        residuals = [self._residual(one, tick) for one in predictions]
        nearest = next((p for p in predictions if p is not None), None)
        return Moment(
            tick,
            None if nearest is None or nearest.frames is None else nearest.frames[-1],
            tuple(residuals),
            tuple(None if p is None or p.state is None else p.state[-1] for p in predictions),
        )

    def show(self) -> np.ndarray | None:
        """The picture that was expected at the newest tick, for people; None without a past."""
        horizon = self._shown
        if not horizon:
            return None
        begin, chunk = self._chunk(horizon)
        picture: np.ndarray = self._engine.show(observation_of(begin), chunk, [horizon - 1])[0]
        return picture

    def close(self) -> None:
        """End the engine's session."""
        self._engine.close()

    def _predict(self, horizon: int) -> Prediction | None:
        if len(self._ticks) <= horizon or not self._begins[-1 - horizon]:
            return None
        begin, chunk = self._chunk(horizon)
        return self._engine.predict(observation_of(begin), chunk, [horizon - 1])

    def _chunk(self, horizon: int) -> tuple[Tick, ActionChunk]:
        """The tick so many ago, and the commands from there to now."""
        ticks: Sequence[Tick] = list(self._ticks)[-horizon - 1 :]
        chunk = ActionChunk(
            np.array([t.stamp_ns for t in ticks[1:]], np.int64),
            np.stack([t.action for t in ticks[:-1]]),
        )
        return ticks[0], chunk

    def _residual(self, prediction: Prediction | None, tick: Tick) -> np.ndarray | None:
        if prediction is None or not _has_pictures(prediction) or tick.picture is None:
            return None
        residual: np.ndarray = self._engine.residual(prediction, 0, tick.picture)
        return residual


def observation_of(tick: Tick) -> Observation:
    """As engines are shown it: the primary picture first, then what the others held."""
    pictures: dict[str, Picture] = {}
    if tick.picture is not None:
        pictures = {'primary': tick.picture, **tick.pictures}
    return Observation(tick.stamp_ns, pictures, tick.state, tick.action)


def _has_pictures(prediction: Prediction) -> bool:
    return prediction.frames is not None or prediction.latents is not None

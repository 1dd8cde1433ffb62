# SPDX-License-Identifier: Apache-2.0
"""Calls of an engine → seconds that it took, and a stop where a budget is used up."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.types import ActionChunk, Observation, Picture, Prediction
from cosmos_flywheel.engines import WorldModel


class OverBudgetError(Exception):
    """The engine has had its time; what it was about is not finished."""


class Meter:
    """Adds up what goes by within the engine; nothing else counts."""

    def __init__(self) -> None:
        self.spent_s = 0.0
        self.limit_s = inf

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around one call of the engine.

        Raises:
            OverBudgetError: the limit was reached before the call.

        """
        if self.spent_s >= self.limit_s:
            raise OverBudgetError
        began_s = time.perf_counter()
        try:
            yield
        finally:
            self.spent_s += time.perf_counter() - began_s


class Metered:
    """A world model whose every call is measured."""

    def __init__(self, engine: WorldModel, meter: Meter) -> None:
        self.spec = engine.spec
        self._engine = engine
        self._meter = meter

    def open(self, robot: str, task: str) -> None:
        """As the engine does."""
        with self._meter.running():
            self._engine.open(robot, task)

    def observe(self, observation: Observation) -> None:
        """As the engine does."""
        with self._meter.running():
            self._engine.observe(observation)

    def predict(
        self, observation: Observation, actions: ActionChunk, steps: Sequence[int] | None = None
    ) -> Prediction:
        """As the engine does."""
        with self._meter.running():
            return self._engine.predict(observation, actions, steps)

    def show(
        self, observation: Observation, actions: ActionChunk, steps: Sequence[int]
    ) -> NDArray[np.uint8]:
        """As the engine does."""
        with self._meter.running():
            return self._engine.show(observation, actions, steps)

    def residual(self, prediction: Prediction, step: int, actual: Picture) -> NDArray[np.float32]:
        """As the engine does."""
        with self._meter.running():
            return self._engine.residual(prediction, step, actual)

    def close(self) -> None:
        """As the engine does, whatever the budget."""
        self._engine.close()

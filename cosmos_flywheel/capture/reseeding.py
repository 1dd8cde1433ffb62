# SPDX-License-Identifier: Apache-2.0
"""Ticks → what other seeds of a generative engine would have painted, of a sample of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosmos_flywheel.capture.grounding import Probing
from cosmos_flywheel.capture.hindsight import observation_of
from cosmos_flywheel.core.channels import Moment, PictureChannel
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.timeline import Tick
from cosmos_flywheel.core.trust import Reseeded
from cosmos_flywheel.core.types import Picture, Prediction
from cosmos_flywheel.engines.base import WorldModel

MOST_CHUNKS = 24
"""Of one recording."""


class Reseeding(Probing):
    """Probing that keeps, of every so many predicted ticks, what each seed makes of it.

    Args:
        robot: as Probing.
        engine: likewise.
        every: likewise.
        others: sessions that differ from the engine in the seed alone.
        channel: whose evidence is kept.
        sampled_s: seconds between two samples.

    """

    def __init__(
        self,
        robot: Robot,
        engine: WorldModel,
        every: int,
        others: Sequence[WorldModel],
        channel: PictureChannel,
        sampled_s: float,
    ) -> None:
        super().__init__(robot, engine, every)
        self._others, self._channel = others, channel
        self._sampled_ns = round(sampled_s * 1e9)
        self._last_ns: int | None = None
        self._errors: list[list[float]] = []
        self._standing: list[float] = []
        self._evidence: list[np.ndarray] = []
        for other in others:
            other.open(robot.name, robot.task)

    @property
    def reseeded(self) -> Reseeded:
        """All that was kept so far."""
        seeds = 1 + len(self._others)
        shape = (len(self._evidence), seeds, len(self._channel.elements))
        return Reseeded(
            np.array(self._errors, np.float64).reshape(-1, seeds),
            np.array(self._standing, np.float64),
            np.array(self._evidence, np.float32).reshape(shape),
        )

    def observe(self, tick: Tick) -> None:
        """Take note of a tick of which nothing is asked."""
        if self._ticks and self._ticks[-1].segment != tick.segment:
            for other in self._others:
                other.open(self._robot.name, self._robot.task)
        super().observe(tick)
        for other in self._others:
            other.observe(observation_of(tick))

    def compare(self, tick: Tick, predictions: Sequence[Prediction | None]) -> Moment:
        """The tick beside its predictions, and now and then beside those of other seeds."""
        moment = super().compare(tick, predictions)
        is_due = self._last_ns is None or tick.stamp_ns - self._last_ns >= self._sampled_ns
        if is_due and moment.residual is not None and tick.picture is not None:
            self._last_ns = tick.stamp_ns
            self._sample(tick.picture, moment)
        return moment

    def _sample(self, came: Picture, moment: Moment) -> None:
        horizon = self._horizons[0]
        begin, chunk = self._chunk(horizon)
        observation, step = observation_of(begin), [horizon - 1]
        errors, evidence = [], []
        for engine in (self._engine, *self._others):
            prediction = engine.predict(observation, chunk, step)
            residual = engine.residual(prediction, 0, came)
            errors.append(_apart(engine.show(observation, chunk, step)[0], came))
            evidence.append(self._channel.evidence(Moment(moment.tick, residuals=(residual,))))
        assert begin.picture is not None
        self._errors.append(errors)
        self._standing.append(_apart(begin.picture, came))
        self._evidence.append(np.stack(evidence))


def _apart(one: Picture, other: Picture) -> float:
    """Mean squared difference in grey levels."""
    return float(np.square(one.astype(np.float32) - other).mean())

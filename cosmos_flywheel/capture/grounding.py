# SPDX-License-Identifier: Apache-2.0
"""Ticks → what an engine would have foretold them to be, had the robot been told otherwise.

Now and then the question of hindsight is asked again with wrong actions, and all answers are held
against what came. An engine that reads what was executed from measured states is asked the true
question again too, by the commands alone: of wrong commands nothing was ever measured, and what
the states gave away would count as listening. Wrong actions are taken from the past only, so that
a running robot can be asked as a recording is. Commands of where to be are moved along: the motion
of another moment, begun where the robot was now; else any command of elsewhere would be a leap
that nobody asks for, and a model that merely takes fright at leaps would seem to listen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np

from cosmos_flywheel.capture.hindsight import Hindsight, observation_of
from cosmos_flywheel.core.channels import Moment
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.grounding import KINDS, SEED, WRONG, Errors, Probed
from cosmos_flywheel.core.timeline import Tick
from cosmos_flywheel.core.types import ActionChunk, Prediction, Vector
from cosmos_flywheel.engines.base import WorldModel

EVERY_S = 0.25
"""Errors of chunks that lie closer together say nearly the same."""
EVERY_STRIDES = 4
"""Engines with a stride take long over each chunk."""
MOST_CHUNKS = 400
"""Of one recording; where there would be more they lie further apart."""
MEMORY_S = 60.0
"""Shuffled actions are no older than this."""


class Probing(Hindsight):
    """Hindsight that keeps, of every so many ticks, the errors by actions of all KINDS.

    Args:
        robot: whose contract says what staying is.
        engine: opened here; it must have been told the ticks that `compare` is given.
        every: at least so many ticks lie between two probes.

    """

    def __init__(self, robot: Robot, engine: WorldModel, every: int) -> None:
        super().__init__(robot, engine)
        self._every = every
        memory = round(MEMORY_S * robot.clock.hz)
        self._told: deque[Vector] = deque(maxlen=memory)
        self._was: deque[Vector] = deque(maxlen=memory)
        """Commands and states of as many ticks."""
        self._due = 0
        self._draw = np.random.default_rng(SEED)
        self._count = 0
        """Ticks so far."""
        self._places: deque[int] = deque(maxlen=MOST_CHUNKS)
        self._pictures: deque[Errors] = deque(maxlen=MOST_CHUNKS)
        self._states: deque[Errors] = deque(maxlen=MOST_CHUNKS)

    @property
    def is_due(self) -> bool:
        """Whether the newest tick is one to be probed."""
        return self._count > self._due

    @property
    def asks(self) -> int:
        """How often a probe asks the engine, at each horizon."""
        return len(WRONG) + self._engine.spec.reads_measured

    @property
    def probed(self) -> Probed:
        """All that was kept so far; no more than MOST_CHUNKS, the newest."""
        errors = {'picture': self._pictures, 'state': self._states}
        return Probed(
            np.array(self._places, np.int64),
            {name: np.stack(rows) for name, rows in errors.items() if rows},
        )

    def observe(self, tick: Tick) -> None:
        """Take note of a tick of which nothing is asked."""
        if self._ticks and self._ticks[-1].segment != tick.segment:
            self._told.clear()
            self._was.clear()
        super().observe(tick)
        self._told.append(tick.action)
        self._was.append(tick.state)
        self._count += 1

    def compare(self, tick: Tick, predictions: Sequence[Prediction | None]) -> Moment:
        """The tick beside its predictions, and now and then beside those by wrong actions."""
        moment = super().compare(tick, predictions)
        if self.is_due and self._can_probe(predictions):
            self._probe(moment, predictions)
            self._due = self._count - 1 + self._every
        return moment

    def _can_probe(self, predictions: Sequence[Prediction | None]) -> bool:
        """Whether there is a past to take wrong actions from, and a prediction to hold against."""
        far = max(self._horizons)
        return len(self._told) > 3 * far and any(p is not None for p in predictions)

    def _probe(self, moment: Moment, predictions: Sequence[Prediction | None]) -> None:
        far = max(self._horizons)
        apart = int(self._draw.integers(2 * far, len(self._told) - far))
        asked = [h for h, p in zip(self._horizons, predictions, strict=True) if p is not None]
        moments = [self._imagine(moment.tick, k, apart, asked) for k in KINDS[-self.asks :]]
        if not self._engine.spec.reads_measured:
            moments = [moment, *moments]
        self._places.append(self._count - 1)
        self._pictures.append(np.stack([_picture_errors(m) for m in moments]))
        self._states.append(np.stack([_state_errors(m) for m in moments]))

    def _imagine(self, tick: Tick, kind: str, apart: int, asked: Collection[int]) -> Moment:
        """The tick beside what would have been foretold by such commands."""
        try:
            found = [
                self._by_commands(h, kind, apart) if h in asked else None for h in self._horizons
            ]
        except EngineError:  # an engine that cannot read such actions tells nothing of them
            found = [None] * len(self._horizons)
        return super().compare(tick, found)

    def _by_commands(self, horizon: int, kind: str, apart: int) -> Prediction:
        begin, chunk = self._chunk(horizon)
        told = chunk.values
        if kind == 'stay':
            rest = staying(self._robot, begin.state, self._told[-horizon - 2])
            told = np.tile(rest, (horizon, 1))
        elif kind == 'shifted':
            told = self._commands(horizon, max(self._horizons))
        elif kind == 'shuffled':
            there = self._was[-horizon - 1 - apart]
            told = moved(self._robot, self._commands(horizon, apart), there, begin.state)
        wanted: ActionChunk = replace(chunk, values=told, is_plan=True)
        return self._engine.predict(observation_of(begin), wanted, [horizon - 1])

    def _commands(self, horizon: int, back: int) -> Vector:
        """(horizon, A), those of the chunk that ended so many ticks earlier."""
        end = len(self._told) - 1 - back
        return np.stack([self._told[i] for i in range(end - horizon, end)])


def moved(robot: Robot, commands: Vector, there: Vector, here: Vector) -> Vector:
    """Commands (T, A) of a robot in one state (S,), as they would be in another."""
    along: Vector = commands.copy()
    for action, element in robot.tracking_pairs:
        along[:, action] += here[element] - there[element]
    return along


def staying(robot: Robot, state: Vector, command: Vector) -> Vector:
    """Actions (A,) that ask for nothing: no change, or to be where the robot is.

    Args:
        robot: its contract says which.
        state: (S,) when the chunk begins.
        command: (A,), in force then; what commands no element of the state stays so, and so does
            a gripper, which is told where to be also where all else is told how far to move.

    """
    rest: Vector = command.copy()
    if robot.action.kind == 'delta':
        gripper = robot.action.gripper
        moves = [gripper is None or name != gripper.name for name in robot.action_names]
        rest[moves] = 0.0
    for action, element in robot.tracking_pairs:
        rest[action] = state[element]
    return rest


def every_ticks(clock_hz: float, duration_s: float, stride: int = 1) -> int:
    """Ticks between two probes of a recording, by an engine with this stride."""
    least, most = round(EVERY_S * clock_hz), round(duration_s * clock_hz) // MOST_CHUNKS
    return max(1, least, most, EVERY_STRIDES * stride if stride > 1 else 1)


def _picture_errors(moment: Moment) -> Errors:
    """By horizon, the mean squared residual of the picture."""
    return np.array([_mean_square(r) for r in moment.residuals], np.float32)


def _mean_square(residual: Errors | None) -> float:
    return float('nan') if residual is None else float(np.square(residual).mean())


def _state_errors(moment: Moment) -> Errors:
    """By horizon and element, how far the state was foretold wrongly, squared."""
    squares: Errors = np.concatenate(list(_squares(moment)), dtype=np.float32)
    return squares


def _squares(moment: Moment) -> Iterator[Errors]:
    nothing = np.full_like(moment.tick.state, np.nan)
    for state in moment.predicted_states:
        yield nothing if state is None else np.square(state - moment.tick.state)

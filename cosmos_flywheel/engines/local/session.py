# SPDX-License-Identifier: Apache-2.0
"""Observations and commands → predictions by a fitted local model, on a CPU without torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import ActionChunk, Observation, Picture, Prediction, Vector
from cosmos_flywheel.engines.base import EngineSpec
from cosmos_flywheel.engines.local.fields import (
    SMALL,
    Eye,
    Floats,
    Sight,
    foretell,
    foretell_large,
    shrink,
)
from cosmos_flywheel.engines.local.model import REVISION, LocalModel
from cosmos_flywheel.engines.local.motion import HORIZONS, Situation, interpolate
from cosmos_flywheel.engines.persistence import primary_picture
from cosmos_flywheel.engines.picture import tolerant_residual

COMPARED = (2, 8)
"""Ticks ahead that are compared with reality: soon, for what happens at once, and later, for what
builds up."""


@dataclass(slots=True)
class _Past:
    """One observation and what has been worked out from it so far."""

    observation: Observation
    state_before: Vector
    command_before: Vector
    sight: Sight | None
    is_first: bool
    """Whether nothing was observed before it: how fast the robot moves is not known then."""
    features: Sequence[Floats] | None = None


class Local:
    """A session of a local model. Tell it every observation, in order, then ask.

    Args:
        model: weights and motion model.

    Raises:
        EngineError: the networks cannot be run.

    """

    level = 'local'

    def __init__(self, model: LocalModel) -> None:
        self.model = model
        self.spec = EngineSpec(
            self.level,
            model.sha256,
            model.size,
            chunk=max(COMPARED),
            horizons=COMPARED,
            settings={'revision': REVISION, 'height': model.size[0], 'width': model.size[1]},
            compared=SMALL,
        )
        self._encoder = _open_network(model.encoder, 'encoder')
        self._decoder = _open_network(model.decoder, 'decoder')
        self._decoder_inputs = [i.name for i in self._decoder.get_inputs()]
        self._eye = Eye(model.size)
        self._seen_ns = 0
        self._command = np.empty(0, np.float32)
        self._past: deque[_Past] = deque(maxlen=max(COMPARED) + 2)

    def open(self, robot: str, task: str) -> None:
        """Begin a session without a past."""
        self._forget()

    def observe(self, observation: Observation) -> None:
        """Remember what the robot sensed; at most a dozen observations are kept."""
        before = self._past[-1].observation if self._past else None
        picture = primary_picture(observation)
        sight = None
        if picture is not None:
            gap_ns = observation.stamp_ns - self._seen_ns
            sight = self._eye.see(picture, gap_ns / NS * self.model.clock_hz)
            self._seen_ns = observation.stamp_ns
        command = _command(observation, len(self.model.motion.command_spread))
        self._past.append(
            _Past(
                observation,
                observation.state if before is None else before.state,
                self._command if len(self._command) else command,
                sight,
                before is None,
            )
        )
        self._command = command

    def predict(
        self, observation: Observation, actions: ActionChunk, steps: Sequence[int] | None = None
    ) -> Prediction:
        """What will be seen and measured; the state is NaN where the motion is not known yet.

        Args:
            observation: one of the last that `observe` was told.
            actions: commands from there on, one a tick.
            steps: which of the chunk's instants, from 0; by default all.

        Raises:
            EngineError: the observation is unknown, or the chunk too long.

        """
        past = self._find(observation)
        wanted = range(len(actions.stamps_ns)) if steps is None else steps
        if len(actions.stamps_ns) > HORIZONS[-1]:
            raise EngineError(
                f'local predicts up to {HORIZONS[-1]} ticks ahead, not {len(actions.stamps_ns)}; '
                f'give shorter chunks'
            )
        motion = self.model.motion
        states, frames, unsure = [], [], []
        for step in wanted:
            situation = _situation(past, actions.values[step])
            state = motion.predict(situation, step + 1)[0]
            states.append(
                state if _can_extrapolate(past, situation) else np.full_like(state, np.nan)
            )
            if past.sight is not None:
                fields = self._fields(past, situation, step + 1)
                frame, spread = foretell(fields, past.sight, step + 1)
                frames.append(frame)
                unsure.append(spread)
        return Prediction(
            observation.stamp_ns,
            self.spec.level,
            actions.stamps_ns[list(wanted)],
            np.stack(frames) if frames else None,
            None,
            np.stack(states),
            unsure=np.stack(unsure) if unsure else None,
        )

    def show(
        self, observation: Observation, actions: ActionChunk, steps: Sequence[int]
    ) -> NDArray[np.uint8]:
        """The pictures at the size that the engine takes, (len(steps), H, W, 3) RGB.

        Raises:
            EngineError: as `predict`, or there is no picture to begin with.

        """
        past = self._find(observation)
        if past.sight is None:
            raise EngineError('nothing to show: two pictures in a row are needed to begin with')
        pictures = []
        for step in steps:
            fields = self._fields(past, _situation(past, actions.values[step]), step + 1)
            blend = interpolate(step + 1) @ self.model.blend
            pictures.append(foretell_large(fields, past.sight, step + 1, blend))
        return np.stack(pictures)

    def residual(self, prediction: Prediction, step: int, actual: Picture) -> NDArray[np.float32]:
        """Where predicted and actual picture part, in grey levels: (H, W) of `spec.compared`."""
        assert prediction.frames is not None
        assert prediction.unsure is not None
        return tolerant_residual(prediction.frames[step], shrink(actual), prediction.unsure[step])

    def close(self) -> None:
        """Forget the past."""
        self._forget()

    def _forget(self) -> None:
        self._eye = Eye(self.model.size)
        self._seen_ns = 0
        self._command = np.empty(0, np.float32)
        self._past.clear()

    def _find(self, observation: Observation) -> _Past:
        for past in reversed(self._past):
            if past.observation.stamp_ns == observation.stamp_ns:
                return past
        raise EngineError(
            f'no observation at {observation.stamp_ns} ns is remembered; call observe() in order'
        )

    def fields(self, sight: Sight, situation: Situation, steps: int) -> Floats:
        """What the networks say of one sight, without a session: (*CELLS, CHANNELS)."""
        features = self._encoder.run(None, encoder_inputs(sight))
        return self._decode(features, situation, steps)

    def _fields(self, past: _Past, situation: Situation, steps: int) -> Floats:
        assert past.sight is not None
        if past.features is None:
            past.features = self._encoder.run(None, encoder_inputs(past.sight))
        return self._decode(past.features, situation, steps)

    def _decode(self, features: Sequence[Floats], situation: Situation, steps: int) -> Floats:
        condition = self.model.motion.condition(situation, steps)
        inputs = dict(zip(self._decoder_inputs, [*features, condition], strict=True))
        fields = self._decoder.run(None, inputs)[0][0]
        return np.ascontiguousarray(fields.transpose(1, 2, 0))


def encoder_inputs(sight: Sight) -> dict[str, Floats]:
    """By name, as the encoder wants them: (1, C, *SMALL), colours 0 … 1."""
    return {
        'seen': _planes(sight.small) / np.float32(255),
        'before': _planes(sight.small_before) / np.float32(255),
        'mean': _planes(sight.small_mean) / np.float32(255),
        'flow': _planes(sight.small_flow),
    }


def _planes(picture: Floats) -> Floats:
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None])


def _can_extrapolate(past: _Past, situation: Situation) -> bool:
    """Whether the motion is known: not at once in a stream that is joined in the middle of one.

    There the speed is not known, nor, where commands come later than states, what was told before.
    """
    turns = np.isfinite(situation.target) & ~np.isfinite(situation.command)
    return not past.is_first and not turns.any()


def _situation(past: _Past, target: Vector) -> Situation:
    return Situation(
        past.observation.state[None],
        past.state_before[None],
        past.command_before[None],
        target[None],
    )


def _command(observation: Observation, width: int) -> Vector:
    if observation.command is None:
        return np.full(width, np.nan, np.float32)
    return observation.command


def _open_network(data: bytes, name: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(data, options, providers=['CPUExecutionProvider'])
    except Exception as error:  # onnxruntime raises classes of its own, without a common base
        raise EngineError(
            f"the local model's {name} cannot be opened ({type(error).__name__}); fit again with "
            f'`flywheel fit`, or install the onnxruntime that requirements.lock names'
        ) from error

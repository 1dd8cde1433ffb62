# SPDX-License-Identifier: Apache-2.0
"""Observations and commands → predictions by Cosmos 3; torch is imported at the first prediction.

A chunk is foretold at once, from one picture and the actions after it. In latent mode nothing is
decoded: what came is encoded as it comes, one picture and then four at a time, and compared as
latents; pictures are decoded for people only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.stride import Stride
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import ActionChunk, Observation, Picture, Prediction, Vector
from cosmos_flywheel.engines.base import EngineSpec
from cosmos_flywheel.engines.cosmos.acting import Acting, modes_of
from cosmos_flywheel.engines.cosmos.dims import GROUP
from cosmos_flywheel.engines.cosmos.model import CosmosModel
from cosmos_flywheel.engines.cosmos.robot_model import CELL_PX
from cosmos_flywheel.engines.cosmos.view import laid_again
from cosmos_flywheel.engines.picture import exposure_residual, tolerant_residual

if TYPE_CHECKING:
    from torch import Tensor

    from cosmos_flywheel.engines.cosmos.runtime import Runtime
    from cosmos_flywheel.engines.cosmos.vae import Stream

LEVELS_PER_LATENT = 64.0
"""Grey levels that one standard deviation of a latent counts as: latents are normalised, and a
picture's levels have a deviation of about so many."""


@dataclass(slots=True)
class _Actual:
    """What came since an instant."""

    begun_ns: int
    waiting: list[Picture]
    """Pictures that are not encoded yet."""
    count: int = 0
    """Pictures after the first."""
    stream: Stream | None = None
    latent: Tensor | None = None
    """The newest of what is encoded."""


class Cosmos(Acting):
    """A session; see `WorldModel` and `ActingModel`.

    Args:
        model: checkpoint, robot and settings.
        runtime: what answers; by default the process' own, made at the first prediction.

    """

    def __init__(self, model: CosmosModel, runtime: Runtime | None = None) -> None:
        settings = model.settings
        self.model = model
        self._runtime = runtime
        self.spec = EngineSpec(
            settings.level,
            model.sha256,
            model.view.size,
            chunk=settings.chunk,
            horizons=(settings.chunk,),
            settings=settings.deciding(),
            modes=self._modes(),
            compared=model.compared,
            stride=settings.stride,
            predicts_state=False,
            reads_measured=model.actions.tool is not None,
            compares_past=settings.residual == 'latents',
        )
        self._stride = Stride(settings.stride, round(NS / model.clock_hz))
        self._past: deque[Observation] = deque(maxlen=settings.chunk + settings.stride + 2)
        self._actual: deque[_Actual] = deque(maxlen=-(-settings.chunk // settings.stride) + 1)
        self._compares = False
        """Whether this session is asked for residuals: if not, nothing is encoded in vain."""
        self._newest: tuple[int, bytes, Tensor] | None = None
        """Start, rows and latents of the last prediction, so that it can be shown."""
        self._shown_ns = 0

    def _modes(self) -> tuple[str, ...]:
        return modes_of(self.model)

    @property
    def runtime(self) -> Runtime:
        """What answers.

        Raises:
            EngineError: torch is missing, or the runtime cannot be made.

        """
        if self._runtime is None:
            self._runtime = _runtime_of(self.model)
        return self._runtime

    def prepare(self) -> None:
        """Load all that predictions need, which takes its time; EngineError if it cannot be."""
        self._runtime = self.runtime

    def open(self, robot: str, task: str) -> None:
        """Begin a session without a past."""
        self._forget()

    def observe(self, observation: Observation) -> None:
        """Remember what the robot sensed; in latent mode encode it when four have come."""
        before_ns = self._past[-1].stamp_ns if self._past else None
        self._past.append(observation)
        if self.spec.compares_past:
            self._gather(observation, before_ns)

    def predict(
        self, observation: Observation, actions: ActionChunk, steps: Sequence[int] | None = None
    ) -> Prediction:
        """What will be seen; without pictures where a picture, state or command is not known.

        Args:
            observation: the instant to start from.
            actions: up to `chunk` commands; the last is held for the rest of a chunk.
            steps: which of the chunk's instants, from 0; by default all.

        Raises:
            EngineError: the chunk is too long, actions have another width, or the model cannot
                answer.

        """
        wanted = list(range(len(actions.stamps_ns)) if steps is None else steps)
        stamps_ns = actions.stamps_ns[wanted]
        nothing = Prediction(observation.stamp_ns, self.spec.level, stamps_ns)
        asked = self.asked(observation, actions)
        if asked is None:
            return nothing
        latents = self._foretell(observation.stamp_ns, *asked)
        if not self.spec.compares_past:
            frames, unsure = self._frames(latents, wanted)
            return Prediction(
                observation.stamp_ns, self.spec.level, stamps_ns, frames, unsure=unsure
            )
        mean = np.asarray(latents.float().mean(0).cpu().numpy(), np.float32)
        shown = self._frames(latents, wanted)[0] if self._shows(observation.stamp_ns) else None
        return Prediction(observation.stamp_ns, self.spec.level, stamps_ns, shown, mean)

    def show(
        self, observation: Observation, actions: ActionChunk, steps: Sequence[int]
    ) -> NDArray[np.uint8]:
        """The pictures at the size that the engine takes, (len(steps), H, W, 3) RGB.

        Raises:
            EngineError: as `predict`, or there is no picture to begin with.

        """
        asked = self.asked(observation, actions)
        if asked is None:
            raise EngineError('nothing to show: a picture, a state or a command is not known')
        latents = self._foretell(observation.stamp_ns, *asked)
        frames = self._pictures(latents[:1])[[step + 1 for step in steps]]
        return self.model.view.part(frames, self.spec.size)

    def asked(
        self, observation: Observation, actions: ActionChunk
    ) -> tuple[Picture, Vector] | None:
        """What the runtime is asked of a chunk: the canvas, and rows in model space.

        None where a picture, a state or a command is not known.
        """
        picture = self.model.view.compose(observation.pictures)
        rows = self._rows(observation, actions)
        return None if picture is None or not np.isfinite(rows).all() else (picture, rows)

    def residual(self, prediction: Prediction, step: int, actual: Picture) -> NDArray[np.float32]:
        """Where predicted and actual part, (H, W) of `spec.compared`, in grey levels.

        In latent mode the root mean square of a cell's channels, `LEVELS_PER_LATENT` a standard
        deviation; NaN where what came has not been observed whole.
        """
        if prediction.latents is not None:
            return self._latent_residual(prediction)
        assert prediction.frames is not None
        seen = self.model.view.seen(actual, self.spec.residual_size)
        if prediction.unsure is None:
            return exposure_residual(prediction.frames[step], seen)
        return tolerant_residual(prediction.frames[step], seen, prediction.unsure[step])

    def rollout(
        self, observation: Observation, rows: Vector, seed: int | None = None
    ) -> NDArray[np.uint8]:
        """Pictures (1 + T, H, W, 3) of the canvas, chunk by chunk, the last beginning the next.

        Args:
            observation: the instant to start from.
            rows: (T, width) in model space; the last is held to the end of the last chunk.
            seed: of the first chunk's noise; by default the settings'. Others follow it.

        Raises:
            EngineError: no picture to begin with, or the model cannot answer.

        """
        picture = self.model.view.compose(observation.pictures)
        if picture is None:
            raise EngineError('a rollout needs a picture of every camera to begin with')
        chunk, seed = self.model.settings.chunk, self.model.settings.seed if seed is None else seed
        found: list[NDArray[np.uint8]] = []
        for index, begin in enumerate(range(0, len(rows), chunk)):
            part = self._held(rows[begin : begin + chunk])
            frames = self.runtime.pictures(self.runtime.foretell(picture, part, seed + index))
            found.append(frames if not found else frames[1:])
            picture = laid_again(frames[-1], self.model.view.canvas)
        return np.concatenate(found)[: 1 + len(rows)]

    def close(self) -> None:
        """Forget the past; the runtime stays for the next session."""
        self._forget()

    def _forget(self) -> None:
        self._past.clear()
        self._actual.clear()
        self._newest = None
        self._shown_ns = 0

    def _foretell(self, begun_ns: int, picture: Picture, rows: Vector) -> Tensor:
        """(seeds, 48, T, h, w) of a chunk, kept for whoever asks again."""
        import torch

        key = rows.tobytes()
        if self._newest is not None and self._newest[:2] == (begun_ns, key):
            return self._newest[2]
        settings = self.model.settings
        latents = torch.cat(
            [
                self.runtime.foretell(picture, rows, settings.seed + i).clone()
                for i in range(settings.seeds)
            ]
        )
        self._newest = begun_ns, key, latents
        return latents

    def _pictures(self, latents: Tensor) -> NDArray[np.uint8]:
        """All of a chunk, (1 + T, H, W, 3) of what is shown of the canvas."""
        return self.runtime.pictures(latents)

    def _frames(
        self, latents: Tensor, steps: Sequence[int]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """The compared frames of some steps, and of several seeds their spread."""
        size, wanted = self.spec.residual_size, [step + 1 for step in steps]
        made = [self.model.view.part(self._pictures(one[None])[wanted], size) for one in latents]
        if len(made) == 1:
            return made[0], None
        several = np.stack(made).astype(np.float32)
        mean = np.rint(several.mean(0)).astype(np.uint8)
        return mean, np.asarray(several.std(0, ddof=1).mean(-1), np.float32)

    def _rows(self, observation: Observation, actions: ActionChunk) -> Vector:
        """(chunk, width) in model space; NaN where something is not known."""
        count, chunk = len(actions.stamps_ns), self.model.settings.chunk
        if not 0 < count <= chunk:
            raise EngineError(
                f'{self.spec.level} predicts 1 to {chunk} ticks ahead, not {count}; give shorter '
                'chunks, or fit with --set chunk=…'
            )
        states = None if actions.is_plan else self._measured(observation, actions)
        if states is not None:
            return self._held(self.model.actions.executed(states, actions.values))
        return self._held(self.model.actions.ahead(observation.state, actions.values))

    def _measured(self, observation: Observation, actions: ActionChunk) -> Vector | None:
        """States (T + 1, S) along a chunk that was executed; None for any other chunk."""
        known = {one.stamp_ns: one for one in self._past}
        passed = [observation, *(known.get(stamp) for stamp in actions.stamps_ns.tolist())]
        path = [one for one in passed if one is not None]
        if len(path) != len(passed):
            return None
        for one, told in zip(path, actions.values, strict=False):
            if one.command is None or not np.array_equal(one.command, told, equal_nan=True):
                return None
        return np.stack([one.state for one in path])

    def _held(self, rows: Vector) -> Vector:
        """Rows of a whole chunk, the last one held as diffusers does."""
        missing = self.model.settings.chunk - len(rows)
        held = np.concatenate([rows, np.repeat(rows[-1:], missing, 0)]) if missing else rows
        return np.ascontiguousarray(held, np.float32)

    def _shows(self, stamp_ns: int) -> bool:
        """Whether it is time to decode a picture for people."""
        hz = self.model.settings.show_hz
        if not hz or stamp_ns - self._shown_ns < NS / hz:
            return False
        self._shown_ns = stamp_ns
        return True

    def _gather(self, observation: Observation, before_ns: int | None) -> None:
        """Take a picture into all that came since a start, and begin anew where it is due."""
        picture = self.model.view.compose(observation.pictures)
        if picture is None:
            self._actual.clear()
            return
        while self._actual and self._actual[0].count == self.model.settings.chunk:
            self._actual.popleft()
        for actual in self._actual:
            actual.waiting.append(picture)
            actual.count += 1
        if self._stride.begins(observation.stamp_ns, before_ns):
            self._actual.append(_Actual(observation.stamp_ns, [picture]))
        if self._compares:
            for actual in self._actual:
                self._encode(actual)

    def _encode(self, actual: _Actual) -> None:
        """Encode what has come whole: the first picture, then groups of four."""
        if actual.stream is None:
            actual.stream = _stream()
            first = np.stack([actual.waiting.pop(0)])
            actual.latent = self.runtime.encode(first, actual.stream)
        while len(actual.waiting) >= GROUP:
            group = np.stack(actual.waiting[:GROUP])
            actual.latent = self.runtime.encode(group, actual.stream)
            del actual.waiting[:GROUP]

    def _latent_residual(self, prediction: Prediction) -> NDArray[np.float32]:
        nothing = np.full(self.spec.residual_size, np.nan, np.float32)
        self._compares, begun_ns = True, prediction.input_stamp_ns
        actual = next((a for a in self._actual if a.begun_ns == begun_ns), None)
        if actual is None or actual.count % GROUP or not actual.count:
            return nothing
        self._encode(actual)
        assert prediction.latents is not None
        assert actual.latent is not None
        came = np.asarray(actual.latent[0, :, 0].cpu().numpy(), np.float32)
        apart = prediction.latents[:, actual.count // GROUP] - came
        cells = np.sqrt(np.mean(np.square(apart), 0))[self.model.view.cells]
        levels = LEVELS_PER_LATENT * cells
        return np.asarray(np.kron(levels, np.ones((CELL_PX, CELL_PX))), np.float32)


def _runtime_of(model: CosmosModel) -> Any:
    try:
        from cosmos_flywheel.engines.cosmos.opened import runtime_of
    except ImportError as error:
        raise EngineError(
            f'engine {model.settings.level} needs torch: install one for the CUDA of this '
            f'machine ({error})'
        ) from error
    return runtime_of(model)


def _stream() -> Any:
    from cosmos_flywheel.engines.cosmos.vae import Stream

    return Stream()

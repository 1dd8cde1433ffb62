# SPDX-License-Identifier: Apache-2.0
"""Rollouts of a fitted engine under other commands, from the last picture before the failure.

No frame is made beyond the engine's skill horizon: as many ticks ahead as it foretold this very
clip better than a standing picture would have.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.bags.recording import Recording, read_recording
from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.errors import OrderError, seedless
from cosmos_flywheel.core.identifiability import Identifiability
from cosmos_flywheel.core.types import ActionChunk, Observation
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.engines import Local, LocalModel
from cosmos_flywheel.engines.local.motion import HORIZONS
from cosmos_flywheel.generate.actions import (
    Commands,
    Numbers,
    nominal_path,
    perturbed,
    planned,
    varied_in_time,
)
from cosmos_flywheel.generate.base import Made, Order, unknown_axis
from cosmos_flywheel.generate.clip import ByContent, read_clip

REVISION = 2
"""Counts up whenever equal orders get other rollouts."""
IN_TIME = ('faster', 'slower', 'earlier', 'later', 'harder')
CONTEXT_S = 1.0
"""So much of the recording precedes what is made."""
RANKS = 8
"""Among so many nominal paths the seed chooses."""
LEAST_SHARE = 0.3
"""Of the largest change in time or size; the seed draws from there to all of it."""
FEWEST_CHUNKS = 8
"""From fewer no skill is taken for measured."""
JUDGED_EVERY = 2
"""Ticks between the chunks that are judged."""


class LocalRollout:
    """The generator `local`: see `Generator`.

    Args:
        folder: a model folder of `flywheel fit`.

    Raises:
        EngineError, SchemaError: the folder holds no fitted local engine.

    """

    name = 'local'
    kind = 'rollout'
    repeatable = True
    axes: Mapping[str, Collection[str]] = {}

    def __init__(self, folder: Path) -> None:
        self._model = LocalModel.load(folder)
        self.model: tuple[str, str | None] = ('local', self._model.sha256)
        self._learnt = self._model.identifiability
        tied = [] if self._learnt is None else [list(group) for group in self._learnt.tied]
        self.parameters: Mapping[str, Any] = {'revision': REVISION, 'tied': tied}

    def check(self) -> None:
        """Its networks can be run; EngineError with a remedy if not."""
        Local(self._model).close()

    def refusal(self, brief: Brief, variation: Variation) -> str:
        """It shows what other commands would do, for about a second."""
        if brief.origin.robot != self._model.robot:
            return f'the engine was fitted to {self._model.robot!r}, not {brief.origin.robot!r}'
        if variation.family == 'same_failure_new_scene':
            return 'knows one scene and no failures: it makes no same failure in a new scene'
        if variation.actions in ('expert', 'policy'):
            return f'has no {variation.actions} to ask: order nominal or perturbed commands'
        return unknown_axis(variation, self.axes)

    def make(self, order: Order) -> Made:
        """Some recorded frames, and after them what is foretold under other commands."""
        clip = read_clip(order)
        self._check_camera(clip.recording)
        recording = _shrunk(clip.recording, self._model.size)
        horizon = skill_horizon(self._model, recording, clip.keyframe)
        steps = min(horizon.steps, len(recording) - clip.keyframe)
        commands, note = plan_commands(order, recording, clip.keyframe, steps, self._learnt)
        frames = roll_out(self._model, recording, clip.keyframe, commands.values[-steps:])
        begin = max(0, clip.keyframe + 1 - len(commands.values) + steps - 1)
        context = recording.pictures[begin : clip.keyframe + 1]
        return Made(
            frames=np.concatenate([context, frames]),
            fps=order.robot.clock.hz,
            commands=commands,
            onset_s=None,
            begins_step=len(context),
            notes=(
                'rollout: what a fitted engine foretells under these commands; it has seen what '
                'is nominal only, so it shows what they do and not the failure',
                note,
                horizon.in_words(),
            ),
        )

    def steered(
        self, order: Order, recording: Recording, keyframe: int, path: Numbers
    ) -> tuple[NDArray[np.uint8], float]:
        """See `Steerable`."""
        self._check_camera(recording)
        return roll_out(self._model, _shrunk(recording, self._model.size), keyframe, path), 0.0

    def _check_camera(self, recording: Recording) -> None:
        size, fitted = recording.pictures.shape[1:3], self._model.camera_size
        if size != fitted:
            raise OrderError(
                f'the engine was fitted to a camera of {fitted[1]}x{fitted[0]} px, the clip has '
                f'{size[1]}x{size[0]} px; give the model of this camera'
            )


@dataclass(frozen=True, slots=True)
class SkillHorizon:
    """How far ahead the engine is better than a standing picture."""

    steps: int
    """Ticks."""
    skills: tuple[tuple[int, float], ...]
    """Ticks ahead, and 1 − MSE / MSE of persistence."""
    chunks: int

    def in_words(self) -> str:
        """For the notes."""
        told = ', '.join(f'{step}: {skill:.2f}' for step, skill in self.skills)
        return (
            f'skill horizon {self.steps} ticks; skill over persistence by ticks ahead, on '
            f'{self.chunks} chunks of the clip before the failure: {told}'
        )


def skill_horizon(model: LocalModel, recording: Recording, until: int) -> SkillHorizon:
    """Measured on the ticks before `until`, where nothing had gone wrong yet.

    Raises:
        ConfigError: there are too few of them, or the engine is no better from the first tick on.

    """
    engine = Local(model)
    engine.open(model.robot, '')
    own, peer = np.zeros(len(HORIZONS)), np.zeros(len(HORIZONS))
    chunks = 0
    for tick in range(until):
        observation = _observation(recording, tick)
        engine.observe(observation)
        ahead = [h for h in HORIZONS if tick + h <= until]
        if tick < 2 or tick % JUDGED_EVERY or not ahead:
            continue
        chunk = _chunk(recording, tick, recording.actions[tick : tick + ahead[-1]])
        shown = engine.show(observation, chunk, [h - 1 for h in ahead]).astype(np.float64)
        actual = recording.pictures[[tick + h for h in ahead]].astype(np.float64)
        own[: len(ahead)] += ((shown - actual) ** 2).mean((1, 2, 3))
        peer[: len(ahead)] += ((recording.pictures[tick] - actual) ** 2).mean((1, 2, 3))
        chunks += 1
    engine.close()
    if chunks < FEWEST_CHUNKS:
        raise OrderError(
            f'local: {chunks} chunks before the keyframe, {FEWEST_CHUNKS} are needed to measure '
            'its skill; harvest with a longer pre-roll'
        )
    skills = [
        (h, 1 - a / b if b > 0 else 0.0) for h, a, b in zip(HORIZONS, own, peer, strict=True)
    ]
    better = 0
    for step, skill in skills:
        if not skill > 0:
            break
        better = step
    if not better:
        raise OrderError(
            f'local: no better than a standing picture on this clip (skill {skills[0][1]:.2f} one '
            'tick ahead); fit on more nominal bags of this scene'
        )
    return SkillHorizon(better, tuple((h, round(float(s), 3)) for h, s in skills), chunks)


def roll_out(
    model: LocalModel, recording: Recording, keyframe: int, path: Numbers
) -> NDArray[np.uint8]:
    """(len(path), H, W, 3) what is foretold after the keyframe under these commands."""
    engine = Local(model)
    engine.open(model.robot, '')
    for tick in range(max(0, keyframe - 4), keyframe + 1):
        engine.observe(_observation(recording, tick))
    chunk = _chunk(recording, keyframe, path.astype(np.float32))
    shown = engine.show(_observation(recording, keyframe), chunk, range(len(path)))
    engine.close()
    return shown


def plan_commands(
    order: Order,
    recording: Recording,
    keyframe: int,
    steps: int,
    learnt: Identifiability | None = None,
) -> tuple[Commands, str]:
    """Recorded commands up to the keyframe and `steps` planned ones from it on; and whence.

    Perturbations leave out what could not be `learnt`: elements that only moved together go on
    moving together.

    Raises:
        ConfigError: what is planned leaves the envelope, or its source has nothing to offer.

    """
    hz, family = order.robot.clock.hz, order.variation.family
    begin = max(0, keyframe + 1 - round(CONTEXT_S * hz))
    before = np.asarray(recording.actions[begin:keyframe], np.float64)
    after = np.asarray(recording.actions[keyframe : keyframe + steps], np.float64)
    source, envelope = order.variation.actions, order.brief.envelope
    if source == 'nominal' and envelope is not None:
        robot = ByContent(order.robot)
        nominal = [_nominal(p, p.stat().st_mtime_ns, robot) for p in order.nominal]
        state = recording.states[keyframe]
        rank = int(order.chance('nominal').integers(RANKS))
        path, note = nominal_path(nominal, state, envelope, before, steps, hz, rank)
    elif family in IN_TIME:
        share = float(order.chance('time').uniform(LEAST_SHARE, 1.0))
        source, path = 'perturbed', varied_in_time(after, family, hz, share)
        note = f'the recorded commands, {family} by {share:.0%} of the most'
    elif source == 'perturbed' and envelope is not None:
        chance = order.chance('perturbation')
        known = None if learnt is None else learnt.known
        path, share = perturbed(after, chance, envelope, hz, before, known)
        note = f'the recorded commands, perturbed by up to {share:.1%} of the range'
        if learnt is not None and learnt.tied:
            note += f'; together as in what was learnt: {learnt.together()}'
    else:
        path, note = after, 'the recorded commands'
    with seedless(when=path is after):
        found = planned(path, source, order.robot, envelope, before)
    whole = np.concatenate([before, found.values])
    return Commands(whole, source, hz, found.names), f'commands: {note}'


@lru_cache(maxsize=64)
def _nominal(path: Path, _changed_ns: int, robot: ByContent) -> Recording:
    """Its states and commands; pictures only pace it."""
    return read_recording(path, robot.robot, (24, 32))


def _shrunk(recording: Recording, size: tuple[int, int]) -> Recording:
    """With pictures of (H, W), as a watcher would bring them there."""
    if recording.pictures.shape[1:3] == size:
        return recording
    pictures = [
        cv2.resize(p, size[::-1], interpolation=cv2.INTER_AREA) for p in recording.pictures
    ]
    return Recording(
        recording.stamps_ns,
        np.stack(pictures).astype(np.uint8),
        recording.states,
        recording.actions,
    )


def _observation(recording: Recording, tick: int) -> Observation:
    return Observation(
        int(recording.stamps_ns[tick]),
        {'primary': recording.pictures[tick]},
        recording.states[tick],
        recording.actions[tick],
    )


def _chunk(recording: Recording, tick: int, values: NDArray[np.float32]) -> ActionChunk:
    """Commands from a tick on, at the clip's own pace, as a plan."""
    period_ns = int(np.median(np.diff(recording.stamps_ns)))
    stamps_ns = recording.stamps_ns[tick] + period_ns * np.arange(1, len(values) + 1)
    return ActionChunk(stamps_ns, values, is_plan=True)

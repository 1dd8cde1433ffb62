# SPDX-License-Identifier: Apache-2.0
"""An order → what a world model is told of it: the words of its variation, and rows of actions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.bags.recording import Recording
from cosmos_flywheel.core.brief import Prompt
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.engines.cosmos.actions import ActionMap
from cosmos_flywheel.generate.actions import Numbers

Rows = NDArray[np.float32]
"""(N, width) in the model space of the robot's Cosmos domain."""
USUAL_CHUNK, LATENT_GROUP = 16, 4
"""Actions per call where robot and domain do not say, and how many a latent frame spans."""
FAMILY_WORDS: Mapping[str, str] = {
    'same_failure_new_scene': '{}',
    'near_miss': 'It comes close to this, and does not happen, so that the task ends well: {}',
    'recovery': '{} Then the robot makes up for it, and the task ends well.',
    'earlier': '{} It happens earlier than usual.',
    'later': '{} It happens later than usual.',
    'faster': '{} Everything goes faster than usual.',
    'slower': '{} Everything goes more slowly than usual.',
    'harder': '{} It is worse than usual.',
}
"""What a family says of what happens, which stands in the braces."""


class _EveryWord(Collection[str]):
    def __contains__(self, word: object) -> bool:
        return isinstance(word, str)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class _EveryAxis(Mapping[str, Collection[str]]):
    def __init__(self, *but: str) -> None:
        self._but = but

    def __getitem__(self, axis: str) -> Collection[str]:
        if axis in self._but:
            raise KeyError(axis)
        return _EveryWord()

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


EVERY_AXIS: Mapping[str, Collection[str]] = _EveryAxis()
"""Axes of a model that reads: it takes every word on every axis. There is no list of them."""
AXES_OF_EVENTS: Mapping[str, Collection[str]] = _EveryAxis(
    'clothing', 'dirt', 'floor', 'goods', 'light', 'road', 'room', 'surface', 'vessel', 'weather'
)
"""The same without those that say how the scene looks: a film that begins with a recorded picture
has the look of then, whatever it is told."""


def varied_prompt(prompt: Prompt, variation: Variation) -> Prompt:
    """A brief's prompt with a variation's words: its cell in the scene, its family at the end.

    Whatever the words are, they stay parts of texts; `core/caption.py` quotes them.
    """
    cell = ', '.join(f'{axis} {value}' for axis, value in sorted(variation.cell.items()))
    told = list(prompt.actions)
    if told:
        start_s, end_s, words = told[-1]
        form = FAMILY_WORDS[variation.family].split('{}')
        told[-1] = start_s, end_s, words.join(form)
    scene = f'{prompt.scene} Apart from that: {cell}.' if cell else prompt.scene
    return replace(prompt, scene=scene.strip(), actions=tuple(told))


def untold(robot: Robot, actions: str) -> str:
    """Why commands of a source cannot be told in the robot's Cosmos domain; '' if they can.

    Args:
        robot: whose commands they are.
        actions: their source; what was executed is read from measured states, a plan is not.

    """
    if not robot.action_names:
        return f'no commands of robot {robot.name} are recorded'
    try:
        rows = ActionMap.of(robot)
    except ConfigError as error:
        return str(error)
    if len(robot.cameras) > 1 and robot.cosmos.view_layout == 'concat_view':
        return f'robot {robot.name} is shown by several cameras at once, and clips by one'
    if actions != 'recorded' and rows.tool is not None and not rows.planned:
        return f'robot {robot.name} is not commanded by absolute poses of its flange'
    return ''


def chunk_of(robot: Robot) -> int:
    """Actions per call: as the robot file says, else its domain; whole latent frames."""
    asked = robot.cosmos.chunk or (robot.domain and robot.domain.chunk) or USUAL_CHUNK
    return max(LATENT_GROUP, asked // LATENT_GROUP * LATENT_GROUP)


def executed_rows(robot: Robot, recording: Recording, begin: int, end: int) -> Rows:
    """(end - begin, width) what was done from one tick to another.

    Raises:
        ConfigError: the robot has no domain, or some of it is not known.

    """
    states, actions = recording.states[begin : end + 1], recording.actions[begin:end]
    return _known(ActionMap.of(robot).executed(states, actions), robot, 'recorded')


def planned_rows(robot: Robot, state: NDArray[np.float32], path: Numbers) -> Rows:
    """(N, width) of commands (N, A) that were planned from a measured state (S,) on.

    Raises:
        ConfigError: the robot has no domain, or some of it is not known.

    """
    rows = ActionMap.of(robot).ahead(state, path.astype(np.float32))
    return _known(rows, robot, 'planned')


def proposed_commands(robot: Robot, state: NDArray[np.float32], rows: Rows) -> Numbers:
    """(N, A) commands of rows that a model proposes from a measured state (S,) on.

    Raises:
        ConfigError: the domain leaves some elements of the command open, so that nobody can
            hold them against an envelope.
        EngineError: the rows are not the domain's.

    """
    values, _ = ActionMap.of(robot).commands(state, rows)
    unknown = np.flatnonzero(~np.isfinite(values).all(axis=0))
    if unknown.size:
        names = ', '.join(robot.action_names[place] for place in unknown)
        raise ConfigError(
            f'robot {robot.name}: what the model proposes says nothing of {names}, so it cannot '
            'be held against the envelope; take nominal or perturbed commands'
        )
    return np.asarray(values, np.float64)


def _known(rows: NDArray[np.float32], robot: Robot, what: str) -> Rows:
    if not np.isfinite(rows).all():
        raise ConfigError(
            f'robot {robot.name}: {what} commands are not known all the way; give a clip in '
            'which states and commands are recorded from before the keyframe on'
        )
    return np.asarray(rows, np.float32)

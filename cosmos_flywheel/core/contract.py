# SPDX-License-Identifier: Apache-2.0
"""A robot file into the one value that says what the robot's topics mean.

It names the cameras, the state, the action and its contract, the outcome, the model's clock, and
the Cosmos domain. `config/robots/*.yaml` explains each key where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cosmos_flywheel.core.clauses import (
    ActionContract,
    Camera,
    Clock,
    Cosmos,
    action_from,
    cameras_from,
    clock_from,
    cosmos_from,
)
from cosmos_flywheel.core.domains import Domain
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.lineage import config_hash
from cosmos_flywheel.core.outcome import Outcome, outcomes_from
from cosmos_flywheel.core.rotation import matrix_from_quaternion, pose_from_parts
from cosmos_flywheel.core.settings import Section, nearest
from cosmos_flywheel.core.source import KEYS as SOURCE_KEYS
from cosmos_flywheel.core.source import ReadText, Source, source_from

SCHEMA = 'robot-v1'


@dataclass(frozen=True, slots=True)
class Robot:
    """One robot: what its topics mean and how they become observations and actions."""

    name: str
    task: str
    clock: Clock
    cameras: tuple[Camera, ...]
    """The primary one first; may be empty."""
    state_sources: tuple[Source, ...]
    action_sources: tuple[Source, ...]
    """Empty for a robot whose commands are not recorded."""
    action: ActionContract
    tracking_pairs: tuple[tuple[int, int], ...]
    """(action index, state index) of a command and the state that it commands."""
    outcomes: tuple[Outcome, ...]
    cosmos: Cosmos

    @classmethod
    def from_mapping(
        cls,
        document: Mapping[str, Any],
        *,
        place: str = 'robot file',
        read_text: ReadText | None = None,
    ) -> Robot:
        """Check a robot file's content and make it one value.

        Args:
            document: what the YAML holds.
            place: the file, for messages.
            read_text: gives the text of a URDF that the file names.

        Raises:
            ConfigError: naming the file, the key, the value and the remedy.

        """
        return _robot(Section(document, place, _KEYS), read_text or _no_files)

    @property
    def primary_camera(self) -> Camera | None:
        """The camera that paces the clock; None for a robot without one."""
        return self.cameras[0] if self.cameras else None

    @property
    def state_names(self) -> tuple[str, ...]:
        """Of the S elements of the state."""
        return _names(self.state_sources)

    @property
    def action_names(self) -> tuple[str, ...]:
        """Of the A elements of the action."""
        return _names(self.action_sources)

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic that is read, without repeats."""
        sources = (*self.state_sources, *self.action_sources)
        return tuple(
            dict.fromkeys(
                [camera.topic for camera in self.cameras]
                + [source.topic for source in sources]
                + [topic for source in sources for topic in source.context_topics]
                + [topic for outcome in self.outcomes for topic in outcome.topics]
            )
        )

    @property
    def domain(self) -> Domain | None:
        """The Cosmos domain; None where only local engines know this robot."""
        return self.cosmos.known_domain

    def config_hash(self) -> str:
        """64 hex digits of everything above, whatever the file's path, order and comments."""
        return config_hash(self)

    def poses(self, states: ArrayLike) -> NDArray[np.float64]:
        """Flange poses (N, 4, 4) of states (N, S), by the elements that `cosmos.pose` names."""
        values = np.asarray(states, np.float64)
        seven = values[:, [self.state_names.index(name) for name in self._pose_names()]]
        return pose_from_parts(seven[:, :3], matrix_from_quaternion(seven[:, 3:]))

    def domain_vector(self, poses: ArrayLike, gripper: ArrayLike) -> NDArray[np.float32]:
        """Actions (T, width) of the Cosmos domain in physical units.

        Args:
            poses: (T + 1, 4, 4) measured flange poses; differences of commands are not meant.
            gripper: (T,) or (T + 1,) gripper commands as recorded, taken at each step's start.

        Raises:
            ConfigError: the robot has no domain, or no gripper, or the domain is not built here.

        """
        if self.domain is None:
            raise ConfigError(f'robot {self.name}: no Cosmos domain; set cosmos.domain')
        if self.action.gripper is None:
            raise ConfigError(f'robot {self.name}: no gripper; set action.gripper')
        steps = len(np.asarray(poses)) - 1
        openness = self.action.gripper.openness(gripper)
        return self.domain.vector(poses, openness[:steps])

    def _pose_names(self) -> tuple[str, ...]:
        if not self.cosmos.pose:
            raise ConfigError(
                f'robot {self.name}: no flange pose in the state; '
                'add a pose source, or name its elements in cosmos.pose'
            )
        return self.cosmos.pose


_KEYS = ('schema', 'name', 'task', 'clock', 'cameras', 'state', 'action', 'outcome', 'cosmos')
_CLOCK_KEYS = ('hz', 'max_age_s', 'topic_offsets')
_ACTION_KEYS = (
    'sources', 'kind', 'frame', 'rotation', 'rate_hz', 'gripper', 'normaliser', 'tracks',
)  # fmt: skip
_COSMOS_KEYS = ('domain', 'view_layout', 'fps', 'chunk', 'resolution_tier', 'pose')


def _robot(section: Section, read_text: ReadText) -> Robot:
    section.choice('schema', (SCHEMA,))
    action = section.section('action', _ACTION_KEYS)
    state_sources = _sources(section, 'state', read_text)
    action_sources = _sources(action, 'sources', read_text)
    cameras = cameras_from(section)
    if not (cameras or state_sources or action_sources):
        raise section.error('cameras', 'and state and action are empty; name at least one topic')
    cosmos = cosmos_from(section.section('cosmos', _COSMOS_KEYS), _names(state_sources))
    contract = action_from(action, _names(action_sources), cosmos.known_domain)
    return Robot(
        name=section.text('name'),
        task=section.text('task', ''),
        clock=clock_from(section.section('clock', _CLOCK_KEYS)),
        cameras=cameras,
        state_sources=state_sources,
        action_sources=action_sources,
        action=contract,
        tracking_pairs=_tracks(action, contract.kind, action_sources, state_sources),
        outcomes=outcomes_from(section),
        cosmos=cosmos,
    )


def _sources(section: Section, key: str, read_text: ReadText) -> tuple[Source, ...]:
    sources: list[Source] = []
    taken: set[str] = set()
    for part in section.listed_sections(key, SOURCE_KEYS):
        source = source_from(part, len(taken), read_text)
        for name in source.names:
            if name in taken:
                raise part.error(
                    'names', f'holds {name!r}, which an earlier source has; name this one anew '
                    'and give its name in the message under components'
                )  # fmt: skip
        taken.update(source.names)
        sources.append(source)
    return tuple(sources)


def _tracks(
    section: Section, kind: str, actions: tuple[Source, ...], states: tuple[Source, ...]
) -> tuple[tuple[int, int], ...]:
    """Pairs that `tracks` names, or those of the same name and unit if it is left out."""
    action_units, state_units = _units(actions), _units(states)
    action_places = {name: place for place, name in enumerate(action_units)}
    state_places = {name: place for place, name in enumerate(state_units)}
    if 'tracks' not in section:
        same = (n for n, u in action_units.items() if u == state_units.get(n))
        return tuple((action_places[n], state_places[n]) for n in same if kind == 'absolute')
    written = section.mapping('tracks')
    if written and kind != 'absolute':
        raise section.error('tracks', f'is for absolute actions, these are {kind}; remove it')
    for wanted, places in ((written, action_places), (written.values(), state_places)):
        for name in wanted:
            if name not in places:
                raise section.error('tracks', f'names {name!r}; {nearest(str(name), places)}')
    return tuple(sorted((action_places[a], state_places[s]) for a, s in written.items()))


def _names(sources: tuple[Source, ...]) -> tuple[str, ...]:
    return tuple(name for source in sources for name in source.names)


def _units(sources: tuple[Source, ...]) -> dict[str, str]:
    """Unit by element, in the order of the vector."""
    return {
        name: unit
        for source in sources
        for name, unit in zip(source.names, source.units, strict=True)
    }


def _no_files(name: str) -> str:
    raise ConfigError(f'{name}: no file can be read from here; load the robot from its own file')

# SPDX-License-Identifier: Apache-2.0
"""One topic's messages into some elements of the state or action vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cosmos_flywheel.core.continuity import Continuity
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.fields import (
    FIELD_KINDS,
    POSE,
    POSE_AND_EULER,
    Components,
    Numbers,
    path_steps,
    pose_numbers,
    read_field,
)
from cosmos_flywheel.core.kinematics import cached_chain
from cosmos_flywheel.core.settings import Section, nearest
from cosmos_flywheel.core.transforms import TransformTree
from cosmos_flywheel.core.types import Vector

ReadText = Callable[[str], str]
"""Gives the text of a file that the robot file names; raises ConfigError."""

TRANSFORM = 'transform'
KINEMATICS = 'kinematics'
STATIC_TRANSFORMS = '/tf_static'
KEYS = ('topic', 'field', 'names', 'components', 'unit', 'frame', 'urdf')

_UNITS = {
    **dict.fromkeys(('x', 'y', 'z'), 'm'),
    **dict.fromkeys(('roll', 'pitch', 'yaw'), 'rad'),
    **{f'linear.{axis}': 'm/s' for axis in 'xyz'},
    **{f'angular.{axis}': 'rad/s' for axis in 'xyz'},
    **{f'force.{axis}': 'N' for axis in 'xyz'},
    **{f'torque.{axis}': 'N·m' for axis in 'xyz'},
}
_COMPONENTS = {TRANSFORM: POSE_AND_EULER, KINEMATICS: POSE_AND_EULER} | {
    field: kind.known for field, kind in FIELD_KINDS.items()
}
_USUAL = {TRANSFORM: POSE, KINEMATICS: POSE} | {f: kind.usual for f, kind in FIELD_KINDS.items()}


@dataclass(frozen=True, slots=True)
class Source:
    """Where some elements of a vector come from."""

    key: str
    """Unique in its robot and fit to be shown: its place in the file and its topic."""
    topic: str
    field: str
    """A kind of `core/fields.py`, `transform`, `kinematics`, or a dotted path."""
    names: tuple[str, ...]
    """Of the elements, in the order of the vector."""
    components: Components
    """What the elements are called, or which index they have, in the message."""
    units: tuple[str, ...]
    """One per element; '' where the file says none."""
    start: int
    """Index of the first element in the whole vector."""
    frame: str = ''
    """Frame that the values are expressed in; '' where the file says none."""
    tip: str = ''
    """Frame or link whose pose is wanted: `transform` and `kinematics` only."""
    urdf: str = ''
    """Text of the robot description, if it comes from a file."""
    urdf_topic: str = ''
    """Topic of the robot description, if it comes from the recording."""

    @property
    def slice(self) -> slice:
        """Place of the elements in the whole vector."""
        return slice(self.start, self.start + len(self.names))

    @property
    def context_topics(self) -> tuple[str, ...]:
        """Topics besides `topic` that a reader must `learn` from."""
        if self.field == TRANSFORM:
            return (STATIC_TRANSFORMS,)
        return (self.urdf_topic,) if self.urdf_topic else ()

    def reader(self) -> SourceReader:
        """A fresh reader for one recording."""
        return SourceReader(self)

    def read(self, message: Any) -> Vector | None:
        """Read one message by itself; see `SourceReader.read`, which also remembers context."""
        return self.reader().read(message)


class SourceReader:
    """Reads one source along one recording, remembering transforms and the robot description."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._tree = TransformTree()
        self._urdf = source.urdf
        self._continuity = Continuity(source.components, source.units)

    def learn(self, message: Any) -> None:
        """Take in a message of one of the source's context topics."""
        if self.source.field == TRANSFORM:
            self._tree.learn(message)
        else:
            self._urdf = str(message.data)

    def read(self, message: Any) -> Vector | None:
        """Elements (n,) of one message: NaN where it has none, NaN and inf as they stand.

        Angles and quaternions are continuous along the recording, see `Continuity`.
        None when the message says nothing about this source: /tf carries other robots' frames too.

        Raises:
            ConfigError: the message has no such field.

        """
        source = self.source
        try:
            if source.field == TRANSFORM:
                numbers = self._transformed(message)
            elif source.field == KINEMATICS:
                numbers = self._reached(message)
            else:
                numbers = read_field(message, source.field, source.components)
        except ConfigError as error:
            raise ConfigError(f'{source.key}: {error}') from error
        if numbers is not None:
            numbers = self._continuity.follow(numbers)
        with np.errstate(over='ignore'):  # beyond float32 is inf, which the caller counts
            return None if numbers is None else numbers.astype(np.float32)

    def _transformed(self, message: Any) -> Numbers | None:
        moved = self._tree.learn(message)
        pose = self._tree.lookup(self.source.frame, self.source.tip)
        if pose is None or not moved & self._tree.between(self.source.frame, self.source.tip):
            return None
        return pose_numbers(pose, self.source.components)

    def _reached(self, message: Any) -> Numbers:
        source = self.source
        if not self._urdf:
            return np.full(len(source.names), np.nan)
        chain = cached_chain(self._urdf, source.frame, source.tip)
        positions = read_field(message, 'position', chain.joint_names)
        pose = chain.forward(dict(zip(chain.joint_names, positions, strict=True)))
        return pose_numbers(pose, source.components)


def source_from(section: Section, start: int, read_text: ReadText) -> Source:
    """Read one source of a robot file; its elements begin at `start` of the whole vector."""
    field = section.text('field')
    if field not in _COMPONENTS:
        _check_path(section, field)
    names = section.words('names', _USUAL.get(field) or None)
    frame, tip = _frames(section, field)
    urdf, urdf_topic = _urdf(section, field, read_text)
    topic = section.text('topic')
    components = _components(section, field, names)
    if urdf:
        cached_chain(urdf, frame, tip)
    return Source(
        key=f'{section.place.rpartition(": ")[2]} {topic}',
        topic=topic,
        field=field,
        names=names,
        components=components,
        units=_units(section, components),
        start=start,
        frame=frame,
        tip=tip,
        urdf=urdf,
        urdf_topic=urdf_topic,
    )


def _check_path(section: Section, field: str) -> None:
    try:
        path_steps(field)
    except ConfigError as error:
        kinds = ', '.join(_COMPONENTS)
        raise section.error('field', f'is wrong: {error}; or one of: {kinds}') from error


def _components(section: Section, field: str, names: tuple[str, ...]) -> Components:
    by_index = field not in _COMPONENTS
    default = tuple(range(len(names))) if by_index else names
    components = tuple(section.raw('components', default))
    if len(components) != len(names):
        raise section.error(
            'components', f'are {len(components)} for {len(names)} names; give one for each name'
        )
    known = _COMPONENTS.get(field, ())
    for component in components:
        if known and component not in known:
            key = 'components' if 'components' in section else 'names'
            hint = nearest(str(component), known)
            raise section.error(key, f'holds {component!r}, which {field} has not; {hint}')
        _check_component(section, component, by_index)
    return components


def _check_component(section: Section, component: object, by_index: bool) -> None:
    if isinstance(component, str) and component:
        return
    if by_index and isinstance(component, int) and component >= 0:
        return
    allowed = 'names, or indices from 0' if by_index else 'names'
    raise section.error('components', f'holds {component!r}; write {allowed}')


def _units(section: Section, components: Components) -> tuple[str, ...]:
    given = section.raw('unit')
    if isinstance(given, list):
        if len(given) != len(components) or not all(isinstance(unit, str) for unit in given):
            raise section.error('unit', f'is {given!r}; write one text, or one for each name')
        return tuple(given)
    if given is None:
        return tuple(_UNITS.get(str(component), '') for component in components)
    return (section.text('unit'),) * len(components)


def _frames(section: Section, field: str) -> tuple[str, str]:
    if field not in (TRANSFORM, KINEMATICS):
        return section.text('frame', ''), ''
    if not isinstance(section.raw('frame'), dict):
        raise section.error('frame', f'of {field} is needed: {{parent: base, child: tool}}')
    frame = section.section('frame', ('parent', 'child'))
    return frame.text('parent'), frame.text('child')


def _urdf(section: Section, field: str, read_text: ReadText) -> tuple[str, str]:
    if field != KINEMATICS:
        if 'urdf' in section:
            raise section.error('urdf', f'is for field {KINEMATICS!r} only; remove it')
        return '', ''
    urdf = section.section('urdf', ('file', 'topic'))
    if ('file' in urdf) == ('topic' in urdf):
        raise section.error('urdf', 'needs either {file: arm.urdf} or {topic: /robot_description}')
    return (read_text(urdf.text('file')), '') if 'file' in urdf else ('', urdf.text('topic'))

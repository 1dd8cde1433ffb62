# SPDX-License-Identifier: Apache-2.0
"""A path such as `status[0].level` and a message of any kind → the plain value that lies there.

Only fields that the message type declares are reached; nothing is evaluated.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import Any, TypeGuard

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.settings import nearest

Plain = bool | int | float | str

NAMING_FIELDS = ('name', 'names', 'joint_names')
"""Lists of these names say what the other lists of a message are about, as in a JointState."""

_FIELD, _PLACE = r'[A-Za-z][A-Za-z0-9_]*', r'-?[0-9]{1,9}|[^\[\]0-9+-][^\[\]]{0,199}'
_PART = re.compile(rf'(?P<name>{_FIELD})(\[(?P<place>{_PLACE})\])?')
_PATH = re.compile(rf'{_FIELD}(\[({_PLACE})\])?(\.{_FIELD}(\[({_PLACE})\])?)*')


@dataclass(frozen=True, slots=True)
class Named:
    """One place of a list, by its name in the list of names beside it."""

    name: str


@dataclass(frozen=True, slots=True)
class FieldPath:
    """Names and indices from a message down to one value."""

    text: str
    steps: tuple[str | int | Named, ...]

    @classmethod
    def parse(cls, text: str) -> FieldPath:
        """Raises ConfigError unless the text is names and indices joined by dots.

        In brackets stands a number, from 0 or, from the end, from -1; or a name:
        `position[elbow]` of a JointState.
        """
        if not _PATH.fullmatch(text):
            raise ConfigError(
                f'field {text!r} is no path; write names and indices such as status[0].level '
                'or position[elbow]'
            )
        steps: list[str | int | Named] = []
        for match in _PART.finditer(text):
            steps.append(match['name'])
            place = match['place']
            if place is not None:
                is_number = place.removeprefix('-').isdecimal()
                steps.append(int(place) if is_number else Named(place))
        return cls(text, tuple(steps))

    def read(self, message: object) -> Plain | None:
        """The value, or None where a list is too short.

        Raises ConfigError if the message has no such field, or if it is not a single value.
        """
        value: Any = message
        owner: Any = None
        for step in self.steps:
            if isinstance(step, str):
                owner, value = value, self._field(value, step)
                continue
            if not _is_list(value):
                said = step.name if isinstance(step, Named) else step
                raise ConfigError(
                    f'field {self.text!r}: there is no list at [{said}]; leave it out'
                )
            place = self._place(owner, step.name) if isinstance(step, Named) else step
            if not -len(value) <= place < len(value):
                return None
            value = value[place]
        return self._plain(value)

    def _field(self, value: object, name: str) -> object:
        known = field_names(value)
        if name not in known:
            kind = f'a list of {len(value)}' if _is_list(value) else type(value).__name__
            raise ConfigError(
                f'field {self.text!r}: {kind} has no {name!r}; {nearest(name, known)}'
            )
        return getattr(value, name)

    def _place(self, owner: object, name: str) -> int:
        """Where a name stands in the list of names beside the list that is asked."""
        naming = next((n for n in NAMING_FIELDS if n in field_names(owner)), None)
        if naming is None:
            raise ConfigError(
                f'field {self.text!r}: {type(owner).__name__} has no list of names; '
                'write an index such as [0]'
            )
        names = list(getattr(owner, naming))
        if name not in names:
            raise ConfigError(
                f'field {self.text!r}: there is no {name!r}; {nearest(name, map(str, names))}'
            )
        return names.index(name)

    def _plain(self, value: Any) -> Plain:
        if isinstance(value, bytes) and len(value) == 1:  # how rclpy gives the type byte
            return value[0]
        if hasattr(value, 'item') and getattr(value, 'ndim', 1) == 0:  # a numpy scalar
            value = value.item()
        if isinstance(value, bool | int | float | str):
            return value
        if _is_list(value):
            raise ConfigError(f'field {self.text!r} is a list of {len(value)}; add an index: [0]')
        raise ConfigError(
            f'field {self.text!r} is not a single value; add one of its fields: '
            f'{", ".join(field_names(value)) or "it has none"}'
        )


def field_names(value: object) -> tuple[str, ...]:
    """Fields that a message declares, of rosbags, of rclpy, or of any plain object."""
    if dataclasses.is_dataclass(value):
        return tuple(f.name for f in dataclasses.fields(value) if not f.name.startswith('_'))
    declared = getattr(value, 'get_fields_and_field_types', None)
    if declared is not None:
        return tuple(declared())
    return tuple(name for name in getattr(value, '__dict__', ()) if not name.startswith('_'))


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether it has indices: a list, a tuple, bytes, or an array of any kind."""
    return (
        isinstance(value, Sized) and hasattr(value, '__getitem__') and not isinstance(value, str)
    )

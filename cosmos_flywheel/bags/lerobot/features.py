# SPDX-License-Identifier: Apache-2.0
"""The features that `info.json` lists into what is imported: numbers by name, and cameras."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from cosmos_flywheel.core.errors import SourceError

INDEX = ('timestamp', 'frame_index', 'episode_index', 'index', 'task_index')
"""Columns that say which row it is."""
NUMBERS = ('float16', 'float32', 'float64', 'int8', 'int16', 'int32', 'int64',
           'uint8', 'uint16', 'uint32', 'uint64', 'bool')  # fmt: skip
MOST_NUMBERS = 4096
"""A wider feature is an array of its own kind, not a state."""

Role = Literal['state', 'action', 'camera']


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature and the topic that it becomes."""

    key: str
    role: Role
    topic: str
    names: tuple[str, ...] = ()
    """Of its numbers; empty for a camera."""
    is_film: bool = False
    """A camera whose pictures are a film; otherwise they lie in the table."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One feature that is not imported, and why."""

    key: str
    why: str


def features_of(
    listed: Mapping[str, Any], without: frozenset[str], where: str
) -> tuple[tuple[Feature, ...], tuple[LeftOut, ...]]:
    """What becomes of the features of `info.json`.

    Args:
        listed: description by key.
        without: keys that are not wanted.
        where: the file, for errors.

    Raises:
        SourceError: a description is no mapping, or `without` names none of them.

    """
    for key in sorted(without - set(listed)):
        raise SourceError(f'{where}: has no feature {key!r}; it has {", ".join(listed)}')
    found: list[Feature] = []
    left: list[LeftOut] = []
    for key, said in listed.items():
        if key in INDEX:
            continue
        if not isinstance(said, Mapping):
            raise SourceError(f'{where}: feature {key!r} is {said!r}; it should be a mapping')
        feature, why = _feature(key, said)
        if key in without:
            left.append(LeftOut(key, 'not wanted'))
        elif feature is None:
            left.append(LeftOut(key, why))
        else:
            found.append(feature)
    return _with_own_topics(found), tuple(left)


def _feature(key: str, said: Mapping[str, Any]) -> tuple[Feature | None, str]:
    dtype = said.get('dtype')
    role = _role(key)
    if dtype in ('video', 'image'):
        if _is_depth(said):
            return None, 'depth, which is not imported'
        return Feature(key, 'camera', _topic('camera', key), is_film=dtype == 'video'), ''
    if role is None:
        return None, 'neither observation nor action'
    if dtype not in NUMBERS:
        return None, f'of type {dtype!r}, which is no number'
    shape = said.get('shape') or ()
    if not all(isinstance(size, int) and size > 0 for size in shape):
        return None, f'of shape {shape!r}, which is none'
    width = prod(shape)
    if width > MOST_NUMBERS:
        return None, f'{width} numbers wide, limit {MOST_NUMBERS}'
    return Feature(key, role, _topic(role, key), _names(said.get('names'), width, key)), ''


def _role(key: str) -> Role | None:
    stem = key.partition('.')[0]
    if stem == 'action':
        return 'action'
    return 'state' if stem == 'observation' else None


def _is_depth(said: Mapping[str, Any]) -> bool:
    info = said.get('info') or said.get('video_info') or {}
    return isinstance(info, Mapping) and bool(info.get('video.is_depth_map'))


def _topic(role: Role, key: str) -> str:
    """`/state` of observation.state, `/action/gripper` of action.gripper, `/camera/top/…`."""
    parts = key.split('.')
    skipped = {'camera': 2, 'state': 2 if parts[1:2] == ['state'] else 1, 'action': 1}[role]
    rest = parts[skipped:] or (parts[-1:] if role == 'camera' else [])
    words = [_word(part) for part in rest]
    return '/'.join(['', role, *words, *(['compressed'] if role == 'camera' else [])])


def _word(text: str) -> str:
    """A part of a topic's name: letters, digits and underscores, no digit first."""
    word = re.sub(r'\W', '_', text, flags=re.ASCII) or '_'
    return f'_{word}' if word[0].isdigit() else word


def _with_own_topics(features: list[Feature]) -> tuple[Feature, ...]:
    """Where two would share a topic, a later one has its whole key in the name."""
    taken: set[str] = set()
    own: list[Feature] = []
    for feature in features:
        topic, count = feature.topic, 2
        while topic in taken:
            topic = f'/{feature.role}/{_word(feature.key)}' + f'_{count}' * (count > 2)
            topic += '/compressed' * (feature.role == 'camera')
            count += 1
        taken.add(topic)
        own.append(
            Feature(feature.key, feature.role, topic, feature.names, is_film=feature.is_film)
        )
    return tuple(own)


def _names(said: Any, width: int, key: str) -> tuple[str, ...]:
    """Those of the set where they are one for each number; otherwise numbered."""
    names = list(_flat(said))
    if len(names) == width == len(set(names)) and all(names):
        return tuple(names)
    stem = _word(key.rpartition('.')[2])
    return (stem,) if width == 1 else tuple(f'{stem}_{place}' for place in range(width))


def _flat(said: Any) -> Iterator[str]:
    """A list, a list of lists, `{motors: [...]}`, or places by name."""
    if isinstance(said, str):
        yield said.strip()
    elif isinstance(said, list):
        for item in said:
            yield from _flat(item)
    elif isinstance(said, Mapping):
        if all(isinstance(value, int) for value in said.values()):
            yield from (str(name) for name in sorted(said, key=lambda name: said[name]))
        else:
            for value in said.values():
                yield from _flat(value)

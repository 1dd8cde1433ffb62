# SPDX-License-Identifier: Apache-2.0
"""Turns paths into bags: which files on disk belong to which bag, and in which order."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from cosmos_flywheel.core.errors import BagError

METADATA = 'metadata.yaml'
PACKED = '.zstd'

_SUFFIXES = ('.mcap', '.db3', '.bag')
_MAX_METADATA_BYTES = 64 << 20
_SPLIT = re.compile(r'_\d+$')
_DIGITS = re.compile(r'(\d+)')


@dataclass(frozen=True, slots=True)
class BagFiles:
    """The storage files of one bag, in the order of recording."""

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    """What is wrong with the folder, in sentences."""
    messages_expected: int | None = None
    """By metadata.yaml, of all files together."""
    last_ns: int | None = None
    """By metadata.yaml: when the last message was recorded."""
    qos: Mapping[str, object] = field(default_factory=dict)
    """QoS by topic, as metadata.yaml has it."""


def find_bags(paths: Sequence[Path]) -> list[Path]:
    """Expand folders into the bags beneath them: sorted, each bag once, hidden folders left out.

    A bag is a rosbag2 folder or a single file. Raises BagError when a named path does not exist
    or holds no bag.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        bags = list(_bags_under(path))
        if not bags:
            raise BagError(f'{path}: no bag here; name a rosbag2 folder, .mcap, .db3 or .bag')
        for bag in bags:
            found.setdefault(bag.resolve(), bag)
    return sorted(bag for whole, bag in found.items() if whole.parent not in found)


def bag_files(path: Path) -> BagFiles:
    """The storage files behind a path that names one bag; raises BagError when it does not."""
    if not path.exists():
        raise BagError(f'{path}: no such bag')
    if not path.is_dir():
        return BagFiles((path,))
    try:
        names = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise BagError(
            f'{path}: cannot be read ({error.strerror}); check its permissions'
        ) from error
    if METADATA not in names:
        return _by_name(path)
    return _by_metadata(path)


def is_storage(name: str) -> bool:
    """Whether a file name is one that recorders write."""
    return name.removesuffix(PACKED).endswith(_SUFFIXES)


def _bags_under(path: Path) -> Iterator[Path]:
    if not path.exists():
        raise BagError(f'{path}: no such bag')
    if not path.is_dir():
        yield path
        return
    for folder, inner, names in os.walk(path):
        inner[:] = [name for name in inner if not name.startswith('.')]  # unfinished bags
        here = Path(folder)
        if METADATA in names or _is_one_split(names):
            yield here
        else:
            yield from (here / name for name in names if is_storage(name))


def _is_one_split(names: Sequence[str]) -> bool:
    """Whether all storage files of a folder are the parts NAME_0, NAME_1, … of one recording."""
    parts = [name for name in names if is_storage(name)]
    stems = {_SPLIT.sub('', name.removesuffix(PACKED).rpartition('.')[0]) for name in parts}
    ros2 = not any(name.endswith('.bag') for name in parts)
    return ros2 and bool(parts) and len(stems) == 1


def _by_name(path: Path) -> BagFiles:
    names = [entry.name for entry in path.iterdir() if is_storage(entry.name)]
    if not names:
        raise BagError(f'{path}: no bag here; name a rosbag2 folder, .mcap, .db3 or .bag')
    if len(names) > 1 and not _is_one_split(names):
        raise BagError(f'{path}: holds several bags, {_some(sorted(names))}; name one of them')
    return BagFiles(tuple(path / name for name in sorted(names, key=_in_order)))


def _by_metadata(path: Path) -> BagFiles:
    try:
        about = _read_metadata(path / METADATA)
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
        note = (
            f'{METADATA} is unreadable ({_first_line(error)}); the files were taken by their names'
        )
        plain = _by_name(path)
        return BagFiles(plain.files, notes=(note,))
    files = tuple(_inside(path, name) for name in about['relative_file_paths'])
    missing = [file.name for file in files if not file.exists()]
    if len(missing) == len(files):
        raise BagError(f'{path}: none of its files is here, {_some(missing)}; copy them too')
    notes = (f'{_some(missing)} of {METADATA} not here',) if missing else ()
    count = about.get('message_count')
    return BagFiles(
        files=tuple(file for file in files if file.exists()),
        notes=notes,
        messages_expected=count if isinstance(count, int) else None,
        last_ns=_last_ns(about),
        qos=_qos(about),
    )


def _read_metadata(path: Path) -> dict[str, Any]:
    try:
        size_bytes = path.stat().st_size
        text = path.read_bytes() if size_bytes <= _MAX_METADATA_BYTES else b''
    except OSError as error:
        raise BagError(
            f'{path}: cannot be read ({error.strerror}); check its permissions'
        ) from error
    about = yaml.load(text, Loader=getattr(yaml, 'CSafeLoader', yaml.SafeLoader))
    about = about['rosbag2_bagfile_information']
    names = about['relative_file_paths']
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise ValueError('it lists no files')
    return dict(about)


def _inside(folder: Path, name: str) -> Path:
    """A file that the metadata name; old recorders put the folder's own name before it."""
    pure = PurePosixPath(name.replace('\\', '/'))
    if pure.is_absolute() or '..' in pure.parts or '\0' in name:
        raise BagError(
            f'{folder / METADATA}: names {name!r}, which lies outside of the bag; do not '
            'trust this bag, or correct relative_file_paths'
        )
    return folder / pure if (folder / pure).exists() else folder / pure.name


def _last_ns(about: Mapping[str, Any]) -> int | None:
    try:
        start_ns = about['starting_time']['nanoseconds_since_epoch']
        return int(start_ns + about['duration']['nanoseconds'])
    except (KeyError, TypeError, ValueError):
        return None


def _qos(about: Mapping[str, Any]) -> dict[str, object]:
    profiles: dict[str, object] = {}
    for entry in about.get('topics_with_message_count') or ():
        topic = entry.get('topic_metadata') if isinstance(entry, dict) else None
        if isinstance(topic, dict):
            profiles[str(topic.get('name'))] = topic.get('offered_qos_profiles')
    return profiles


def _in_order(name: str) -> list[tuple[int, str]]:
    """`x_10` after `x_9`."""
    return [(int(part), '') if part.isdecimal() else (-1, part) for part in _DIGITS.split(name)]


def _some(names: Sequence[str]) -> str:
    shown = ', '.join(names[:4])
    return shown if len(names) <= 4 else f'{shown} and {len(names) - 4} more'


def _first_line(error: Exception) -> str:
    return str(error).partition('\n')[0]

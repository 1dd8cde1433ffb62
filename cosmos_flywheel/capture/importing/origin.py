# SPDX-License-Identifier: Apache-2.0
"""What is to be imported, from wherever it comes: episodes, each with its files and messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cosmos_flywheel.capture.importing.message import Message
from cosmos_flywheel.core.errors import SourceError

_COMMIT = re.compile(r'[0-9a-f]{40}')
_FRONT_MATTER = re.compile(r'---\n(.*?)\n---\n', re.DOTALL)
CARD_BYTES = 1 << 20

Told = Callable[[float], None]
"""Called with the seconds of an episode that are done."""


@dataclass(frozen=True, slots=True)
class Item:
    """One episode that becomes one bag."""

    name: str
    """Of the bag's folder."""
    index: int
    files: tuple[str, ...]
    """What it is read from, relative to the origin's folder."""
    tasks: tuple[str, ...]
    seconds: float
    """About how long it is."""
    rows: int | None
    """How often its busiest topic speaks; None where that shows only when it is read."""
    messages: Callable[[Told], Iterator[Message]]
    """All of it; raises SourceError or PictureError where it is damaged."""
    fps: float | None = None
    """Pictures a second."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A set of episodes and what is known of it."""

    root: Path
    kind: str
    """`lerobot` or `films`."""
    items: tuple[Item, ...]
    identity: object
    """What decides the bags beside the episodes' own files; see `Shelf`."""
    topics: Mapping[str, Mapping[str, Any]]
    """Of each feature: its topic, and the names of its numbers."""
    meta_files: tuple[str, ...] = ()
    """What it was described by, relative to `root`."""
    version: str | None = None
    repo_id: str | None = None
    robot_type: str | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Why, by feature."""
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the set's folder; that of a downloaded snapshot is its repository's."""
        root = self.root.resolve()
        if _COMMIT.fullmatch(root.name) and root.parent.name == 'snapshots':
            return root.parent.parent.name
        return root.name


def revision_of(root: Path) -> str | None:
    """The commit that a download from a hub left behind: in its folder's name or beside it."""
    name = root.resolve().name
    if _COMMIT.fullmatch(name):
        return name
    for path in sorted((root / '.cache' / 'huggingface' / 'download').rglob('*.metadata')):
        with path.open('rb') as file:
            first = file.readline(64).decode('ascii', 'replace').strip()
        return first if _COMMIT.fullmatch(first) else None
    return None


def licence_of(root: Path) -> str | None:
    """What the front matter of the set's card says."""
    try:
        with (root / 'README.md').open('rb') as file:
            text = file.read(CARD_BYTES).decode('utf-8', 'replace').replace('\r\n', '\n')
    except OSError:
        return None
    matter = _FRONT_MATTER.match(text)
    if matter is None:
        return None
    try:
        said = yaml.safe_load(matter[1])
    except (yaml.YAMLError, RecursionError):
        return None
    licence = said.get('license') if isinstance(said, Mapping) else None
    return licence if isinstance(licence, str) and licence else None


def chosen(items: tuple[Item, ...], wanted: str | None, where: str) -> tuple[Item, ...]:
    """Those whose index `wanted` names, such as `0,3,5-9`; all without it.

    Raises:
        SourceError: it is no list of numbers, or an episode is not there.

    """
    if wanted is None:
        return items
    asked: list[tuple[int, int]] = []
    for part in wanted.split(','):
        match = re.fullmatch(r'\s*(\d{1,9})(?:-(\d{1,9}))?\s*', part)
        if not match:
            raise SourceError(f'--episodes {wanted}: write numbers and ranges, such as 0,3,5-9')
        asked.append((int(match[1]), int(match[2] or match[1])))
    there = {item.index for item in items}
    for first, last in asked:
        if not any(first <= index <= last for index in there):
            raise SourceError(
                f'{where}: has no episode {first}' + f' to {last}' * (last > first)
                + f'; it lists {len(there)}, from {min(there)} to {max(there)}'
            )  # fmt: skip
    return tuple(item for item in items if any(a <= item.index <= b for a, b in asked))

# SPDX-License-Identifier: Apache-2.0
"""A budget of bytes for episodes on a robot's disk, and what goes first when it is used up.

Only what has been fetched goes: whoever has copied an episode elsewhere, and verified the copy,
leaves a file `fetched` in its folder. What holds a file `pinned` never goes. Of the rest go false
alarms, then sensor faults, anomalies that were no failure, episodes nobody has looked at, and
failures last; in each of these the oldest first.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from cosmos_flywheel.core.errors import SchemaError, StoreError
from cosmos_flywheel.store.episodes import MANIFEST, iter_episodes
from cosmos_flywheel.store.files import storing, sync
from cosmos_flywheel.store.labels import UNTRIAGED, read_labels

PINNED, FETCHED = 'pinned', 'fetched'
"""Empty files in an episode's folder."""
ORDER = ('false_alarm', 'sensor_fault', 'anomaly_no_failure', UNTRIAGED, 'failure')
"""By label, what goes first."""


def used_bytes(folder: Path) -> int:
    """Of all files below a folder; 0 for one that is not there."""
    return sum(size for _, size in _files(folder))


def make_room(out: Path, most_bytes: int | None) -> list[str]:
    """Remove episodes until all together are below the budget; returns their ids.

    Raises:
        StoreError: they are not, and nothing more may go.

    """
    if most_bytes is None:
        return []
    with storing(out):
        sizes = {folder: used_bytes(folder) for folder in iter_episodes(out)}
        used = sum(sizes.values())
        removed = []
        for folder in sorted(filter(_may_go, sizes), key=_turn):
            if used < most_bytes:
                break
            _remove(folder)
            used -= sizes[folder]
            removed.append(folder.name)
    if used >= most_bytes:
        raise StoreError(
            f'{out}: episodes use {used} bytes of {most_bytes}, and none may go: fetch them, '
            f'remove a file `{PINNED}`, or raise the budget'
        )
    return removed


def mark_fetched(folder: Path) -> None:
    """Say of an episode that a verified copy lies elsewhere; on disk when this returns."""
    with storing(folder):
        (folder / FETCHED).touch()
        sync(folder)


def remove_episode(folder: Path) -> bool:
    """Remove an episode that was fetched and is not pinned; False if it may not go."""
    if not _may_go(folder):
        return False
    with storing(folder):
        _remove(folder)
    return True


def _may_go(folder: Path) -> bool:
    return (folder / FETCHED).exists() and not (folder / PINNED).exists()


def _turn(folder: Path) -> tuple[int, float, str]:
    """The sooner, the smaller."""
    try:
        labels = read_labels(folder)
    except (SchemaError, StoreError):
        labels = ()  # what nobody can read was judged by nobody
    label = labels[-1].label if labels else UNTRIAGED
    return ORDER.index(label), (folder / MANIFEST).stat().st_mtime, folder.name


def _remove(folder: Path) -> None:
    """First out of sight, so that half of an episode is never seen."""
    hidden = folder.with_name(f'.partial-{folder.name}-{os.getpid()}')
    folder.rename(hidden)
    shutil.rmtree(hidden)


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    for path in folder.rglob('*'):
        if path.is_file():
            yield path, path.stat().st_size

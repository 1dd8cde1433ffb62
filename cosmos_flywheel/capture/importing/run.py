# SPDX-License-Identifier: Apache-2.0
"""An origin's episodes into bags, one after the other; what is there whole is not made again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cosmos_flywheel.bags.lerobot.info import is_lerobot
from cosmos_flywheel.bags.record import write_bag
from cosmos_flywheel.capture.importing.films import films_origin, has_films
from cosmos_flywheel.capture.importing.lerobot import lerobot_origin
from cosmos_flywheel.capture.importing.origin import Item, Origin
from cosmos_flywheel.capture.importing.shelf import Shelf
from cosmos_flywheel.core.errors import BagError, ConfigError, PictureError, SourceError

Progress = Callable[[str, float], None]
"""Told the bag's name and how many of its seconds are done."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of it."""

    made: tuple[str, ...]
    kept: tuple[str, ...]
    """Were there from an earlier run."""
    refused: tuple[tuple[str, str], ...]
    """Name and reason of those that are damaged."""


def open_origin(root: Path, without: Sequence[str] = ()) -> Origin:
    """A LeRobot data set or a folder of films, by what lies in it.

    Raises:
        SourceError: it is neither, or its description is damaged.
        ConfigError: `without` is given for films.

    """
    if not root.is_dir():
        raise SourceError(f'{root}: no such folder; give that of a data set or of films')
    if is_lerobot(root):
        return lerobot_origin(root, without)
    if not has_films(root):
        raise SourceError(
            f'{root}: neither a LeRobot data set (no meta/info.json) nor films; '
            'give the folder that holds meta/ or the films'
        )
    if without:
        raise ConfigError('--without: films have no features to leave out; drop it')
    return films_origin(root)


def check_files(root: Path, items: Sequence[Item]) -> None:
    """Raise SourceError, naming the file and the ways out, unless every file is there."""
    for item in items:
        for name in item.files:
            if not (root / name).is_file():
                raise SourceError(
                    f'{root / name}: is missing, and episode {item.index} needs it; fetch it, '
                    'choose other episodes with --episodes, or leave a camera out with --without'
                )


def import_items(shelf: Shelf, items: Sequence[Item], progress: Progress) -> Imported:
    """Make the bags of these episodes; a damaged one is refused and the others go on.

    Raises:
        StoreError: nothing can be written.

    """
    made: list[str] = []
    kept: list[str] = []
    refused: list[tuple[str, str]] = []
    shelf.write()
    try:
        for item in items:
            if shelf.holds(item):
                kept.append(item.name)
            else:
                try:
                    write_bag(shelf.bag(item), item.messages(partial(progress, item.name)))
                except (SourceError, PictureError, BagError) as error:
                    refused.append((item.name, str(error)))
                    progress(item.name, item.seconds)
                    continue
                made.append(item.name)
            shelf.note(item)
            progress(item.name, item.seconds)
    finally:
        shelf.write()
    return Imported(tuple(made), tuple(kept), tuple(refused))

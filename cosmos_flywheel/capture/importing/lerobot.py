# SPDX-License-Identifier: Apache-2.0
"""A LeRobot data set as an origin: states and actions as JointState, pictures as JPEG or PNG."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.bags.lerobot.episodes import Entry, Film, list_episodes, meta_files
from cosmos_flywheel.bags.lerobot.features import Feature
from cosmos_flywheel.bags.lerobot.info import Info, read_info
from cosmos_flywheel.bags.lerobot.rows import Rows, picture_bytes, read_rows
from cosmos_flywheel.capture.importing.message import (
    ACTION_LATE_NS,
    PICTURE_LATE_NS,
    Message,
    start_ns,
    stored_image,
)
from cosmos_flywheel.capture.importing.origin import Item, Origin, Told
from cosmos_flywheel.core.errors import SourceError
from cosmos_flywheel.core.lineage import sha256_file
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.sim.messages import (
    COMPRESSED_IMAGE,
    JOINT_STATE,
    Fields,
    compressed_image,
    joint_state,
)
from cosmos_flywheel.video.decode import film_pictures


def lerobot_origin(root: Path, without: Iterable[str] = ()) -> Origin:
    """Everything that a data set lists, its tables and films still unread.

    Args:
        root: its folder, with `meta/info.json`.
        without: features that are not wanted.

    Raises:
        SourceError: its description is damaged, of an unknown version, or leads out of it.

    """
    info = read_info(root, without)
    entries = list_episodes(root, info)
    files = meta_files(root, info)
    notes: tuple[str, ...] = ()
    if info.episodes is not None and info.episodes != len(entries):
        notes = (f'info.json counts {info.episodes} episodes, {len(entries)} are listed',)
    return Origin(
        root=root,
        kind='lerobot',
        items=tuple(_item(root, info, entry) for entry in entries),
        identity=[[name, sha256_file(root / name)] for name in files] + [sorted(without)],
        topics={one.key: {'topic': one.topic, 'names': one.names} for one in info.features},
        meta_files=files,
        version=info.version,
        repo_id=info.repo_id,
        robot_type=info.robot_type,
        left_out={one.key: one.why for one in info.left_out},
        notes=notes,
    )


def _item(root: Path, info: Info, entry: Entry) -> Item:
    return Item(
        name=f'episode_{entry.index:06d}',
        index=entry.index,
        files=entry.files,
        tasks=entry.tasks,
        seconds=entry.frames / info.fps,
        rows=entry.frames,
        messages=partial(_messages, root, info, entry),
        fps=info.fps,
    )


def _messages(root: Path, info: Info, entry: Entry, told: Told) -> Iterator[Message]:
    """Row by row: the states, the pictures, the actions."""
    rows = read_rows(root, info, entry)
    begin_ns = start_ns(entry.index)
    stamps_ns = [begin_ns + round(float(time_s) * 1e9) for time_s in rows.times_s]
    states = [feature for feature in info.features if feature.role == 'state']
    actions = [feature for feature in info.features if feature.role == 'action']
    with ExitStack() as stack:
        cameras = {
            feature.topic: stack.enter_context(
                closing(_pictures(root, info, entry, feature, rows, stamps_ns))
            )
            for feature in info.features
            if feature.role == 'camera'
        }
        for row, stamp_ns in enumerate(stamps_ns):
            for feature in states:
                yield _joints(feature, rows, row, stamp_ns, 0)
            for topic, pictures in cameras.items():
                late_ns = stamp_ns + PICTURE_LATE_NS
                yield Message(topic, COMPRESSED_IMAGE, late_ns, next(pictures))
            for feature in actions:
                yield _joints(feature, rows, row, stamp_ns, ACTION_LATE_NS)
            told((stamp_ns - begin_ns) / 1e9)


def _joints(feature: Feature, rows: Rows, row: int, stamp_ns: int, late_ns: int) -> Message:
    content = joint_state(stamp_ns, feature.names, rows.numbers[feature.key][row])
    return Message(feature.topic, JOINT_STATE, stamp_ns + late_ns, content)


def _pictures(
    root: Path, info: Info, entry: Entry, feature: Feature, rows: Rows, stamps_ns: list[int]
) -> Generator[Fields, None, None]:
    """A camera's messages, one a row."""
    if feature.is_film:
        film = entry.films[feature.key]
        where = f'{root / film.file}: episode {entry.index}'
        with closing(film_rows(root / film.file, film, rows.times_s, info.fps, where)) as frames:
            for stamp_ns, picture in zip(stamps_ns, frames, strict=True):
                yield compressed_image(stamp_ns, picture)
        return
    where = f'{root / entry.data}: episode {entry.index}, {feature.key!r}'
    pictures = rows.pictures[feature.key]
    for row, stamp_ns in enumerate(stamps_ns):
        yield stored_image(stamp_ns, *picture_bytes(root, pictures[row], f'{where}, row {row},'))


def film_rows(
    path: Path, film: Film, times_s: NDArray[np.float64], fps: float, where: str
) -> Generator[Picture, None, None]:
    """The pictures of a film that belong to rows: one each, at their times, and no others.

    Args:
        path: the film.
        film: the stretch of it.
        times_s: (N,) of the rows, from the stretch's start.
        fps: a picture belongs to a row when it is less than half a period from it.
        where: the film and the episode, for errors.

    Raises:
        SourceError: pictures are missing or left over, or lie between the rows.
        PictureError: the film is damaged.

    """
    half_s = 0.5 / fps
    frames = film_pictures(path, max(0.0, film.start_s - half_s), film.end_s - half_s)
    with closing(frames):
        for row, row_s in enumerate(times_s):
            time_s, picture = next(frames, (None, None))
            if time_s is None or picture is None:
                raise SourceError(
                    f'{where} has {row} pictures and {len(times_s)} rows; fetch the film again'
                )
            apart_s = time_s - film.start_s - float(row_s)
            if abs(apart_s) > half_s:
                raise SourceError(
                    f'{where}: the picture of row {row} is {apart_s:+.3f} s off its time; '
                    'fetch film and table again, of one revision'
                )
            if row + 1 == len(times_s) and next(frames, None) is not None:
                raise SourceError(
                    f'{where} has more pictures than its {len(times_s)} rows; '
                    'fetch film and table again, of one revision'
                )
            yield picture

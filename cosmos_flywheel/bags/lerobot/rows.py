# SPDX-License-Identifier: Apache-2.0
"""One episode of a LeRobot data set: numbers by feature, and pictures that lie in the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.bags.lerobot.episodes import Entry
from cosmos_flywheel.bags.lerobot.features import Feature
from cosmos_flywheel.bags.lerobot.info import Info
from cosmos_flywheel.bags.lerobot.template import inside
from cosmos_flywheel.bags.parquet import Columns, read_columns
from cosmos_flywheel.core.errors import SourceError

MAGIC: Mapping[str, bytes] = {'jpeg': b'\xff\xd8\xff', 'png': b'\x89PNG\r\n\x1a\n'}
LARGEST_PICTURE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Rows:
    """What was recorded, N rows."""

    times_s: NDArray[np.float64]
    """(N,) from the episode's start; increasing."""
    numbers: Mapping[str, NDArray[np.float64]]
    """(N, width) by feature."""
    pictures: Mapping[str, Sequence[Any]]
    """By feature, as the table has them; see `picture_bytes`."""


def read_rows(root: Path, info: Info, entry: Entry) -> Rows:
    """One episode's rows.

    Raises:
        SourceError: the table is missing or damaged, has another number of rows than the set
            lists, lacks a feature, or its times do not increase.

    """
    path = root / entry.data
    wanted = [feature for feature in info.features if not feature.is_film]
    asked = ['timestamp', *(feature.key for feature in wanted)]
    columns = read_columns(path, asked, only=('episode_index', entry.index))
    where = f'{path}: episode {entry.index}'
    for name in asked:
        if name not in columns:
            remedy = (
                'fetch the file again'
                if name == 'timestamp'
                else f'leave it out with --without {name}'
            )
            raise SourceError(f'{where} has no column {name!r}; {remedy}')
    count = len(columns['timestamp'])
    if count != entry.frames:
        raise SourceError(
            f'{where} has {count} rows and should have {entry.frames}; fetch the file again'
        )
    return Rows(
        times_s=_times(columns, where),
        numbers={f.key: _numbers(columns[f.key], f, where) for f in wanted if f.role != 'camera'},
        pictures={f.key: columns[f.key] for f in wanted if f.role == 'camera'},
    )


def picture_bytes(root: Path, said: Any, where: str) -> tuple[str, bytes]:
    """`jpeg` or `png`, and the bytes, of a picture that the table holds or names.

    Raises:
        SourceError: there is none, it is of another kind, or its path leads out of the set.

    """
    data = said.get('bytes') if isinstance(said, Mapping) else said
    if not data and isinstance(said, Mapping) and isinstance(said.get('path'), str):
        path = root / inside(said['path'], where)
        try:
            if path.stat().st_size > LARGEST_PICTURE_BYTES:
                raise SourceError(f'{path}: is too large for a picture')
            data = path.read_bytes()
        except OSError as error:
            raise SourceError(
                f'{path}: cannot be read ({error.strerror}); fetch the file'
            ) from error
    for form, magic in MAGIC.items():
        if isinstance(data, bytes) and data.startswith(magic):
            return form, data
    raise SourceError(f'{where} is neither JPEG nor PNG; leave the camera out with --without')


def _times(columns: Columns, where: str) -> NDArray[np.float64]:
    try:
        times_s = np.asarray(columns['timestamp'], np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise SourceError(f'{where}: its timestamps are no numbers ({error})') from error
    is_later = np.diff(times_s) > 0
    if not (np.isfinite(times_s).all() and is_later.all()):
        row = int(np.argmin(is_later)) + 1 if not is_later.all() else 0
        raise SourceError(f'{where}: its timestamps do not increase at row {row}; fetch it again')
    return times_s


def _numbers(values: list[Any], feature: Feature, where: str) -> NDArray[np.float64]:
    try:
        numbers = np.asarray(values, np.float64).reshape(len(values), -1)
    except (TypeError, ValueError) as error:
        raise SourceError(
            f'{where}: {feature.key!r} is not {len(feature.names)} numbers in every row '
            f'({error}); leave it out with --without {feature.key}'
        ) from error
    if numbers.shape[1] != len(feature.names):
        raise SourceError(
            f'{where}: {feature.key!r} holds {numbers.shape[1]} numbers, info.json says '
            f'{len(feature.names)}; leave it out with --without {feature.key}'
        )
    return numbers

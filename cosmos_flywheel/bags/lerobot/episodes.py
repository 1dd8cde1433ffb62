# SPDX-License-Identifier: Apache-2.0
"""The list of a LeRobot data set's episodes: which file holds which stretch of which."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isfinite
from pathlib import Path
from typing import Any

from cosmos_flywheel.bags.lerobot.info import INFO, Info
from cosmos_flywheel.bags.lerobot.template import fill
from cosmos_flywheel.bags.parquet import Columns, column_names, read_columns
from cosmos_flywheel.core.errors import SourceError

EPISODES_V2, EPISODES_V3 = 'meta/episodes.jsonl', 'meta/episodes'
MOST_TASKS = 100
"""Texts of one episode that are kept."""


@dataclass(frozen=True, slots=True)
class Film:
    """Where one camera's pictures of one episode lie."""

    file: str
    """Relative to the set's folder."""
    start_s: float = 0.0
    """In the film's own time."""
    end_s: float = inf


@dataclass(frozen=True, slots=True)
class Entry:
    """One episode as the set lists it."""

    index: int
    frames: int
    tasks: tuple[str, ...]
    data: str
    """Its table, relative to the set's folder; version 3 has several episodes in one."""
    films: Mapping[str, Film]
    """By feature."""

    @property
    def files(self) -> tuple[str, ...]:
        """All that it is read from."""
        return (self.data, *(film.file for film in self.films.values()))


def list_episodes(root: Path, info: Info) -> tuple[Entry, ...]:
    """All episodes that the set lists, by their index.

    Raises:
        SourceError: a file is missing or damaged, an episode is listed twice, or a path leads
            out of the set.

    """
    entries = sorted(_v3(root, info) if info.is_v3 else _v2(root, info), key=lambda e: e.index)
    if not entries:
        raise SourceError(f'{root}: lists no episodes under meta/; fetch that folder again')
    for one, other in pairwise(entries):
        if one.index == other.index:
            raise SourceError(f'{root}: episode {one.index} is listed twice; fetch meta/ again')
    return tuple(entries)


def meta_files(root: Path, info: Info) -> tuple[str, ...]:
    """What `list_episodes` reads, relative to the set's folder."""
    if not info.is_v3:
        return (INFO, EPISODES_V2)
    return (INFO, *(str(path.relative_to(root)) for path in _tables(root)))


def _v2(root: Path, info: Info) -> Iterator[Entry]:
    path = root / EPISODES_V2
    for number, said in enumerate(_lines(path), start=1):
        where = f'{path}, line {number}'
        index = _whole(said.get('episode_index'), 'episode_index', where)
        values = {'episode_index': index, 'chunk_index': index // info.chunk_episodes}
        films = {
            one.key: Film(_path(info.video_path, values | {'video_key': one.key}, root))
            for one in info.films
        }
        yield Entry(
            index,
            _whole(said.get('length'), 'length', where),
            _tasks(said.get('tasks')),
            _path(info.data_path, values, root),
            films,
        )


def _v3(root: Path, info: Info) -> Iterator[Entry]:
    for path in _tables(root):
        there = [name for name in column_names(path) if not name.startswith('stats/')]
        rows = read_columns(path, there)
        count = len(rows.get('episode_index', ()))
        for place in range(count):
            yield _v3_entry(
                root, info, _row(rows, place), f'{path}, row {place}', alone=count == 1
            )


def _v3_entry(
    root: Path, info: Info, said: Mapping[str, Any], where: str, *, alone: bool
) -> Entry:
    """One row; a table of one episode may leave out which files hold it, the first then do."""

    def found(key: str, default: int | float) -> Any:
        if key in said or not alone:
            return said.get(key)
        return default

    index = _whole(said.get('episode_index'), 'episode_index', where)
    values: dict[str, int | str] = {'episode_index': index}
    for key in ('chunk_index', 'file_index'):
        values[key] = _whole(found(f'data/{key}', 0), f'data/{key}', where)
    films: dict[str, Film] = {}
    for one in info.films:
        stem = f'videos/{one.key}'
        mine: dict[str, int | str] = {'episode_index': index, 'video_key': one.key}
        for key in ('chunk_index', 'file_index'):
            mine[key] = _whole(found(f'{stem}/{key}', 0), f'{stem}/{key}', where)
        start_s = _seconds(found(f'{stem}/from_timestamp', 0.0), f'{stem}/from_timestamp', where)
        end_s = found(f'{stem}/to_timestamp', inf)
        if end_s != inf:
            end_s = _seconds(end_s, f'{stem}/to_timestamp', where)
        films[one.key] = Film(_path(info.video_path, mine, root), start_s, end_s)
    return Entry(
        index,
        _whole(said.get('length'), 'length', where),
        _tasks(said.get('tasks')),
        _path(info.data_path, values, root),
        films,
    )


def _tables(root: Path) -> Sequence[Path]:
    found = sorted((root / EPISODES_V3).rglob('*.parquet'))
    if not found:
        raise SourceError(f'{root / EPISODES_V3}: holds no table of episodes; fetch it again')
    return found


def _row(columns: Columns, place: int) -> dict[str, Any]:
    return {name: values[place] for name, values in columns.items()}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text('utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f'{path}: cannot be read ({error}); fetch the file again') from error
    for number, line in enumerate(filter(str.strip, text.splitlines()), start=1):
        try:
            said = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SourceError(
                f'{path}, line {number}: is not JSON ({error}); fetch it again'
            ) from error
        if not isinstance(said, dict):
            raise SourceError(f'{path}, line {number}: holds no fields; fetch the file again')
        yield said


def _path(template: str, values: Mapping[str, int | str], root: Path) -> str:
    return fill(template, values, str(root / INFO))


def _whole(value: Any, name: str, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SourceError(f'{where}: {name} is {value!r}; it should be a whole number')
    return value


def _seconds(value: Any, name: str, where: str) -> float:
    if not isinstance(value, int | float) or not (isfinite(value) and value >= 0):
        raise SourceError(f'{where}: {name} is {value!r}; it should be seconds')
    return float(value)


def _tasks(said: Any) -> tuple[str, ...]:
    """Texts without blanks around them; those that say nothing are left out."""
    texts = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    kept = [text.strip() for text in texts[:MOST_TASKS] if isinstance(text, str)]
    return tuple(text for text in kept if any(map(str.isalnum, text)))

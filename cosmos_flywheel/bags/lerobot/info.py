# SPDX-License-Identifier: Apache-2.0
"""`meta/info.json` of a LeRobot data set into its version, rate, paths and features."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from cosmos_flywheel.bags.lerobot.features import Feature, LeftOut, features_of
from cosmos_flywheel.core.errors import SourceError

INFO = 'meta/info.json'
VERSIONS = ('v2.0', 'v2.1', 'v3.0')
"""2.0 and 2.1 differ in their statistics only, which nothing here reads."""
LARGEST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Info:
    """What a data set says of itself."""

    version: str
    fps: float
    robot_type: str | None
    repo_id: str | None
    chunk_episodes: int
    """Episodes a chunk; version 2 finds files by it."""
    data_path: str
    video_path: str
    features: tuple[Feature, ...]
    left_out: tuple[LeftOut, ...]
    episodes: int | None
    """So many it says there are."""

    @property
    def is_v3(self) -> bool:
        """Whether files hold several episodes each."""
        return self.version.startswith('v3')

    @property
    def films(self) -> tuple[Feature, ...]:
        """Cameras whose pictures are films."""
        return tuple(feature for feature in self.features if feature.is_film)


def is_lerobot(root: Path) -> bool:
    """Whether a folder looks like a LeRobot data set."""
    return (root / INFO).is_file()


def read_info(root: Path, without: Iterable[str] = ()) -> Info:
    """Read and check it; raises SourceError naming the file, the key and the remedy."""
    path = root / INFO
    said = _read(path)
    version = said.get('codebase_version')
    if version not in VERSIONS:
        raise SourceError(
            f'{path}: codebase_version is {version!r}, known are {", ".join(VERSIONS)}; '
            'convert the set with the scripts of lerobot'
        )
    fps = said.get('fps')
    if (
        isinstance(fps, bool)
        or not isinstance(fps, int | float)
        or not (isfinite(fps) and fps > 0)
    ):
        raise SourceError(f'{path}: fps is {fps!r}; give pictures a second')
    listed = said.get('features')
    if not isinstance(listed, dict) or not listed:
        raise SourceError(f'{path}: lists no features; fetch the file again')
    features, left_out = features_of(listed, frozenset(without), str(path))
    if not features:
        raise SourceError(f'{path}: no feature is left to import; leave out fewer')
    return Info(
        version=version,
        fps=float(fps),
        robot_type=_text(said.get('robot_type')),
        repo_id=_text(said.get('repo_id')),
        chunk_episodes=_count(said.get('chunks_size'), 1000),
        data_path=_template(said, 'data_path', path),
        video_path=_template(said, 'video_path', path) if any(f.is_film for f in features) else '',
        features=features,
        left_out=left_out,
        episodes=said.get('total_episodes') if _is_count(said.get('total_episodes')) else None,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise SourceError(f'{path}: is too large for a description of a set; fetch it again')
        said = json.loads(path.read_text('utf-8'))
    except OSError as error:
        raise SourceError(
            f'{path}: cannot be read ({error.strerror}); give the folder of a LeRobot data set'
        ) from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f'{path}: is not JSON ({error}); fetch the file again') from error
    if not isinstance(said, dict):
        raise SourceError(f'{path}: holds no fields; fetch the file again')
    return said


def _template(said: dict[str, Any], key: str, path: Path) -> str:
    value = said.get(key)
    if not isinstance(value, str) or not value:
        raise SourceError(f'{path}: {key} is {value!r}; it should be a path template')
    return value


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _count(value: Any, default: int) -> int:
    return int(value) if _is_count(value) else default

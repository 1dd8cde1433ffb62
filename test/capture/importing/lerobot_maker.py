# SPDX-License-Identifier: Apache-2.0
"""Small LeRobot data sets of both layouts: a square that two joints push over a grey table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.video.encode import encode_webm

FPS = 10
LENGTHS = (12, 8, 15)
"""Rows of each episode."""
CAMERA = 'observation.images.top'
NAMES = ['shoulder', 'gripper']
TASK = 'Push the square.'


def picture(episode: int, row: int) -> Picture:
    """48 by 64 pixels; where the square is tells episode and row."""
    seen = np.full((48, 64, 3), 90, np.uint8)
    left, top = 3 * row, 12 * episode
    seen[top : top + 12, left : left + 12] = (230, 40, 40)
    return seen


def square(seen: Picture) -> tuple[float, float]:
    """Row and column of the square's middle."""
    y, x = np.nonzero(seen[..., 0].astype(int) - seen[..., 2] > 80)
    return float(y.mean()), float(x.mean())


def make_v21(root: Path, **info: Any) -> Path:
    """One table and one film an episode."""
    _write_info(root, 'v2.1', info, {
        'data_path': 'data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet',
        'video_path': 'videos/chunk-{episode_chunk:03d}/{video_key}/'
        'episode_{episode_index:06d}.mp4',
    })  # fmt: skip
    lines = []
    for episode, length in enumerate(LENGTHS):
        write_table(root / f'data/chunk-000/episode_{episode:06d}.parquet', rows(episode))
        write_film(root / f'videos/chunk-000/{CAMERA}/episode_{episode:06d}.mp4', [episode])
        lines.append({'episode_index': episode, 'tasks': [TASK], 'length': length})
    text = '\n'.join(map(json.dumps, lines))
    (root / 'meta/episodes.jsonl').write_text(text + '\n')
    return root


def make_v30(root: Path, **info: Any) -> Path:
    """The first two episodes in one table and one film, the third in files of its own."""
    _write_info(root, 'v3.0', info, {
        'data_path': 'data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet',
        'video_path': 'videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4',
    })  # fmt: skip
    listed: list[dict[str, Any]] = []
    for file, episodes in enumerate([[0, 1], [2]]):
        joined: dict[str, list[Any]] = {}
        begin_s = 0.0
        for episode in episodes:
            for key, values in rows(episode).items():
                joined.setdefault(key, []).extend(values)
            end_s = begin_s + LENGTHS[episode] / FPS
            listed.append({
                'episode_index': episode, 'tasks': [TASK], 'length': LENGTHS[episode],
                'data/chunk_index': 0, 'data/file_index': file,
                f'videos/{CAMERA}/chunk_index': 0, f'videos/{CAMERA}/file_index': file,
                f'videos/{CAMERA}/from_timestamp': begin_s,
                f'videos/{CAMERA}/to_timestamp': end_s,
                'stats/action/mean': [0.0, 0.0],
            })  # fmt: skip
            begin_s = end_s
        write_table(root / f'data/chunk-000/file-{file:03d}.parquet', joined)
        write_film(root / f'videos/{CAMERA}/chunk-000/file-{file:03d}.mp4', episodes)
    columns = {key: [one[key] for one in listed] for key in listed[0]}
    write_table(root / 'meta/episodes/chunk-000/file-000.parquet', columns)
    return root


def rows(episode: int) -> dict[str, list[Any]]:
    """The columns of one episode; joint 0 is told in row n to be where it is in row n + 1."""
    length = LENGTHS[episode]
    return {
        'observation.state': [[row / 10, float(episode)] for row in range(length)],
        'action': [[(row + 1) / 10, float(episode)] for row in range(length)],
        'next.reward': [0.0] * length,
        'timestamp': [row / FPS for row in range(length)],
        'frame_index': list(range(length)),
        'episode_index': [episode] * length,
        'index': list(range(length)),
        'task_index': [0] * length,
    }


def write_table(path: Path, columns: dict[str, list[Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table(columns), path)


def write_film(path: Path, episodes: list[int], less: int = 0) -> None:
    """The pictures of these episodes, `less` of them missing at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seen = [picture(e, row) for e in episodes for row in range(LENGTHS[e])]
    path.write_bytes(encode_webm(seen[: len(seen) - less], FPS))


def change_info(root: Path, **changes: Any) -> None:
    """Overwrite keys of info.json."""
    path = root / 'meta/info.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _write_info(root: Path, version: str, changes: dict[str, Any], paths: dict[str, str]) -> None:
    (root / 'meta').mkdir(parents=True)
    numbers = {'dtype': 'float32', 'shape': [2], 'names': NAMES}
    one = {'dtype': 'int64', 'shape': [1], 'names': None}
    info = {
        'codebase_version': version, 'robot_type': 'pusher', 'fps': FPS, 'chunks_size': 1000,
        'total_episodes': len(LENGTHS), **paths,
        'features': {
            'observation.state': numbers, 'action': numbers,
            CAMERA: {'dtype': 'video', 'shape': [48, 64, 3], 'names': None},
            'next.reward': {'dtype': 'float32', 'shape': [1], 'names': None},
            'timestamp': one, 'frame_index': one, 'episode_index': one, 'index': one,
            'task_index': one,
        },
    }  # fmt: skip
    (root / 'meta/info.json').write_text(json.dumps(info | changes))

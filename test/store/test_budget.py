# SPDX-License-Identifier: Apache-2.0
"""What goes when the disk budget is used up, and what never does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from episode_maker import make_manifest, write_episode

from cosmos_flywheel.core.errors import StoreError
from cosmos_flywheel.store.budget import FETCHED, PINNED, make_room, used_bytes
from cosmos_flywheel.store.episodes import MANIFEST, iter_episodes
from cosmos_flywheel.store.labels import Label, append_label


def episode(out: Path, age: int, label: str = '', *marks: str) -> str:
    manifest = make_manifest(start_s=float(age))
    write_episode(out, manifest)
    folder = out / manifest['id']
    if label:
        time = '2026-01-01T00:00:00+00:00'
        append_label(folder, Label(manifest['id'], label, 'ada', 'x', time))
    for mark in marks:
        (folder / mark).touch()
    os.utime(folder / MANIFEST, (1000 - age, 1000 - age))
    return manifest['id']


def size_of(out: Path) -> int:
    return max(used_bytes(folder) for folder in iter_episodes(out))


def test_nothing_goes_within_the_budget_or_without_one(tmp_path):
    kept = episode(tmp_path, 1, '', FETCHED)
    assert make_room(tmp_path, None) == []
    assert make_room(tmp_path, 10**9) == []
    assert [folder.name for folder in iter_episodes(tmp_path)] == [kept]


def test_false_alarms_go_first_and_failures_last_the_oldest_first(tmp_path):
    failure = episode(tmp_path, 9, 'failure', FETCHED)
    new_alarm = episode(tmp_path, 1, 'false_alarm', FETCHED)
    old_alarm = episode(tmp_path, 5, 'false_alarm', FETCHED)
    untriaged = episode(tmp_path, 8, '', FETCHED)
    sensor = episode(tmp_path, 2, 'sensor_fault', FETCHED)
    size = size_of(tmp_path)
    assert make_room(tmp_path, 3 * size) == [old_alarm, new_alarm]
    assert make_room(tmp_path, size + 1) == [sensor, untriaged]
    assert [folder.name for folder in iter_episodes(tmp_path)] == [failure]


def test_what_is_pinned_or_not_fetched_never_goes(tmp_path):
    pinned = episode(tmp_path, 3, 'false_alarm', FETCHED, PINNED)
    here_only = episode(tmp_path, 2, 'false_alarm')
    gone = episode(tmp_path, 1, '', FETCHED)
    with pytest.raises(StoreError, match='none may go'):
        make_room(tmp_path, 10)
    left = {folder.name for folder in iter_episodes(tmp_path)}
    assert left == {pinned, here_only}
    assert gone not in left


def test_spoilt_labels_do_not_stop_it(tmp_path):
    spoilt = episode(tmp_path, 3, '', FETCHED)
    (tmp_path / spoilt / 'labels.jsonl').write_text('{')
    assert make_room(tmp_path, 1) == [spoilt]

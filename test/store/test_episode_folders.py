# SPDX-License-Identifier: Apache-2.0
"""An episode folder is whole or not there, and the same episode written twice is one."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from episode_maker import make_manifest, write_episode, write_files

from cosmos_flywheel.core.errors import SchemaError, StoreError
from cosmos_flywheel.core.lineage import sha256_file
from cosmos_flywheel.store import folders as module
from cosmos_flywheel.store.episodes import (
    EpisodeWriter,
    is_complete,
    iter_episodes,
    read_episode,
)
from cosmos_flywheel.store.folders import sweep

MANIFEST = make_manifest()
ID = MANIFEST['id']
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_and_raise(out: Path, error: Exception) -> None:
    with EpisodeWriter(out, ID) as writer:
        (writer.path / 'clip.mcap').write_bytes(b'half a clip')
        raise error


def test_a_finished_episode_holds_its_files_with_their_hashes(tmp_path: Path) -> None:
    assert write_episode(tmp_path, MANIFEST)
    folder = tmp_path / ID
    manifest = read_episode(folder, verify=True)
    assert names(tmp_path) == [ID]
    assert names(folder) == ['clip.mcap', 'evidence', 'manifest.json', 'run.json', 'thumbnail.jpg']
    assert manifest['clip']['bytes'] == 4000
    assert manifest['clip']['sha256'] == sha256_file(folder / 'clip.mcap')
    assert manifest['evidence'][0]['kind'] == 'strip'
    assert list(iter_episodes(tmp_path)) == [folder]


def test_two_writers_give_the_same_bytes(tmp_path: Path) -> None:
    for out in ('one', 'two'):
        write_episode(
            tmp_path / out, dict(reversed(MANIFEST.items())) if out == 'two' else MANIFEST
        )
    one, two = (tmp_path / out / ID / 'manifest.json' for out in ('one', 'two'))
    assert one.read_bytes() == two.read_bytes()


def test_the_same_episode_again_is_left_untouched(tmp_path: Path) -> None:
    write_episode(tmp_path, MANIFEST)
    before = (tmp_path / ID).stat()
    assert not write_episode(tmp_path, MANIFEST)
    assert (tmp_path / ID).stat().st_mtime_ns == before.st_mtime_ns
    assert names(tmp_path) == [ID]


def test_another_result_under_the_same_id_is_refused(tmp_path: Path) -> None:
    write_episode(tmp_path, MANIFEST)
    with pytest.raises(StoreError, match=f'{ID}: holds another result .*move it away'):
        write_episode(tmp_path, MANIFEST | {'notes': ['something else']})
    assert names(tmp_path) == [ID]
    assert read_episode(tmp_path / ID, verify=True)['notes'] == MANIFEST['notes']


@pytest.mark.parametrize('is_folder', [True, False])
def test_what_lies_in_the_way_is_not_overwritten(tmp_path: Path, is_folder: bool) -> None:
    way = tmp_path / ID
    mine = way / 'mine.txt' if is_folder else way
    mine.parent.mkdir(exist_ok=True)
    mine.write_text('mine')
    with pytest.raises(StoreError, match='exists and is no episode; move it away'):
        write_episode(tmp_path, MANIFEST)
    assert mine.read_text() == 'mine'
    assert names(tmp_path) == [ID]


def test_an_error_within_the_context_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        write_and_raise(tmp_path, RuntimeError('the decoder died'))
    assert names(tmp_path) == []


def test_leaving_without_finish_leaves_nothing(tmp_path: Path) -> None:
    with EpisodeWriter(tmp_path, ID) as writer:
        write_files(writer.path)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ('evidence', 'reason'),
    [
        ([], r'evidence/strip\.png is written but not named'),
        (
            [{'file': f'evidence/{name}.png', 'kind': 'strip'} for name in ('strip', 'more')],
            r'evidence/more\.png is named but not written',
        ),
    ],
)
def test_files_and_manifest_must_agree(
    tmp_path: Path, evidence: list[dict[str, str]], reason: str
) -> None:
    with pytest.raises(StoreError, match=reason):
        write_episode(tmp_path, MANIFEST | {'evidence': evidence})
    assert names(tmp_path) == []


def test_a_picture_is_not_needed(tmp_path: Path) -> None:
    manifest = MANIFEST | {'thumbnail': None, 'evidence': []}
    with EpisodeWriter(tmp_path, ID) as writer:
        (writer.path / 'clip.mcap').write_bytes(b'clip')
        assert writer.finish(manifest)
    assert read_episode(tmp_path / ID, verify=True)['thumbnail'] is None


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'causes': []}, 'causes'),
        ({'config_hash': 'short'}, 'config_hash'),
        ({'window': MANIFEST['window'] | {'onset_ns': 0}}, 'not in the order start, onset, end'),
        ({'channels': {'state': {'peak': float('nan')}}}, 'channels.state.peak'),
    ],
)
def test_a_manifest_that_does_not_hold_is_refused(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(SchemaError, match=reason):
        write_episode(tmp_path, MANIFEST | changes)
    assert names(tmp_path) == []


@pytest.mark.parametrize('name', ['../../x', '', 'ABCDEF0123456789', '0123'])
def test_only_an_id_names_a_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match='is no episode id'):
        EpisodeWriter(tmp_path / 'out', name)
    assert names(tmp_path) == []


def test_an_output_that_is_a_file_is_named(tmp_path: Path) -> None:
    out = tmp_path / 'out'
    out.write_text('mine')
    with pytest.raises(StoreError, match=r'out: cannot be written .*another output folder'):
        EpisodeWriter(out, ID)
    assert out.read_text() == 'mine'


def test_verify_finds_damage(tmp_path: Path) -> None:
    write_episode(tmp_path, MANIFEST)
    clip = tmp_path / ID / 'clip.mcap'
    clip.write_bytes(clip.read_bytes()[:-1] + b'x')
    assert read_episode(tmp_path / ID)['id'] == ID
    with pytest.raises(StoreError, match=r'clip\.mcap: differs from its sha256'):
        read_episode(tmp_path / ID, verify=True)
    clip.unlink()
    with pytest.raises(StoreError, match=r'clip\.mcap: is missing'):
        read_episode(tmp_path / ID, verify=True)


def test_a_folder_without_manifest_is_no_episode(tmp_path: Path) -> None:
    (tmp_path / ID).mkdir()
    assert list(iter_episodes(tmp_path)) == []
    assert not is_complete(tmp_path, ID)
    with pytest.raises(StoreError, match='is no complete episode'):
        read_episode(tmp_path / ID)


def test_no_folder_has_no_episodes(tmp_path: Path) -> None:
    assert list(iter_episodes(tmp_path / 'none')) == []
    assert sweep(tmp_path / 'none') == 0


def test_a_full_disk_in_the_caller_leaves_as_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f'{ID}: the disk is full.*free space'):
        write_and_raise(tmp_path, FULL)
    assert names(tmp_path) == []


@pytest.mark.parametrize('call', range(9))
def test_a_full_disk_at_any_step_of_finish_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    fsync, calls = os.fsync, iter(range(99))

    def fail(descriptor: int) -> None:
        if next(calls) == call:
            raise FULL
        fsync(descriptor)

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(StoreError, match='the disk is full'):
        write_episode(tmp_path, MANIFEST)
    assert names(tmp_path) == []
    assert write_episode(tmp_path, MANIFEST)


def test_a_really_full_disk_leaves_nothing(tmp_path: Path) -> None:
    disk = tmp_path / 'disk'
    disk.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', 'size=64k', 'none', str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip('a small disk cannot be mounted here')
    try:
        manifest = MANIFEST | {'notes': ['x' * 70_000]}  # the clip fits, its manifest does not
        with pytest.raises(StoreError, match='the disk is full'):
            write_episode(disk, manifest)
        assert names(disk) == []
        assert write_episode(disk, MANIFEST)
    finally:
        subprocess.run(['umount', str(disk)], check=True)


def test_sweep_removes_what_the_dead_left_and_nothing_else(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, '-c', ''])
    dead.wait()
    other = 'f' * 16
    for name in (f'.partial-{other}-{dead.pid}', '.partial-notes', other):
        (tmp_path / name / 'evidence').mkdir(parents=True)
    with EpisodeWriter(tmp_path, ID) as living:
        assert sweep(tmp_path) == 1
        assert names(tmp_path) == sorted([living.path.name, '.partial-notes', other])


def test_sweep_leaves_a_folder_whose_writer_lives_in_another_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EpisodeWriter(tmp_path, ID) as writer:
        monkeypatch.setattr(module, '_is_alive', lambda _: False)  # its pid is not ours to see
        assert sweep(tmp_path) == 0
        assert writer.path.is_dir()

# SPDX-License-Identifier: Apache-2.0
"""Turns a captured stretch into an episode folder, and such a folder back into its manifest.

    OUT/EPISODE_ID/  clip.mcap  thumbnail.jpg  evidence/  run.json  labels.jsonl  manifest.json

The folder is built under a hidden name and appears under its own with everything in it. The
manifest is written last: its presence means that the episode is complete.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from cosmos_flywheel import schemas
from cosmos_flywheel.core.errors import SchemaError, StoreError
from cosmos_flywheel.core.lineage import canonical_json, sha256_file
from cosmos_flywheel.store.files import DISK_FULL, store_error, storing, sync, write_document

Manifest = Mapping[str, Any]
"""What `episode-v1` describes."""

CLIP = 'clip.mcap'
THUMBNAIL = 'thumbnail.jpg'
EVIDENCE = 'evidence'
STRIP_NUMBERS = f'{EVIDENCE}/strip.npz'
MANIFEST = 'manifest.json'
RUN = 'run.json'
SCHEMA = 'episode-v1'

_PARTIAL = re.compile(r'\.partial-(?P<id>[0-9a-f]{16})-(?P<pid>[0-9]+)')
_ID = re.compile(r'[0-9a-f]{16}')


class EpisodeWriter:
    """Builds one episode folder; a context manager that leaves either all of it or nothing.

    Files are written into `path` (its folder `evidence/` is there already), then `finish` is
    called. Leaving the context without `finish`, or by an error, removes what was written; a full
    disk leaves as StoreError. One writer at a time per episode and process.
    """

    def __init__(self, out: Path, episode_id: str) -> None:
        if not _ID.fullmatch(episode_id):
            raise StoreError(f'{episode_id!r} is no episode id; give 16 hex digits')
        self.folder = out / episode_id
        """Where the episode will lie."""
        self.path = out / f'.partial-{episode_id}-{os.getpid()}'
        """Where to write its files."""
        self._lock = -1
        shutil.rmtree(self.path, ignore_errors=True)
        with storing(out):
            try:
                (self.path / EVIDENCE).mkdir(parents=True)
                self._lock = os.open(self.path, os.O_RDONLY)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
            except OSError:
                self.discard()
                raise

    def __enter__(self) -> EpisodeWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise store_error(self.folder, error) from error

    def finish(self, manifest: Manifest, run: Mapping[str, Any] | None = None) -> bool:
        """Complete the manifest with sizes and hashes and put the episode in its place.

        `manifest` names its files (`clip.file`, `thumbnail.file`, `evidence[].file`); hashes and
        the clip's size are filled in. Returns False if the same episode was there already.
        Raises StoreError if another one is, if a named file is missing or a written one is not
        named, and if the disk is full; SchemaError if the manifest does not hold. In all these
        cases nothing new is visible.
        """
        try:
            with storing(self.folder):
                whole = _with_hashes(self.path, manifest)
                check_manifest(whole, where=f'{self.folder}/{MANIFEST}')
                if run is not None:
                    write_document(self.path / RUN, run, 'run-v1')
                for name in _files(self.path):
                    sync(self.path / name)
                sync(self.path / EVIDENCE)
                write_document(self.path / MANIFEST, whole, SCHEMA)
                return self._place(whole)
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove what was written and is not in its place; harmless when nothing is left."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _place(self, manifest: Manifest) -> bool:
        try:
            os.rename(self.path, self.folder)
        except OSError as error:
            if not os.path.lexists(self.folder):
                raise
            _require_same(self.folder, manifest, error)
            return False
        sync(self.folder.parent)
        return True


def is_complete(out: Path, episode_id: str) -> bool:
    """Whether this episode lies there, so that it need not be written again."""
    return (out / episode_id / MANIFEST).is_file()


def iter_episodes(out: Path) -> Iterator[Path]:
    """Folders of complete episodes, in the order of their ids."""
    with storing(out):
        folders = sorted(out.iterdir()) if out.is_dir() else []
    for folder in folders:
        if _ID.fullmatch(folder.name) and is_complete(out, folder.name):
            yield folder


def check_manifest(manifest: Manifest, *, where: str) -> None:
    """Raise SchemaError unless the manifest holds by its schema and its window is in order."""
    schemas.check(manifest, SCHEMA, where=where)
    window = manifest['window']
    if not window['start_ns'] <= window['onset_ns'] <= window['end_ns']:
        raise SchemaError(f'{where}: window is not in the order start, onset, end; correct it')


def read_episode(folder: Path, *, verify: bool = False) -> Manifest:
    """The checked manifest of an episode; `verify` also compares each file with its sha256.

    Raises StoreError if the folder is no complete episode or a file is missing or damaged,
    SchemaError if the manifest does not hold.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise StoreError(f'{folder}: is no complete episode (no {MANIFEST}); harvest again')
    manifest = schemas.read_document(path)
    check_manifest(manifest, where=str(path))
    if verify:
        _verify(folder, manifest)
    return manifest


def sweep(out: Path) -> int:
    """Remove what processes that died have left half-written; returns how many folders.

    Left alone while its process lives or, seen from another container, holds its lock.
    """
    stale = [path for path in out.glob('.partial-*') if _is_stale(path)] if out.is_dir() else []
    for path in stale:
        with storing(path):
            shutil.rmtree(path)
    return len(stale)


def _is_stale(path: Path) -> bool:
    match = _PARTIAL.fullmatch(path.name)
    if match is None or _is_alive(int(match['pid'])):
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # already gone, or not ours to judge
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it lives and belongs to someone else
        return True
    return True


def _files(folder: Path) -> set[str]:
    paths = (path for path in folder.rglob('*') if not path.is_dir())
    return {path.relative_to(folder).as_posix() for path in paths}


def _named(manifest: Manifest) -> list[dict[str, Any]]:
    """Copies of the manifest's entries that name a file: clip, evidence, thumbnail."""
    thumbnail = manifest['thumbnail']
    found = [manifest['clip'], *manifest['evidence'], *([thumbnail] if thumbnail else [])]
    return [dict(entry) for entry in found]


def _with_hashes(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """The manifest with the sha256 of each file that it names, all of which are there."""
    try:
        entries = _named(manifest)
        names = {str(entry['file']) for entry in entries}
    except (KeyError, TypeError) as error:
        raise StoreError(f'{folder.name}: the manifest names no files ({error})') from error
    present = _files(folder)
    for name in sorted(names ^ present):
        fault = 'is written but not named' if name in present else 'is named but not written'
        raise StoreError(f'{folder.name}: {name} {fault} in the manifest; do both or neither')
    for entry in entries:
        entry['sha256'] = sha256_file(folder / entry['file'])
    clip, *rest = entries
    clip['bytes'] = (folder / clip['file']).stat().st_size
    thumbnail = rest.pop() if manifest['thumbnail'] else None
    return {**manifest, 'clip': clip, 'evidence': rest, 'thumbnail': thumbnail}


def _require_same(folder: Path, manifest: Manifest, cause: OSError) -> None:
    if not folder.is_dir() or not (folder / MANIFEST).exists():
        raise StoreError(f'{folder}: exists and is no episode; move it away') from cause
    if canonical_json(read_episode(folder)) != canonical_json(manifest):
        raise StoreError(
            f'{folder}: holds another result for the same stretch and configuration; '
            'move it away or choose another output folder'
        ) from cause


def _verify(folder: Path, manifest: Manifest) -> None:
    for entry in _named(manifest):
        path = folder / entry['file']
        if not path.is_file():
            raise StoreError(f'{path}: is missing; copy the episode again or harvest again')
        if sha256_file(path) != entry['sha256']:
            raise StoreError(
                f'{path}: differs from its sha256 in {MANIFEST}; copy or harvest it again'
            )

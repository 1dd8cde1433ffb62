# SPDX-License-Identifier: Apache-2.0
"""Turns files and one document into a folder named by its id: whole, or not there at all.

    OUT/ID/  whatever files the document names, and last the document

The folder is built under a hidden name and appears under its own with everything in it. The
document is written last: its presence means that the folder is complete.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from cosmos_flywheel.core.errors import StoreError
from cosmos_flywheel.core.lineage import canonical_json, sha256_file
from cosmos_flywheel.schemas import read_document
from cosmos_flywheel.store.files import DISK_FULL, store_error, storing, sync, write_document

_PARTIAL = re.compile(r'\.partial-(?P<id>[0-9a-f]{16})-(?P<pid>[0-9]+)')
_ID = re.compile(r'[0-9a-f]{16}')
_Writer = TypeVar('_Writer', bound='FolderWriter')


@dataclass(frozen=True, slots=True)
class Kind:
    """What sort of folder it is."""

    noun: str
    """For messages: episode, brief, candidate."""
    document: str
    """File name of the document that completes it."""
    schema: str
    """What the document is checked by, such as `episode-v1`."""
    remedy: str
    """How to get one that is missing or damaged, such as `harvest it again`."""


class FolderWriter:
    """Builds one folder; a context manager that leaves either all of it or nothing.

    Files are written into `path`, then `publish` is called. Leaving the context without it, or by
    an error, removes what was written; a full disk leaves as StoreError. One writer at a time per
    folder and process.

    Args:
        out: the folder that it will lie in; made if it is absent.
        folder_id: 16 hex digits, its name.
        kind: what it is.
        folders: sub-folders of `path` that are made at once.

    """

    def __init__(self, out: Path, folder_id: str, kind: Kind, folders: Iterable[str] = ()) -> None:
        if not _ID.fullmatch(folder_id):
            raise StoreError(f'{folder_id!r} is no {kind.noun} id; give 16 hex digits')
        self.kind = kind
        self.folder = out / folder_id
        """Where it will lie."""
        self.path = out / f'.partial-{folder_id}-{os.getpid()}'
        """Where to write its files."""
        self._lock = -1
        shutil.rmtree(self.path, ignore_errors=True)
        with storing(out):
            try:
                self.path.mkdir(parents=True)
                for name in folders:
                    (self.path / name).mkdir()
                self._lock = os.open(self.path, os.O_RDONLY)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
            except OSError:
                self.discard()
                raise

    def __enter__(self: _Writer) -> _Writer:
        """Give itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove what is not in its place."""
        self.discard()
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise store_error(self.folder, error) from error

    def publish(self, document: Mapping[str, Any]) -> bool:
        """Force everything to disk, write the document, and put the folder in its place.

        Returns False if the same was there already. Raises StoreError if another one is, or if
        the disk is full; SchemaError if the document does not hold. Nothing new is visible then.
        """
        try:
            with storing(self.folder):
                for name in sorted(files_of(self.path)):
                    sync(self.path / name)
                for path in sorted(p for p in self.path.rglob('*') if p.is_dir()):
                    sync(path)
                write_document(self.path / self.kind.document, document, self.kind.schema)
                return self._place(document)
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove what was written and is not in its place; harmless when nothing is left."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _place(self, document: Mapping[str, Any]) -> bool:
        try:
            os.rename(self.path, self.folder)
        except OSError as error:
            if not os.path.lexists(self.folder):
                raise
            self._require_same(document, error)
            return False
        sync(self.folder.parent)
        return True

    def _require_same(self, document: Mapping[str, Any], cause: OSError) -> None:
        path = self.folder / self.kind.document
        if not self.folder.is_dir() or not path.exists():
            raise StoreError(
                f'{self.folder}: exists and is no {self.kind.noun}; move it away'
            ) from cause
        if canonical_json(read_document(path)) != canonical_json(document):
            raise StoreError(
                f'{self.folder}: holds another result for the same {self.kind.noun}; '
                'move it away or choose another output folder'
            ) from cause


def is_whole(folder: Path, kind: Kind) -> bool:
    """Whether this folder is complete, so that it need not be written again."""
    return (folder / kind.document).is_file()


def iter_folders(out: Path, kind: Kind) -> Iterator[Path]:
    """Complete folders of one kind, in the order of their ids."""
    with storing(out):
        folders = sorted(out.iterdir()) if out.is_dir() else []
    for folder in folders:
        if _ID.fullmatch(folder.name) and is_whole(folder, kind):
            yield folder


def files_of(folder: Path) -> set[str]:
    """Every file below a folder, by its path inside it."""
    paths = (path for path in folder.rglob('*') if not path.is_dir())
    return {path.relative_to(folder).as_posix() for path in paths}


def require_named(folder: Path, names: set[str], kind: Kind) -> None:
    """Raise StoreError unless a folder's files are those that its document names."""
    present = files_of(folder)
    for name in sorted(names ^ present):
        fault = 'is written but not named' if name in present else 'is named but not written'
        raise StoreError(
            f'{folder.name}: {name} {fault} in the {kind.document}; do both or neither'
        )


def verify_files(folder: Path, sha256: Mapping[str, str], kind: Kind) -> None:
    """Raise StoreError unless each file is there with the sha256 that the document states."""
    for name, stated in sha256.items():
        path = folder / name
        if not path.is_file():
            raise StoreError(f'{path}: is missing; copy the {kind.noun} again or {kind.remedy}')
        if sha256_file(path) != stated:
            raise StoreError(
                f'{path}: differs from its sha256 in {kind.document}; '
                f'copy the {kind.noun} again or {kind.remedy}'
            )


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

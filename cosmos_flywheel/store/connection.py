# SPDX-License-Identifier: Apache-2.0
"""Turns an output folder into a connection to its catalogue, and SQLite's words into ours."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cosmos_flywheel.core.errors import StoreError
from cosmos_flywheel.store.files import storing
from cosmos_flywheel.store.migrations import migrate

CATALOGUE = 'catalogue.sqlite'

_BUSY_S = 60.0
"""How long a writer waits for another one; a rebuild of 10 000 episodes takes less."""
_REMEDIES = {
    'locked': f'another process has been writing for {_BUSY_S:.0f} s; wait for it to end',
    'is full': 'free space on the disk, then run again',
    'disk I/O': 'free space on the disk or check it, then run again',
    'readonly': 'make the folder writable, or copy it to where it is',
    'unable to open': 'make the folder writable, or copy it to where it is',
}
"""By a part of SQLite's message; whatever else it says, the file is damaged."""


class BrokenCatalogueError(StoreError):
    """The file is no catalogue that this version can use; the folders still hold everything."""


def connect(out: Path) -> sqlite3.Connection:
    """The catalogue of an output folder, made or brought up to date as needed.

    Raises StoreError if the folder cannot be written; BrokenCatalogueError if the file is damaged
    or from a newer version.
    """
    with storing(out):
        out.mkdir(parents=True, exist_ok=True)
    with explaining(out):
        connection = sqlite3.connect(out / CATALOGUE, timeout=_BUSY_S, isolation_level=None)
        try:
            with _alone(out):
                _prepare(connection, out)
        except BaseException:
            connection.close()
            raise
    return connection


def remove(out: Path) -> None:
    """Remove the catalogue, which loses nothing: the folders hold all of it."""
    with storing(out):
        for suffix in ('', '-wal', '-shm'):
            (out / f'{CATALOGUE}{suffix}').unlink(missing_ok=True)


@contextmanager
def explaining(out: Path) -> Iterator[None]:
    """Turn what SQLite says into a StoreError with a remedy."""
    path = out / CATALOGUE
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise StoreError(f'{path}: refused a row ({error}); correct its manifest') from error
    except sqlite3.DatabaseError as error:
        for part, remedy in _REMEDIES.items():
            if part in str(error):
                raise StoreError(f'{path}: {error}; {remedy}') from error
        raise BrokenCatalogueError(f'{path}: {error}; {_rebuild(out)}') from error


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Let one process at a time prepare: SQLite does not wait where it switches to WAL."""
    descriptor = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _prepare(connection: sqlite3.Connection, out: Path) -> None:
    connection.execute('PRAGMA journal_mode = WAL')
    connection.execute('PRAGMA synchronous = NORMAL')  # the folders are the truth
    connection.execute('PRAGMA foreign_keys = ON')
    try:
        migrate(connection)
    except StoreError as error:
        raise BrokenCatalogueError(f'{out / CATALOGUE}: {error} or {_rebuild(out)}') from error


def _rebuild(out: Path) -> str:
    return f'run: flywheel episodes rebuild {out}'

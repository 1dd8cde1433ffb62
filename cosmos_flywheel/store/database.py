# SPDX-License-Identifier: Apache-2.0
"""The one door to SQLite files of ours: opened, brought up to date, and its words made ours."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_flywheel.core.errors import StoreError
from cosmos_flywheel.store.files import storing

Connection = sqlite3.Connection
Step = Callable[[Connection], object]
"""One change of the tables."""
Values = Mapping[str, Any] | tuple[Any, ...]

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
_RECORD = """
CREATE TABLE IF NOT EXISTS migrations (
    name TEXT PRIMARY KEY,
    applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT
"""


class BrokenDatabaseError(StoreError):
    """The file is none that this version can use."""


@dataclass(frozen=True, slots=True)
class Tables:
    """What a kind of file holds, and what is said when a file of it is spoilt."""

    steps: Mapping[str, Step]
    """By name, in the order in which they run. A released step is never edited: a change of the
    tables is a new step at the end."""
    remedy: str
    """For a damaged or newer file."""
    refused: str
    """For a row that the tables do not take."""
    is_truth: bool = False
    """Whether what it holds lies nowhere else, so that each commit waits for the disk."""


class Database:
    """One connection, for the process and thread that opened it; several may write at once."""

    def __init__(self, path: Path, tables: Tables) -> None:
        """Make the file or bring it up to date, as needed.

        Raises:
            StoreError: its folder cannot be written.
            BrokenDatabaseError: the file is damaged or from a newer version.

        """
        self.path = path
        self._tables = tables
        with storing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        with self._explaining():
            self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
            try:
                with _alone(path.parent):
                    self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Harmless when repeated."""
        self._connection.close()

    def ask(self, query: str, values: Values = ()) -> list[Any]:
        """All rows of an answer."""
        with self._explaining():
            return self._connection.execute(query, values).fetchall()

    def change(self, statement: str, values: Values = ()) -> int:
        """How many rows a statement changed; only within `writing`."""
        return self._connection.execute(statement, values).rowcount

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction, other writers waiting: all of it or, after an error, nothing."""
        with self._explaining():
            self._connection.execute('BEGIN IMMEDIATE')
            with self._connection:  # commits, or rolls back on an error
                yield

    def _prepare(self) -> None:
        self._connection.execute('PRAGMA journal_mode = WAL')
        how = 'FULL' if self._tables.is_truth else 'NORMAL'
        self._connection.execute(f'PRAGMA synchronous = {how}')
        self._connection.execute('PRAGMA foreign_keys = ON')
        try:
            migrate(self._connection, self._tables.steps)
        except StoreError as error:
            raise BrokenDatabaseError(f'{self.path}: {error} or {self._tables.remedy}') from error

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Turn what SQLite says into a StoreError with a remedy."""
        try:
            yield
        except sqlite3.IntegrityError as error:
            refused = self._tables.refused
            raise StoreError(f'{self.path}: refused a row ({error}); {refused}') from error
        except sqlite3.DatabaseError as error:
            for part, remedy in _REMEDIES.items():
                if part in str(error):
                    raise StoreError(f'{self.path}: {error}; {remedy}') from error
            words = f'{self.path}: {error}; {self._tables.remedy}'
            raise BrokenDatabaseError(words) from error


def migrate(connection: Connection, steps: Mapping[str, Step]) -> None:
    """Run the steps that are missing, each in one transaction with the record that it ran.

    Raises StoreError if a newer version of this package has been here.
    """
    connection.execute(_RECORD)
    for name, step in steps.items():
        if name in _applied(connection):
            continue
        connection.execute('BEGIN IMMEDIATE')
        with connection:  # commits, or rolls back on an error
            if name not in _applied(connection):  # another process may have been faster
                step(connection)
                connection.execute('INSERT INTO migrations (name) VALUES (?)', (name,))
    unknown = sorted(_applied(connection) - steps.keys())
    if unknown:
        raise StoreError(
            f'was written by a newer version of cosmos_flywheel (step {unknown[0]!r}); '
            'install that version'
        )


def remove_database(path: Path) -> None:
    """Remove a file and what SQLite keeps beside it."""
    with storing(path):
        for suffix in ('', '-wal', '-shm'):
            path.with_name(f'{path.name}{suffix}').unlink(missing_ok=True)


def _applied(connection: Connection) -> set[str]:
    return {name for (name,) in connection.execute('SELECT name FROM migrations')}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time prepare: SQLite does not wait where it switches to WAL."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

# SPDX-License-Identifier: Apache-2.0
"""Turns an output folder into the SQLite file of its catalogue."""

from __future__ import annotations

from pathlib import Path

from cosmos_flywheel.store.database import Database, Tables, remove_database
from cosmos_flywheel.store.migrations import MIGRATIONS

CATALOGUE = 'catalogue.sqlite'


def connect(out: Path) -> Database:
    """The catalogue of an output folder, made or brought up to date as needed.

    Raises StoreError if the folder cannot be written; BrokenDatabaseError if the file is damaged
    or from a newer version; the folders still hold everything.
    """
    remedy = f'run: flywheel episodes rebuild {out}'
    return Database(out / CATALOGUE, Tables(MIGRATIONS, remedy, 'correct its manifest'))


def remove(out: Path) -> None:
    """Remove the catalogue, which loses nothing: the folders hold all of it."""
    remove_database(out / CATALOGUE)

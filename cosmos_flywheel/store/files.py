# SPDX-License-Identifier: Apache-2.0
"""Turns bytes into files that survive a power cut: whole or absent, and errors that help."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cosmos_flywheel import schemas
from cosmos_flywheel.core.errors import StoreError
from cosmos_flywheel.core.lineage import canonical_json

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what the file system says while `path` is written into a StoreError with a remedy."""
    try:
        yield
    except OSError as error:
        raise store_error(path, error) from error


def store_error(path: Path, error: OSError) -> StoreError:
    """What the file system said about `path`, and what to do about it."""
    if error.errno in DISK_FULL:
        return StoreError(
            f'{path}: the disk is full; nothing incomplete was kept; '
            'free space or choose another output folder, then run again'
        )
    reason = error.strerror or str(error)
    return StoreError(f'{path}: cannot be written ({reason}); choose another output folder')


def sync(path: Path) -> None:
    """Force a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_document(path: Path, document: Mapping[str, Any], name: str) -> None:
    """Check a document by its schema and write it as readable JSON: whole or not at all.

    Equal documents give equal bytes. Raises SchemaError, or OSError with nothing left behind.
    """
    schemas.check(document, name, where=path.name)
    text = json.dumps(json.loads(canonical_json(document)), indent=2, sort_keys=True) + '\n'
    write_bytes(path, text.encode('ascii'))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; OSError leaves nothing behind."""
    partial = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        partial.write_bytes(data)
        sync(partial)
        os.replace(partial, path)
        sync(path.parent)
    except OSError:
        partial.unlink(missing_ok=True)
        raise

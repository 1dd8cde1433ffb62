# SPDX-License-Identifier: Apache-2.0
"""Turns documents into the lines of a file that only grows, and back.

One line is one document. A last line without its end is what a power cut leaves: it never took
effect, and the next writer removes it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cosmos_flywheel import schemas
from cosmos_flywheel.core.errors import SchemaError, StoreError
from cosmos_flywheel.core.lineage import canonical_json
from cosmos_flywheel.store.files import storing, sync

Document = Mapping[str, Any]


def append_lines(
    path: Path, schema: str, documents: Callable[[tuple[Document, ...]], Sequence[Document]]
) -> None:
    """Add what `documents` makes of the lines that are there, while other writers wait.

    On disk when this returns. Raises SchemaError if a document does not hold by `schema`, with
    nothing written, and StoreError if the file cannot be written.
    """
    with storing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        with os.fdopen(descriptor, 'r+b') as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            data = file.read()
            whole = _whole(data)
            new = documents(tuple(_parse(path, schema, whole)))
            for document in new:
                schemas.check(document, schema, where=path.name)
            if not new:
                return
            file.truncate(min(len(whole), len(data)))
            file.write(whole[len(data) :] + b''.join(canonical_json(d) + b'\n' for d in new))
            file.flush()
            os.fsync(file.fileno())
        sync(path.parent)


def read_lines(path: Path, schema: str) -> Iterator[Document]:
    """All documents, oldest first; SchemaError names the line that does not hold."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return iter(())
    except OSError as error:
        raise StoreError(f'{path}: cannot be read ({error.strerror}); check it') from error
    return _parse(path, schema, _whole(data))


def _whole(data: bytes) -> bytes:
    """Only lines that were written to their end; an editor may have left out the last newline."""
    head, newline, tail = data.rpartition(b'\n')
    try:
        json.loads(tail)
    except ValueError:
        return head + newline
    return data + b'\n'


def _parse(path: Path, schema: str, data: bytes) -> Iterator[Document]:
    for number, line in enumerate(data.splitlines(), start=1):
        where = f'{path}, line {number}'
        try:
            document = json.loads(line)
        except ValueError as error:
            raise SchemaError(f'{where}: is not JSON; correct or remove the line') from error
        if not isinstance(document, dict):
            raise SchemaError(f'{where}: holds no fields; correct or remove the line')
        schemas.check(document, schema, where=where)
        yield document

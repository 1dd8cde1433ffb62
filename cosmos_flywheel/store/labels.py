# SPDX-License-Identifier: Apache-2.0
"""Turns a person's judgements of an episode into the lines of its `labels.jsonl`, and back.

Labels are appended, never edited; the last one rules.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from cosmos_flywheel import schemas
from cosmos_flywheel.core.errors import SchemaError, StoreError
from cosmos_flywheel.core.lineage import canonical_json
from cosmos_flywheel.store.files import storing, sync

LABELS = 'labels.jsonl'
SCHEMA = 'label-v1'
UNTRIAGED = 'untriaged'
STATES = (UNTRIAGED, 'failure', 'anomaly_no_failure', 'false_alarm', 'sensor_fault')
"""What an episode may be called; `untriaged` takes an earlier label back."""


@dataclass(frozen=True, slots=True)
class Label:
    """What one person said about one episode."""

    episode: str
    label: str
    """One of STATES."""
    reviewer: str
    reason: str
    time: str
    """Wall-clock time, ISO 8601 with zone."""


def append_label(folder: Path, label: Label) -> None:
    """Add one line, safely beside other writers; SchemaError if the label does not hold."""
    document = {'schema': SCHEMA, **asdict(label)}
    schemas.check(document, SCHEMA, where=LABELS)
    path = folder / LABELS
    with storing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        with os.fdopen(descriptor, 'r+b') as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            data = file.read()
            whole = _whole(data)
            file.truncate(min(len(whole), len(data)))
            file.write(whole[len(data) :] + canonical_json(document) + b'\n')
            file.flush()
            os.fsync(file.fileno())
        sync(folder)


def read_labels(folder: Path) -> tuple[Label, ...]:
    """All labels of an episode, oldest first; SchemaError names the line that does not hold.

    A last line without its end is what a power cut leaves: its label never took effect.
    """
    path = folder / LABELS
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise StoreError(f'{path}: cannot be read ({error.strerror}); check it') from error
    return tuple(_parse(path, _whole(data)))


def _whole(data: bytes) -> bytes:
    """Only lines that were written to their end; an editor may have left out the last newline."""
    head, newline, tail = data.rpartition(b'\n')
    try:
        json.loads(tail)
    except ValueError:
        return head + newline
    return data + b'\n'


def _parse(path: Path, data: bytes) -> Iterator[Label]:
    for number, line in enumerate(data.splitlines(), start=1):
        where = f'{path}, line {number}'
        try:
            document = json.loads(line)
        except ValueError as error:
            raise SchemaError(f'{where}: is not JSON; correct or remove the line') from error
        if not isinstance(document, dict):
            raise SchemaError(f'{where}: is no label; correct or remove the line')
        schemas.check(document, SCHEMA, where=where)
        yield Label(**{name: document[name] for name in Label.__dataclass_fields__})

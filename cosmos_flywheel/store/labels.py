# SPDX-License-Identifier: Apache-2.0
"""Turns a person's judgements of an episode into the lines of its `labels.jsonl`, and back.

Labels are appended, never edited; the last one rules.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from cosmos_flywheel import schemas
from cosmos_flywheel.store.lines import append_lines, read_lines

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
    append_lines(folder / LABELS, SCHEMA, lambda _: [document])


def read_labels(folder: Path) -> tuple[Label, ...]:
    """All labels of an episode, oldest first; SchemaError names the line that does not hold."""
    names = Label.__dataclass_fields__
    lines = read_lines(folder / LABELS, SCHEMA)
    return tuple(Label(**{name: line[name] for name in names}) for line in lines)

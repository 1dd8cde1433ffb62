# SPDX-License-Identifier: Apache-2.0
"""Message definitions say what every field means, and in which unit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

MESSAGES = sorted((Path(__file__).resolve().parents[2] / 'msg').glob('*.msg'))
NUMBER = re.compile(r'u?int\d+|float\d+')
UNIT = re.compile(r'\[[^,\]]+\]$')

pytestmark = pytest.mark.parametrize('path', MESSAGES, ids=lambda path: path.stem)


def declarations(path: Path) -> list[tuple[str, str, str]]:
    """Type, name and comment of each field and constant."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    stated = [line.partition('#') for line in lines if line and not line.startswith('#')]
    return [(*code.split(maxsplit=1), comment.strip()) for code, _, comment in stated]


def test_every_field_and_the_message_say_what_they_mean(path):
    assert path.read_text().startswith('# ')
    assert path.read_text().isascii(), 'rosidl writes its definitions in a single-byte encoding'
    undocumented = [name for _, name, comment in declarations(path) if len(comment) < 10]
    assert undocumented == []


def test_every_number_has_its_unit_in_the_brackets_that_rosidl_reads(path):
    fields = [d for d in declarations(path) if '=' not in d[1]]
    without = [
        name for kind, name, comment in fields
        if NUMBER.match(kind) and not UNIT.search(comment)
    ]  # fmt: skip
    assert without == []

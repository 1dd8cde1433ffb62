# SPDX-License-Identifier: Apache-2.0
"""Labels are appended beside the manifest and survive whatever cuts a line short."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from cosmos_flywheel.core.errors import SchemaError, StoreError
from cosmos_flywheel.store.labels import STATES, Label, append_label, read_labels

SAID = Label('00d1ce5afe00c0de', 'failure', 'ann', 'it slipped', '2026-01-01T12:00:00+00:00')


def append_many(folder: Path, reviewer: str) -> None:
    for number in range(20):
        append_label(folder, replace(SAID, reviewer=reviewer, reason=f'{number}'))


def test_no_file_means_no_labels(tmp_path: Path) -> None:
    assert read_labels(tmp_path) == ()


@pytest.mark.parametrize('label', STATES)
def test_labels_come_back_in_order(tmp_path: Path, label: str) -> None:
    second = replace(SAID, label=label, reviewer='Zoë', reason='a "quoted"\nreason ✓')
    append_label(tmp_path, SAID)
    append_label(tmp_path, second)
    assert read_labels(tmp_path) == (SAID, second)


def test_an_unknown_label_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"'bad' is not one of.*false_alarm"):
        append_label(tmp_path, replace(SAID, label='bad'))
    assert not (tmp_path / 'labels.jsonl').exists()


def test_a_line_cut_short_never_took_effect_and_is_replaced(tmp_path: Path) -> None:
    append_label(tmp_path, SAID)
    with (tmp_path / 'labels.jsonl').open('ab') as file:
        file.write(b'{"label": "false_al')
    assert read_labels(tmp_path) == (SAID,)
    append_label(tmp_path, SAID)
    assert read_labels(tmp_path) == (SAID, SAID)


def test_a_whole_line_without_its_newline_counts(tmp_path: Path) -> None:
    append_label(tmp_path, SAID)
    path = tmp_path / 'labels.jsonl'
    path.write_bytes(path.read_bytes().rstrip())
    assert read_labels(tmp_path) == (SAID,)
    append_label(tmp_path, SAID)
    assert read_labels(tmp_path) == (SAID, SAID)


@pytest.mark.parametrize('line', [b'nonsense\n', b'[]\n', b'{"schema": "label-v1"}\n'])
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    append_label(tmp_path, SAID)
    with (tmp_path / 'labels.jsonl').open('ab') as file:
        file.write(line)
    with pytest.raises(SchemaError, match=r'labels\.jsonl, line 2'):
        read_labels(tmp_path)


def test_writers_in_several_processes_lose_nothing(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(append_many, [tmp_path] * 2, ['ann', 'bob']))
    labels = read_labels(tmp_path)
    for reviewer in ('ann', 'bob'):
        reasons = [label.reason for label in labels if label.reviewer == reviewer]
        assert reasons == [f'{number}' for number in range(20)]


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match='none/labels'):
        append_label(tmp_path / 'none', SAID)

# SPDX-License-Identifier: Apache-2.0
"""Engines on disk: found only by all that decides them, whole or not at all."""

from __future__ import annotations

import errno
import importlib.util
import os
from dataclasses import replace
from pathlib import Path

import pytest

from cosmos_flywheel.cli.main import main
from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.tensorrt import shelf as module
from cosmos_flywheel.engines.tensorrt.form import Form
from cosmos_flywheel.engines.tensorrt.shelf import Key, Shelf

KEY = Key(
    'step_0', 'sm_89', 'tensorrt_rtx', '1.7.1.116', 'bfloat16', 'a' * 40, 1,
    {'x': Form((26, 64), 'bfloat16')}, {'y': Form((26, 64), 'bfloat16')},
)  # fmt: skip
ENGINE = b'ftrt' + bytes(1000)


@pytest.fixture
def shelf(tmp_path) -> Shelf:
    shelf = Shelf(tmp_path / 'engines')
    shelf.put(KEY, ENGINE, {'MATRIX_MULTIPLY': 4}, {'BF16': 4})
    return shelf


def files(shelf: Shelf) -> list[str]:
    return sorted(p.name for p in shelf.folder.iterdir())


def test_what_is_put_is_found_and_nothing_else_lies_there(shelf):
    entry = shelf.find(KEY)
    assert entry is not None
    assert (entry.key, entry.path.read_bytes()) == (KEY, ENGINE)
    assert (entry.layers, entry.types) == ({'MATRIX_MULTIPLY': 4}, {'BF16': 4})
    assert files(shelf) == [f'{KEY.name}.engine', f'{KEY.name}.json']


@pytest.mark.parametrize(
    'change',
    [
        {'architecture': 'sm_120'}, {'version': '1.8.0'}, {'library': 'tensorrt'},
        {'precision': 'float32'}, {'revision': 'b' * 40}, {'export': 2}, {'unit': 'step_1'},
        {'inputs': {'x': Form((27, 64), 'bfloat16')}},
        {'outputs': {'y': Form((26, 64), 'float32')}},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_whatever_differs_there_is_no_engine(shelf, change):
    assert shelf.find(replace(KEY, **change)) is None


def test_a_broken_engine_is_none_and_its_fault_is_named(shelf):
    (entry,) = shelf.entries()
    entry.path.write_bytes(ENGINE[:500])
    assert shelf.find(KEY) is None
    with pytest.raises(EngineError, match=r'cut off \(500 of 1004 bytes\).*engine build'):
        entry.verify()
    entry.path.write_bytes(ENGINE[:-1] + b'x')
    with pytest.raises(EngineError, match='not the engine that was built'):
        entry.verify()
    entry.path.unlink()
    with pytest.raises(EngineError, match='cannot be read'):
        entry.verify()


@pytest.mark.parametrize('blow', [KeyboardInterrupt(), OSError(errno.ENOSPC, 'No space left')])
def test_ctrl_c_or_a_full_disk_leaves_no_half_file(shelf, monkeypatch, blow):
    def fail(*_: object) -> None:
        raise blow

    before = files(shelf)
    monkeypatch.setattr(module.os, 'fsync', fail)
    expected = EngineError if isinstance(blow, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as error:
        shelf.put(replace(KEY, unit='step_1'), ENGINE, {}, {})
    assert files(shelf) == before
    assert expected is KeyboardInterrupt or 'free space' in str(error.value)


def test_what_a_killed_build_left_is_swept_away_but_not_a_living_ones(shelf):
    dead, living = (shelf.folder / f'.x.engine.partial-{pid}' for pid in (2**22 + 1, os.getpid()))
    dead.touch()
    living.touch()
    shelf.put(KEY, ENGINE, {}, {})
    assert (dead.exists(), living.exists()) == (False, True)


def test_a_key_says_why_another_machine_cannot_take_it():
    assert KEY.misfits('tensorrt_rtx', '1.7.1.116', 'sm_89') == []
    assert KEY.misfits('tensorrt_rtx', '1.7.1.116', None) == []
    (fault,) = KEY.misfits('tensorrt_rtx', '1.7.1.116', 'sm_120')
    assert 'built for sm_89, this is sm_120' in fault
    (fault,) = KEY.misfits('tensorrt_rtx', '1.8.0', 'sm_89')
    assert 'here is tensorrt_rtx 1.8.0' in fault


def test_the_list_says_that_nothing_was_executed(shelf, capsys):
    assert main(['engine', 'list', '--shelf', str(shelf.folder)]) == 0
    said = capsys.readouterr().out
    assert 'step_0' in said
    assert 'built and inspected, not executed' in said


def test_an_empty_shelf_says_how_it_is_filled(tmp_path, capsys):
    assert main(['engine', 'list', '--shelf', str(tmp_path)]) == 0
    assert 'flywheel engine build' in capsys.readouterr().out


def test_check_names_every_engine_that_is_of_no_use(shelf, capsys, need):
    if importlib.util.find_spec('tensorrt_rtx_bindings') is None:
        need('cosmos', 'TensorRT for RTX is not installed: `make learn`')
    folder = str(shelf.folder)
    shelf.put(replace(KEY, version='0.9'), ENGINE, {}, {})
    shelf.put(replace(KEY, unit='step_1'), ENGINE, {}, {}).path.write_bytes(b'ftrt')
    Path(folder, 'stray.json').write_text('{}')
    assert main(['engine', 'check', '--shelf', folder]) == 1
    said = capsys.readouterr().out
    assert 'built by tensorrt_rtx 0.9' in said
    assert 'cut off (4 of 1004 bytes)' in said
    assert 'stray.json: field "schema" is missing' in said
    assert '4 engines, 3 of no use here' in said

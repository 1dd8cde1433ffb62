# SPDX-License-Identifier: Apache-2.0
"""Engines built by the real TensorRT for RTX, which needs no GPU for that."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip('torch', reason='engine cosmos needs torch')

from cosmos_flywheel.cli.main import main  # noqa: E402
from cosmos_flywheel.core.errors import EngineError  # noqa: E402
from cosmos_flywheel.engines.tensorrt import build as module  # noqa: E402
from cosmos_flywheel.engines.tensorrt.build import build  # noqa: E402
from cosmos_flywheel.engines.tensorrt.door import Door  # noqa: E402
from cosmos_flywheel.engines.tensorrt.export import export  # noqa: E402
from cosmos_flywheel.engines.tensorrt.network import Network, check_architecture  # noqa: E402
from cosmos_flywheel.engines.tensorrt.shelf import Shelf  # noqa: E402
from cosmos_flywheel.engines.tensorrt.units import Units  # noqa: E402


@pytest.fixture(scope='module')
def door(need) -> Door:
    if importlib.util.find_spec('tensorrt_rtx_bindings') is None:
        need('cosmos', 'TensorRT for RTX is not installed: `make learn`')
    return Door.open('tensorrt_rtx')


@pytest.fixture(scope='module')
def units(exported) -> Iterator[Units]:
    """Exported already: only what is built from the graphs is under test."""
    units, folder = exported
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, 'export', lambda unit, _: folder / f'{unit.name}.onnx')
        yield units


@pytest.fixture(scope='module')
def built(units, door, tmp_path_factory) -> Path:
    """A shelf with an engine of each unit."""
    folder = tmp_path_factory.mktemp('shelf')
    assert all(is_new for _, is_new in build(units, door, 'sm_89', Shelf(folder)))
    return folder


def test_every_unit_is_built_once_and_says_what_goes_in_and_out(units, door, built, tmp_path):
    shelf = Shelf(shutil.copytree(built, tmp_path / 'engines'))
    again = list(build(units, door, 'sm_89', shelf))
    assert [(e.key.unit, is_new) for e, is_new in again] == [(n, False) for n in units.names]
    for entry, _ in again:
        unit = units.shadow(entry.key.unit)
        assert (entry.key.inputs, entry.key.outputs) == (unit.inputs, unit.forms())
        assert entry.types['FLOAT'] > 10
        assert sum(entry.layers.values()) == sum(entry.types.values())
        assert entry.path.read_bytes()[:4] == b'vtrt'
    other, is_new = next(build(units, door, 'sm_120', shelf))
    assert (is_new, other.key.architecture) == (True, 'sm_120')
    assert len(shelf.entries()) == len(units.names) + 1


def test_only_the_broken_engine_is_built_anew(units, door, built, tmp_path):
    shelf = Shelf(shutil.copytree(built, tmp_path / 'engines'))
    entries = [entry for entry, _ in build(units, door, 'sm_89', shelf)]
    entries[2].path.write_bytes(entries[2].path.read_bytes()[:-50])
    is_new = [new for _, new in build(units, door, 'sm_89', shelf)]
    assert is_new == [i == 2 for i in range(len(entries))]
    entries[2].verify()


@pytest.mark.parametrize('whole', [True, False])
def test_without_a_driver_an_engine_cannot_be_loaded_and_a_remedy_is_told(
    exported, door, tmp_path, whole
):
    if torch.cuda.is_available():
        pytest.skip('there is a driver')
    _, folder = exported
    engine = bytes(Network(door, folder / 'step_0.onnx').build('sm_89'))
    words = r'driver version is insufficient.*update it' if whole else r'header.size.*cut off'
    with pytest.raises(EngineError, match=f'could not load step_0 .*{words}'):
        door.load('step_0', engine if whole else engine[: len(engine) // 2])


def test_ctrl_c_ends_a_build_and_leaves_no_half_file(units, door, tmp_path):
    def interrupt(name: str, share: float) -> None:
        if name == 'encode':
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        list(build(units, door, 'sm_89', Shelf(tmp_path), interrupt))
    assert signal.getsignal(signal.SIGINT) is before
    kept = sorted({p.name.rpartition('-')[0] for p in tmp_path.iterdir()})
    assert kept == ['prefill_0', 'prefill_1']
    assert sorted(p.suffix for p in tmp_path.iterdir()) == ['.engine', '.engine', '.json', '.json']


def test_what_cannot_be_built_is_told_with_a_remedy(exported, door, tmp_path):
    _, folder = exported
    with pytest.raises(EngineError, match=r'could not parse .*missing\.onnx.*cannot be found'):
        Network(door, tmp_path / 'missing.onnx')
    (tmp_path / 'broken.onnx').write_bytes(b'no graph')
    with pytest.raises(EngineError, match=r'broken\.onnx.*Failed to parse the ONNX model'):
        Network(door, tmp_path / 'broken.onnx')
    network = Network(door, folder / 'step_0.onnx')
    with pytest.raises(EngineError, match=r'input x is .*, not wanted; export the units again'):
        network.check({}, network.outputs)
    with pytest.raises(EngineError, match=r'output z is missing, not float32'):
        network.check(network.inputs, {**network.outputs, 'z': network.outputs['y']})


@pytest.mark.slow
def test_bfloat16_is_refused_by_cards_that_have_none(bench, exported, door, tmp_path):
    units, _ = exported
    narrow = Units(units.checkpoint, replace(bench.SETTING, precision='bfloat16'))
    network = Network(door, export(narrow.load('step_1'), tmp_path))
    with pytest.raises(EngineError, match=r'Cannot compile for target.*--precision fp32'):
        network.build('sm_75')
    assert bytes(network.build('sm_80'))[:4] == b'vtrt'
    assert network.types['BF16'] > network.types['FLOAT']


def test_what_to_build_for_is_the_named_card_or_the_one_that_is_here(door):
    assert check_architecture(door, 'sm_120', None) == 'sm_120'
    assert check_architecture(door, None, 'sm_89') == 'sm_89'
    with pytest.raises(EngineError, match=r'builds nothing for sm_90.*--library tensorrt'):
        check_architecture(door, None, 'sm_90')
    with pytest.raises(EngineError, match=r'no NVIDIA GPU is here.*sm_75, sm_80'):
        check_architecture(door, None, None)
    whole = Door(
        'tensorrt', type('Api', (), {'__version__': '10.13', 'ILogger': door.api.ILogger})
    )
    assert check_architecture(whole, 'sm_90', 'sm_90') == 'sm_90'
    with pytest.raises(EngineError, match=r'only for the card that is here \(sm_90\)'):
        check_architecture(whole, 'sm_100', 'sm_90')


def test_the_command_builds_lists_and_checks(units, built, tmp_path, capsys):
    shelf = shutil.copytree(built, tmp_path / 'engines')
    checkpoint = units.checkpoint
    words = ['engine', 'build', '--checkpoint', str(checkpoint.folder), '--camera', '80x48']
    words += ['--actions', '8', '--text', '24', '--group', '2', '--precision', 'fp32']
    words += ['--library', 'tensorrt_rtx', '--architecture', 'sm_89', '--shelf', str(shelf)]
    words += ['--revision', checkpoint.revision]
    for path in shelf.glob('step_1*'):
        path.unlink()
    assert main(words) == 0
    said = capsys.readouterr().out
    assert 'step_0: was there, ' in said
    assert 'step_1: built, ' in said
    assert '7 engines for sm_89, built and inspected, not executed' in said
    assert main(['engine', 'list', '--shelf', str(shelf)]) == 0
    assert capsys.readouterr().out.count('not executed') == 7
    assert main(['engine', 'check', '--shelf', str(shelf)]) == 0
    assert '7 engines, 0 of no use here' in capsys.readouterr().out
    assert main([*words, '--revision', 'main']) == 2
    assert '40 hex' in capsys.readouterr().err
    assert main([*words, '--camera', 'large']) == 2
    assert '320x180' in capsys.readouterr().err

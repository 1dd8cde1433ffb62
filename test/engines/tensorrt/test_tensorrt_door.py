# SPDX-License-Identifier: Apache-2.0
"""The door to TensorRT: what is said where nothing is there, and where the library says None."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.tensorrt import door as module
from cosmos_flywheel.engines.tensorrt.door import Door


class Logger:
    ERROR = 1


def made() -> Door:
    return Door('tensorrt_rtx', SimpleNamespace(__version__='1.7', ILogger=Logger))


def refuses(door: Door, line: str):
    def call(*_: object) -> None:
        door.log.log(Logger.ERROR, line)
        door.log.log(Logger.ERROR + 1, 'a warning')

    return call


def test_without_the_library_the_error_says_which_packages_bring_it(monkeypatch):
    for names in module.LIBRARIES.values():
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineError, match='tensorrt-rtx-cu13-libs'):
        Door.open()
    with pytest.raises(EngineError, match=r'cannot be opened \(tensorrt: .*pip install tensorrt`'):
        Door.open('tensorrt')


def test_an_unknown_library_is_answered_with_the_nearest():
    with pytest.raises(EngineError, match="did you mean 'tensorrt_rtx'"):
        Door.open('tensorrt-rtx')


@pytest.mark.parametrize(
    ('line', 'remedy'),
    [
        (
            'cudaError 35: CUDA driver version is insufficient for CUDA runtime version',
            'update it',
        ),
        ('The engine cannot run on this GPU, which has compute capability 9.0.', 'back end'),
        ('Cannot compile for target(s) sm75', '--precision fp32'),
        ('Serialization assertion plan.header.size == blobSize failed.', 'cut off'),
        ('Error Code 2: OutOfMemory (Requested size was 5 bytes.)', '--group'),
        ('something new', 'docs/engines.md'),
    ],
)
def test_none_becomes_an_error_with_the_logs_line_and_a_remedy(line, remedy):
    door = made()
    with pytest.raises(EngineError, match='could not load step_0') as error:
        door.ask('load step_0', refuses(door, line))
    assert line in str(error.value)
    assert str(error.value).endswith(remedy) or remedy in str(error.value).split(line)[1]
    assert 'a warning' not in str(error.value)


def test_false_and_exceptions_are_refusals_too():
    door = made()
    with pytest.raises(EngineError, match='no reason given'):
        door.ask('run step_0', lambda: False)
    with pytest.raises(EngineError, match='factory function returned nullptr'):
        door.ask('start', refused_by_pybind)
    assert door.ask('count layers', lambda: 0) == 0


def refused_by_pybind() -> None:
    raise TypeError('pybind11::init(): factory function returned nullptr')


def test_the_line_that_explains_is_told_rather_than_the_first():
    door = made()

    def call() -> None:
        door.log.log(Logger.ERROR, 'assertion failed')
        door.log.log(Logger.ERROR, 'CUDA driver version is insufficient')

    with pytest.raises(EngineError, match='insufficient'):
        door.ask('load', call)

# SPDX-License-Identifier: Apache-2.0
"""Engines on a card: the same chain through TensorRT's calls, and every call that may be refused.

The card is made of onnxruntime.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

torch = pytest.importorskip('torch', reason='engine cosmos needs torch')

from fake_tensorrt import VERSION, FakeApi, FakeCard  # noqa: E402

from cosmos_flywheel.core.errors import EngineError  # noqa: E402
from cosmos_flywheel.engines.cosmos.sampler import make_schedule  # noqa: E402
from cosmos_flywheel.engines.tensorrt import engine_executor as module  # noqa: E402
from cosmos_flywheel.engines.tensorrt.build import find, key_of  # noqa: E402
from cosmos_flywheel.engines.tensorrt.door import Door  # noqa: E402
from cosmos_flywheel.engines.tensorrt.engine_executor import EngineExecutor  # noqa: E402
from cosmos_flywheel.engines.tensorrt.onnx_executor import OnnxExecutor  # noqa: E402
from cosmos_flywheel.engines.tensorrt.runtime import Runtime  # noqa: E402
from cosmos_flywheel.engines.tensorrt.shelf import Shelf  # noqa: E402


@pytest.fixture
def shelf(exported, tmp_path) -> Shelf:
    """An engine of every unit, whose bytes are its name."""
    units, folder = exported
    shelf, door = Shelf(tmp_path), Door('tensorrt_rtx', FakeApi(folder))
    for name in units.names:
        shelf.put(key_of(units, name, door, 'sm_89'), name.encode(), {'X': 1}, {'FLOAT': 1})
    return shelf


def opened(exported, shelf: Shelf, **refused: str) -> EngineExecutor:
    units, folder = exported
    door = Door('tensorrt_rtx', FakeApi(folder, refused))
    return EngineExecutor(door, FakeCard(), find(units, door, 'sm_89', shelf))


def test_engines_give_the_bits_of_the_graphs_that_they_were_built_from(bench, exported, shelf):
    units, folder = exported
    high, wide = bench.SETTING.canvas
    levels = torch.arange(high * wide * 3).remainder(256)
    picture = levels.to(torch.uint8).view(high, wide, 3)

    def shown(executor):
        runtime = Runtime(units, executor, bench.TASK, bench.IDS[:1], make_schedule(3, 10.0))
        chunks = [
            torch.cat([p.clone() for p in runtime.predict(picture, torch.ones(8, 10), seed)])
            for seed in (1, 2)
        ]
        runtime.close()
        return torch.cat(chunks)

    engines = opened(exported, shelf)
    assert torch.equal(shown(engines), shown(OnnxExecutor(folder)))
    assert engines._card.closed


def test_prefill_is_dropped_before_the_tower_is_loaded(bench, exported, shelf):
    units, _ = exported
    engines = opened(exported, shelf)
    Runtime(units, engines, bench.TASK, bench.IDS[:1], make_schedule(1, 10.0))
    assert not [name for name in engines._loaded if name.startswith('prefill')]
    assert 'step_0' in engines._loaded


@pytest.mark.parametrize(
    ('call', 'line', 'remedy'),
    [
        ('deserialize_cuda_engine', 'which has compute capability 9.0', 'of another card'),
        ('create_execution_context', 'OutOfMemory: requested 5 GB', '--group'),
        ('set_tensor_address', 'invalid address', 'docs/engines.md'),
        ('execute_async_v3', 'Cuda Runtime (out of memory)', '--group'),
    ],
)
def test_a_call_that_is_refused_is_an_error_with_a_remedy(exported, shelf, call, line, remedy):
    units, _ = exported
    executor = opened(exported, shelf, **{call: line})
    picture = torch.zeros(units.shadow('encode').inputs['picture'].shape)
    with pytest.raises(EngineError, match=f'encode.*{re.escape(line)}.*{remedy}'):
        executor.run('encode', {'picture': picture})


def test_memory_that_torch_has_not_is_told(exported, shelf, monkeypatch):
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(module, 'made', full)
    with pytest.raises(EngineError, match=r'no memory left for what encode gives.*--group'):
        opened(exported, shelf).load('encode')


def test_an_engine_of_another_machine_version_or_checkpoint_is_refused(exported, shelf):
    units, folder = exported
    (entry, *_) = entries = shelf.entries()
    card, door = FakeCard(), Door('tensorrt_rtx', FakeApi(folder))
    card.architecture = 'sm_120'
    with pytest.raises(EngineError, match=r'built for sm_89, this is sm_120.*engine build'):
        EngineExecutor(door, card, entries)
    old = replace(entry, key=replace(entry.key, version='1.6'))
    with pytest.raises(EngineError, match=rf'built by tensorrt_rtx 1\.6, here is.*{VERSION}'):
        EngineExecutor(door, FakeCard(), [old])
    with pytest.raises(EngineError, match=r'no whole engine of .*step_0.* for sm_120'):
        find(units, door, 'sm_120', shelf)


def test_a_cut_off_engine_is_refused_before_the_library_sees_it(exported, shelf):
    executor, entries = opened(exported, shelf), shelf.entries()
    entries[0].path.write_bytes(b'de')
    with pytest.raises(EngineError, match=r'cut off \(2 of'):
        EngineExecutor(executor._door, FakeCard(), entries)


def test_an_engine_that_is_not_what_its_document_says_is_refused(exported, shelf):
    executor = opened(exported, shelf)
    executor._entries['step_0'] = replace(
        executor._entries['step_1'], key=executor._entries['step_0'].key
    )
    with pytest.raises(EngineError, match='differs from its document in key'):
        executor.load('step_0')
    with pytest.raises(EngineError, match='no engine of step_9'):
        executor.load('step_9')


def test_inputs_that_lie_scattered_are_refused(exported, shelf):
    executor = opened(exported, shelf)
    scattered = torch.zeros(1, 3, 1, 320, 192).transpose(3, 4)
    with pytest.raises(EngineError, match='not contiguous'):
        executor.run('encode', {'picture': scattered})

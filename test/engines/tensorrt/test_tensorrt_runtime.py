# SPDX-License-Identifier: Apache-2.0
"""Units of a checkpoint: exported, and chained by the runtime on onnxruntime."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

torch = pytest.importorskip('torch', reason='engine cosmos needs torch')

from cosmos_flywheel.core.errors import EngineError  # noqa: E402
from cosmos_flywheel.engines.cosmos.sampler import make_schedule  # noqa: E402
from cosmos_flywheel.engines.tensorrt.export import export  # noqa: E402
from cosmos_flywheel.engines.tensorrt.onnx_executor import OnnxExecutor  # noqa: E402
from cosmos_flywheel.engines.tensorrt.runtime import Runtime  # noqa: E402
from cosmos_flywheel.engines.tensorrt.setting import Setting  # noqa: E402
from cosmos_flywheel.engines.tensorrt.units import Units, form_of  # noqa: E402


@pytest.fixture
def runtime(bench, exported):
    units, folder = exported
    runtime = Runtime(
        units, OnnxExecutor(folder), bench.TASK, bench.IDS[:1], make_schedule(2, 10.0)
    )
    yield runtime
    runtime.close()


@pytest.mark.slow
def test_chained_units_give_the_frames_of_the_eager_loop(bench, exported):
    units, folder = exported
    with torch.no_grad():
        for _, task in bench.CASES:
            found = bench.compare(units, folder, task)
            assert found.pop('levels') <= 1, task
            assert max(found.values()) < bench.MOST_ERROR, task


def test_a_walk_without_values_tells_the_forms_that_were_exported(exported):
    import onnx

    units, folder = exported
    for name in units.names:
        graph = onnx.load(folder / f'{name}.onnx', load_external_data=False).graph
        unit = units.shadow(name)
        for told, written in ((unit.inputs, graph.input), (unit.forms(), graph.output)):
            shapes = {t.name: [d.dim_value for d in t.type.tensor_type.shape.dim] for t in written}
            assert shapes == {n: list(form.shape) for n, form in told.items()}, name


def test_the_same_seed_gives_the_same_pictures_and_actions_matter(bench, runtime):
    picture = torch.full((*bench.SETTING.canvas, 3), 90, dtype=torch.uint8)

    def shown(actions):
        parts = [p.clone() for p in runtime.predict(picture, actions, 5)]
        assert [len(p) for p in parts] == [1, 4, 4]
        return torch.cat(parts)

    first, again = shown(torch.ones(8, 10)), shown(torch.ones(8, 10))
    assert torch.equal(first, again)
    assert not torch.equal(first, shown(-torch.ones(8, 10)))


def test_what_was_not_exported_is_refused_with_a_remedy(bench, exported):
    units, folder = exported
    executor, schedule = OnnxExecutor(folder), make_schedule(2, 10.0)
    with pytest.raises(EngineError, match=r'12 actions is not what was exported.*engine build'):
        Runtime(units, executor, replace(bench.TASK, actions=12), bench.IDS[:1], schedule)
    backwards = replace(bench.TASK, mode='inverse_dynamics')
    with pytest.raises(EngineError, match=r'inverse_dynamics.*eager back end'):
        Runtime(units, executor, backwards, bench.IDS[:1], schedule)
    with pytest.raises(EngineError, match=r'prompt of 25 ids does not fit 24.*--text'):
        Runtime(units, executor, bench.TASK, [torch.arange(25)], schedule)
    with pytest.raises(EngineError, match='0 to 511'):
        Runtime(units, executor, bench.TASK, [torch.tensor([512])], schedule)


def test_a_picture_of_another_size_is_refused(runtime):
    with pytest.raises(EngineError, match='lay it there with `Canvas`'):
        next(runtime.predict(torch.zeros(30, 32, 3, dtype=torch.uint8), torch.zeros(8, 10), 0))


def test_an_input_of_another_form_is_named(exported):
    units, folder = exported
    executor = OnnxExecutor(folder)
    with pytest.raises(EngineError, match=r'encode: input picture is missing'):
        executor.run('encode', {})
    with pytest.raises(EngineError, match=r'float32\[1, 3, 1, 64, 64\], the unit wants'):
        executor.run('encode', {'picture': torch.zeros(1, 3, 1, 64, 64)})
    assert units.shadow('encode').inputs['picture'] == form_of(torch.zeros(1, 3, 1, 192, 320))


def test_a_missing_or_broken_graph_and_one_of_bfloat16_are_refused(bench, exported, tmp_path):
    units, _ = exported
    executor = OnnxExecutor(tmp_path)
    with pytest.raises(EngineError, match=r'step_0\.onnx: is missing'):
        executor.load('step_0')
    (tmp_path / 'step_0.onnx').write_bytes(b'no graph')
    with pytest.raises(EngineError, match=r'step_0\.onnx: onnxruntime cannot take it'):
        executor.load('step_0')
    narrow = Units(units.checkpoint, replace(bench.SETTING, precision='bfloat16'))
    export(narrow.load('prefill_1'), tmp_path)
    with pytest.raises(EngineError, match=r'NOT_IMPLEMENTED.*in float32'):
        executor.load('prefill_1')


def test_settings_that_cannot_be_are_refused():
    good = Setting((64, 96), (3, 5), actions=8, text=24, group=2)
    with pytest.raises(EngineError, match='multiple of 4'):
        replace(good, actions=7)
    with pytest.raises(EngineError, match='no engines of float8'):
        replace(good, precision='float8')
    with pytest.raises(EngineError, match='above 0'):
        replace(good, group=0)


def test_without_the_exporter_the_error_says_what_brings_it(exported, monkeypatch, tmp_path):
    units, _ = exported
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    with pytest.raises(EngineError, match='onnxscript; `make learn`'):
        export(units.shadow('encode'), tmp_path)

# SPDX-License-Identifier: Apache-2.0
"""Cosmos asked through engines: the same latents, and what a model folder must ask for."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='engine cosmos needs torch')

from fake_tensorrt import FakeApi, FakeCard  # noqa: E402

from cosmos_flywheel.cli.engine_build import asked_units  # noqa: E402
from cosmos_flywheel.core.errors import EngineError  # noqa: E402
from cosmos_flywheel.engines.cosmos.checkpoint import Checkpoint  # noqa: E402
from cosmos_flywheel.engines.cosmos.generation import Generation  # noqa: E402
from cosmos_flywheel.engines.cosmos.model import CosmosModel  # noqa: E402
from cosmos_flywheel.engines.cosmos.prefill import prefill  # noqa: E402
from cosmos_flywheel.engines.cosmos.runtime import Runtime, Weights  # noqa: E402
from cosmos_flywheel.engines.cosmos.settings import CosmosSettings  # noqa: E402
from cosmos_flywheel.engines.cosmos.sums import cache_folder  # noqa: E402
from cosmos_flywheel.engines.cosmos.vae import Vae  # noqa: E402
from cosmos_flywheel.engines.tensorrt.back_end import engine_tower, setting_of  # noqa: E402
from cosmos_flywheel.engines.tensorrt.build import key_of  # noqa: E402
from cosmos_flywheel.engines.tensorrt.door import Door  # noqa: E402
from cosmos_flywheel.engines.tensorrt.shelf import Shelf  # noqa: E402
from cosmos_flywheel.store.robots import load_robot  # noqa: E402

PUSH = load_robot('mujoco_push')
ROBOT = replace(PUSH, cosmos=replace(PUSH.cosmos, domain='pusht'))
ASKED = {'tier': 256, 'steps': 3, 'precision': 'fp32', 'chunk': 8, 'stride': 4, 'bucket': 24}


@pytest.fixture
def model(exported, tmp_path, monkeypatch) -> CosmosModel:
    """The very sizes that were exported."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    units, _ = exported
    checkpoint = units.checkpoint
    settings = CosmosSettings(**ASKED, back_end='tensorrt')
    return CosmosModel.of(ROBOT, (48, 80), settings, checkpoint.folder, checkpoint.revision)


@pytest.fixture
def door(exported, model) -> Door:
    """With an engine of every unit on the shelf, whose bytes are its name."""
    units, folder = exported
    door, shelf = Door('tensorrt_rtx', FakeApi(folder)), Shelf(cache_folder() / 'engines')
    for name in units.names:
        shelf.put(key_of(units, name, door, 'sm_89'), name.encode(), {'X': 1}, {'FLOAT': 1})
    return door


def foretold(model: CosmosModel, generation: Generation) -> np.ndarray:
    checkpoint = Checkpoint(model.checkpoint, model.commit)
    weights = checkpoint.transformer(dtype=torch.float32)
    text = prefill(weights, checkpoint.dims, torch.arange(17)).padded(24)
    vae = Vae.load(checkpoint.vae(dtype=torch.float32), checkpoint.vae_dims)
    runtime = Runtime(model, Weights(generation, vae, (text,)), uses_graphs=False)
    picture = np.full((*model.view.canvas.size, 3), 90, np.uint8)
    return runtime.foretell(picture, np.ones((8, 2), np.float32), 3).numpy()


@pytest.mark.parametrize('duty', [1.0, 0.5])
def test_engines_foretell_what_torch_foretells(exported, model, door, duty):
    units, _ = exported
    assert setting_of(model, units.setting.group) == units.setting
    tower = engine_tower(model, door, FakeCard())
    assert sorted(tower.executor._loaded) == ['step_0', 'step_1']
    plain = Generation.load(
        units.checkpoint.transformer(dtype=torch.float32), units.checkpoint.dims
    )
    ours = foretold(model.with_settings(duty=duty), tower)
    theirs = foretold(model.with_settings(back_end='eager'), plain)
    assert np.linalg.norm(ours - theirs) < 1e-4 * np.linalg.norm(theirs)


def test_a_model_that_engines_cannot_serve_is_told_why(model, door):
    with pytest.raises(EngineError, match='bucket=192'):
        engine_tower(model.with_settings(bucket=0), door, FakeCard())
    with pytest.raises(EngineError, match=r'no engines of precision fp8.*back_end=cuda'):
        engine_tower(model.with_settings(precision='fp8'), door, FakeCard())
    with pytest.raises(EngineError, match=r'no whole engine of step_0.*engine build'):
        engine_tower(model.with_settings(chunk=12), door, FakeCard())


def test_without_a_card_the_back_end_says_so(model, need):
    if importlib.util.find_spec('tensorrt_rtx_bindings') is None:
        need('cosmos', 'TensorRT for RTX is not installed: `make learn`')
    if torch.cuda.is_available():
        pytest.skip('there is a card')
    with pytest.raises(EngineError, match='sees no NVIDIA GPU'):
        engine_tower(model)
    assert not list(Path(cache_folder()).glob('engines/*'))


def test_a_model_folder_says_what_is_to_be_built(exported, model, tmp_path):
    units, _ = exported
    for name, data in model.written().items():
        (tmp_path / name).write_bytes(data)
    model.link(tmp_path)
    asked = SimpleNamespace(model=tmp_path, group=units.setting.group)
    assert asked_units(asked).setting == units.setting
    assert asked_units(asked).checkpoint.revision == units.checkpoint.revision

# SPDX-License-Identifier: Apache-2.0
"""Fitting engine local on the demo's nominal bags: short, but whole."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cosmos_flywheel import schemas
from cosmos_flywheel.bags.clip import write_clip
from cosmos_flywheel.bags.source import find_bags, open_bag
from cosmos_flywheel.capture import fit as fitting
from cosmos_flywheel.capture import learn as learning
from cosmos_flywheel.capture.fit import fit_judge
from cosmos_flywheel.capture.model import Judge, load_judge
from cosmos_flywheel.cli.fit import unlearnable_lines
from cosmos_flywheel.cli.main import main
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.identifiability import identifiability
from cosmos_flywheel.engines import Local, LocalModel
from cosmos_flywheel.store.robots import load_robot

STEPS = 10


@pytest.fixture
def torch_is_there(need) -> None:
    if importlib.util.find_spec('torch') is None or importlib.util.find_spec('onnx') is None:
        need('cosmos', 'torch or onnx is not installed: `make learn`')


@pytest.fixture
def nominal(root) -> list[Path]:
    return find_bags([root / 'demo' / 'bags' / 'mujoco_push_faults' / 'nominal'])


@pytest.fixture
def few_steps(monkeypatch, torch_is_there) -> None:
    from cosmos_flywheel.engines.local import training

    monkeypatch.setattr(training, 'LEAST_STEPS', STEPS)
    monkeypatch.setattr(training, 'MOST_STEPS', STEPS)


@pytest.mark.slow
def test_a_fit_gives_a_model_that_judges_without_torch(
    tmp_path, nominal, few_steps, capsys, monkeypatch
):
    learnt = []
    monkeypatch.setattr(
        fitting, 'learn', lambda *given: learnt.append(learning.learn(*given)) or learnt[-1]
    )
    words = ['fit', *map(str, nominal[:3]), '--robot', 'mujoco_push', '-o', str(tmp_path / 'm')]
    assert main(words) == 0
    assert 'not guaranteed' in capsys.readouterr().out
    assert learnt[0].seen == {0, 1}, 'the third is held out'
    judge = load_judge(tmp_path / 'm')
    assert judge.level == 'local'
    assert judge.local is not None
    assert judge.local.fitted['steps'] == STEPS
    assert judge.engine_sha256 == judge.calibration.engine['sha256']
    assert {'picture', 'state', 'action_surprise'} <= set(judge.calibration.channels)
    document = json.loads((tmp_path / 'm' / 'local.json').read_text())
    assert document['camera_size'] == [192, 320]
    assert document['fitted']['identifiability']['tied'] == [], 'the gantry moves freely'


@pytest.mark.slow
def test_exported_networks_say_what_torch_says(root, torch_is_there):
    import torch

    from cosmos_flywheel.engines.local import training

    model = LocalModel.load(root / 'demo' / 'model')
    encoder, decoder = training.Encoder(), training.Decoder(model.motion.width, 2)
    torch.manual_seed(1)
    encoder.eval()
    decoder.eval()
    data = training._export(encoder, decoder, model.motion.width)

    session = Local(replace(model, encoder=data[0], decoder=data[1]))
    inputs = {n: torch.rand(1, 3, 96, 160) for n in ('seen', 'before', 'mean')}
    inputs['flow'] = torch.randn(1, 2, 96, 160)
    condition = torch.randn(1, model.motion.width)
    with torch.no_grad():
        features = encoder(*inputs.values())
        fields = decoder(features, condition).numpy()
    named = {n: v.numpy() for n, v in inputs.items()}
    own = session._encoder.run(None, named)
    for mine, theirs in zip(own, features, strict=True):
        assert np.abs(mine - theirs.numpy()).max() < 1e-3
    names = session._decoder_inputs
    said = session._decoder.run(None, dict(zip(names, [*own, condition.numpy()], strict=True)))
    assert np.abs(said[0] - fields).max() < 1e-3


def test_one_bag_is_learnt_from_in_part(nominal):
    parts = learning._split(1)
    assert parts == [pytest.approx(2 / 3)]
    assert learning._split(6) == [1, 1, 0, 1, 1, 0]


def test_of_long_sets_only_stretches_are_held(nominal, monkeypatch):
    robot = load_robot('mujoco_push')
    every = learning.read_clips(nominal[:4], robot)[1]
    monkeypatch.setattr(learning, 'MOST_TICKS', 100)
    monkeypatch.setattr(learning, 'STRETCH_TICKS', 20)
    some = learning.read_clips(nominal[:4], robot)[1]
    held = sum(len(clip.large) for bag in some for clip in bag)
    assert 100 <= held <= 200 < sum(len(clip.large) for bag in every for clip in bag)
    assert all(some)
    assert {len(clip.large) for bag in some for clip in bag} <= set(range(21))


def test_too_little_to_learn_from_is_told(nominal, monkeypatch):
    monkeypatch.setattr(learning, 'require_learning', lambda: None)
    with pytest.raises(ConfigError, match=r'ticks with pictures.*more nominal bags'):
        learning.learn(nominal[:1], load_robot('mujoco_push'))


def test_bags_of_two_robots_are_refused_before_anything_is_learnt(tmp_path, nominal):
    other = tmp_path / 'other.mcap'
    with open_bag(nominal[1]) as source:
        write_clip(other, source, start_ns=0, end_ns=2**62, topics={'/joint_states'})
    with pytest.raises(ConfigError, match=r'other\.mcap.*fit on bags with the same topics'):
        fit_judge([nominal[0], other], load_robot('mujoco_push'), 'local')


def test_without_torch_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda _: None)
    with pytest.raises(ConfigError, match=r'torch and onnx.*--engine flow'):
        learning.require_learning()


def test_what_the_bags_cannot_show_is_told_with_its_remedy(root):
    model = LocalModel.load(root / 'demo' / 'model')
    assert list(unlearnable_lines(model)) == []
    chance = np.random.default_rng(2)
    one, other = np.cumsum(chance.normal(0, 1, (2, 200)), axis=1)
    found = identifiability([np.column_stack([one, other, one + other])], ('a', 'b', 'c'), 15.0)
    tied = replace(model, fitted={**model.fitted, 'identifiability': found.to_mapping()})
    assert tied.sha256 == model.sha256
    schemas.check(json.loads(tied.files()['local.json']), 'local-v1', where='local.json')
    (line,) = unlearnable_lines(tied)
    assert line.startswith('not learnable: a, b and c only moved together')
    assert line.endswith('add nominal bags in which each of them moves on its own')


def test_a_model_of_another_camera_is_refused(root):
    judge = load_judge(root / 'demo' / 'model')
    assert isinstance(judge, Judge)
    with pytest.raises(ConfigError, match='camera of 320x192 px, this recording has 640x480'):
        judge.make_engine((480, 640))


def test_a_model_of_another_robot_is_refused(root):
    judge = load_judge(root / 'demo' / 'model')
    with pytest.raises(ConfigError, match="is of robot 'mujoco_push'"):
        judge.check_robot(load_robot('g1'))


def test_a_prior_that_was_replaced_is_refused(root, tmp_path):
    import shutil

    shutil.copytree(root / 'demo' / 'model', tmp_path / 'model')
    (tmp_path / 'model' / 'prior.safetensors').write_bytes(b'cos\nsystem\n')
    with pytest.raises(ConfigError, match=r'prior\.safetensors: is not the file'):
        load_judge(tmp_path / 'model')


def test_the_shipped_model_is_whole(root):
    model = LocalModel.load(root / 'demo' / 'model')
    assert model.robot == 'mujoco_push'
    assert model.fitted['ticks'] > 500


def test_shipped_models_say_what_their_bags_could_not_teach(root):
    models = [LocalModel.load(root / 'demo' / name) for name in ('model', 'sim_arm')]
    gantry, arm = (model.identifiability for model in models)
    assert gantry.tied == ()
    assert arm.tied == (('shoulder', 'elbow', 'wrist'),), 'the script holds the hand upright'

# SPDX-License-Identifier: Apache-2.0
"""Cosmos as one world model among others: from observations and commands to residuals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='engine cosmos needs torch')
pytest.importorskip('tokenizers', reason='captions need transformers')

from tiny_cosmos import write_checkpoint  # noqa: E402

from cosmos_flywheel.core.errors import ConfigError, EngineError  # noqa: E402
from cosmos_flywheel.core.types import ActionChunk, Observation  # noqa: E402
from cosmos_flywheel.engines.cosmos import opened as runtimes  # noqa: E402
from cosmos_flywheel.engines.cosmos.actions import ActionMap  # noqa: E402
from cosmos_flywheel.engines.cosmos.model import LINK, CosmosModel  # noqa: E402
from cosmos_flywheel.engines.cosmos.session import Cosmos  # noqa: E402
from cosmos_flywheel.engines.cosmos.settings import CosmosSettings  # noqa: E402
from cosmos_flywheel.store.robots import load_robot  # noqa: E402

PUSH = load_robot('mujoco_push')
ROBOT = replace(PUSH, cosmos=replace(PUSH.cosmos, domain='pusht'))
SMALL = {'tier': 256, 'steps': 2, 'precision': 'fp32', 'chunk': 8, 'stride': 4}
PERIOD_NS = round(10**9 / 15)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp('hub'))


@pytest.fixture(autouse=True)
def shelf(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.getbasetemp() / 'cosmos_shelf'
    monkeypatch.setenv('XDG_CACHE_HOME', str(folder))
    return folder


@pytest.fixture
def model(checkpoint) -> CosmosModel:
    return CosmosModel.of(ROBOT, (48, 64), CosmosSettings(**SMALL), checkpoint)


def seen(number: int) -> Observation:
    draw = np.random.default_rng(number)
    picture = draw.integers(0, 256, (48, 64, 3), np.uint8)
    state = np.array([0.01 * number, 0.2], np.float32)
    return Observation((4 + number) * PERIOD_NS, {'primary': picture}, state, state)


def chunk(begin: int, count: int) -> ActionChunk:
    stamps = [seen(i).stamp_ns for i in range(begin + 1, begin + count + 1)]
    values = np.stack([seen(i).state for i in range(begin, begin + count)])
    return ActionChunk(np.array(stamps, np.int64), values)


def told(session: Cosmos, count: int = 12) -> Cosmos:
    session.open('mujoco_push', '')
    for number in range(count):
        session.observe(seen(number))
    return session


def test_a_session_says_what_it_is_without_loading_anything(model):
    spec = Cosmos(model).spec
    assert (spec.level, spec.size, spec.compared) == ('cosmos-256', (48, 64), (24, 32))
    assert (spec.chunk, spec.horizons, spec.stride) == (8, (8,), 4)
    assert not spec.predicts_state
    assert spec.sha256 != Cosmos(model.with_settings(steps=3)).spec.sha256
    assert spec.sha256 == Cosmos(model.with_settings(duty=0.5, back_end='eager')).spec.sha256


def test_a_chunk_is_predicted_and_compared(model):
    session = told(Cosmos(model))
    prediction = session.predict(seen(2), chunk(2, 8), [7])
    assert prediction.frames.shape == (1, 24, 32, 3)
    assert prediction.state is None
    residual = session.residual(prediction, 0, seen(10).pictures['primary'])
    assert residual.shape == (24, 32)
    assert residual.mean() > 1
    shown = session.show(seen(2), chunk(2, 8), [0, 7])
    assert shown.shape == (2, 48, 64, 3)


def test_equal_input_gives_equal_pictures_and_other_actions_others(model):
    first = told(Cosmos(model)).predict(seen(2), chunk(2, 8), [7])
    again = told(Cosmos(model)).predict(seen(2), chunk(2, 8), [7])
    assert np.array_equal(first.frames, again.frames)
    wrong = chunk(2, 8)
    wrong.values[:] = -5
    other = told(Cosmos(model)).predict(seen(2), wrong, [7])
    assert not np.array_equal(first.frames, other.frames)
    reseeded = told(Cosmos(model.with_settings(seed=1))).predict(seen(2), chunk(2, 8), [7])
    assert not np.array_equal(first.frames, reseeded.frames)


def test_what_is_not_known_is_not_predicted(model):
    session, asked = told(Cosmos(model)), chunk(2, 8)
    asked.values[3, 0] = np.nan
    assert session.predict(seen(2), asked, [7]).frames is None
    blind = replace(seen(2), pictures={})
    assert session.predict(blind, chunk(2, 8), [7]).frames is None
    with pytest.raises(EngineError, match='not known'):
        session.show(blind, chunk(2, 8), [7])


def test_several_seeds_give_their_mean_and_forgive_by_their_spread(model):
    session = told(Cosmos(model.with_settings(seeds=3)))
    prediction = session.predict(seen(2), chunk(2, 8), [7])
    assert prediction.unsure.shape == (1, 24, 32)
    assert prediction.unsure.mean() > 0
    assert session.residual(prediction, 0, seen(10).pictures['primary']).shape == (24, 32)


def test_latent_mode_compares_what_is_encoded_as_it_comes(model):
    begin = 4  # the first tick of a stride
    session = told(Cosmos(model.with_settings(residual='latents', show_hz=0.0)), begin + 9)
    frames = [seen(number).pictures['primary'] for number in range(begin, begin + 9)]
    prediction = session.predict(seen(begin), chunk(begin, 8), [7])
    assert prediction.frames is None
    assert prediction.latents.shape == (48, 3, 3, 4)
    residual = session.residual(prediction, 0, frames[-1])
    assert residual.shape == (24, 32)
    laid = np.stack([model.view.laid(frame) for frame in frames])
    with torch.no_grad():
        whole = session.runtime.vae.encode(session.runtime._tensor(laid))[..., :3, :4]
    wanted = 64 * np.sqrt(np.mean((prediction.latents[:, 2] - whole[0, :, 2].numpy()) ** 2, 0))
    assert residual[::8, ::8] == pytest.approx(wanted, rel=1e-3)


def test_a_long_rollout_goes_on_from_its_last_picture(model):
    session = told(Cosmos(model))
    rows = np.zeros((11, 2), np.float32)
    frames = session.rollout(seen(2), rows)
    assert frames.shape == (12, 48, 64, 3)
    assert np.array_equal(frames[:9], session.rollout(seen(2), rows[:8]))


def test_a_model_folder_is_read_back_and_says_when_the_checkpoint_is_gone(model, tmp_path):
    for name, data in model.written().items():
        (tmp_path / name).write_bytes(data)
    model.link(tmp_path)
    again = CosmosModel.load(tmp_path)
    assert again.sha256 == model.sha256
    assert told(Cosmos(again)).predict(seen(2), chunk(2, 8), [7]).frames is not None
    (tmp_path / LINK).unlink()
    runtimes.close_all()
    with pytest.raises(EngineError, match='ln -sfn'):
        Cosmos(CosmosModel.load(tmp_path)).prepare()


def test_another_checkpoint_than_was_fitted_is_refused(model, checkpoint):
    runtimes.close_all()
    files = {**model.files, 'vae/config.json': 'f' * 64}
    with pytest.raises(EngineError, match=r'config.json.*fitted with ffff'):
        Cosmos(replace(model, files=files)).prepare()
    gone = {**model.files, 'vae/gone.safetensors': 'f' * 64}
    with pytest.raises(EngineError, match=r'gone.safetensors: is missing'):
        Cosmos(replace(model, files=gone)).prepare()


@pytest.mark.parametrize(
    ('changed', 'words'),
    [
        ({'tier': 300}, 'tier is 300; take one of 256, 480'),
        ({'tier': 704}, 'tier 704 is known to the model .* registered are 256 and 480'),
        ({'tier': 720}, 'tier 720 is known to the model .* registered are 256 and 480'),
        ({'steps': 0}, 'steps is 0; give 1 to 200'),
        ({'chunk': 10}, 'multiple of 4'),
        ({'precision': 'int4'}, 'fp32, bf16, fp8'),
        ({'duty': 0.0}, 'duty is 0'),
    ],
)
def test_settings_out_of_their_range_are_refused(changed, words):
    with pytest.raises(EngineError, match=words):
        CosmosSettings(**changed)


def test_settings_are_read_from_words():
    settings = CosmosSettings.parse(['steps=10', 'precision=fp8', 'duty=0.5'], tier=256)
    assert (settings.steps, settings.precision, settings.duty, settings.tier) == (
        10, 'fp8', 0.5, 256,
    )  # fmt: skip
    with pytest.raises(EngineError, match=r"'step=3' sets nothing.*steps"):
        CosmosSettings.parse(['step=3'])
    with pytest.raises(EngineError, match="'few'; give a whole number"):
        CosmosSettings.parse(['steps=few'])


def test_wrong_robots_and_chunks_are_refused(model, checkpoint):
    settings = CosmosSettings(**SMALL)
    with pytest.raises(ConfigError, match='domain is none'):
        CosmosModel.of(PUSH, (48, 64), settings, checkpoint)
    wide = replace(PUSH, cosmos=replace(PUSH.cosmos, domain='av'))
    with pytest.raises(ConfigError, match=r'2 numbers, domain av 9'):
        CosmosModel.of(wide, (48, 64), settings, checkpoint)
    with pytest.raises(EngineError, match='1 to 8 ticks ahead, not 9'):
        told(Cosmos(model)).predict(seen(2), chunk(2, 9))
    narrow = ActionChunk(chunk(2, 8).stamps_ns, np.zeros((8, 3), np.float32))
    with pytest.raises(EngineError, match=r'\(8, 3\) do not fit'):
        told(Cosmos(model)).predict(seen(2), narrow)
    with pytest.raises(EngineError, match='40 hex'):
        CosmosModel.of(ROBOT, (48, 64), settings, checkpoint.parent)
    with pytest.raises(EngineError, match='holds no checkpoint'):
        CosmosModel.of(ROBOT, (48, 64), settings, checkpoint.parent, 'a' * 40)


def test_a_gpu_that_is_not_there_and_memory_that_does_not_do_are_explained(model, monkeypatch):
    runtimes.close_all()
    with pytest.raises(EngineError, match='sees no NVIDIA GPU'):
        Cosmos(model.with_settings(back_end='cuda')).prepare()
    session = told(Cosmos(model))
    session.prepare()

    def full(*_):
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(session.runtime.vae.__class__, 'encode_group', full)
    with pytest.raises(EngineError, match=r'not enough memory while predicting.*fp8'):
        session.predict(seen(2), chunk(2, 8), [7])


def test_a_text_longer_than_its_bucket_is_refused(model):
    runtimes.close_all()
    with pytest.raises(EngineError, match=r'the bucket 16; shorten'):
        Cosmos(model.with_settings(bucket=16)).prepare()


def test_float8_and_guidance_are_answered_too(model):
    made = {}
    for name, changed in (('fp8', {'precision': 'fp8'}), ('guided', {'guidance': 3.0})):
        runtimes.close_all()
        session = told(Cosmos(model.with_settings(**changed)))
        made[name] = session.predict(seen(2), chunk(2, 8), [7]).frames
        assert made[name].shape == (1, 24, 32, 3)
    runtimes.close_all()


def test_executed_steps_of_a_flange_come_from_what_was_measured():
    droid = load_robot('droid')
    actions = ActionMap.of(droid)
    assert (actions.domain, actions.id, actions.width) == ('droid_lerobot', 8, 10)
    states = np.zeros((3, 7), np.float32)
    states[:, 6] = 1
    states[:, 0] = [0.0, 0.005, 0.01]
    commands = np.zeros((2, 7), np.float32)
    rows = actions.executed(states, commands)
    assert rows.shape == (2, 10)
    poses = droid.poses(states)
    assert rows == pytest.approx(
        droid.action.normaliser.forward(droid.domain_vector(poses, commands[:, 6])), abs=1e-6
    )
    plan = np.zeros((2, 7), np.float32)
    plan[:, 0] = [0.005, 0.01]
    assert actions.ahead(states[0], plan) == pytest.approx(rows, abs=1e-5)
    assert ActionMap.from_mapping(actions.to_mapping()) == actions


def test_commands_that_were_not_executed_are_read_from_the_commands(checkpoint):
    droid, asked = load_robot('droid'), chunk(2, 8)
    session = Cosmos(CosmosModel.of(droid, (48, 64), CosmosSettings(**SMALL), checkpoint))
    still = np.array([0.3, 0, 0.4, 0, 0, 0, 1], np.float32)
    for number in range(12):
        session.observe(replace(seen(number), state=still, command=still))
    begin = replace(seen(2), state=still, command=still)
    done = replace(asked, values=np.tile(still, (8, 1)))
    wrong = replace(asked, values=done.values + np.float32(0.01))
    rows, others = session._rows(begin, done), session._rows(begin, wrong)
    assert rows[:, :3] == pytest.approx(np.tile([-0.011, 0.076, 0.023], (8, 1)), abs=2e-3)
    assert np.abs(others[0, :3] - rows[0, :3]).max() > 0.5
    plan = replace(done, values=done.values, is_plan=True)
    moving = [
        replace(seen(n), state=still + np.float32(1e-3 * n), command=still) for n in range(12)
    ]
    session.open('droid', '')
    for one in moving:
        session.observe(one)
    measured, told = (session._rows(moving[2], one) for one in (done, plan))
    assert session.spec.reads_measured
    assert np.abs(measured - told).max() > 0.1
    assert told == pytest.approx(session.model.actions.ahead(moving[2].state, done.values))


def test_a_concat_view_lays_the_wrist_on_top_and_compares_the_primary(checkpoint):
    cameras = tuple(
        replace(ROBOT.cameras[0], name=name, primary=name == 'left', view_point=point)
        for name, point in (
            ('left', 'third_person_view'), ('right', 'third_person_view'), ('hand', 'wrist_view'),
        )
    )  # fmt: skip
    robot = replace(
        ROBOT, cameras=cameras, cosmos=replace(ROBOT.cosmos, view_layout='concat_view')
    )
    model = CosmosModel.of(robot, (64, 96), CosmosSettings(**SMALL), checkpoint)
    assert model.view.cameras == ('hand', 'left', 'right')
    assert model.view.size == (64, 96)
    high, wide = model.view.size
    panes = {
        name: np.full((high, wide, 3), level, np.uint8)
        for name, level in (('left', 50), ('right', 90), ('hand', 9))
    }
    laid = model.view.compose({'primary': panes['left'], **panes})
    assert laid.shape[:2] == model.view.canvas.size
    assert [laid[at][0] for at in ((0, 0), (70, 3), (70, 90))] == [9, 50, 90]
    part = model.view.part(laid[None], (32, 48))
    assert (part == 50).mean() > 0.95
    assert model.view.compose({'primary': panes['left'], 'left': panes['left']}) is None
    with pytest.raises(ConfigError, match='three cameras, not 1'):
        CosmosModel.of(
            replace(robot, cameras=cameras[:1]), (64, 96), CosmosSettings(**SMALL), checkpoint
        )

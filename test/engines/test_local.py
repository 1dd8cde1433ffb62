# SPDX-License-Identifier: Apache-2.0
"""Engine local with the model that the demo ships: what it foretells, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cosmos_flywheel.core.errors import EngineError, SchemaError
from cosmos_flywheel.core.types import ActionChunk, Observation
from cosmos_flywheel.engines import Local, LocalModel, make_engine
from cosmos_flywheel.engines.local.fields import LARGE, SMALL
from cosmos_flywheel.engines.local.motion import HORIZONS, Situation, fit_motion, interpolate
from cosmos_flywheel.engines.picture import tolerant_residual

PERIOD_NS = 10**9 // 15


@pytest.fixture(scope='module')
def folder(root) -> Path:
    return root / 'demo' / 'model'


@pytest.fixture(scope='module')
def session(folder) -> Local:
    return Local(LocalModel.load(folder))


def scene(shift_px: float = 0.0) -> np.ndarray:
    """A textured table and a dark bar that has moved by so many pixels."""
    rows, columns = np.mgrid[0 : LARGE[0], 0 : LARGE[1]]
    level = 120 + 30 * (((rows // 16) + (columns // 16)) % 2)
    level[40:150, :][:, (columns[0] > 100 + shift_px) & (columns[0] < 120 + shift_px)] = 20
    return np.repeat(level.astype(np.uint8)[..., None], 3, axis=2)


def observe(session: Local, count: int, speed_px: float = 0.0) -> Observation:
    """Tell so many observations; the last one."""
    session.open('', '')
    for tick in range(count):
        state = np.array([0.01 * tick * (speed_px != 0), 0.0], np.float32)
        observation = Observation(
            tick * PERIOD_NS, {'top': scene(speed_px * tick)}, state, state + np.float32(0.01)
        )
        session.observe(observation)
    return observation


def chunk(observation: Observation, steps: int) -> ActionChunk:
    stamps = observation.stamp_ns + PERIOD_NS * np.arange(1, steps + 1)
    values = np.tile(observation.state, (steps, 1)) + np.float32(0.01)
    return ActionChunk(stamps, values.astype(np.float32))


def test_it_foretells_pictures_states_and_how_unsure_it_is(session):
    observation = observe(session, 4)
    said = session.predict(observation, chunk(observation, 8), [1, 7])
    assert said.frames.shape == (2, *SMALL, 3)
    assert said.unsure.shape == (2, *SMALL)
    assert (said.unsure > 0).all()
    assert said.state.shape == (2, 2)
    assert said.stamps_ns.tolist() == [observation.stamp_ns + k * PERIOD_NS for k in (2, 8)]


def test_where_nothing_moves_the_picture_stays(session):
    observation = observe(session, 6)
    shown = session.show(observation, chunk(observation, 2), [0, 1])
    assert shown.shape == (2, *LARGE, 3)
    assert np.abs(shown[0].astype(int) - scene()).mean() < 3


def test_it_is_nearer_to_what_comes_than_persistence(session):
    observation = observe(session, 6, speed_px=3)
    shown = session.show(observation, chunk(observation, 1), [0])[0].astype(int)
    coming, seen = scene(18).astype(int), scene(15).astype(int)
    assert ((shown - coming) ** 2).mean() < 0.5 * ((seen - coming) ** 2).mean()


def test_what_comes_as_foretold_is_no_surprise_and_what_vanishes_is(session):
    observation = observe(session, 6)
    said = session.predict(observation, chunk(observation, 2), [1])
    gone = scene()
    gone[40:150, 100:121] = gone[40:150, 60:81]
    assert session.residual(said, 0, scene()).max() < 15
    assert session.residual(said, 0, gone).max() > 40


def test_equal_input_gives_equal_answers(session, folder):
    other = Local(LocalModel.load(folder))
    answers = []
    for one in (session, other, session):
        observation = observe(one, 5, speed_px=2)
        answers.append(one.predict(observation, chunk(observation, 8)).frames)
    assert (answers[0] == answers[1]).all()
    assert (answers[0] == answers[2]).all()


def test_a_stream_joined_in_mid_motion_foretells_no_state_before_its_speed_is_known(session):
    session.open('', '')
    for tick, told in enumerate([None, None, (0.0, 0.0), (0.0, 0.0)]):
        state = np.array([0.1 + 0.02 * tick, 0.0], np.float32)
        command = None if told is None else state + np.float32(0.01)
        observation = Observation(tick * PERIOD_NS, {}, state, command)
        session.observe(observation)
        said = session.predict(observation, chunk(observation, 8))
        assert np.isfinite(said.state).all() == (tick == 3), 'speed, and two commands in a row'


def test_a_blind_tick_and_a_first_picture_give_a_state_only(session):
    first = observe(session, 1)
    assert session.predict(first, chunk(first, 2)).frames is None
    blind = Observation(first.stamp_ns + PERIOD_NS, {}, first.state, first.command)
    session.observe(blind)
    said = session.predict(blind, chunk(blind, 2))
    assert said.frames is None
    assert np.isfinite(said.state).all()
    with pytest.raises(EngineError, match='nothing to show'):
        session.show(blind, chunk(blind, 2), [0])


def test_unknown_states_and_commands_are_no_error(session):
    session.open('', '')
    nothing = np.full(2, np.nan, np.float32)
    for tick in range(3):
        observation = Observation(tick * PERIOD_NS, {'top': scene()}, nothing, nothing)
        session.observe(observation)
    stamps = observation.stamp_ns + PERIOD_NS * np.arange(1, 3)
    said = session.predict(observation, ActionChunk(stamps, np.full((2, 2), np.nan, np.float32)))
    assert said.frames is not None
    assert np.isnan(said.state).all()


def test_an_observation_that_was_never_told_is_refused(session):
    observation = observe(session, 3)
    stranger = Observation(-5, {}, observation.state)
    with pytest.raises(EngineError, match='call observe'):
        session.predict(stranger, chunk(observation, 2))


def test_a_chunk_beyond_what_was_fitted_is_refused(session):
    observation = observe(session, 3)
    with pytest.raises(EngineError, match='up to 16 ticks'):
        session.predict(observation, chunk(observation, 17))


def test_a_model_comes_back_from_its_files_as_it_was(folder, tmp_path):
    model = LocalModel.load(folder)
    for name, data in model.files().items():
        (tmp_path / name).write_bytes(data)
    assert LocalModel.load(tmp_path).sha256 == model.sha256


@pytest.mark.parametrize('name', ['encoder.onnx', 'decoder.onnx', 'local.safetensors'])
def test_a_file_that_was_cut_short_is_named(folder, tmp_path, name):
    shutil.copytree(folder, tmp_path / 'model')
    path = tmp_path / 'model' / name
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(EngineError, match=rf'{name}.*flywheel fit'):
        LocalModel.load(tmp_path / 'model')


def test_a_pickle_in_place_of_weights_is_never_opened(folder, tmp_path):
    shutil.copytree(folder, tmp_path / 'model')
    bomb = b'cos\nsystem\n(S"touch PWNED"\ntR.'
    (tmp_path / 'model' / 'local.safetensors').write_bytes(bomb)
    with pytest.raises(EngineError, match='is not the file that was written'):
        LocalModel.load(tmp_path / 'model')


def test_a_pickle_with_its_sum_put_right_is_refused_too(folder, tmp_path):
    from cosmos_flywheel.core.lineage import sha256_hex

    shutil.copytree(folder, tmp_path / 'model')
    bomb = b'cos\nsystem\n(S"touch PWNED"\ntR.'
    (tmp_path / 'model' / 'local.safetensors').write_bytes(bomb)
    path = tmp_path / 'model' / 'local.json'
    document = json.loads(path.read_text())
    document['files']['local.safetensors'] = sha256_hex(bomb)
    path.write_text(json.dumps(document))
    with pytest.raises(EngineError, match='no arrays of a local model'):
        LocalModel.load(tmp_path / 'model')


def test_networks_that_cannot_be_opened_are_told(folder):
    from dataclasses import replace

    with pytest.raises(EngineError, match='encoder cannot be opened'):
        Local(replace(LocalModel.load(folder), encoder=b'no network'))


def test_a_document_that_does_not_hold_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / 'model')
    (tmp_path / 'model' / 'local.json').write_text('{"schema": "local-v1"}')
    with pytest.raises(SchemaError):
        LocalModel.load(tmp_path / 'model')


def test_without_a_fit_there_is_no_engine_local():
    with pytest.raises(EngineError, match='flywheel fit'):
        make_engine('local', LARGE)


def test_horizons_between_those_that_were_fitted_are_mixed():
    assert interpolate(8).tolist() == [0, 0, 0, 1, 0]
    assert interpolate(3).sum() == pytest.approx(1)
    assert np.count_nonzero(interpolate(3)) == 2
    with pytest.raises(ValueError, match='1 to 16'):
        interpolate(17)


def test_the_motion_model_learns_a_servo_that_follows_its_command():
    draw = np.random.default_rng(0)
    command = np.cumsum(draw.normal(size=(400, 1)), 0).astype(np.float32)
    state = np.zeros_like(command)
    for tick in range(1, 400):
        state[tick] = state[tick - 1] + 0.3 * (command[tick - 1] - state[tick - 1])
    examples, groups = [], []
    for steps in HORIZONS:
        ticks = np.arange(1, 400 - steps)
        situation = Situation(
            state[ticks], state[ticks - 1], command[ticks - 1], command[ticks + steps - 1]
        )
        examples.append((situation, state[ticks + steps]))
        groups.append(ticks // 50)
    model = fit_motion(examples, groups, [(0, 0)])
    situation, later = examples[2]
    error = ((model.predict(situation, 4) - later) ** 2).mean()
    assert error < 0.2 * ((situation.state - later) ** 2).mean()
    assert model.condition(situation, 4).shape == (len(later), model.width)


def test_an_edge_that_is_off_by_one_pixel_is_no_surprise_and_a_thing_that_is_gone_is():
    seen = np.full((40, 40, 3), 100, np.uint8)
    seen[10:20, 10:20] = 200
    moved = np.roll(seen, 1, axis=1)
    assert tolerant_residual(seen, moved).max() == 0
    assert tolerant_residual(seen, np.full_like(seen, 100)).max() == pytest.approx(100)


def test_where_the_prediction_is_unsure_less_is_made_of_it():
    seen, other = (np.full((20, 20, 3), v, np.uint8) for v in (100, 101))
    other[5:9, 5:9] = 160
    unsure = np.full((20, 20), 8, np.float32)
    assert tolerant_residual(seen, other, unsure).max() == pytest.approx(
        tolerant_residual(seen, other).max() / 2
    )

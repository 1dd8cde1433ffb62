# SPDX-License-Identifier: Apache-2.0
"""The engines that need no weights: what they predict, and how they compare."""

from __future__ import annotations

import numpy as np
import pytest

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.types import ActionChunk, Observation, Picture, Prediction
from cosmos_flywheel.engines import ENGINES, WorldModel, make_engine
from cosmos_flywheel.engines.flow import MAX_STEP
from cosmos_flywheel.engines.picture import BLUR_PX, GAIN_RANGE, exposure_residual

SIZE = 96, 128
PERIOD_NS = 10**8


def texture(shift_px: float = 0, seed: int = 0) -> Picture:
    """Soft blobs that have moved to the right by so many pixels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    level = np.full(SIZE, 60.0)
    for _ in range(60):
        down, across = rng.uniform(0, SIZE[0]), rng.uniform(-20, SIZE[1] + 20)
        spread, height = rng.uniform(3, 8), rng.uniform(-60, 120)
        square = (rows - down) ** 2 + (columns - across - shift_px) ** 2
        level += height * np.exp(-square / (2 * spread**2))
    return np.repeat(np.clip(level, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def observe(tick: float, picture: Picture | None = None, state: float = 0.0) -> Observation:
    pictures = {} if picture is None else {'top': picture}
    return Observation(round(tick * PERIOD_NS), pictures, np.array([state, 1], np.float32))


def predict(engine: WorldModel, observation: Observation, steps: int = 2) -> Prediction:
    """Tell an observation, and predict the next ticks, one period apart."""
    engine.observe(observation)
    stamps = observation.stamp_ns + PERIOD_NS * np.arange(1, steps + 1)
    return engine.predict(observation, ActionChunk(stamps, np.zeros((steps, 1), np.float32)))


def opened(level: str) -> WorldModel:
    engine = make_engine(level, SIZE)
    engine.open('arm', 'push')
    return engine


def error(prediction: Prediction, step: int, actual: Picture) -> float:
    """Mean absolute error in grey levels."""
    return float(np.abs(prediction.frames[step].astype(float) - actual.astype(float)).mean())


def slow_residual(predicted: Picture, actual: Picture) -> np.ndarray:
    """`exposure_residual` written plainly: blur, match the quartiles, take the difference."""
    expected, seen = _blur(predicted), _blur(actual)
    wanted, given = (np.percentile(p[::4, ::4].reshape(-1, 3), (25, 50, 75), axis=0)
                     for p in (expected, seen))  # fmt: skip
    gain = np.clip((wanted[2] - wanted[0] + 1) / (given[2] - given[0] + 1), *GAIN_RANGE)
    matched = np.clip((seen - given[1]) * gain + wanted[1], 0, 255)
    return np.abs(matched - expected).mean(axis=2)


def _blur(picture: Picture) -> np.ndarray:
    margin = BLUR_PX // 2
    padded = np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), mode='reflect')
    windows = np.lib.stride_tricks.sliding_window_view(padded, (BLUR_PX, BLUR_PX), axis=(0, 1))
    return windows.mean(axis=(3, 4))


@pytest.mark.parametrize('level', ENGINES)
def test_a_prediction_has_one_picture_and_one_state_for_every_instant_asked_for(level):
    engine = opened(level)
    predict(engine, observe(0, texture()))
    said = predict(engine, observe(1, texture(2)), steps=3)
    assert said.frames.shape == (3, *SIZE, 3)
    assert said.frames.dtype == np.uint8
    assert said.state.shape == (3, 2)
    assert said.state.dtype == np.float32
    assert said.stamps_ns.tolist() == [2 * 10**8, 3 * 10**8, 4 * 10**8]
    assert (said.level, said.input_stamp_ns) == (level, PERIOD_NS)


@pytest.mark.parametrize('level', ENGINES)
def test_without_a_picture_only_the_state_is_predicted(level):
    engine = opened(level)
    said = [predict(engine, observe(tick)) for tick in range(3)]
    assert all(s.frames is None and s.state is not None for s in said)


def test_persistence_repeats_what_it_sees():
    said = predict(opened('persistence'), observe(0, texture(), state=4))
    assert all((frame == texture()).all() for frame in said.frames)
    assert said.state.tolist() == [[4, 1], [4, 1]]


@pytest.mark.parametrize('step', [0, 1])
def test_flow_beats_persistence_on_a_texture_that_translates(step):
    flow, persistence = opened('flow'), opened('persistence')
    predict(flow, observe(0, texture(0)))
    now, actual = observe(1, texture(3)), texture(3 + 3 * (step + 1))
    baseline = error(predict(persistence, now), step, actual)
    skill = 1 - error(predict(flow, now), step, actual) / baseline
    assert skill > 0.6


def test_flow_carries_the_state_on_at_its_velocity():
    engine = opened('flow')
    predict(engine, observe(0, state=1.0))
    said = predict(engine, observe(1, state=1.5))
    assert said.state[:, 0].tolist() == [2.0, 2.5]


def test_flow_reckons_velocity_by_time_not_by_ticks():
    engine = opened('flow')
    predict(engine, observe(0, state=1.0))
    assert predict(engine, observe(2, state=2.0)).state[0, 0] == 2.5


def test_flow_without_a_past_expects_no_change():
    said = predict(opened('flow'), observe(0, texture(), state=3))
    assert (said.frames == texture()).all()
    assert said.state[:, 0].tolist() == [3, 3]


@pytest.mark.parametrize('forget', ['open', 'close'])
def test_flow_forgets_the_past_between_sessions(forget):
    engine = opened('flow')
    predict(engine, observe(0, texture(0), state=0))
    engine.open('arm', 'push') if forget == 'open' else engine.close()
    said = predict(engine, observe(1, texture(3), state=1))
    assert (said.frames == texture(3)).all()
    assert said.state[0, 0] == 1


def test_flow_takes_no_velocity_from_a_picture_too_long_ago_nor_from_the_future():
    for tick in (MAX_STEP + 1, -1):
        engine = opened('flow')
        predict(engine, observe(0, texture(0), state=0))
        assert predict(engine, observe(tick, texture(3), state=1)).state[0, 0] == 1


def test_flow_after_a_moment_without_a_picture_expects_no_change_of_it():
    engine = opened('flow')
    predict(engine, observe(0, texture(0)))
    predict(engine, observe(1))
    said = predict(engine, observe(2, texture(3)))
    assert (said.frames == texture(3)).all()


def test_flow_does_not_invent_a_state_that_was_not_measured():
    engine = opened('flow')
    predict(engine, observe(0, state=1.0))
    said = predict(engine, observe(1, state=float('nan')))
    assert np.isnan(said.state[:, 0]).all()
    assert said.state[:, 1].tolist() == [1, 1]


def test_a_misspelt_engine_is_refused_and_the_nearest_suggested():
    with pytest.raises(EngineError, match=r"unknown engine 'flwo'; did you mean 'flow'\?"):
        make_engine('flwo', SIZE)


def test_an_engine_like_no_other_is_refused_with_those_that_there_are():
    with pytest.raises(EngineError, match='known: persistence, flow'):
        make_engine('xyz', SIZE)


def test_the_hash_of_an_engine_tells_level_size_and_horizon_apart():
    made = [
        make_engine('flow', SIZE),
        make_engine('persistence', SIZE),
        make_engine('flow', (16, 16)),
        make_engine('flow', SIZE, horizon=4),
    ]
    assert len({e.spec.sha256 for e in made}) == 4
    assert make_engine('flow', SIZE).spec == made[0].spec


def test_the_residual_of_a_step_compares_with_the_picture_of_that_step():
    engine = opened('flow')
    predict(engine, observe(0, texture(0)))
    said = predict(engine, observe(1, texture(3)))
    right, wrong = (engine.residual(said, step, texture(9)).mean() for step in (1, 0))
    assert right < 0.5 * wrong


def test_equal_pictures_have_no_residual():
    assert exposure_residual(texture(), texture()).max() == 0


def test_a_change_of_exposure_is_nearly_no_residual():
    brighter = np.clip(texture() * 1.12 + 6, 0, 255).astype(np.uint8)
    assert np.abs(brighter.astype(int) - texture()).mean() > 10
    assert exposure_residual(texture(), brighter).mean() < 1.0


def test_a_change_of_white_balance_is_nearly_no_residual():
    warmer = np.clip(texture() * np.array([1.1, 1.0, 0.85]), 0, 255).astype(np.uint8)
    assert exposure_residual(texture(), warmer).mean() < 1.0


def test_a_small_object_that_appears_is_a_residual_where_it_is():
    changed = texture().copy()
    changed[40:56, 60:76] = 250
    residual = exposure_residual(texture(), changed)
    assert residual[44:52, 64:72].min() > 80
    assert residual[:30].max() < 15


def test_a_covered_lens_is_not_forgiven_as_exposure():
    covered = np.full((*SIZE, 3), 20, np.uint8)
    assert exposure_residual(texture(), covered).mean() > 10


@pytest.mark.parametrize('seed', range(4))
def test_the_fast_residual_agrees_with_the_plain_one(seed):
    rng = np.random.default_rng(seed)
    predicted = texture(seed=seed)
    noise = rng.normal(0, 6, predicted.shape)
    actual = np.clip(texture(2, seed) * rng.uniform(0.8, 1.2) + noise, 0, 255).astype(np.uint8)
    fast, slow = exposure_residual(predicted, actual), slow_residual(predicted, actual)
    assert fast.shape == slow.shape == SIZE
    assert fast.dtype == np.float32
    # The fast one rounds to whole grey levels after the blur, in the quartiles and in the table.
    assert np.abs(fast - slow).mean() < 1
    assert np.abs(fast - slow).max() < 4


@pytest.mark.parametrize('size', [(8, 128), (128, 8), (15, 15)])
def test_flow_refuses_pictures_on_which_its_search_would_crash(size):
    with pytest.raises(EngineError, match='at least 16 px a side'):
        make_engine('flow', size)


@pytest.mark.parametrize('size', [(16, 16), (16, 128), (512, 128)])
def test_flow_takes_narrow_pictures(size):
    rng = np.random.default_rng(0)
    engine = make_engine('flow', size)
    engine.open('robot', '')
    chunk = ActionChunk(np.array([2, 3], np.int64), np.zeros((2, 0), np.float32))
    for stamp_ns in (0, 1):
        picture = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
        said = engine.predict(Observation(stamp_ns, {'a': picture}, np.zeros(0)), chunk)
    assert said.frames.shape == (2, *size, 3)

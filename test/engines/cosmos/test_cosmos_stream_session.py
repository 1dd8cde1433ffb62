# SPDX-License-Identifier: Apache-2.0
"""The causal checkpoint as one world model among others, which begins from what came."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='engine cosmos needs torch')
pytest.importorskip('tokenizers', reason='captions need transformers')

from tiny_cosmos import write_checkpoint  # noqa: E402

from cosmos_flywheel.capture.generative import session_of  # noqa: E402
from cosmos_flywheel.core.errors import EngineError  # noqa: E402
from cosmos_flywheel.core.types import ActionChunk, Observation  # noqa: E402
from cosmos_flywheel.engines.base import FORWARD_DYNAMICS  # noqa: E402
from cosmos_flywheel.engines.cosmos import canvas  # noqa: E402
from cosmos_flywheel.engines.cosmos import opened as runtimes  # noqa: E402
from cosmos_flywheel.engines.cosmos.actions import ActionMap  # noqa: E402
from cosmos_flywheel.engines.cosmos.causal.manifest import KEY, Embodiment, Manifest  # noqa: E402
from cosmos_flywheel.engines.cosmos.causal.session import CosmosStream  # noqa: E402
from cosmos_flywheel.engines.cosmos.causal.settings import StreamSettings  # noqa: E402
from cosmos_flywheel.engines.cosmos.checkpoint import Checkpoint  # noqa: E402
from cosmos_flywheel.engines.cosmos.dims import VaeDims  # noqa: E402
from cosmos_flywheel.engines.cosmos.model import CosmosModel  # noqa: E402
from cosmos_flywheel.engines.cosmos.parity import parity_of  # noqa: E402
from cosmos_flywheel.engines.cosmos.settings import CosmosSettings  # noqa: E402
from cosmos_flywheel.engines.tensorrt.units import Units  # noqa: E402
from cosmos_flywheel.store.robots import load_robot  # noqa: E402

PUSH = load_robot('mujoco_push')
ROBOT = replace(PUSH, cosmos=replace(PUSH.cosmos, domain='pusht'))
MANIFEST = Manifest(embodiments={'pusht': Embodiment(4, (1.0, 0.0), (2.0, 0.5))})
SIZE, CHUNK = (48, 64), 16
PERIOD_NS = round(10**9 / 15)
FIRST = 12
"""The number of an instant that begins a stride: 4 + 12 is a multiple of 16."""


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    small = VaeDims(base=2, decoder_base=2, blocks=1)
    return write_checkpoint(tmp_path_factory.mktemp('hub'), vae=small, manifest=MANIFEST)


@pytest.fixture(autouse=True)
def shelf(tmp_path_factory, monkeypatch) -> Iterator[None]:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.getbasetemp() / 'cosmos_shelf'))
    monkeypatch.setitem(canvas.BINS, 256, (SIZE,))  # no padding, which would be encoded each time
    yield
    runtimes.close_all()


@pytest.fixture
def model(checkpoint) -> CosmosModel:
    words = ['tier=256', 'precision=fp32', 'window=9']
    settings = StreamSettings.of_checkpoint(checkpoint, words)
    return CosmosModel.of(ROBOT, SIZE, settings, checkpoint)


def seen(number: int) -> Observation:
    draw = np.random.default_rng(number)
    picture = draw.integers(0, 256, (*SIZE, 3), np.uint8)
    state = np.array([0.05 * number, 0.2], np.float32)
    return Observation((4 + number) * PERIOD_NS + 5, {'primary': picture}, state, state)


def chunk(begin: int) -> ActionChunk:
    numbers = range(begin, begin + CHUNK)
    stamps = np.array([seen(n + 1).stamp_ns for n in numbers], np.int64)
    return ActionChunk(stamps, np.stack([seen(n).state for n in numbers]))


def watched(session: CosmosStream, chunks: int, *, changed=None) -> np.ndarray:
    """As hindsight does: each chunk is asked for when it is over; the last frames."""
    session.open('mujoco_push', '')
    frames = None
    for number in range(FIRST - 1, FIRST + chunks * CHUNK + 1):
        one = seen(number)
        session.observe(one if changed is None else changed(number, one))
        if number > FIRST and (number - FIRST) % CHUNK == 0:
            begin = number - CHUNK
            frames = session.predict(seen(begin), chunk(begin), [CHUNK - 1]).frames
    assert frames is not None
    return frames


def test_a_session_says_what_the_checkpoint_is_asked_like(model):
    spec = session_of(model).spec
    assert (spec.level, spec.chunk, spec.stride, spec.horizons) == (
        'cosmos-stream', 16, 16, (16,),
    )  # fmt: skip
    assert spec.modes == (FORWARD_DYNAMICS,)
    assert (spec.settings['steps'], spec.settings['window'], spec.settings['bucket']) == (
        4,
        9,
        512,
    )
    assert (model.actions.q01, model.actions.q99) == ((-1.0, -0.5), (3.0, 0.5))
    assert not model.actions.clamp, 'the normaliser is the one that it was trained with'


def test_every_chunk_begins_from_what_really_came(model):
    session = CosmosStream(model)
    frames = watched(session, 2)
    assert frames.shape == (1, 24, 32, 3)
    assert np.array_equal(watched(CosmosStream(model), 2), frames)

    def other(number: int, one: Observation) -> Observation:
        return replace(one, pictures=seen(500 + number).pictures) if number == FIRST + 3 else one

    assert not np.array_equal(watched(CosmosStream(model), 2, changed=other), frames)
    session.open('mujoco_push', '')
    for number in range(FIRST + CHUNK - 1, FIRST + 2 * CHUNK + 1):
        session.observe(seen(number))
    begin = FIRST + CHUNK
    alone = session.predict(seen(begin), chunk(begin), [CHUNK - 1]).frames
    assert not np.array_equal(alone, frames), 'without the past another thing is foretold'


def test_what_came_goes_into_the_window_as_if_fed_by_hand(model):
    session = CosmosStream(model)
    frames = watched(session, 3)
    world = session.runtime.stream()
    world.begin(model.view.laid(seen(FIRST).pictures['primary']))
    for begin in (FIRST, FIRST + CHUNK):
        pictures = [
            model.view.laid(seen(n).pictures['primary'])
            for n in range(begin + 1, begin + CHUNK + 1)
        ]
        world.follow(np.stack(pictures), session._rows(seen(begin), chunk(begin)))
    assert world.holds == session._world.holds == 9
    begin = FIRST + 2 * CHUNK
    latents = world.foretell(session._rows(seen(begin), chunk(begin)), 0)
    last = model.view.part(world.pictures(latents)[-1:], session.spec.residual_size)
    assert np.array_equal(last, frames)


@pytest.mark.parametrize('what', ['picture', 'command'])
def test_a_stream_with_a_hole_begins_anew(model, what):
    def holed(number: int, one: Observation) -> Observation:
        if number != FIRST + 5:
            return one
        return replace(one, pictures={}) if what == 'picture' else replace(one, command=None)

    session = CosmosStream(model)
    watched(session, 1)
    watched(session, 2, changed=holed)
    assert session._world.holds == 1
    watched(session, 2)
    assert session._world.holds == 5


def test_after_a_tick_too_many_the_stream_begins_as_early_as_it_is_known(model):
    session = CosmosStream(model)
    watched(session, 1)
    late = FIRST + CHUNK + 1
    for number in range(late, late + CHUNK + 1):
        session.observe(seen(number))
    session.predict(seen(late), chunk(late), [CHUNK - 1])
    assert session._world.holds == 5, 'the chunk before it was remembered'
    by_hand = CosmosStream(model)
    for number in range(late - CHUNK, late + CHUNK + 1):
        by_hand.observe(seen(number))
    frames = [
        one.predict(seen(late), chunk(late), [CHUNK - 1]).frames for one in (session, by_hand)
    ]
    assert np.array_equal(*frames)


def test_pictures_that_lie_too_far_apart_are_no_chunk(model):
    session = CosmosStream(model)
    session.open('mujoco_push', '')
    for number in range(FIRST, FIRST + 2 * CHUNK + 2):
        if number != FIRST + 5:
            session.observe(seen(number))
    begin = FIRST + CHUNK + 1
    assert session.predict(seen(begin), chunk(begin), [CHUNK - 1]).frames is not None
    assert session._world.holds == 1


def test_asking_again_moves_nothing_and_seeds_and_actions_decide(model):
    session = CosmosStream(model)
    frames = watched(session, 2)
    begin = FIRST + CHUNK
    wrong = replace(chunk(begin), values=-chunk(begin).values)
    other = session.predict(seen(begin), wrong, [CHUNK - 1]).frames
    assert not np.array_equal(other, frames)
    again = session.predict(seen(begin), chunk(begin), [CHUNK - 1]).frames
    assert np.array_equal(again, frames)
    assert session.show(seen(begin), chunk(begin), [0, 15]).shape == (2, *SIZE, 3)
    reseeded = CosmosStream(model.with_settings(seed=1))
    assert not np.array_equal(watched(reseeded, 2), frames)
    several = CosmosStream(model.with_settings(seeds=2))
    watched(several, 1)
    assert several.predict(seen(FIRST), chunk(FIRST), [15]).unsure.mean() > 0


def test_a_rollout_goes_on_from_its_own_frames(model):
    session = CosmosStream(model)
    rows = np.zeros((2 * CHUNK, 2), np.float32)
    frames = session.rollout(seen(3), rows)
    assert frames.shape == (1 + 2 * CHUNK, 48, 64, 3)
    assert np.array_equal(session.rollout(seen(3), rows[:20]), frames[:21])
    assert not np.array_equal(session.rollout(seen(3), rows, seed=4)[1:], frames[1:])
    turned = rows.copy()
    turned[:CHUNK] = 1
    assert not np.array_equal(session.rollout(seen(3), turned)[-1], frames[-1])
    anew = watched(session, 1)
    assert np.array_equal(watched(CosmosStream(model), 1), anew), 'what was made up is forgotten'


def test_closing_gives_the_window_back_and_watching_alone_takes_none(model):
    session = CosmosStream(model)
    for number in range(40):
        session.observe(seen(number))
    assert session._world is None
    assert session._runtime is None
    watched(session, 1)
    session.close()
    assert session._world is None


def test_parity_can_be_asked(model):
    rows = np.zeros((CHUNK, 2), np.float32)
    asked = [(model.view.laid(seen(0).pictures['primary']), rows)]
    assert parity_of(model, asked).error < 1e-6
    assert 0 < parity_of(model.with_settings(precision='bf16'), asked).error < 0.1


def test_a_model_folder_is_read_back(model, tmp_path):
    for name, data in model.written().items():
        (tmp_path / name).write_bytes(data)
    model.link(tmp_path)
    again = CosmosModel.load(tmp_path)
    assert again.sha256 == model.sha256
    assert again.settings == model.settings
    assert isinstance(session_of(again), CosmosStream)


def test_a_manifest_is_read_as_it_is_written(checkpoint):
    assert Checkpoint(checkpoint, checkpoint.name).manifest == MANIFEST
    assert Manifest.read({'_class_name': 'other'}, 'config.json') is None


@pytest.mark.parametrize(
    ('changed', 'words'),
    [
        ({'sink_frames': 2}, 'sink_frames is 2, only 0'),
        ({'conditioning': {'mode': 'control_video'}}, "mode is 'control_video', only 'action'"),
        ({'chunk_size': None}, 'download the checkpoint again'),
        ({'conditioning': {'schema_version': 5}}, 'schema_version is 5, only 3'),
    ],
)
def test_what_a_manifest_asks_for_and_is_not_known_is_refused(changed, words):
    block = MANIFEST.config()[KEY]
    for name, value in changed.items():
        block[name] = {**block[name], **value} if isinstance(value, dict) else value
    with pytest.raises(EngineError, match=words):
        Manifest.read(json.loads(json.dumps({KEY: block})), 'config.json')


def test_base_and_causal_checkpoints_are_told_apart(checkpoint, tmp_path):
    base = write_checkpoint(tmp_path)
    with pytest.raises(EngineError, match='is a causal checkpoint; give --engine cosmos-stream'):
        CosmosModel.of(ROBOT, SIZE, CosmosSettings(tier=256), checkpoint)
    with pytest.raises(EngineError, match='no causal checkpoint; give --engine cosmos-480'):
        CosmosModel.of(ROBOT, SIZE, StreamSettings(tier=256), base)
    with pytest.raises(EngineError, match='no causal checkpoint'):
        StreamSettings.of_checkpoint(base, [])
    with pytest.raises(EngineError, match='no engines for its window'):
        Units(Checkpoint(checkpoint, checkpoint.name), None)
    twice = dict.fromkeys(('one', 'other'), MANIFEST.embodiments['pusht'])
    with pytest.raises(EngineError, match='has one, other for domain 4'):
        Manifest(embodiments=twice).fitted(ActionMap.of(ROBOT))
    droid = load_robot('droid')
    with pytest.raises(
        EngineError, match=r'pusht \(domain 4\), not on droid_lerobot \(domain 8\)'
    ):
        CosmosModel.of(droid, SIZE, StreamSettings(tier=256), checkpoint)


@pytest.mark.parametrize(
    ('word', 'words'),
    [
        ('steps=8', "steps is the checkpoint's own"),
        ('shift=3', "shift is the checkpoint's own"),
        ('window=3', 'window is 3; level cosmos-stream takes only a chunk'),
        ('precision=fp8', "precision is 'fp8'.*fp32 or bf16"),
        ('back_end=tensorrt', 'auto or eager'),
        ('tier=720', 'registered are 256 and 480'),
        ('windows=9', 'sets nothing'),
    ],
)
def test_what_the_checkpoint_decides_cannot_be_set(checkpoint, word, words):
    with pytest.raises(EngineError, match=words):
        StreamSettings.of_checkpoint(checkpoint, [word])


def test_more_of_a_past_than_was_trained_is_refused(checkpoint):
    settings = StreamSettings.of_checkpoint(checkpoint, ['window=97', 'tier=256'])
    with pytest.raises(EngineError, match='window is 97, the causal checkpoint has 96'):
        CosmosModel.of(ROBOT, SIZE, settings, checkpoint)
    assert asdict(StreamSettings())['window'] == 96

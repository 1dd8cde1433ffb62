# SPDX-License-Identifier: Apache-2.0
"""Inverse dynamics and policy: from pictures, or a task, to commands in the robot's own units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='engine cosmos needs torch')
pytest.importorskip('tokenizers', reason='captions need transformers')

from tiny_cosmos import write_checkpoint  # noqa: E402

from cosmos_flywheel.core.errors import EngineError  # noqa: E402
from cosmos_flywheel.core.types import Observation  # noqa: E402
from cosmos_flywheel.engines import acting, make_engine  # noqa: E402
from cosmos_flywheel.engines.base import (  # noqa: E402
    FORWARD_DYNAMICS,
    INVERSE_DYNAMICS,
    MODES,
    POLICY,
)
from cosmos_flywheel.engines.cosmos import canvas  # noqa: E402
from cosmos_flywheel.engines.cosmos import opened as runtimes  # noqa: E402
from cosmos_flywheel.engines.cosmos.actions import ActionMap  # noqa: E402
from cosmos_flywheel.engines.cosmos.dims import VaeDims  # noqa: E402
from cosmos_flywheel.engines.cosmos.model import CosmosModel  # noqa: E402
from cosmos_flywheel.engines.cosmos.session import Cosmos  # noqa: E402
from cosmos_flywheel.engines.cosmos.settings import CosmosSettings  # noqa: E402
from cosmos_flywheel.engines.remote.model import RemoteModel  # noqa: E402
from cosmos_flywheel.engines.remote.server import Server  # noqa: E402
from cosmos_flywheel.engines.remote.session import Remote  # noqa: E402
from cosmos_flywheel.engines.remote.settings import RemoteSettings  # noqa: E402
from cosmos_flywheel.store.robots import load_robot  # noqa: E402

DROID, PUSH = load_robot('droid'), load_robot('mujoco_push')
SETTINGS = CosmosSettings(tier=256, steps=2, precision='fp32', chunk=8, stride=4)
SIZE, CHUNK = (48, 64), 8
PERIOD_NS = round(10**9 / 15)
STILL = np.array([0.3, 0.1, 0.4, 0, 0, 0, 1], np.float32)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    small = VaeDims(base=2, decoder_base=2, blocks=1)
    return write_checkpoint(tmp_path_factory.mktemp('hub'), vae=small)


@pytest.fixture(autouse=True)
def shelf(tmp_path_factory, monkeypatch) -> Iterator[None]:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.getbasetemp() / 'cosmos_shelf'))
    monkeypatch.setitem(canvas.BINS, 256, (SIZE,))  # no padding, which would be encoded each time
    yield
    runtimes.close_all()


@pytest.fixture
def session(checkpoint) -> Cosmos:
    return Cosmos(CosmosModel.of(DROID, SIZE, SETTINGS, checkpoint))


def seen(number: int) -> Observation:
    picture = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), np.uint8)
    return Observation((4 + number) * PERIOD_NS, {'primary': picture}, STILL)


def clip(count: int, first: int = 0) -> list[Observation]:
    return [seen(first + number) for number in range(count)]


def path(count: int) -> np.ndarray:
    """States of a flange that moves and turns a little at every step."""
    draw = np.random.default_rng(1)
    states = np.tile(STILL, (count, 1)) + draw.normal(0, 2e-3, (count, 7)).cumsum(0)
    states[:, 3:] /= np.linalg.norm(states[:, 3:], axis=1)[:, None]
    return states.astype(np.float32)


def test_what_was_executed_comes_back_as_commands_to_be_where_the_robot_was():
    actions, states = ActionMap.of(DROID), path(9)
    told = np.zeros((8, 7), np.float32)
    told[:, 6] = [0, 0, 0.25, 0.5, 0.75, 1, 1, 1]
    commands, poses = actions.commands(states[0], actions.executed(states, told))
    assert poses == pytest.approx(DROID.poses(states), abs=1e-5)
    assert commands[:, :3] == pytest.approx(states[1:, :3], abs=1e-5)
    assert commands[:, 6] == pytest.approx(told[:, 6], abs=1e-6)
    again = actions.ahead(states[0], commands)
    assert again == pytest.approx(actions.executed(states, told), abs=1e-4)
    quaternions = replace(
        actions, rotation='quaternion_xyzw', planned=tuple(range(7)), gripper=(7, 0, 1), count=8
    )
    turned, _ = quaternions.commands(states[0], again)
    assert turned[:, :7] == pytest.approx(states[1:], abs=1e-5)


def test_elements_that_the_domain_says_nothing_of_are_unknown():
    joints = replace(ActionMap.of(DROID), planned=())
    states = path(5)
    rows = joints.executed(states, np.ones((4, 7), np.float32))
    commands, poses = joints.commands(states[0], rows)
    assert np.isnan(commands[:, :6]).all()
    assert (commands[:, 6] == 1).all()
    assert poses == pytest.approx(DROID.poses(states), abs=1e-5)


def test_a_domain_of_commands_gives_them_back_in_their_units():
    actions = ActionMap.of(replace(PUSH, cosmos=replace(PUSH.cosmos, domain='pusht')))
    actions = replace(actions, q01=(-2.0, 0.0), q99=(2.0, 10.0))
    told = np.array([[-1, 1], [0, 5], [2, 9]], np.float32)
    commands, poses = actions.commands(np.zeros(2, np.float32), actions.executed(told, told))
    assert commands == pytest.approx(told, abs=1e-6)
    assert poses is None


def test_a_model_of_before_is_read_and_keeps_its_hash():
    written = ActionMap.of(DROID).to_mapping()
    older = {k: v for k, v in written.items() if k != 'count'}
    read = ActionMap.from_mapping(older)
    assert read.to_mapping() == older
    with pytest.raises(EngineError, match='fit again'):
        read.commands(STILL, np.zeros((1, 10), np.float32))


def test_actions_are_inferred_from_pictures_chunk_by_chunk(session):
    engine = acting(session, INVERSE_DYNAMICS)
    found = engine.infer_actions(clip(1 + 2 * CHUNK))
    assert found.chunk.values.shape == (2 * CHUNK, 7)
    assert found.chunk.stamps_ns.tolist() == [o.stamp_ns for o in clip(17)[1:]]
    assert np.isfinite(found.chunk.values).all()
    assert (found.rows.shape, found.poses.shape) == ((16, 10), (17, 4, 4))
    assert found.poses[0] == pytest.approx(DROID.poses(STILL[None])[0], abs=1e-6)
    first = engine.infer_actions(clip(1 + CHUNK))
    assert np.array_equal(first.rows, found.rows[:CHUNK])
    ends_otherwise = [*clip(CHUNK), replace(seen(99), stamp_ns=seen(CHUNK).stamp_ns)]
    assert not np.array_equal(engine.infer_actions(ends_otherwise).rows, first.rows)
    assert not np.array_equal(engine.infer_actions(clip(1 + CHUNK), seed=5).rows, first.rows)
    assert found.valid.tolist() == (np.abs(found.rows) <= 1.1).all(1).tolist()


def test_a_task_and_a_picture_give_actions_and_what_will_be_seen(session):
    engine = acting(session, POLICY)
    proposal = engine.propose(seen(3), 'Close the drawer')
    assert proposal.frames.shape == (1 + CHUNK, *SIZE, 3)
    assert proposal.actions.chunk.values.shape == (CHUNK, 7)
    assert np.diff(proposal.actions.chunk.stamps_ns) == pytest.approx(PERIOD_NS, abs=1)
    again = engine.propose(seen(3), 'Close the drawer')
    assert np.array_equal(again.actions.rows, proposal.actions.rows)
    assert np.array_equal(again.frames, proposal.frames)
    for other in (
        engine.propose(seen(3)),
        engine.propose(seen(4), 'Close the drawer'),
        engine.propose(seen(3), 'Close the drawer', seed=1),
    ):
        assert not np.array_equal(other.actions.rows, proposal.actions.rows)
    rollout = session.rollout(seen(3), proposal.actions.rows)
    assert rollout.shape[0] == 1 + CHUNK, 'proposed rows are what a rollout takes'


def test_a_session_says_which_modes_it_has(session, checkpoint):
    assert session.spec.modes == MODES
    others = [
        make_engine('flow', SIZE),
        Cosmos(session.model.with_settings(back_end='tensorrt')),
        Cosmos(replace(session.model, actions=replace(session.model.actions, domain='libero'))),
        Remote(
            RemoteModel.of(
                DROID, SIZE, RemoteSettings(tier=256), Server('http://127.0.0.1:1', 'cosmos')
            ),
            lambda _: [],
        ),
    ]
    for engine in others:
        assert engine.spec.modes == (FORWARD_DYNAMICS,)
        with pytest.raises(EngineError, match='does no policy, only forward_dynamics'):
            acting(engine, POLICY)
    for engine in others[1:]:
        with pytest.raises(EngineError, match='does no inverse_dynamics for domain'):
            engine.infer_actions(clip(1 + CHUNK))


@pytest.mark.parametrize(
    ('observations', 'words'),
    [
        (clip(CHUNK), r'from 1 \+ k · 8 pictures, not from 8'),
        (clip(1), 'not from 1'),
        (clip(2 + CHUNK), 'not from 10'),
        ([replace(seen(0), pictures={}), *clip(CHUNK, 1)], 'picture 0 is not known'),
        (
            [*clip(CHUNK), replace(seen(CHUNK), pictures={'primary': np.zeros((4, 4, 3), 'u1')})],
            r'picture 8 of primary is \(4, 4, 3\)',
        ),
        (clip(1 + CHUNK)[::-1], 'one for each tick, in order'),
        ([seen(2 * n) for n in range(1 + CHUNK)], r'lie 0.133 to 0.133 s apart.*15 Hz'),
        ([replace(seen(0), state=STILL * np.nan), *clip(CHUNK, 1)], 'flange pose .* not known'),
    ],
    ids=['one too few', 'one', 'one too many', 'missing', 'size', 'order', 'rate', 'state'],
)
def test_what_cannot_be_asked_is_refused_with_a_remedy(session, observations, words):
    with pytest.raises(EngineError, match=words):
        session.infer_actions(observations)


def test_predictions_that_are_not_finite_are_no_actions(session):
    actions = session.model.actions
    with pytest.raises(EngineError, match='hold NaN'):
        actions.commands(STILL, np.full((2, 10), np.nan, np.float32))
    session.prepare()
    session.runtime.loop.generation.layers[0]['norm_1'].fill_(float('nan'))
    with pytest.raises(EngineError, match='predicted actions hold NaN'):
        session.infer_actions(clip(1 + CHUNK))

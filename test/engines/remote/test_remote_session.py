# SPDX-License-Identifier: Apache-2.0
"""Cosmos at a server, over real sockets: what is sent, what is believed, what is left behind."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from omni_stand import Stand, started_stand

from cosmos_flywheel.core.errors import ConfigError, EngineError
from cosmos_flywheel.core.types import ActionChunk, Observation
from cosmos_flywheel.engines.remote import runtime as runtimes
from cosmos_flywheel.engines.remote.control import NONSENSE, unexplained
from cosmos_flywheel.engines.remote.model import RemoteModel
from cosmos_flywheel.engines.remote.runtime import RemoteRuntime
from cosmos_flywheel.engines.remote.server import TOKEN_VARIABLE, Server
from cosmos_flywheel.engines.remote.session import Remote
from cosmos_flywheel.engines.remote.settings import RemoteSettings
from cosmos_flywheel.store.robots import load_robot
from cosmos_flywheel.video.decode import decode_video

PUSH = load_robot('mujoco_push')
ROBOT = replace(PUSH, cosmos=replace(PUSH.cosmos, domain='pusht'))
QUICK = {
    'tier': 256, 'steps': 2, 'chunk': 8, 'stride': 4, 'answer_s': 10.0, 'chunk_s': 60.0,
    'tries': 3, 'pause_s': 0.01, 'poll_s': 0.01,
}  # fmt: skip
WAITING = ('stall', 'trickle', 'never')
"""What is outlasted by a time-out."""
PERIOD_NS = round(10**9 / 15)
MODEL = 'nvidia/Cosmos3-Nano'
DROID = 'a' * 40


@pytest.fixture(scope='module')
def started() -> Iterator[Stand]:
    with started_stand() as made:
        yield made


@pytest.fixture
def stand(started, monkeypatch) -> Iterator[Stand]:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    started.behave()
    yield started
    runtimes.close_all()


def pictures(data: bytes) -> list[np.ndarray]:
    return decode_video(data)[1]


def model_of(
    stand: Stand, robot=ROBOT, server: dict | None = None, **settings: Any
) -> RemoteModel:
    made = RemoteSettings(**{**QUICK, **settings})
    given = {'endpoint': stand.endpoint, 'model': MODEL, **(server or {})}
    return RemoteModel.of(robot, (96, 128), made, Server(**given))


def session_of(stand: Stand, **changed: Any) -> Remote:
    model = model_of(stand, **changed)
    session = Remote(model, pictures, RemoteRuntime(model, pictures))
    session.open('mujoco_push', '')
    for number in range(12):
        session.observe(seen(number))
    return session


def seen(number: int) -> Observation:
    down, across = np.mgrid[:96, :128]
    wave = 100 * np.sin(across / 7 + number / 5) + 20 * np.cos(down / 9)
    picture = np.stack([128 + wave, 128 - wave, np.full_like(wave, 90.0)], -1).astype(np.uint8)
    state = np.array([0.01 * number, 0.2], np.float32)
    return Observation((4 + number) * PERIOD_NS, {'primary': picture}, state, state)


def chunk(begin: int, count: int = 8) -> ActionChunk:
    stamps = [seen(i).stamp_ns for i in range(begin + 1, begin + count + 1)]
    values = np.stack([seen(i).state for i in range(begin, begin + count)])
    return ActionChunk(np.array(stamps, np.int64), values)


def predicted(session: Remote) -> np.ndarray:
    return session.predict(seen(2), chunk(2), [7]).frames


def short(told: dict[str, Any]) -> dict[str, float]:
    """Time-outs for a server that makes one wait."""
    waits = any(word in name for name in told for word in WAITING)
    return {'answer_s': 0.7, 'chunk_s': 3.0} if waits else {}


def asked_in_vain(session: Remote, raised: list[str]) -> None:
    try:
        predicted(session)
    except EngineError as error:
        raised.append(str(error))


def refused(session: Remote, words: str) -> None:
    with pytest.raises(EngineError, match=words) as raised:
        predicted(session)
    assert '127.0.0.1' in str(raised.value)


def test_a_chunk_is_foretold_by_the_server_and_compared(stand):
    session = session_of(stand)
    assert (session.spec.level, session.spec.stride, session.spec.chunk) == ('remote-256', 4, 8)
    prediction = session.predict(seen(2), chunk(2), [0, 7])
    assert prediction.frames.shape == (2, 48, 64, 3)
    residual = session.residual(prediction, 1, seen(2).pictures['primary'])
    assert residual.shape == (48, 64)
    moved = np.roll(seen(2).pictures['primary'], 7, axis=1)
    assert session.residual(prediction, 1, moved).mean() < residual.mean() / 4
    shown = session.show(seen(2), chunk(2), [0, 7])
    assert shown.shape == (2, 96, 128, 3)
    assert np.abs(shown[1].astype(float) - moved).mean() < 4


def test_what_is_sent_is_the_robot_as_the_model_knows_it(stand):
    session = session_of(stand, seed=7, crf=4)
    predicted(session)
    control, form = stand.state()['forms']
    assert form['model'] == MODEL
    assert (form['size'], form['num_frames'], form['fps']) == ('128x96', 9, 15.0)
    assert (form['seed'], form['num_inference_steps'], form['flow_shift']) == (7, 2, 10.0)
    extra = form['extra_params']
    assert (extra['domain_id'], extra['raw_action_dim'], extra['action_chunk_size']) == (4, 2, 8)
    assert np.allclose(extra['action'], chunk(2).values)
    assert np.ptp(np.array(control['extra_params']['action']), axis=0).max() == 0
    caption = json.loads(form['prompt'])
    assert caption['resolution'] == {'H': 96, 'W': 128}
    assert caption['actions'][0]['description'].startswith(ROBOT.task[:10])
    assert extra['video_codec_options']['crf'] == '4'


def test_no_job_is_left_behind_and_the_server_is_tried_out_once(stand):
    session = session_of(stand)
    predicted(session)
    session.predict(seen(3), chunk(3), [7])
    session.predict(seen(3), chunk(3), [3])
    state = stand.state()
    assert state['jobs'] == []
    assert (state['seen'].count('models'), state['seen'].count('create')) == (1, 3)


def test_several_seeds_give_their_mean_and_forgive_by_their_spread(stand):
    stand.behave(noisy=9)
    prediction = session_of(stand, seeds=3).predict(seen(2), chunk(2), [7])
    assert prediction.unsure.shape == (1, 48, 64)
    assert prediction.unsure.mean() > 0
    assert [form['seed'] for form in stand.state()['forms']] == [0, 0, 1, 2]


def test_what_is_not_known_is_not_asked(stand):
    session, asked = session_of(stand), chunk(2)
    asked.values[0, 0] = np.nan
    assert session.predict(seen(2), asked, [7]).frames is None
    assert session.predict(replace(seen(2), pictures={}), chunk(2), [7]).frames is None
    assert stand.state()['seen'] == []


@pytest.mark.parametrize(
    'told',
    [
        {'create_503': 2},
        {'create_drop': 1},
        {'made_drop': 1},
        {'made_stall': 1},
        {'look_503': 2},
        {'look_drop': 1},
        {'look_cut': 1},
        {'content_drop': 2},
        {'half': 1},
        {'restart': 1},
        {'delete_409': 1},
        {'delete_drop': 2},
        {'models_503': 1},
        {'made_drop': 1, 'list_503': 1, 'look_503': 1, 'half': 1},
    ],
    ids=lambda told: '+'.join(told),
)
def test_what_passes_is_outlasted_and_leaves_nothing_behind(stand, told):
    stand.behave(**told)
    assert predicted(session_of(stand, **short(told))) is not None
    state = stand.state()
    assert state['jobs'] == []
    assert state['most_at_once'] == 1
    assert len(state['forms']) == 2 + told.get('restart', 0), 'control and chunk, none of it twice'


@pytest.mark.parametrize(
    ('told', 'words'),
    [
        ({'models_503': 9}, r'503 overloaded \(3 tries\); see that the server runs'),
        ({'models_html': 1}, 'GET /v1/models'),
        ({'models_302': 1}, 'sends elsewhere'),
        ({'models_cut': 9}, 'cut off'),
        ({'models_trickle': 9}, 'no answer in time'),
        (
            {'served': 'Wan2.2'},
            r'serves Wan2.2, not nvidia/Cosmos3-Nano; start it with `vllm serve',
        ),
        ({'token': 'secret'}, 'wants another token'),
        ({'create_422': 1}, '422'),
        ({'create_500': 1}, '500 something broke'),
        ({'create_html': 1}, 'POST /v1/videos'),
        ({'create_stall': 9}, 'no answer in time'),
        ({'create_drop': 9}, r'tries\)'),
        ({'routed': 'Wan2.2'}, "gave the job to 'Wan2.2'"),
        ({'restart': 9}, 'does not start anew'),
        ({'fails': 1}, 'Guardrail blocked the prompt'),
        ({'never_done': 1}, 'not done in 3 s; take fewer steps'),
        ({'look_stall': 9}, 'no answer in time'),
        ({'content_html': 1}, 'text/html instead of video/mp4'),
        ({'half': 9}, 'cut off'),
        ({'truncated': 1}, 'cannot be read'),
        ({'fewer': 1}, '6 pictures instead of 9'),
        ({'smaller': 1}, '128x48 px instead of 128x96'),
        ({'other': 1}, 'does not begin with the picture'),
        ({'moves': 1}, 'sees the world change while the robot does not'),
    ],
    ids=lambda value: '+'.join(value) if isinstance(value, dict) else None,
)
def test_what_does_not_pass_is_said_with_what_to_do_and_leaves_nothing_behind(stand, told, words):
    stand.behave(**told)
    refused(session_of(stand, **short(told)), words)
    assert stand.state()['jobs'] == []


def test_a_server_that_cannot_be_reached_is_named(stand):
    gone = replace(model_of(stand), server=Server('http://127.0.0.1:9', MODEL))
    with pytest.raises(EngineError, match=r'127.0.0.1:9/v1/models: nobody listens there'):
        Remote(gone, pictures, RemoteRuntime(gone, pictures)).prepare()


def test_closing_ends_what_is_being_asked_and_deletes_its_job(stand):
    stand.behave(never_done=1)
    session, raised = session_of(stand), []
    asking = threading.Thread(target=asked_in_vain, args=(session, raised))
    asking.start()
    while not stand.state()['jobs']:
        time.sleep(0.01)
    session.close()
    asking.join(5.0)
    assert not asking.is_alive()
    assert 'closed' in raised[0]
    assert stand.state()['jobs'] == []


def test_a_process_that_ends_in_the_middle_deletes_its_job(stand):
    stand.behave(never_done=1)
    model = model_of(stand)
    runtime = runtimes.runtime_of(model, pictures)
    assert runtimes.runtime_of(model, pictures) is runtime
    session = Remote(model, pictures)
    session.open('', '')
    asking = threading.Thread(target=asked_in_vain, args=(session, []))
    asking.start()
    while not stand.state()['jobs']:
        time.sleep(0.01)
    runtimes.close_all()  # as atexit does
    assert stand.state()['jobs'] == []
    session.close()
    asking.join(5.0)


def test_a_job_whose_making_is_answered_while_all_ends_is_deleted_too(stand, monkeypatch):
    stand.behave(never_done=1)
    runtime = runtimes.runtime_of(model_of(stand), pictures)
    session = Remote(runtime.model, pictures)
    session.open('', '')
    jobs, found = runtime.jobs, runtime.jobs._found
    answered = threading.Event()

    def create(*given):
        jobs._asking.add(given[0].prompt)
        made = real_create(*given)
        jobs._used.discard(made['id'])  # as if the answer were still under way
        jobs._asking.add(given[0].prompt)
        answered.set()
        return made

    def found_late(*given):
        listed = found(*given)
        jobs._used.update(job['id'] for job in listed)  # here it comes
        return listed

    real_create = jobs.create
    monkeypatch.setattr(jobs, 'create', create)
    monkeypatch.setattr(jobs, '_found', found_late)
    asking = threading.Thread(target=asked_in_vain, args=(session, []))
    asking.start()
    assert answered.wait(10.0)
    runtimes.close_all()
    assert stand.state()['jobs'] == []
    session.close()
    asking.join(5.0)


def test_the_commit_is_held_against_the_servers_where_it_names_one(stand):
    root = f'/models/hub/models--nvidia--Cosmos3-Nano/snapshots/{DROID}'
    stand.behave(root=root)
    session_of(stand, server={'commit': DROID}).prepare()
    with pytest.raises(EngineError, match=f'serves commit {DROID}, the model was fitted with bbb'):
        session_of(stand, server={'commit': 'b' * 40}).prepare()
    stand.behave(served='nano', root=MODEL)
    assert predicted(session_of(stand, server={'commit': DROID})) is not None
    assert stand.state()['forms'][0]['model'] == 'nano'


def test_the_token_comes_from_the_environment_and_is_written_nowhere(stand, monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, 'hush-hush')
    stand.behave(token='hush-hush')
    session = session_of(stand)
    assert predicted(session) is not None
    assert 'hush' not in str(model_of(stand).written()) + repr(session.spec)
    stand.behave(token='another')
    with pytest.raises(EngineError, match=TOKEN_VARIABLE) as raised:
        session_of(stand).prepare()
    assert 'hush' not in str(raised.value)


@pytest.mark.parametrize(
    ('server', 'words'),
    [
        ({'endpoint': 'http://192.0.2.7:8000'}, 'another machine.*--allow-remote'),
        ({'endpoint': 'https://robots.example'}, 'another machine'),
        ({'endpoint': 'ftp://127.0.0.1'}, 'no address of a server'),
        ({'endpoint': 'http://me:hush@127.0.0.1:80'}, "'127.0.0.1:80' is no address"),
        ({'endpoint': 'http://127.0.0.1:80/v1'}, 'without user, path'),
        ({'endpoint': 'http://127.0.0.1:99999'}, 'Port out of range'),
        ({'model': 'a b'}, 'no name of a model'),
        ({'commit': 'main'}, '40 hex digits'),
    ],
)
def test_an_address_is_checked_before_anything_is_sent(server, words):
    with pytest.raises(EngineError, match=words):
        Server(**{'endpoint': 'http://127.0.0.1:8000', 'model': MODEL, **server})


def test_a_token_does_not_leave_the_machine_in_plain_text(monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, 'hush')
    assert Server('http://[::1]:80', MODEL).token() == 'hush'
    assert Server('https://robots.example', MODEL, allow_remote=True).token() == 'hush'
    with pytest.raises(EngineError, match='ssh tunnel'):
        Server('http://192.0.2.7', MODEL, allow_remote=True).token()


def test_a_model_folder_is_read_back(stand, tmp_path):
    model = model_of(stand, server={'commit': DROID})
    for name, data in model.written().items():
        (tmp_path / name).write_bytes(data)
    again = RemoteModel.load(tmp_path)
    assert again == model
    assert again.sha256 == model.sha256
    elsewhere = replace(model, server=replace(model.server, endpoint='http://localhost:1'))
    assert elsewhere.sha256 == model.sha256
    assert model.with_settings(chunk_s=5.0).sha256 == model.sha256
    assert model.with_settings(steps=5).sha256 != model.sha256
    other = replace(model, server=replace(model.server, model='nvidia/Cosmos3-Super'))
    assert other.sha256 != model.sha256


def test_wrong_robots_and_settings_are_refused(stand):
    with pytest.raises(ConfigError, match='domain is none'):
        model_of(stand, robot=PUSH)
    slow = replace(ROBOT, clock=replace(ROBOT.clock, hz=0.5))
    with pytest.raises(EngineError, match='too slow for the server'):
        model_of(stand, robot=slow)
    with pytest.raises(EngineError, match='crf is 60; give 0 to 51'):
        RemoteSettings(crf=60)
    with pytest.raises(EngineError, match='multiple of 4'):
        RemoteSettings(chunk=10)
    assert RemoteSettings.parse(['steps=10', 'chunk_s=5'], tier=256).chunk_s == 5.0


def test_a_picture_explains_itself_and_no_other():
    here, there = seen(0).pictures['primary'], seen(11).pictures['primary']
    assert unexplained(here, here) == 0
    assert unexplained(here, there) > NONSENSE
    flat = np.full_like(here, 30)
    assert unexplained(flat, flat + np.uint8(2)) < NONSENSE < unexplained(flat, here)


def test_two_sessions_at_once_do_not_delete_each_others_jobs(stand):
    stand.behave(takes_s=0.5)
    model = model_of(stand)
    runtime = RemoteRuntime(model, pictures)
    runtime.is_proved = True
    sessions = [Remote(model, pictures, runtime) for _ in range(3)]
    found: list[np.ndarray] = []
    asking = [threading.Thread(target=lambda s=s: found.append(predicted(s))) for s in sessions]
    for one in asking:
        one.start()
        time.sleep(0.2)
    for one in asking:
        one.join(20.0)
    assert len(found) == 3
    state = stand.state()
    assert (len(state['forms']), state['jobs']) == (3, [])

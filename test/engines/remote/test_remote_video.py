# SPDX-License-Identifier: Apache-2.0
"""Films asked of a server over real sockets: what comes, what is told, what is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from omni_stand import Stand, started_stand

from cosmos_flywheel.core.errors import EngineError, NotNowError
from cosmos_flywheel.engines.remote.client import VideoClient, check_server
from cosmos_flywheel.engines.remote.control import LEAST_PSNR_DB, psnr_db
from cosmos_flywheel.engines.remote.errors import (
    BlockedError,
    FailedJobError,
    RefusedError,
    StoppedError,
    UnreachableError,
    WrongFilmError,
)
from cosmos_flywheel.engines.remote.form import png_of
from cosmos_flywheel.engines.remote.journal import Journal
from cosmos_flywheel.engines.remote.patience import Patience
from cosmos_flywheel.engines.remote.proof import patches, positive_control
from cosmos_flywheel.engines.remote.server import TOKEN_VARIABLE, Server
from cosmos_flywheel.engines.remote.video import VideoResult, forget, journal_of, run
from cosmos_flywheel.engines.remote.video_job import Control, VideoJob
from cosmos_flywheel.video.decode import decode_video, each_picture
from cosmos_flywheel.video.encode import encode_webm

MODEL = 'nvidia/Cosmos3-Nano'
SIZE = (96, 128)
QUICK = {
    'answer_s': 8.0, 'whole_s': 40.0, 'tries': 3, 'pause_s': 0.01, 'poll_s': 0.01,
    'slowest_poll_s': 0.05,
}  # fmt: skip
COARSE = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)
PICTURE = np.asarray(cv2.resize(COARSE, SIZE[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
FILM = encode_webm([np.roll(PICTURE, i, axis=1) for i in range(9)], 10.0)
BUCKET = (192, 320)
LARGE = encode_webm([cv2.resize(PICTURE, BUCKET[::-1])] * 9, 10.0)


@pytest.fixture(scope='module')
def started() -> Iterator[Stand]:
    with started_stand() as made:
        yield made


@pytest.fixture
def stand(started, monkeypatch) -> Stand:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    started.behave()
    return started


def client_of(stand: Stand, **patience: Any) -> VideoClient:
    return VideoClient(
        Server(stand.endpoint, MODEL), each_picture, Patience(**{**QUICK, **patience})
    )


def job_of(kind: str = 'image_to_video', **changed: Any) -> VideoJob:
    given: dict[str, Any] = {
        'kind': kind, 'prompt': 'A gripper lets go of a cube.', 'size': SIZE, 'frames': 9,
        'fps': 10.0, 'reference': png_of(PICTURE), 'steps': 2, 'guidance': 1.0,
    }  # fmt: skip
    if kind == 'video_to_video':
        given['reference'] = FILM
    if kind in ('policy', 'forward_dynamics'):
        given |= {'domain_id': 4, 'width': 2}
    if kind == 'forward_dynamics':
        given |= {'actions': np.zeros((8, 2), np.float32), 'prompt': '{"actions": []}'}
    return VideoJob(**{**given, **changed})


def asked(stand: Stand, folder: Path, job: VideoJob | None = None, **patience: Any) -> VideoResult:
    return run(client_of(stand, **patience), job or job_of(), folder / 'film.mp4')


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    'kind', ['image_to_video', 'video_to_video', 'policy', 'forward_dynamics']
)
def test_every_kind_of_film_comes_whole_and_nothing_else_is_left(stand, tmp_path, kind):
    made = asked(stand, tmp_path, job_of(kind))
    assert names(tmp_path) == ['film.mp4']
    _, pictures = decode_video(made.video.read_bytes())
    assert (len(pictures), pictures[0].shape) == (9, (*SIZE, 3))
    assert (made.seconds, made.peak_memory_bytes, made.model) == (1.5, 2 << 30, MODEL)
    assert made.psnr_db is not None
    assert made.psnr_db > LEAST_PSNR_DB
    assert not made.is_left
    assert stand.state()['jobs'] == []
    if kind == 'policy':
        assert made.actions is not None
        assert made.actions.shape == (8, 2)
    else:
        assert made.actions is None


def test_what_is_asked_is_what_the_job_says(stand, tmp_path):
    asked(
        stand, tmp_path,
        job_of(seed=7, negative_prompt='blur', guardrails=False, shift=5.0, crf=4),
    )  # fmt: skip
    (form,) = stand.state()['forms']
    assert (form['size'], form['num_frames'], form['fps'], form['seed']) == ('128x96', 9, 10.0, 7)
    assert (form['num_inference_steps'], form['guidance_scale'], form['flow_shift']) == (2, 1, 5)
    assert form['negative_prompt'] == 'blur'
    assert form['prompt'].strip() == job_of().prompt
    extra = form['extra_params']
    assert extra['guardrails'] is False
    assert extra['video_codec_options']['crf'] == '4'


def test_controls_and_kept_frames_of_a_film_are_sent(stand, tmp_path):
    asked(stand, tmp_path, job_of('video_to_video', condition_frames=(0,)))
    controls = (Control('edge'), Control('depth', LARGE, 0.5))
    run(
        client_of(stand),
        job_of('video_to_video', size=BUCKET, reference=LARGE, controls=controls),
        tmp_path / 'controlled.mp4',
    )
    free = job_of(
        'video_to_video', size=BUCKET, reference=None, condition_frames=(),
        controls=(Control('edge', LARGE),),
    )  # fmt: skip
    assert run(client_of(stand), free, tmp_path / 'free.mp4').psnr_db is None
    kept, controlled, alone = (form['extra_params'] for form in stand.state()['forms'])
    assert kept['condition_frame_indexes_vision'] == [0]
    assert controlled['depth'] == {'control_weight': 0.5}
    assert (controlled['resolution'], controlled['num_first_chunk_conditional_frames']) == (
        '256', 5,
    )  # fmt: skip
    assert alone['num_first_chunk_conditional_frames'] == 0


@pytest.mark.parametrize(
    'told',
    [
        {'create_503': 2}, {'create_500': 1}, {'create_drop': 1}, {'made_drop': 1},
        {'made_stall': 1}, {'look_503': 2}, {'look_drop': 1}, {'look_stall': 1}, {'look_cut': 1},
        {'content_drop': 2}, {'half': 1}, {'delete_409': 1}, {'delete_drop': 2}, {'models_503': 1},
    ],
    ids=lambda told: '+'.join(told),
)  # fmt: skip
def test_what_passes_is_outlasted_and_made_once(stand, tmp_path, told):
    stand.behave(**told)
    waits = any('stall' in name for name in told)
    asked(stand, tmp_path, **({'answer_s': 0.7} if waits else {}))
    state = stand.state()
    assert (len(state['forms']), state['jobs'], names(tmp_path)) == (1, [], ['film.mp4'])


@pytest.mark.parametrize('told', ['restart', 'breaks'])
def test_a_job_that_the_server_lost_or_gave_up_is_made_anew_once(stand, tmp_path, told):
    stand.behave(**{told: 1})
    asked(stand, tmp_path)
    state = stand.state()
    assert (len(state['forms']), state['jobs'], names(tmp_path)) == (2, [], ['film.mp4'])


@pytest.mark.parametrize(
    ('told', 'kind', 'words'),
    [
        ({'create_422': 1}, RefusedError, 'field required'),
        ({'create_html': 1}, EngineError, 'POST /v1/videos'),
        ({'fails': 1}, BlockedError, 'Guardrail blocked the prompt'),
        ({'blocked': 1}, BlockedError, 'blocked by Cosmos3 guardrails'),
        ({'breaks': 9}, FailedJobError, 'CUDA error'),
        ({'routed': 'Wan2.2'}, EngineError, "gave the job to 'Wan2.2'"),
        ({'content_html': 1}, WrongFilmError, 'text/html instead of video/mp4'),
        ({'truncated': 1}, WrongFilmError, 'cannot be read'),
        ({'fewer': 1}, WrongFilmError, '6 pictures instead of 9'),
        ({'smaller': 1}, WrongFilmError, '128x48 px instead of 128x96'),
        ({'faster': 1}, WrongFilmError, '20 Hz instead of 10'),
        ({'other': 1}, WrongFilmError, 'does not begin with the picture'),
        ({'served': 'Wan2.2'}, EngineError, 'serves Wan2.2, not nvidia'),
        ({'routes': 2}, EngineError, 'has no route /v1/videos/{video_id}/content'),
        ({'token': 'x'}, RefusedError, 'wants another token'),
    ],
    ids=lambda value: '+'.join(value) if isinstance(value, dict) else None,
)
def test_what_does_not_pass_is_said_once_and_leaves_nothing(stand, tmp_path, told, kind, words):
    stand.behave(**told)
    with pytest.raises(kind, match=words):
        asked(stand, tmp_path)
    state = stand.state()
    assert len(state['forms']) <= (2 if 'breaks' in told else 1)
    assert (state['jobs'], names(tmp_path)) == ([], [])


@pytest.mark.parametrize('told', [{'narrow': 1}, {'unknown_action': 1}])
def test_actions_of_another_shape_or_unknown_ones_are_no_answer(stand, tmp_path, told):
    stand.behave(**told)
    with pytest.raises(WrongFilmError, match='gave actions'):
        asked(stand, tmp_path, job_of('policy'))
    assert (stand.state()['jobs'], names(tmp_path)) == ([], [])


@pytest.mark.parametrize(
    'told', [{'models_503': 9}, {'create_503': 9}, {'look_drop': 9}, {'restart': 9}, {'ill': 9}]
)
def test_a_server_that_is_away_for_long_is_waited_for_and_the_job_kept(stand, tmp_path, told):
    stand.behave(**told)
    client = client_of(stand)
    with pytest.raises(NotNowError, match=r'unreachable since|too often|not healthy'):
        run(client, job_of(), tmp_path / 'film.mp4')
    # It comes back; only what the server itself forgot is made a second time.
    for name in told:
        stand.take_back(name)
    run(client, job_of(), tmp_path / 'film.mp4')
    state = stand.state()
    assert (state['jobs'], names(tmp_path)) == ([], ['film.mp4'])
    assert len(state['forms']) == (3 if 'restart' in told else 1)


def test_nobody_listening_is_said_with_since_when(stand, tmp_path):
    client = VideoClient(Server('http://127.0.0.1:9', MODEL), each_picture, Patience(**QUICK))
    with pytest.raises(UnreachableError, match=r'nobody listens there.*unreachable since 20'):
        run(client, job_of(), tmp_path / 'film.mp4')
    since_s = client.jobs.away_since_s
    with pytest.raises(UnreachableError):
        run(client, job_of(), tmp_path / 'film.mp4')
    assert client.jobs.away_since_s == since_s


def test_cancelling_deletes_the_job(stand, tmp_path):
    stand.behave(never_done=1)
    stop, told = threading.Event(), []
    with pytest.raises(StoppedError):
        run(
            client_of(stand), job_of(), tmp_path / 'film.mp4', cancelled=stop,
            progress=lambda status, _: (told.append(status), stop.set()),
        )  # fmt: skip
    assert told == ['in_progress']
    assert (stand.state()['jobs'], names(tmp_path)) == ([], [])


def test_too_slow_a_server_is_said_and_its_job_deleted(stand, tmp_path):
    stand.behave(never_done=1)
    # A busy machine may cut a look short: then that is said, and a job that was made is kept.
    said = r'not done in 1 s; take fewer steps or frames|no time is left'
    with pytest.raises(EngineError, match=said) as told:
        asked(stand, tmp_path, whole_s=1.0)
    if not isinstance(told.value, NotNowError):
        assert (stand.state()['jobs'], names(tmp_path)) == ([], [])


CHILD = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[3].split(':')
from test_remote_video import client_of, job_of
from omni_stand import Stand
from cosmos_flywheel.engines.remote import video
if sys.argv[4] == 'whole':
    video.os.replace = lambda *_: print('here', flush=True) or sys.stdin.read()
stand = Stand(int(sys.argv[1]))
progress = lambda *_: print('here', flush=True)
video.run(client_of(stand), job_of(), Path(sys.argv[2]), progress=progress)
"""


@pytest.mark.parametrize('when', ['waiting', 'whole'])
def test_a_process_that_is_killed_leaves_its_job_to_the_next_one(stand, tmp_path, when):
    stand.behave(never_done=int(when == 'waiting'))
    out, here = tmp_path / 'film.mp4', Path(__file__).parent
    port = stand.endpoint.rpartition(':')[2]
    path = f'{here}:{here.parents[1]}'
    with subprocess.Popen(
        [sys.executable, '-c', CHILD, port, str(out), path, when],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == 'here\n'
        with pytest.raises(NotNowError, match='another process'):
            run(client_of(stand), job_of(), out)
        os.kill(child.pid, signal.SIGKILL)
    assert len(stand.state()['jobs']) == 1
    stand.finish()
    made = run(client_of(stand), job_of(), out)
    state = stand.state()
    assert (len(state['forms']), state['jobs'], names(tmp_path)) == (1, [], ['film.mp4'])
    assert made.job_id in state['seen_ids']


def test_a_film_that_nobody_wants_any_more_is_forgotten_everywhere(stand, tmp_path):
    stand.behave(look_drop=9)
    client, out = client_of(stand), tmp_path / 'film.mp4'
    with pytest.raises(NotNowError):
        run(client, job_of(), out)
    assert len(stand.state()['jobs']) == 1
    assert forget(client, out)
    assert (stand.state()['jobs'], names(tmp_path)) == ([], [])
    assert forget(client, out)


def test_another_job_for_the_same_file_replaces_the_earlier_one(stand, tmp_path):
    stand.behave(look_drop=3)
    client, out = client_of(stand), tmp_path / 'film.mp4'
    with pytest.raises(NotNowError):
        run(client, job_of(seed=1), out)
    run(client, job_of(seed=2), out)
    state = stand.state()
    assert [form['seed'] for form in state['forms']] == [1, 2]
    assert (state['jobs'], names(tmp_path)) == ([], ['film.mp4'])
    with pytest.raises(EngineError, match='is there already'):
        run(client, job_of(seed=3), out)


def test_a_job_is_found_on_a_later_page_of_the_list(stand, tmp_path):
    stand.behave(made_drop=1, page=1)
    with ordinary_jobs(stand, 3):
        asked(stand, tmp_path)
        assert len(stand.state()['forms']) == 4


class ordinary_jobs:  # noqa: N801
    """Jobs of somebody else, which no run may touch."""

    def __init__(self, stand: Stand, count: int) -> None:
        self.stand, self.count = stand, count

    def __enter__(self) -> None:
        stop = threading.Event()
        from cosmos_flywheel.engines.remote.video_form import video_form

        client = client_of(self.stand)
        self.stand.take_back('made_drop')
        for number in range(self.count):
            form = video_form(job_of(), MODEL, f'somebody else {number}')
            client.jobs.create(form, time.monotonic() + 10, stop)
        self.stand.told(made_drop=1)

    def __exit__(self, *_: object) -> None:
        assert len(self.stand.state()['jobs']) == self.count


def test_the_server_is_asked_what_it_is(stand):
    facts = check_server(client_of(stand))
    assert (facts.served, facts.root, facts.version) == (MODEL, MODEL, '0.30.0')


def test_a_right_server_passes_the_control_and_a_wrong_one_does_not(stand):
    assert positive_control(client_of(stand)) > LEAST_PSNR_DB + 6
    assert positive_control(client_of(stand), job_of('policy')) > LEAST_PSNR_DB
    stand.behave(other=1)
    with pytest.raises(WrongFilmError, match='answers somebody else'):
        positive_control(client_of(stand))
    with pytest.raises(EngineError, match='proves nothing'):
        positive_control(client_of(stand), job_of('video_to_video', condition_frames=(1,)))
    assert stand.state()['jobs'] == []


@pytest.mark.parametrize(
    ('changed', 'words'),
    [
        ({'kind': 'text_to_video'}, 'kind is text_to_video; give one of'),
        ({'prompt': '  '}, 'prompt is empty'),
        ({'prompt': '\ud800'}, 'UTF-8'),
        ({'size': (100, 128)}, 'multiples of 16'),
        ({'frames': 10}, 'frames is 10; give a multiple of 4, and 1'),
        ({'fps': float('nan')}, 'fps is nan'),
        ({'steps': 0}, 'steps is 0; give 1 to 200'),
        ({'guidance': 21}, 'guidance is 21'),
        ({'seed': -1}, 'seed is -1'),
        ({'reference': None}, 'begins with a picture'),
        ({'domain_id': 4}, 'image_to_video takes none'),
        ({'kind': 'policy', 'domain_id': None}, 'domain_id is None'),
        ({'kind': 'policy', 'domain_id': 4, 'width': 65}, 'width is 65'),
        ({'kind': 'forward_dynamics', 'actions': None}, 'takes them'),
        ({'controls': (Control('edge'),)}, 'go with|video_to_video only'),
        ({'kind': 'video_to_video', 'condition_frames': ()}, 'name one, or give a control'),
        ({'kind': 'video_to_video', 'condition_frames': (3,)}, 'of 0 to 2'),
        ({'kind': 'video_to_video', 'keep': 'middle'}, 'keep is middle'),
    ],
)
def test_a_wrong_job_is_refused_before_anything_is_sent(changed, words):
    with pytest.raises(EngineError, match=words):
        job_of(**changed)


@pytest.mark.parametrize(
    ('controls', 'words'),
    [
        ([Control('pose', LARGE)], 'each of edge, blur, depth once'),
        ([Control('depth')], 'depth without its film'),
        ([Control('edge', LARGE), Control('depth', LARGE)], 'one film of a control'),
        ([Control('edge', weight=0.0)], 'a weight of 0'),
    ],
)
def test_wrong_controls_are_refused(controls, words):
    with pytest.raises(EngineError, match=words):
        job_of('video_to_video', size=BUCKET, reference=LARGE, controls=tuple(controls))


def test_what_does_not_fit_the_film_is_refused_before_anything_is_sent(stand, tmp_path):
    with pytest.raises(EngineError, match='reference is of 320x192 px; give pictures of 128x96'):
        asked(stand, tmp_path, job_of('video_to_video', reference=LARGE))
    with pytest.raises(EngineError, match='reference cannot be read'):
        asked(stand, tmp_path, job_of(reference=b'no picture'))
    for longer in (Control('depth', LARGE), Control('edge')):
        job = job_of('video_to_video', size=BUCKET, reference=LARGE, frames=13, controls=(longer,))
        with pytest.raises(EngineError, match='has 9 pictures; give 13, as frames has'):
            asked(stand, tmp_path, job)
    assert stand.state()['seen'] == []


def test_jobs_that_differ_in_anything_have_other_sums():
    base = job_of('policy')
    assert base.sha256 == job_of('policy').sha256
    others = [
        job_of('policy', seed=1), job_of('policy', prompt='x'), job_of(),
        job_of('policy', width=3), job_of('policy', reference=png_of(PICTURE[::-1])),
    ]  # fmt: skip
    assert len({base.sha256, *(job.sha256 for job in others)}) == 6


def test_a_line_of_a_journal_that_was_cut_off_is_none(tmp_path):
    path = journal_of(tmp_path / 'film.mp4')
    with Journal(path) as journal:
        journal.tell(prompt='a', id='1')
    with path.open('ab') as file:
        file.write(b'{"id": "2')
    with Journal(path) as journal:
        assert journal.told == {'prompt': 'a', 'id': '1'}
        journal.tell(id='3')
    with Journal(path) as journal:
        assert journal.told['id'] == '3'
        journal.forget()
    assert names(tmp_path) == []


def test_pictures_are_told_apart_by_their_psnr():
    assert psnr_db(PICTURE, PICTURE) == 99
    assert psnr_db(PICTURE, PICTURE ^ 1) == pytest.approx(48.13, abs=0.01)
    assert psnr_db(patches(SIZE), patches(SIZE)) < LEAST_PSNR_DB
    assert json.dumps(psnr_db(PICTURE, PICTURE[::-1]))

# SPDX-License-Identifier: Apache-2.0
"""Films of Cosmos in process, from tiny random weights on a processor."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from order_maker import ENVELOPE, ROBOT, make_brief, make_episode, make_order

torch = pytest.importorskip('torch', reason='engine cosmos needs torch')
pytest.importorskip('tokenizers', reason='captions need transformers')

from tiny_cosmos import COMMIT, write_checkpoint  # noqa: E402

from cosmos_flywheel.core.errors import (  # noqa: E402
    ConfigError,
    EngineError,
    NotHereError,
    NotNowError,
    PermanentError,
)
from cosmos_flywheel.core.job import Job, Price  # noqa: E402
from cosmos_flywheel.core.variation import Variation  # noqa: E402
from cosmos_flywheel.engines.cosmos import canvas, film_maker, film_opened  # noqa: E402
from cosmos_flywheel.engines.cosmos.dims import VaeDims  # noqa: E402
from cosmos_flywheel.engines.cosmos.hub import find_checkpoint  # noqa: E402
from cosmos_flywheel.engines.cosmos.plan import SIZES, film_s  # noqa: E402
from cosmos_flywheel.generate import cosmos, order_work  # noqa: E402
from cosmos_flywheel.generate.backends import Means, find_backend  # noqa: E402
from cosmos_flywheel.generate.clip import read_clip  # noqa: E402
from cosmos_flywheel.generate.cosmos import Cosmos  # noqa: E402
from cosmos_flywheel.generate.film_settings import FilmSettings  # noqa: E402
from cosmos_flywheel.generate.make import differences, make_candidate  # noqa: E402
from cosmos_flywheel.generate.order_work import OrderWork, job_order  # noqa: E402
from cosmos_flywheel.store.briefs import read_brief, save_brief  # noqa: E402
from cosmos_flywheel.store.candidates import find_candidate, read_candidate, read_run  # noqa: E402

PUSH = replace(ROBOT, cosmos=replace(ROBOT.cosmos, domain='pusht', chunk=8))
WIDE = replace(ENVELOPE, low=(-9, -9), high=(9, 9), speed=(99, 99), acceleration=(9e3, 9e3))
SMALL = FilmSettings(tier=256, steps=1, precision='fp32', on_no_gpu='cpu')
FD, POLICY = Variation('near_miss', 'perturbed'), Variation('recovery', 'policy')
WORDS = Variation('harder', 'recorded', {'push': 'twice as hard'})


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    small = VaeDims(base=2, decoder_base=2, blocks=1)
    folder = write_checkpoint(tmp_path_factory.mktemp('hub'), vae=small)
    card = 'license: other\nlicense_name: openmdw-1.1\nlicense_link: LICENSE\n'
    (folder / 'README.md').write_text(f'---\n{card}---\nwords\n')
    return folder


@pytest.fixture(scope='module')
def episode(tmp_path_factory):
    return make_episode(tmp_path_factory.mktemp('out'))


@pytest.fixture(autouse=True)
def alone(tmp_path_factory, monkeypatch):
    """No network, a shelf of its own, a canvas without padding, and a robot with a domain."""

    def refused(*_):
        raise AssertionError('the network was asked')

    monkeypatch.setattr(socket, 'getaddrinfo', refused)
    monkeypatch.setattr(socket.socket, 'connect', refused)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.getbasetemp() / 'film_shelf'))
    monkeypatch.setitem(canvas.BINS, 256, ((48, 64),))
    monkeypatch.setattr(cosmos, 'load_robot', lambda _: PUSH)


def generator(checkpoint, **changes):
    return Cosmos(str(checkpoint), replace(SMALL, **changes))


def job_of(order):
    return Job(order=order, state='claimed', attempt=1, price=Price())


def ordered(episode, variation, seed=0, robot=PUSH, **changes):
    given = {'envelope': WIDE, **changes}
    return replace(make_order(episode, variation, seed, **given), robot=robot)


def test_commands_make_a_candidate_and_the_same_bytes_again(episode, checkpoint, tmp_path):
    maker, order = generator(checkpoint), ordered(episode, FD)
    maker.check()
    made = make_candidate(tmp_path, order, maker)
    manifest = read_candidate(made.folder, verify=True)
    assert manifest['kind'] == 'generated'
    stated = {'name': 'cosmos3-other', 'revision': COMMIT, 'licence': 'openmdw-1.1 (LICENSE)'}
    assert manifest['model'] == stated
    assert manifest['parameters']['device'] == 'cpu'
    assert manifest['asked']['kind'] == 'forward_dynamics'
    assert manifest['asked']['steps'] == 1
    assert manifest['guardrail'] == {
        'asked': False, 'ran': False, 'blocked': None, 'changed_frames': None,
    }  # fmt: skip
    assert manifest['actions']['source'] == 'perturbed'
    assert manifest['actions']['has_model_units']
    assert manifest['video']['frames'] == manifest['actions']['steps'] + 1
    assert read_run(made.folder)['gpu_s'] == 0
    assert manifest['repeatable']
    film_opened.close()
    assert differences(made.folder, order, generator(checkpoint)) == ()
    other = make_candidate(tmp_path, ordered(episode, FD, seed=1), maker)
    assert (other.folder / 'video.webm').read_bytes() != (made.folder / 'video.webm').read_bytes()


def test_what_the_policy_proposes_is_held_against_the_envelope(episode, checkpoint, monkeypatch):
    maker = generator(checkpoint)
    made = maker.make(ordered(episode, POLICY))
    assert made.commands.source == 'policy'
    assert len(made.frames) == len(made.commands.values) + 1 == 16 + 2 * 8
    # Beyond what the first chunk reaches, the second one is not followed.
    reached = made.commands.values[15:23].max(0) + 1e-3
    assert (made.commands.values[23:] > reached).any()
    short = maker.make(ordered(episode, POLICY, envelope=replace(WIDE, high=tuple(reached))))
    assert np.array_equal(short.commands.values, made.commands.values[:23])
    assert np.array_equal(short.frames, made.frames[:24])
    assert short.asked['calls'] == 2
    assert any('ends after 1 of 2 chunks' in note for note in short.notes)
    tight = replace(WIDE, speed=(1e-3, 1e-3))
    monkeypatch.setattr(film_maker._Clock, 'read_s', lambda _: 3.5)
    with pytest.raises(ConfigError, match=r'commands are refused: gantry_\w leaves') as refused:
        maker.make(ordered(episode, POLICY, envelope=tight))
    assert refused.value.gpu_s == 3.5, 'what the card did until then'


def test_other_commands_show_another_film_from_the_same_keyframe(episode, checkpoint):
    maker, order = generator(checkpoint), ordered(episode, FD)
    recording = read_clip(order).recording
    path = recording.actions[20:30].astype(float)
    shown, gpu_s = maker.steered(order, recording, 20, path)
    assert (shown.shape, gpu_s) == ((10, 48, 64, 3), 0.0)
    turned, _ = maker.steered(order, recording, 20, -path)
    assert not np.array_equal(turned, shown)


def test_a_job_waits_for_a_card_and_is_done_where_a_processor_may_work(
    checkpoint, tmp_path, monkeypatch
):
    monkeypatch.setattr(order_work, 'load_robot', lambda _: PUSH)
    brief = make_brief(make_episode(tmp_path), envelope=WIDE)
    brief = read_brief(save_brief(tmp_path / 'briefs', brief, {'keyframes/0.png': b'a picture'}))
    words = ['tier=256', 'steps=1', 'precision=fp32']
    away, here = (
        Means(checkpoint=str(checkpoint), settings=(*words, f'on_no_gpu={what}'))
        for what in ('wait', 'cpu')
    )
    order = job_order(brief, find_backend('cosmos', away), FD, 0)
    assert order.estimate.gpu_s > 0, 'the budget can reserve it'
    with pytest.raises(NotNowError, match='sees no NVIDIA GPU'):
        OrderWork(means=away)(job_of(order), tmp_path)
    order = job_order(brief, find_backend('cosmos', here), FD, 0)
    outcome = OrderWork(means=here)(job_of(order), tmp_path)
    assert read_candidate(find_candidate(tmp_path, outcome.candidate_id))['backend'] == 'cosmos'


def test_commands_beyond_the_envelope_are_refused_before_anything_is_loaded(
    episode, checkpoint, monkeypatch
):
    monkeypatch.setattr(film_opened, 'maker_of', lambda *_: pytest.fail('the model was loaded'))
    tight = replace(WIDE, low=(8.0, 8.0))
    with pytest.raises(ConfigError, match='perturbed commands are refused'):
        generator(checkpoint).make(ordered(episode, FD, envelope=tight))


def test_words_alone_make_a_film_of_a_robot_that_the_model_does_not_know(episode, checkpoint):
    made = generator(checkpoint).make(ordered(episode, WORDS, robot=ROBOT))
    assert made.commands is None
    assert made.asked['kind'] == 'image_to_video'
    assert 'twice as hard' in made.asked['prompt']
    assert made.asked['guidance'] == 6.0
    assert (len(made.frames) - 1) % 4 == 0


def test_without_a_card_a_job_waits_or_is_refused_as_configured(episode, checkpoint):
    order = ordered(episode, FD)
    waiting = generator(checkpoint, on_no_gpu='wait')
    waiting.check()
    with pytest.raises(NotNowError, match='sees no NVIDIA GPU'):
        waiting.make(order)
    with pytest.raises(EngineError, match='on_no_gpu=cpu'):
        generator(checkpoint, on_no_gpu='refuse').check()


@pytest.mark.parametrize(
    ('on_no_gpu', 'error'), [('wait', NotNowError), ('refuse', PermanentError), ('cpu', None)]
)
def test_without_room_on_the_card_in_mid_film_it_is_freed_and_what_is_configured_done(
    episode, checkpoint, monkeypatch, on_no_gpu, error
):
    order, plain = ordered(episode, FD), generator(checkpoint)
    begun, opened, freed = film_maker.FilmMaker.begun, film_opened.maker_of, film_opened.close
    devices, held = [], []

    def maker_of(folder, commit, precision, device):
        devices.append(device)
        return opened(folder, commit, precision, 'cpu')

    def crowded(self, asked, index, picture):
        loop = begun(self, asked, index, picture)
        if devices[-1:] == ['cuda'] and index == 1:
            held.append(weakref.ref(loop))
            raise torch.OutOfMemoryError
        return loop

    def close():
        assert not any(one() for one in held), 'what the film had taken is free by then'
        freed()

    if error is None:
        expected = plain.make(order).frames
    monkeypatch.setattr(film_maker.FilmMaker, 'begun', crowded)
    monkeypatch.setattr(film_opened, 'maker_of', maker_of)
    monkeypatch.setattr(film_opened, 'close', close)
    monkeypatch.setattr(Cosmos, '_device', 'cuda')
    maker = generator(checkpoint, on_no_gpu=on_no_gpu)
    if error is None:
        made = maker.make(order)
        assert len(held) == 2, 'with layers on the card, then with layers of the host'
        assert np.array_equal(made.frames, expected)
        assert (devices, made.asked['device']) == (['cuda', 'cpu'], 'cpu')
        assert any('the card had no room' in note for note in made.notes)
        return
    with pytest.raises(error, match='not enough memory for this film'):
        maker.make(order)
    assert not film_opened._open, 'others may have the card until then'


@pytest.mark.parametrize(
    ('words', 'error'),
    [('CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate', NotNowError), ('a', RuntimeError)],
)
def test_without_room_for_the_model_itself_a_job_waits(
    episode, checkpoint, monkeypatch, words, error
):
    def full(*_):
        raise RuntimeError(f'CUDA error: {words}')

    film_opened.close()
    monkeypatch.setattr(film_opened, '_opened', full)
    monkeypatch.setattr(Cosmos, '_device', 'cuda')
    with pytest.raises(error, match='not enough memory' if error is NotNowError else 'CUDA'):
        generator(checkpoint, on_no_gpu='wait').make(ordered(episode, FD))


def test_a_guardrail_blocks_and_changes_only_where_it_is_asked_for(
    episode, checkpoint, monkeypatch
):
    order = ordered(episode, FD)
    with pytest.raises(EngineError, match='pip install cosmos_guardrail'):
        generator(checkpoint, guardrail='on').make(order)
    said = {'words': True, 'film': True}

    class Checker:
        def to(self, device):
            self.device = device

        def check_text_safety(self, words):
            return said['words']

        def check_video_safety(self, frames):
            if said.get('full'):
                raise torch.OutOfMemoryError
            return np.concatenate([frames[:2] // 2, frames[2:]]) if said['film'] else None

    module = SimpleNamespace(CosmosSafetyChecker=Checker)
    monkeypatch.setitem(sys.modules, 'cosmos_guardrail', module)
    maker = generator(checkpoint, guardrail='on')
    found = maker.make(order).guardrail
    assert (found.asked, found.ran, found.blocked, found.changed_frames) == (True, True, False, 2)
    for what, error in (('film', ConfigError), ('words', PermanentError)):
        said[what] = False
        with pytest.raises(error, match='the guardrail stopped the'):
            maker.make(order)
    said |= {'words': True, 'full': True}
    monkeypatch.setattr(Cosmos, '_device', 'cpu')
    with pytest.raises(NotNowError, match='for the guardrail beside the model'):
        generator(checkpoint, guardrail='on', on_no_gpu='wait').make(order)


def test_a_checkpoint_of_the_cache_is_found_without_a_network(checkpoint, tmp_path):
    kept = tmp_path / 'models--nvidia--Cosmos3-Nano' / 'snapshots'
    kept.mkdir(parents=True)
    (kept / COMMIT).symlink_to(checkpoint)
    assert find_checkpoint('nvidia/Cosmos3-Nano', tmp_path) == kept / COMMIT
    (kept / ('d' * 40)).mkdir()
    with pytest.raises(EngineError, match='several commits'):
        find_checkpoint('nvidia/Cosmos3-Nano', tmp_path)
    assert find_checkpoint(f'nvidia/Cosmos3-Nano@{COMMIT}', tmp_path).name == COMMIT
    with pytest.raises(EngineError, match='flywheel engine pull'):
        find_checkpoint('nvidia/Cosmos3-Super', tmp_path)


def test_broken_checkpoints_are_told_in_the_engines_words(checkpoint, tmp_path):
    with pytest.raises(ConfigError, match='give --checkpoint'):
        find_backend('cosmos', Means())
    folder = tmp_path / COMMIT
    (folder / 'transformer').mkdir(parents=True)
    for name in ('config.json',):
        (folder / 'transformer' / name).write_bytes(
            (checkpoint / 'transformer' / name).read_bytes()
        )
    (folder / 'transformer' / 'model.bin').write_bytes(b'')
    (folder / 'vae').symlink_to(checkpoint / 'vae')
    with pytest.raises(EngineError, match='such files can run code'):
        generator(folder).check()
    shutil.rmtree(folder)
    shutil.copytree(checkpoint, folder)
    (shard, *_) = sorted((folder / 'transformer').glob('*.safetensors'))
    name = f'transformer/{shard.name}'
    pulled = {'repo': 'nvidia/Cosmos3-Nano', 'files': {name: {'size': 1, 'sha256': 'a' * 64}}}
    (folder / 'pulled.json').write_text(json.dumps(pulled))
    assert generator(folder).model[0] == 'nvidia/Cosmos3-Nano'
    with pytest.raises(EngineError, match=r'aaaaaaaaaaaa… was pulled; delete it'):
        generator(folder).check()
    (folder / 'pulled.json').write_text(json.dumps({'commit': 'd' * 40, 'files': {}}))
    with pytest.raises(EngineError, match=f'commit {"d" * 40} was pulled into it'):
        generator(folder).check()
    (folder / 'pulled.json').unlink()
    blob = folder / ('b' * 64)  # as the hub's cache names it
    shard.rename(blob)
    shard.symlink_to(blob)
    with pytest.raises(EngineError, match='bbbbbbbbbbbb… was pulled'):
        generator(folder).check()
    shard.unlink()
    blob.rename(shard)
    generator(folder).check()
    (folder / 'text_tokenizer').rename(folder / 'aside')
    with pytest.raises(NotHereError, match='text_tokenizer: is missing'):
        generator(folder).check()
    shard.write_text('version https://git-lfs.github.com/spec/v1')
    with pytest.raises(NotHereError, match='only points to the file'):
        generator(folder).check()
    with pytest.raises(EngineError, match=r'holds no checkpoint \(no transformer/\)'):
        Cosmos(str(checkpoint / 'vae'))
    with pytest.raises(EngineError, match='not named by its commit'):
        Cosmos(str(folder.rename(tmp_path / 'Cosmos3-Nano')))


def test_cells_that_it_cannot_make_are_refused_by_name(episode, checkpoint):
    maker, brief = generator(checkpoint), ordered(episode, FD).brief
    assert maker.refusal(brief, FD) == ''
    assert 'has no expert' in maker.refusal(brief, Variation('recovery', 'expert'))
    assert 'light' not in maker.axes, 'the given picture has the light of then'
    assert 'anything' in maker.axes['push']


def test_what_a_candidate_will_cost_is_known_beforehand(episode, checkpoint):
    maker, brief = generator(checkpoint), ordered(episode, FD).brief
    assert 0 < maker.estimate(brief, FD).gpu_s < 1
    less = generator(checkpoint, frames=17).estimate(brief, POLICY)
    assert less.gpu_s == pytest.approx(maker.estimate(brief, POLICY).gpu_s / 2)
    nano = SIZES['nano']
    # 189 frames at 480: 60 s of an H200 in NVIDIA's table; a chunk of 16: 1.77 s in ours.
    assert film_s(nano, (30, 52), 188, 0, 70) == pytest.approx(60, rel=0.1)
    assert film_s(nano, (30, 52), 16, 16, 30) == pytest.approx(1.77, rel=0.1)


def test_settings_are_read_from_words_and_refused_by_name():
    assert FilmSettings.parse(('steps=4', 'guardrail=on')).sampling('image_to_video') == {
        'steps': 4, 'guidance': 6.0, 'shift': 10.0,
    }  # fmt: skip
    with pytest.raises(EngineError, match='on_no_gpu is'):
        FilmSettings.parse(('on_no_gpu=maybe',))
    with pytest.raises(EngineError, match='steps is 999'):
        FilmSettings.parse(('steps=999',))
    with pytest.raises(EngineError, match='frames is 3; give 5 to 401'):
        FilmSettings.parse(('frames=3',))
    with pytest.raises(EngineError, match='precision=fp8 is of backend cosmos'):
        find_backend('remote', Means(server='http://127.0.0.1:1', settings=('precision=fp8',)))

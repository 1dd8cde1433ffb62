# SPDX-License-Identifier: Apache-2.0
"""A checkpoint is fetched whole, resumed and verified, or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

constants = pytest.importorskip(
    'huggingface_hub.constants', reason='fetching needs huggingface_hub'
)

from cosmos_flywheel.core.errors import EngineError  # noqa: E402
from cosmos_flywheel.core.lineage import sha256_file  # noqa: E402
from cosmos_flywheel.engines.cosmos import hub as door  # noqa: E402
from cosmos_flywheel.engines.cosmos.hub import PULLED, licence_of, pull  # noqa: E402

REPO, COMMIT = 'someone/Tiny', 'd' * 40
SHARD = 'transformer/diffusion_pytorch_model.safetensors'
Server = namedtuple('Server', ('url', 'log'))


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('model')
    contents = {
        SHARD: os.urandom(300_000),
        'transformer/config.json': b'{"a": 1}',
        'transformer/diffusion_pytorch_model.bin': b'a pickle',
        'vae/diffusion_pytorch_model.safetensors': os.urandom(2_000),
        'text_tokenizer/tokenizer.json': b'{}',
        'assets/film.mp4': b'film',
        'README.md': b'words',
    }
    for name, data in contents.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def serve(model, tmp_path) -> Iterator[Callable[..., Server]]:
    running: list[subprocess.Popen[str]] = []
    script = Path(__file__).with_name('hub_server.py')

    def start(*faults: str, folder: Path = model) -> Server:
        log = tmp_path / 'requests.txt'
        words = [sys.executable, str(script), str(folder), REPO, COMMIT, str(log), *faults]
        running.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        return Server(f'http://127.0.0.1:{running[-1].stdout.readline().strip()}', log)

    yield start
    for process in running:
        process.kill()
        process.wait()


def test_what_the_engine_reads_is_fetched_and_nothing_else(serve, model, tmp_path):
    files = pull(REPO, COMMIT, tmp_path / COMMIT, endpoint=serve().url)
    names = {file.name for file in files}
    assert names == {
        SHARD, 'transformer/config.json', 'vae/diffusion_pytorch_model.safetensors',
        'text_tokenizer/tokenizer.json',
    }  # fmt: skip
    assert all(sha256_file(tmp_path / COMMIT / n) == sha256_file(model / n) for n in names)
    assert licence_of(tmp_path / COMMIT) == 'openmdw-1.1 (LICENSE.md)'
    assert not list((tmp_path / COMMIT).rglob('*.bin'))


def test_a_second_time_nothing_is_fetched_again(serve, tmp_path):
    server = serve()
    pull(REPO, COMMIT, tmp_path / COMMIT, endpoint=server.url)
    first = server.log.read_text().count('GET /someone')
    pull(REPO, COMMIT, tmp_path / COMMIT, endpoint=server.url)
    assert server.log.read_text().count('GET /someone') == first == 4


def test_a_file_that_is_cut_off_is_resumed(serve, model, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, 'DOWNLOAD_CHUNK_SIZE', 1000)  # what is written at once
    server = serve(f'drop={SHARD}')
    pull(REPO, COMMIT, tmp_path / COMMIT, endpoint=server.url)
    asked = [line for line in server.log.read_text().splitlines() if line.startswith('GET /some')]
    resumed = [line for line in asked if SHARD in line and 'bytes=' in line]
    assert len(resumed) == 1
    assert 'bytes=0' not in resumed[0]
    assert sha256_file(tmp_path / COMMIT / SHARD) == sha256_file(model / SHARD)


@pytest.mark.parametrize('name', [SHARD, 'transformer/config.json'])
def test_a_file_that_arrives_otherwise_is_removed(serve, tmp_path, name):
    with pytest.raises(EngineError, match='arrived otherwise than the hub says'):
        pull(REPO, COMMIT, tmp_path / COMMIT, endpoint=serve(f'wrong={name}').url)
    assert not (tmp_path / COMMIT / name).exists()
    assert not (tmp_path / COMMIT / PULLED).exists()


def test_a_licence_that_nobody_accepted_is_said_and_nothing_kept(serve, tmp_path):
    with pytest.raises(EngineError, match='its licence must be accepted on the hub first'):
        pull(REPO, COMMIT, tmp_path / COMMIT, endpoint=serve('gated=yes').url)
    assert not list((tmp_path / COMMIT).rglob('*.safetensors'))
    assert not (tmp_path / COMMIT / PULLED).exists()


def test_what_is_not_there_is_said(serve, tmp_path, monkeypatch):
    url, folder = serve().url, tmp_path / 'out'
    for repo, commit, words in (
        ('Tiny', COMMIT, 'OWNER/NAME'),
        (REPO, 'main', '40 hex digits'),
        (REPO, 'e' * 40, 'has no commit eeee'),
        ('nobody/Tiny', COMMIT, 'not on the hub'),
    ):
        with pytest.raises(EngineError, match=words):
            pull(repo, commit, folder, endpoint=url)
    monkeypatch.setattr(door.shutil, 'disk_usage', lambda _: namedtuple('U', 'free')(1000))
    with pytest.raises(EngineError, match='are missing and'):
        pull(REPO, COMMIT, folder, endpoint=url)
    assert not folder.exists()


def test_a_model_of_pickles_is_not_fetched(serve, tmp_path):
    pickles = tmp_path / 'pickles'
    (pickles / 'transformer').mkdir(parents=True)
    (pickles / 'transformer' / 'model.bin').write_bytes(b'a pickle')
    with pytest.raises(EngineError, match='can run code'):
        pull(REPO, COMMIT, tmp_path / 'out', endpoint=serve(folder=pickles).url)


def test_offline_means_offline(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    server = serve()
    with pytest.raises(EngineError, match='HF_HUB_OFFLINE'):
        pull(REPO, COMMIT, tmp_path / 'out', endpoint=server.url)
    assert not server.log.exists()


def test_the_command_names_the_folder_by_its_commit(serve, tmp_path):
    words = ['engine', 'pull', REPO, '--revision', COMMIT]
    done = subprocess.run(
        [sys.executable, '-m', 'cosmos_flywheel.cli.main', *words],
        cwd=tmp_path,
        env={**os.environ, 'HF_ENDPOINT': serve().url, 'PYTHONPATH': os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f'checkpoint: checkpoints/someone--Tiny/{COMMIT}' in done.stdout
    assert (tmp_path / 'checkpoints' / 'someone--Tiny' / COMMIT / SHARD).is_file()

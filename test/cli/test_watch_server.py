# SPDX-License-Identifier: Apache-2.0
"""The server of `flywheel watch` over a real socket: what it gives, and what it refuses."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator

import pytest

from cosmos_flywheel.capture.live.watched import Shown, Watched
from cosmos_flywheel.cli.watch_server import WatchServer
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.store.shelf import Shelf

ID = 'a' * 16


@pytest.fixture
def server(tmp_path) -> Iterator[WatchServer]:
    made = WatchServer(('127.0.0.1', 0), Watched(), Shelf(tmp_path))
    made.start()
    yield made
    made.stop()


def ask(server, method: str, path: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection('127.0.0.1', server.server_port, timeout=10)
    named = {name.replace('_', '-'): value for name, value in headers.items()}
    connection.request(method, path, headers=named)
    answer = connection.getresponse()
    return answer, answer.read()


def test_the_page_runs_only_its_own_code(server):
    answer, page = ask(server, 'GET', '/')
    assert answer.status == 200
    assert b'<script src="watch.js"' in page
    policy = answer.headers['Content-Security-Policy']
    assert "script-src 'self';" in policy
    assert 'Access-Control-Allow-Origin' not in answer.headers


@pytest.mark.parametrize('host', ['evil.example', 'localhost:1', '10.0.0.1', '', 'a@localhost'])
def test_a_name_that_is_made_to_point_here_is_refused(server, host):
    port = f':{server.server_port}' if ':' not in host else ''
    assert ask(server, 'GET', '/', Host=host + port)[0].status == 403


def test_only_its_own_page_may_capture(server):
    asked = []
    server.capture = lambda: (not asked.append(1), 'capturing')
    own = f'localhost:{server.server_port}'
    for origin in ('http://evil.example', 'null', f'https://{own}', f'http://127.0.0.1:{1}'):
        assert ask(server, 'POST', '/capture', Host=own, Origin=origin)[0].status == 403
    assert ask(server, 'POST', '/capture', Host=own)[0].status == 403
    assert not asked
    answer, text = ask(server, 'POST', '/capture', Host=own, Origin=f'http://{own}')
    assert (answer.status, json.loads(text)) == (200, {'ok': True, 'words': 'capturing'})
    assert ask(server, 'GET', '/capture')[0].status == 404


@pytest.mark.parametrize(
    'path', ['/../setup.cfg', '/episode/../../etc/passwd/thumbnail', f'/episode/{ID}/clip.mcap',
             '/episode/..%2f..%2fetc/strip', '//etc/passwd']
)  # fmt: skip
def test_no_path_leads_out(server, path):
    assert ask(server, 'GET', path)[0].status == 404


def test_pictures_are_those_announced_and_files_come_in_ranges(server, tmp_path, monkeypatch):
    assert ask(server, 'GET', f'/episode/{ID}/thumbnail')[0].status == 404
    server.watched.take_episode(Shown(ID, (), 1, 0, 2), b'jpeg')
    assert ask(server, 'GET', f'/episode/{ID}/thumbnail')[1] == b'jpeg'
    film = tmp_path / 'film.mp4'
    film.write_bytes(b'0123456789')
    monkeypatch.setattr(server.shelf, 'file', lambda *_: film)
    for asked, code, content in (
        ('bytes=2-4', 206, b'234'),
        ('bytes=7-', 206, b'789'),
        ('bytes=-2', 206, b'89'),
        ('bytes=10-', 416, b''),
        ('bytes=-', 200, b'0123456789'),
    ):
        answer, got = ask(server, 'GET', f'/episode/{ID}/video', Range=asked)
        assert (answer.status, got) == (code, content)


def test_the_overlay_counts_who_looks(server):
    connection = http.client.HTTPConnection('127.0.0.1', server.server_port, timeout=10)
    connection.request('GET', '/overlay')
    answer = connection.getresponse()
    assert server.watched.lookers == 1 or threading.Event().wait(0.5) or server.watched.lookers
    server.watched.take_overlay(b'\xff\xd8picture', 0.0)
    assert answer.readline() == b'--picture\r\n'
    answer.close()
    connection.close()
    for _ in range(100):
        server.watched.take_overlay(b'x' * 100_000, 0.0)
        if threading.Event().wait(0.05) or not server.watched.lookers:
            break
    assert server.watched.lookers == 0


def test_a_port_in_use_is_said(server, tmp_path):
    with pytest.raises(ConfigError, match='give another --port'):
        WatchServer(('127.0.0.1', server.server_port), Watched(), Shelf(tmp_path))

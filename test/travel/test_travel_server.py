# SPDX-License-Identifier: Apache-2.0
"""Who is let in, what can be asked for, and what a hostile side brings about."""

from __future__ import annotations

import http.client
import json
import subprocess
from pathlib import Path

import pytest
from travelling import (
    OPEN,
    TOKEN,
    flywheel,
    ids,
    keep_episodes,
    serving,
    take_all,
)
from travelling import (
    http as source_of,
)

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.travel.http_source import HttpSource
from cosmos_flywheel.travel.outbox import RECEIPTS, Outbox
from cosmos_flywheel.travel.parcel import Parcel
from cosmos_flywheel.travel.policy import Policy
from cosmos_flywheel.travel.serve import TravelServer
from cosmos_flywheel.travel.token import read_token


@pytest.fixture
def robot(tmp_path) -> Path:
    keep_episodes(tmp_path / 'robot', 1)
    return tmp_path / 'robot'


@pytest.fixture
def server(robot):
    with serving(robot) as made:
        yield made


def ask(server, method: str, path: str, body=None, token: str = TOKEN, **headers: str):
    connection = http.client.HTTPConnection('127.0.0.1', server.server_port, timeout=10)
    named = {name.replace('_', '-'): value for name, value in headers.items()}
    connection.request(method, path, body, {'Authorization': f'Bearer {token}', **named})
    answer = connection.getresponse()
    return answer, answer.read()


def parcel_of(server) -> Parcel:
    return server.outbox.look().parcels[0]


@pytest.mark.parametrize('token', ['', 'wrong', TOKEN[:-1], TOKEN + 'x', 'ü'])
def test_without_the_token_nothing_is_given(server, token):
    entry = parcel_of(server).manifest
    for verb, path in (
        ('GET', '/v1/episodes'),
        ('GET', f'/v1/episodes/{parcel_of(server).id}/{entry.sha256}'),
        ('POST', '/v1/receipts'),
    ):
        answer, data = ask(server, verb, path, token=token)
        assert answer.status == 401
        assert b'parcels' not in data


def test_a_wrong_token_ends_the_fetching_and_names_the_remedy(server, tmp_path):
    with pytest.raises(ConfigError, match='give the --token-file that it was started with'):
        take_all(HttpSource(server.url, 'a-token-of-another-robot'), tmp_path / 'desk')


@pytest.mark.parametrize(
    'path',
    [
        '/v1/episodes/../../etc/passwd',
        '/v1/episodes/%2e%2e/%2e%2e/etc/passwd',
        '/etc/passwd',
        '//etc/passwd',
        '/v1/episodes/{id}/../catalogue.sqlite',
        '/v1/episodes/{id}/clip.mcap',
        '/v1/episodes/{id}/' + 'a' * 64,
        '/v1/episodes/' + 'b' * 16 + '/{sha256}',
        '/v1/episodes/{id}/{sha256}/..',
    ],
)
def test_nothing_but_what_is_offered_can_be_asked_for(server, path):
    parcel = parcel_of(server)
    answer, _ = ask(server, 'GET', path.format(id=parcel.id, sha256=parcel.manifest.sha256))
    assert answer.status == 404


def test_a_file_comes_in_ranges_under_its_hash(server, robot):
    parcel = parcel_of(server)
    entry = next(e for e in parcel.files if e.file == 'clip.mcap')
    whole = (robot / parcel.id / 'clip.mcap').read_bytes()
    path = f'/v1/episodes/{parcel.id}/{entry.sha256}'
    answer, data = ask(server, 'GET', path)
    assert (answer.status, answer.headers['ETag'], data) == (200, f'"{entry.sha256}"', whole)
    answer, data = ask(server, 'GET', path, Range='bytes=1000-')
    assert (answer.status, data) == (206, whole[1000:])
    assert answer.headers['Content-Range'] == f'bytes 1000-{len(whole) - 1}/{len(whole)}'
    answer, data = ask(server, 'GET', path, Range='bytes=1000-', If_Range='"other"')
    assert (answer.status, data) == (200, whole)
    assert ask(server, 'GET', path, Range=f'bytes={len(whole)}-')[0].status == 416


def test_only_a_receipt_for_all_that_is_offered_is_taken_and_any_number_of_times(server, robot):
    parcel = parcel_of(server)
    good = parcel.receipt()
    for wrong, status in (
        ({**good, 'sha256s': good['sha256s'][:-1]}, 409),
        ({**good, 'sha256s': [*good['sha256s'][:-1], 'f' * 64]}, 409),
        ({**good, 'id': 'b' * 16}, 409),
        ({**good, 'id': '../../../etc/x'}, 400),
        ({'schema': 'receipt-v1'}, 400),
        ([], 400),
    ):
        assert ask(server, 'POST', '/v1/receipts', json.dumps(wrong))[0].status == status
    assert not (robot / RECEIPTS).exists()
    for _ in range(2):
        assert ask(server, 'POST', '/v1/receipts', json.dumps(good))[0].status == 200
    assert [path.stem for path in (robot / RECEIPTS).iterdir()] == [parcel.id]
    assert ask(server, 'POST', '/v1/receipts', b'x', Content_Length='9' * 12)[0].status == 413


def test_a_peer_that_the_policy_does_not_name_is_refused_by_name(robot, tmp_path):
    with serving(robot, Policy(endpoints=('10.1.2.3',))) as server:
        answer, data = ask(server, 'GET', '/v1/episodes')
        assert answer.status == 403
        assert b'the policy allows nothing to 127.0.0.1' in data
        with pytest.raises(ConfigError, match='name this machine in the policy'):
            take_all(source_of(server), tmp_path / 'desk')


@pytest.mark.parametrize(
    ('policy', 'words'),
    [
        (OPEN, 'allows nothing to leave this machine'),
        (Policy(endpoints=('10.0.0.0/8',)), 'would cross the network in clear'),
    ],
)
def test_other_machines_are_let_in_only_by_an_explicit_word(robot, policy, words):
    with pytest.raises(ConfigError, match=words):
        TravelServer(('0.0.0.0', 0), Outbox(robot, None, policy, print), TOKEN)


class Liar:
    """A robot that offers what it likes."""

    is_preparing = False

    def __init__(self, parcel: Parcel, contents: dict[str, bytes]) -> None:
        self._parcel, self._contents = parcel, contents
        self.acknowledged = False

    def parcels(self):
        return (self._parcel,)

    def hours(self):
        return None

    def blocks(self, parcel, entry, offset):
        return 0, iter([self._contents[entry.sha256]])

    def acknowledge(self, parcel):
        self.acknowledged = True


def lie(robot: Path, **changes) -> Liar:
    """The robot's parcel, of which something is changed."""
    from cosmos_flywheel.core.lineage import sha256_hex
    from cosmos_flywheel.travel.parcel import Entry

    parcel = Outbox(robot, None, OPEN, print).look().parcels[0]
    contents = {e.sha256: (robot / parcel.id / e.file).read_bytes() for e in parcel.files}
    entries = list(parcel.files)
    if 'manifest' in changes:
        data = changes['manifest'](contents[parcel.manifest.sha256])
        entries.remove(parcel.manifest)
        entries.append(Entry('manifest.json', sha256_hex(data), len(data)))
        contents[sha256_hex(data)] = data
    if 'extra' in changes:
        entries.append(Entry(changes['extra'], sha256_hex(b'x'), 1))
        contents[sha256_hex(b'x')] = b'x'
    return Liar(Parcel(parcel.id, tuple(entries)), contents)


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'manifest': lambda _: b'{'}, 'is not JSON'),
        ({'manifest': lambda _: b'[1]'}, 'holds no fields'),
        (
            {'manifest': lambda data: data.replace(b'episode-v1', b'episode-v9')},
            'install a version',
        ),
        ({'extra': 'evidence/more.png'}, 'tells of other files'),
        ({'extra': '../../outside'}, 'tells of other files'),
    ],
)
def test_a_robot_that_lies_is_refused_and_gets_no_receipt(robot, tmp_path, changes, reason):
    liar, desk, told = lie(robot, **changes), tmp_path / 'desk', []
    tally = take_all(liar, desk, tell=told.append)
    assert len(tally.refused) == 1
    assert reason in told[-1]
    assert not liar.acknowledged
    assert ids(desk) == []
    assert not (tmp_path / 'outside').exists()


def test_more_bytes_than_were_offered_are_not_taken(robot, tmp_path):
    liar = lie(robot)
    for sha256 in liar._contents:
        liar._contents[sha256] += b'more'
    assert len(take_all(liar, tmp_path / 'desk').refused) == 1
    assert not liar.acknowledged


@pytest.mark.parametrize(
    ('text', 'mode', 'words'),
    [('short', 0o600, 'or more'), ('x' * 40, 0o644, 'chmod 600'), (None, 0, 'holds no token')],
)
def test_a_token_that_protects_nothing_is_refused(tmp_path, text, mode, words):
    path = tmp_path / 'token'
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    with pytest.raises(ConfigError, match=words):
        read_token(path)


def test_it_travels_over_tls_to_who_knows_the_certificate(robot, tmp_path, need):
    cert, key = tmp_path / 'cert.pem', tmp_path / 'key.pem'
    words = ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
             '-nodes', '-days', '2', '-subj', '/CN=robot', '-addext',
             'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert]  # fmt: skip
    try:
        subprocess.run([*map(str, words)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        need('openssl', 'there is no openssl')
    with serving(robot, OPEN, tls=(cert, key)) as server:
        assert server.url.startswith('https://')
        with pytest.raises(ConfigError, match='give --ca'):
            take_all(HttpSource(server.url, TOKEN), tmp_path / 'desk')
        take_all(HttpSource(server.url, TOKEN, cert), tmp_path / 'desk')
    assert ids(tmp_path / 'desk') == ids(robot)


def test_one_folder_is_served_once(robot, tmp_path):
    from travelling import token_file

    with Outbox(robot, None, OPEN, print).held():
        second = flywheel('serve', robot, '--token-file', token_file(tmp_path))
        _, said = second.communicate(timeout=60)
    assert second.returncode == 2
    assert 'is served already' in said

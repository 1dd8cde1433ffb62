# SPDX-License-Identifier: Apache-2.0
"""Through a shared folder or an object store: the same promises, without a server."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from episode_maker import watched
from travelling import OPEN, catalogued, flywheel, ids, keep_episodes, take_all

from cosmos_flywheel.core.errors import ConfigError, TravelError
from cosmos_flywheel.store.budget import FETCHED
from cosmos_flywheel.store.catalogue import Catalogue
from cosmos_flywheel.travel.folder import PARCEL, RECEIPT, SharedFolder, push
from cosmos_flywheel.travel.outbox import Outbox
from cosmos_flywheel.travel.policy import Policy, Redaction


@pytest.fixture
def robot(tmp_path, need) -> Path:
    try:
        __import__('fsspec')
    except ImportError:
        need('fsspec', 'fsspec is not installed')
    keep_episodes(tmp_path / 'robot')
    return tmp_path / 'robot'


@pytest.fixture(params=['file', 'memory', 's3'])
def url(request, tmp_path) -> str:
    if request.param == 's3' and 'S3_BUCKET' not in os.environ:
        pytest.skip(
            'S3_BUCKET names no bucket; it needs s3fs, and AWS_ENDPOINT_URL for a stand-in'
        )
    return {
        'file': f'file://{tmp_path}/share',
        'memory': f'memory://{tmp_path.name}/share',
        's3': f's3://{os.environ.get("S3_BUCKET")}/{tmp_path.name}/share',
    }[request.param]


def outbox_of(robot: Path, url: str, **rules: object) -> Outbox:
    policy = Policy(endpoints=(url,), redaction=Redaction(faces='keep'), **rules)  # type: ignore[arg-type]
    return Outbox(robot, None, policy, print)


def test_episodes_go_through_a_folder_once_and_the_robot_clears_up(robot, url, tmp_path):
    outbox, desk, names = outbox_of(robot, url), tmp_path / 'desk', ids(robot)
    assert push(outbox, url, print) == (0, 2)
    assert push(outbox, url, print) == (0, 0)
    assert list(robot.glob(f'*/{FETCHED}')) == []
    assert take_all(SharedFolder(url), desk).arrived == set(names)
    assert take_all(SharedFolder(url), desk).arrived == set()
    assert push(outbox, url, print) == (2, 0)
    assert SharedFolder(url).names() == []
    assert ids(desk) == catalogued(desk) == names
    assert sorted(p.parent.name for p in robot.glob(f'*/{FETCHED}')) == names
    assert push(outbox_of(robot, url), url, print) == (0, 0)


def test_no_place_is_written_that_the_policy_does_not_name(robot, url):
    with pytest.raises(TravelError, match='name it under its key `endpoints`'):
        push(Outbox(robot, None, OPEN, print), url, print)
    with pytest.raises(TravelError, match='endpoints'):
        push(outbox_of(robot, url), f'{url}/../other', print)
    assert SharedFolder(url).names() == []


def test_half_of_a_pushed_episode_is_not_seen_and_gone_on_with(robot, tmp_path):
    url, desk = f'file://{tmp_path}/share', tmp_path / 'desk'
    outbox = outbox_of(robot, url)
    push(outbox, url, print)
    name, other = ids(robot)
    (tmp_path / 'share' / name / PARCEL).unlink()
    clip = max((tmp_path / 'share' / name).iterdir(), key=lambda path: path.stat().st_size)
    clip.write_bytes(clip.read_bytes()[:1000])
    assert take_all(SharedFolder(url), desk).arrived == {other}
    push(outbox, url, print)
    assert take_all(SharedFolder(url), desk).arrived == {name}
    assert ids(desk) == ids(robot)


def test_bytes_that_rot_in_the_folder_are_refused_and_get_no_receipt(robot, tmp_path):
    url, desk = f'file://{tmp_path}/share', tmp_path / 'desk'
    push(outbox_of(robot, url), url, print)
    name, other = ids(robot)
    clip = max((tmp_path / 'share' / name).iterdir(), key=lambda path: path.stat().st_size)
    clip.write_bytes(b'x' + clip.read_bytes()[1:])
    tally = take_all(SharedFolder(url), desk)
    assert (tally.arrived, tally.refused) == ({other}, {name})
    assert not (tmp_path / 'share' / name / RECEIPT).exists()
    assert push(outbox_of(robot, url), url, print)[0] == 1
    assert not (robot / name / FETCHED).exists()


def test_a_forged_receipt_moves_nothing(robot, tmp_path):
    url, told = f'file://{tmp_path}/share', []
    push(outbox_of(robot, url), url, print)
    name, other = ids(robot)
    for victim, text in ((name, '{"schema": "receipt-v1", "id": "x"}'), (other, (
        f'{{"schema": "receipt-v1", "id": "{other}", "sha256s": ["{"a" * 64}", "{"b" * 64}"]}}'
    ))):  # fmt: skip
        (tmp_path / 'share' / victim / RECEIPT).write_text(text)
    assert push(outbox_of(robot, url), url, told.append) == (0, 0)
    assert len(told) == 2
    assert not list(robot.glob(f'*/{FETCHED}'))


def test_the_hours_of_two_robots_come_along_and_count_once(robot, url, tmp_path):
    other, desk = tmp_path / 'other', tmp_path / 'desk'
    keep_episodes(other, 0)
    for out, bags in ((robot, (watched(watched_s=18.0), watched(bag='quiet', watched_s=12.0))),
                      (other, (watched(bag='of the other', watched_s=6.0),))):  # fmt: skip
        with Catalogue.open(out) as catalogue:
            for bag in bags:
                catalogue.add_bag(bag)
        push(outbox_of(out, url), url, print)
    assert take_all(SharedFolder(url), desk).bags == 3
    assert take_all(SharedFolder(url), desk).bags == 0
    with Catalogue.open(desk) as catalogue:
        assert catalogue.watched_hours() * 3600 == pytest.approx(36.0)


def test_without_fsspec_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'fsspec', None)
    with pytest.raises(ConfigError, match=r"pip install 'cosmos_flywheel\[travel\]'"):
        SharedFolder('file:///x')


def test_an_unknown_kind_of_url_is_named(robot):
    with pytest.raises(ConfigError, match='nothing://x'):
        SharedFolder('nothing://x')


def test_the_commands_push_and_pull(robot, tmp_path):
    url, desk = f'file://{tmp_path}/share', tmp_path / 'desk'
    policy = tmp_path / 'policy.yaml'
    policy.write_text(
        f"schema: travel-v1\nendpoints: ['{url}']\nredaction: {{faces: keep}}\n", 'utf-8'
    )
    for words in (('push', robot, url, '--policy', policy), ('pull', url, desk)):
        process = flywheel(*words)
        said, problem = process.communicate(timeout=100)
        assert process.returncode == 0, problem
    assert '2 arrived' in said
    assert ids(desk) == ids(robot)

# SPDX-License-Identifier: Apache-2.0
"""Every episode arrives once and whole, or is still at the robot, whatever happens on the way."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest
from travelling import (
    OPEN,
    TOKEN,
    Link,
    catalogued,
    flywheel,
    http,
    ids,
    keep_episodes,
    serving,
    take_all,
    token_file,
)

from cosmos_flywheel.store.budget import FETCHED, PINNED
from cosmos_flywheel.store.labels import Label, append_label, read_labels
from cosmos_flywheel.travel.http_source import HttpSource
from cosmos_flywheel.travel.inbox import ARRIVING, QUARANTINE, Inbox
from cosmos_flywheel.travel.limit import BURST_S, Limit
from cosmos_flywheel.travel.outbox import RECEIPTS, Outbox
from cosmos_flywheel.travel.policy import Policy, Redaction
from cosmos_flywheel.travel.turns import LEASE_S, Turns

MEGABYTE = 1_000_000


@pytest.fixture
def robot(tmp_path) -> Path:
    keep_episodes(tmp_path / 'robot')
    return tmp_path / 'robot'


@pytest.fixture
def desk(tmp_path) -> Path:
    return tmp_path / 'desk'


def marked(out: Path) -> list[str]:
    return sorted(path.parent.name for path in out.glob(f'*/{FETCHED}'))


def test_episodes_arrive_whole_and_only_then_may_the_robot_remove_them(robot, desk):
    names = ids(robot)
    assert marked(robot) == []
    with serving(robot) as server:
        tally = take_all(http(server), desk)
    assert ids(desk) == catalogued(desk) == sorted(tally.arrived) == names
    assert marked(robot) == names
    for name in names:
        for path in (robot / name).rglob('*'):
            if path.is_file() and path.name not in (FETCHED, 'run.json'):
                assert (desk / name / path.relative_to(robot / name)).read_bytes() == \
                    path.read_bytes()  # fmt: skip
    assert not list((desk / ARRIVING).iterdir())


def test_what_was_fetched_is_not_offered_again_until_its_receipt_is_removed(robot, desk, tmp_path):
    with serving(robot) as server:
        take_all(http(server), desk)
        assert take_all(http(server), tmp_path / 'other').arrived == set()
        for path in (robot / RECEIPTS).iterdir():
            path.unlink()
        assert len(take_all(http(server), tmp_path / 'other').arrived) == 2
        for path in (robot / RECEIPTS).iterdir():
            path.unlink()
        assert len(take_all(http(server), desk).present) == 2


def test_a_link_that_is_cut_again_and_again_is_gone_on_with(tmp_path, desk):
    robot = tmp_path / 'robot'
    (name,) = keep_episodes(robot, 1, MEGABYTE)
    with serving(robot) as server:

        def cut(number: int, passed: int, block: bytes) -> bytes | None:
            return block if passed < 150_000 else None

        link = Link(server.server_port, cut)
        tally = take_all(HttpSource(link.url, TOKEN), desk)
        link.close()
    assert tally.is_done
    assert ids(desk) == [name]
    assert link.connections > 6
    assert link.passed_bytes < 1.5 * MEGABYTE  # nothing came twice but what was under way


def test_bytes_that_are_wrong_once_are_fetched_again(robot, desk):
    with serving(robot) as server:

        def flip(number: int, passed: int, block: bytes) -> bytes:
            return block[:-1] + bytes([block[-1] ^ 1]) if len(block) == 16384 and number < 4 \
                else block  # fmt: skip

        link = Link(server.server_port, flip)
        tally = take_all(HttpSource(link.url, TOKEN), desk)
        link.close()
    assert tally.refused == set()
    assert ids(desk) == ids(robot) == marked(robot)


def test_bytes_that_are_always_wrong_are_refused_and_stay_at_the_robot(robot, desk):
    names, told = ids(robot), []
    with serving(robot) as server:

        def flip(number: int, passed: int, block: bytes) -> bytes:
            return block[:-1] + bytes([block[-1] ^ 1]) if passed > 100_000 else block

        link = Link(server.server_port, flip)
        tally = take_all(HttpSource(link.url, TOKEN), desk, tell=told.append)
        link.close()
        asked = link.connections
        assert tally.refused == set(names)
        assert ids(desk) == marked(robot) == []
        assert any('clip.mcap came with wrong bytes (3 of 3)' in words for words in told)
        notes = [path.read_text() for path in (desk / QUARANTINE).iterdir()]
        assert len(notes) == 2
        assert all('clip.mcap came 3 times with bytes that are not its sha256' in n for n in notes)
        assert take_all(http(server), desk).refused == set(names)  # not fetched for ever
        assert asked >= 8
        for path in (desk / QUARANTINE).iterdir():
            path.unlink()
        assert take_all(http(server), desk).arrived == set(names)


def test_a_clip_that_rots_at_the_robot_is_named_and_stays(robot, desk):
    bad, good = ids(robot)
    clip = robot / bad / 'clip.mcap'
    clip.write_bytes(b'x' + clip.read_bytes()[1:])
    with serving(robot) as server:
        assert take_all(http(server), desk).arrived == {good}
        assert 'differs from its sha256' in server.outbox.look().withheld[bad]
    assert marked(robot) == [good]


def test_a_robot_that_is_away_for_days_is_waited_for(robot, desk):
    now_s, ended = 0.0, threading.Event()
    with serving(robot) as server:
        port = server.server_port
    servers = []

    def wait(seconds: float) -> bool:
        nonlocal now_s
        now_s += seconds
        if now_s > 4 * 86_400 and not servers:
            servers.append(serving(robot))
            source._port = servers[0].__enter__().server_port
        return ended.is_set()

    def tell(words: str) -> None:
        told.append(words)
        if sum('arrived' in one for one in told) == 2:
            ended.set()

    told: list[str] = []
    source = HttpSource(f'http://127.0.0.1:{port}', TOKEN)
    take_all(source, desk, wait, watch=True, tell=tell)
    servers[0].__exit__(None, None, None)
    assert ids(desk) == ids(robot)
    assert now_s > 4 * 86_400
    assert len([words for words in told if 'cannot be reached' in words]) == 1  # said once


def test_without_watch_who_stays_away_is_given_up_and_nothing_is_lost(robot, desk):
    with serving(robot) as server:
        source = http(server)
    tally = take_all(source, desk)
    assert not tally.is_done
    assert 'cannot be reached' in tally.problem
    assert len(ids(robot)) == 2


@pytest.fixture
def small_disk(tmp_path, need):
    folder = tmp_path / 'disk'
    folder.mkdir()
    words = ['mount', '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', str(folder)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        need('mount', 'a file system can be mounted by root only')
    yield folder
    subprocess.run(['umount', '--lazy', str(folder)], check=True)


def test_a_full_disk_delays_and_says_so(robot, small_disk):
    desk, told = small_disk / 'desk', []
    big = small_disk / 'big'
    big.write_bytes(bytes(2_900_000))

    def wait(seconds: float) -> bool:
        assert ids(desk) == []
        assert marked(robot) == []
        big.unlink()
        return False

    with serving(robot) as server:
        take_all(http(server), desk, wait, tell=told.append)
    assert any('the disk is full' in words and 'trying again' in words for words in told)
    assert ids(desk) == ids(robot) == marked(robot)


def test_either_side_may_be_killed_at_any_time(tmp_path, desk):
    robot = tmp_path / 'robot'
    names = keep_episodes(robot, 3, 2 * MEGABYTE)
    token = token_file(tmp_path)
    policy = tmp_path / 'slow.yaml'
    policy.write_text('{schema: travel-v1, bytes_s: 4000000, redaction: {faces: keep}}')
    server = flywheel('serve', robot, '--policy', policy, '--token-file', token)
    url = server.stdout.readline().split()[-1]
    for victim in ('fetcher', 'server', 'fetcher'):
        fetcher = flywheel('fetch', url, desk, '--token-file', token, '--watch')
        before = size_of(desk)
        while size_of(desk) < before + 300_000 and len(ids(desk)) < 3:
            assert fetcher.poll() is None
        if victim == 'server':
            server.kill()
            server.communicate()
            bind = url.removeprefix('http://')
            server = flywheel(
                'serve', robot, '--policy', policy, '--token-file', token, '--bind', bind
            )
            server.stdout.readline()
        fetcher.kill()
        fetcher.communicate()
        assert set(marked(robot)) <= set(ids(desk))
    last = flywheel('fetch', url, desk, '--token-file', token)
    said, _ = last.communicate(timeout=60)
    server.terminate()
    server.communicate()
    assert (last.returncode, server.returncode) == (0, 0), said
    assert ids(desk) == catalogued(desk) == marked(robot) == names


def size_of(folder: Path) -> int:
    """Of all that has come; files may vanish meanwhile."""
    total = 0
    for base, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.stat(os.path.join(base, name)).st_size
            except FileNotFoundError:
                continue
    return total


def test_two_fetchers_share_the_work_and_fetch_nothing_twice(tmp_path, desk):
    robot = tmp_path / 'robot'
    names = keep_episodes(robot, 6, 200_000)
    with serving(robot) as server:
        link = Link(server.server_port, lambda *told: told[-1])
        tallies = []
        threads = [
            threading.Thread(
                target=lambda: tallies.append(take_all(HttpSource(link.url, TOKEN), desk))
            )
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        link.close()
    first, second = tallies
    assert first.arrived | second.arrived == set(names)
    assert first.arrived & second.arrived == set()
    assert ids(desk) == catalogued(desk) == names
    assert link.passed_bytes < 1.5 * 6 * 200_000


def test_two_machines_share_the_work_too(tmp_path):
    robot, desks = tmp_path / 'robot', (tmp_path / 'one', tmp_path / 'other')
    names = keep_episodes(robot, 6, 200_000)
    with serving(robot) as server:

        def take(desk: Path) -> None:
            source = HttpSource(
                server.url, TOKEN, receiver=Inbox(desk, Limit(None), print).receiver
            )
            take_all(source, desk, wait=lambda _: server.ends.wait(0.02))

        threads = []
        for desk in desks:
            desk.mkdir()
            threads.append(threading.Thread(target=take, args=(desk,)))
            threads[-1].start()
        for thread in threads:
            thread.join()
    assert sorted(ids(desks[0]) + ids(desks[1])) == names


def test_a_receiver_that_asks_for_nothing_loses_its_turn():
    now_s = 0.0
    turns = Turns(lambda: now_s)
    assert turns.take('episode', 'one')
    now_s += LEASE_S
    assert not turns.take('episode', 'other')
    assert turns.take('episode', 'one')
    now_s += LEASE_S + 1
    assert turns.take('episode', 'other')
    assert not turns.is_free('episode', 'one')


def test_what_a_killed_receiver_left_is_cleared_away(robot, desk):
    with serving(robot) as server:
        take_all(http(server), desk)
        name, _ = ids(desk)
        for episode in (name, 'f' * 16):
            (desk / ARRIVING / episode).mkdir()
        take_all(http(server), desk)
    assert [path.name for path in (desk / ARRIVING).iterdir()] == ['f' * 16]


def test_what_is_pinned_is_never_removed(robot, desk):
    pinned, free = ids(robot)
    (robot / pinned / PINNED).touch()
    policy = Policy(redaction=Redaction(faces='keep'), after_whole='remove')
    with serving(robot, policy) as server:
        take_all(http(server), desk)
        assert ids(robot) == catalogued(robot) == [pinned]
        assert take_all(http(server), desk).is_done
    assert ids(desk) == sorted([pinned, free])


def test_a_receipt_that_came_before_a_crash_is_acted_on_later(robot, desk):
    policy = Policy(redaction=Redaction(faces='keep'), after_whole='keep')
    with serving(robot, policy) as server:
        take_all(http(server), desk)
    assert marked(robot) == []
    Outbox(robot, None, OPEN, lambda *_: robot).look()
    assert marked(robot) == ids(robot)


def test_labels_travel_only_where_the_policy_lets_people_be_named(robot, desk, tmp_path):
    name, _ = ids(robot)
    said = Label(name, 'failure', 'ada', 'it fell', '2026-01-01T00:00:00+00:00')
    append_label(robot / name, said)
    people = Policy(redaction=Redaction(faces='keep'), people=True, after_whole='keep')
    with serving(robot, people) as server:
        take_all(http(server), desk)
    assert read_labels(desk / name) == (said,)
    for path in (robot / RECEIPTS).iterdir():
        path.unlink()
    with serving(robot) as server:
        take_all(http(server), tmp_path / 'other')
    assert read_labels(tmp_path / 'other' / name) == ()


def test_another_result_for_the_same_stretch_is_refused(robot, desk, tmp_path):
    with serving(robot) as server:
        take_all(http(server), desk)
    other = tmp_path / 'other'
    keep_episodes(other)
    with serving(other) as server:
        tally = take_all(http(server), desk)
    assert len(tally.refused) == 2
    assert ids(desk) == ids(robot)
    assert marked(other) == []


def test_a_cap_is_kept_whatever_the_blocks():
    now_s, slept = 0.0, []

    def sleep(seconds: float) -> None:
        nonlocal now_s
        slept.append(seconds)
        now_s += seconds

    limit = Limit(1000.0, lambda: now_s, sleep)
    for _ in range(10):
        limit.take(500)
    assert now_s == pytest.approx(4.5)
    now_s += 60.0  # of a pause no more than a moment is made up for
    slept.clear()
    for _ in range(3):
        limit.take(500)
    assert sum(slept) == pytest.approx(1.0 - BURST_S)


def test_an_inbox_makes_no_room_for_what_does_not_fit(robot, desk, monkeypatch):
    monkeypatch.setattr('shutil.disk_usage', lambda _: type('Usage', (), {'free': 1000})())
    with serving(robot) as server:
        tally = take_all(http(server), desk)
    assert 'the disk is full' in tally.problem
    assert ids(desk) == []
    assert Inbox(desk, Limit(None), print).refusal(server.outbox.look().parcels[0]) == ''

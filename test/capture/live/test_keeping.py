# SPDX-License-Identifier: Apache-2.0
"""Captures become episodes, later if the disk refuses; none is lost in silence."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from cosmos_flywheel.bags.wire import WireTypes
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.live import keeping as module
from cosmos_flywheel.capture.live.keeping import Keeping
from cosmos_flywheel.capture.live.recording import Captured, Recording, Session
from cosmos_flywheel.core.errors import SchemaError, StoreError
from cosmos_flywheel.core.ring import Kept, Ring
from cosmos_flywheel.store.budget import FETCHED
from cosmos_flywheel.store.catalogue import Catalogue
from cosmos_flywheel.store.episodes import iter_episodes, read_episode
from cosmos_flywheel.store.records import WatchedBag
from cosmos_flywheel.store.robots import load_robot

NS = 10**9


def captured(at_s: float = 100.0) -> Captured:
    made = Recording(
        load_robot('mujoco_push'),
        Session('7' * 64, 'live', 0),
        CaptureSettings(pre_roll_s=1.0, post_roll_s=1.0),
        Ring(60, 10**7),
        WireTypes([]),
    )
    found: list[Captured] = []
    for tick in range(60):
        now_ns = round((at_s + tick / 10) * NS)
        made.take(Kept('/say', 'std_msgs/msg/String', now_ns, bytes(8)))
        if tick == 20:
            made.ask('now', now_ns)
        made.pass_time(now_ns)
        found += made.due(now_ns)
    return found[0]


def wait_for(true) -> None:
    end_s = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def keep(tmp_path, told):
    made: list[Keeping] = []

    def make(most_bytes: int | None = None) -> Keeping:
        made.append(Keeping(tmp_path / 'out', lambda _, m: told.append(m['id']), most_bytes))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_an_episode_is_whole_listed_and_told(keep, told, tmp_path):
    keeping = keep()
    keeping.put(captured())
    wait_for(lambda: told)
    (folder,) = iter_episodes(tmp_path / 'out')
    assert folder.name == told[0]
    assert read_episode(folder, verify=True)['causes'] == ['trigger:service']
    with Catalogue.open(tmp_path / 'out') as catalogue:
        assert catalogue.episode(told[0]).id == told[0]
    assert (keeping.written, keeping.waiting, keeping.problem) == (1, 0, '')


def test_what_the_disk_refuses_is_tried_again(keep, told, monkeypatch):
    refusals = iter([StoreError('the disk is full'), OSError(30, 'Read-only file system')])
    write = module.write_episode

    def refusing(*args, **options):
        error = next(refusals, None)
        if error is not None:
            raise error
        return write(*args, **options)

    monkeypatch.setattr(module, 'write_episode', refusing)
    monkeypatch.setattr(module, 'FIRST_WAIT_S', 0.05)
    keeping = keep()
    keeping.put(captured())
    wait_for(lambda: keeping.problem)
    assert 'full' in keeping.problem or 'Read-only' in keeping.problem
    wait_for(lambda: told)
    assert keeping.problem == ''


def test_only_so_many_wait_and_the_rest_is_counted(keep, told, monkeypatch):
    may_write = threading.Event()

    def refusing(*_, **__):
        if not may_write.is_set():
            raise StoreError('the disk is full')
        return write(*_, **__)

    write = module.write_episode
    monkeypatch.setattr(module, 'write_episode', refusing)
    monkeypatch.setattr(module, 'FIRST_WAIT_S', 0.05)
    monkeypatch.setattr(module, 'LONGEST_WAIT_S', 0.05)
    monkeypatch.setattr(module, 'MOST_WAITING', 3)
    keeping = keep()
    for number in range(5):
        keeping.put(captured(100.0 + 100 * number))
    assert (keeping.waiting, keeping.given_up) == (3, 2)
    may_write.set()
    wait_for(lambda: len(told) == 3)


def test_the_budget_makes_room_or_says_why_not(keep, told, tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'FIRST_WAIT_S', 0.05)
    keeping = keep(most_bytes=1)
    keeping.put(captured())
    wait_for(lambda: told)
    keeping.put(captured(500.0))
    wait_for(lambda: 'none may go' in keeping.problem)
    (tmp_path / 'out' / told[0] / FETCHED).touch()
    wait_for(lambda: len(told) == 2)
    assert [folder.name for folder in iter_episodes(tmp_path / 'out')] == [told[1]]
    assert keeping.removed == 1


def test_closing_writes_what_waits(tmp_path, told):
    keeping = Keeping(tmp_path / 'out', lambda _, m: told.append(m['id']))
    for number in range(3):
        keeping.put(captured(100.0 + 100 * number))
    keeping.close()
    assert len(told) == len(list(iter_episodes(Path(tmp_path / 'out')))) == 3


def test_operating_hours_are_written_with_the_episodes_of_the_session(keep, told, tmp_path):
    keeping = keep()
    keeping.put(captured())
    for watched_s in (60.0, 120.0):
        keeping.note(WatchedBag('7' * 64, 'live', 'c' * 64, 130.0, watched_s, 'mujoco_push', 0))
    keeping.close()
    with Catalogue.open(tmp_path / 'out') as catalogue:
        assert catalogue.watched_hours('mujoco_push') == pytest.approx(120 / 3600)
        assert catalogue.bag_done('7' * 64, 'c' * 64)
    (record,) = (tmp_path / 'out' / 'bags').glob('*.json')
    assert told[0] in record.read_text()


def test_hours_that_cannot_be_written_are_tried_again(keep, tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'FIRST_WAIT_S', 0.05)
    (tmp_path / 'out').write_text('in the way')
    keeping = keep()
    keeping.note(WatchedBag('7' * 64, 'live', 'c' * 64, 130.0, 60.0, 'mujoco_push', 0))
    wait_for(lambda: keeping.problem)
    (tmp_path / 'out').unlink()
    wait_for(lambda: not keeping.problem)
    with Catalogue.open(tmp_path / 'out') as catalogue:
        assert catalogue.watched_hours() == pytest.approx(1 / 60)


def test_one_that_cannot_be_written_does_not_keep_others_from_it(keep, told, monkeypatch):
    spoilt, stuck, sound = captured(100.0), captured(200.0), captured(300.0)
    errors = {id(spoilt.capture): SchemaError('no order'), id(stuck.capture): StoreError('no')}

    def refusing(out, subject, capture, **options):
        if id(capture) in errors:
            raise errors[id(capture)]
        return write(out, subject, capture, **options)

    write = module.write_episode
    monkeypatch.setattr(module, 'write_episode', refusing)
    monkeypatch.setattr(module, 'FIRST_WAIT_S', 0.05)
    keeping = keep()
    for one in (spoilt, stuck, sound):
        keeping.put(one)
    wait_for(lambda: told)
    assert (keeping.given_up, keeping.waiting) == (1, 1)
    errors.clear()
    wait_for(lambda: len(told) == 2)

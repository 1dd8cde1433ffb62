# SPDX-License-Identifier: Apache-2.0
"""The catalogue answers what the folders hold, and nothing is in it that they do not hold."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from episode_maker import CONFIG_HASH, harvest, make_manifest, watched, write_episode

from cosmos_flywheel.core.errors import SchemaError, StoreError
from cosmos_flywheel.store.catalogue import Catalogue, rebuild
from cosmos_flywheel.store.connection import CATALOGUE
from cosmos_flywheel.store.database import BrokenDatabaseError
from cosmos_flywheel.store.migrations import MIGRATIONS

FIRST = make_manifest(2.0, 'bag_a')
SECOND = make_manifest(10.0, 'bag_a', causes=['state', 'picture'])
THIRD = make_manifest(2.0, 'bag_b', causes=['trigger:emergency_stop'], robot=None)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder as a harvest of two bags leaves it."""
    harvest(tmp_path / 'out', FIRST, SECOND, THIRD)
    return tmp_path / 'out'


@pytest.fixture
def catalogue(out: Path) -> Iterator[Catalogue]:
    with Catalogue.open(out) as opened:
        yield opened


def ids(*manifests: dict[str, object]) -> list[object]:
    return [manifest['id'] for manifest in manifests]


def test_episodes_come_in_the_order_of_bags_and_time(catalogue: Catalogue) -> None:
    assert [row.id for row in catalogue.episodes()] == ids(FIRST, SECOND, THIRD)


def test_a_row_tells_what_the_manifest_tells(catalogue: Catalogue) -> None:
    row = catalogue.episode(FIRST['id'])
    assert (row.bag, row.robot, row.label) == ('bag_a', 'mujoco_push', 'untriaged')
    assert (row.start_s, row.onset_s, row.end_s) == (2.0, 5.0, 8.0)
    assert row.onset_ns == FIRST['window']['onset_ns']
    assert row.causes == ('picture', 'trigger:emergency_stop')
    assert row.scores == {'picture': (3.5, 1.25), 'state': (0.5, 1.0)}
    assert row.severity == 2.8


@pytest.mark.parametrize(
    ('filters', 'expected'),
    [
        ({'cause': 'picture'}, [FIRST, SECOND]),
        ({'cause': 'trigger'}, [FIRST, THIRD]),
        ({'cause': 'trigger:emergency_stop'}, [FIRST, THIRD]),
        ({'cause': 'trigg'}, []),
        ({'robot': 'mujoco_push'}, [FIRST, SECOND]),
        ({'bag': 'bag_b'}, [THIRD]),
        ({'bag': 'id of bag_b'}, [THIRD]),
        ({'bag': 'bag_a', 'cause': 'state'}, [SECOND]),
        ({'state': 'failure'}, [SECOND]),
        ({'state': 'untriaged'}, [FIRST, THIRD]),
        ({'robot': "' OR 1 --"}, []),
    ],
)
def test_filters_hold_together(
    catalogue: Catalogue, filters: dict[str, str], expected: list[dict[str, object]]
) -> None:
    catalogue.label(SECOND['id'], 'failure', reviewer='ann')
    assert [row.id for row in catalogue.episodes(**filters)] == ids(*expected)


def test_an_episode_is_found_by_the_beginning_of_its_id(catalogue: Catalogue) -> None:
    assert catalogue.episode(FIRST['id'][:6].upper()).id == FIRST['id']
    with pytest.raises(StoreError, match="no episode begins with 'xyz'"):
        catalogue.episode('xyz')
    with pytest.raises(StoreError, match="no episode begins with ''"):
        catalogue.episode('')


def test_an_ambiguous_beginning_is_refused(tmp_path: Path) -> None:
    starts = [make_manifest(float(start)) for start in range(17)]  # 16 first digits
    harvest(tmp_path, *starts)
    digits = [manifest['id'][0] for manifest in starts]
    twice = next(digit for digit in digits if digits.count(digit) > 1)
    with Catalogue.open(tmp_path) as opened, pytest.raises(StoreError, match='give more'):
        opened.episode(twice)


def test_adding_twice_is_adding_once(catalogue: Catalogue) -> None:
    before = catalogue.content_hash()
    assert not catalogue.add_episode(FIRST['id'])
    catalogue.add_bag(watched(*sorted(ids(FIRST, SECOND), reverse=True), bag='bag_a'))
    assert catalogue.content_hash() == before
    assert len(catalogue.episodes()) == 3


def test_another_manifest_under_a_known_id_is_refused(out: Path, catalogue: Catalogue) -> None:
    path = out / FIRST['id'] / 'manifest.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {'notes': ['edited']}))
    with pytest.raises(StoreError, match=r'differs from what the catalogue knows.*rebuild'):
        catalogue.add_episode(FIRST['id'])


def test_only_a_complete_episode_is_added(out: Path, catalogue: Catalogue) -> None:
    (out / ('f' * 16)).mkdir()
    with pytest.raises(StoreError, match='is no complete episode'):
        catalogue.add_episode('f' * 16)


def test_a_bag_is_done_for_its_configuration_while_its_episodes_are_there(
    out: Path, catalogue: Catalogue
) -> None:
    assert catalogue.bag_done('id of bag_a', CONFIG_HASH)
    assert not catalogue.bag_done('id of bag_a', 'f' * 64)
    assert not catalogue.bag_done('id of bag_c', CONFIG_HASH)
    shutil.rmtree(out / SECOND['id'])
    assert not catalogue.bag_done('id of bag_a', CONFIG_HASH)


def test_hours_count_each_bag_once_with_or_without_episodes(catalogue: Catalogue) -> None:
    catalogue.add_bag(watched(bag='quiet', watched_s=3564.0, robot='g1'))
    catalogue.add_bag(watched(bag='bag_a', config_hash='f' * 64))
    assert catalogue.watched_hours() == 1.0
    assert catalogue.watched_hours('g1') == 0.99


def test_the_last_label_rules_and_all_are_kept(out: Path, catalogue: Catalogue) -> None:
    catalogue.label(FIRST['id'][:8], 'failure', reviewer='ann', reason='it slipped')
    catalogue.label(FIRST['id'], 'false_alarm', reviewer='bob')
    assert catalogue.episode(FIRST['id']).label == 'false_alarm'
    assert len((out / FIRST['id'] / 'labels.jsonl').read_text().splitlines()) == 2


def test_an_unknown_label_changes_nothing(catalogue: Catalogue) -> None:
    with pytest.raises(SchemaError, match='is not one of'):
        catalogue.label(FIRST['id'], 'broken', reviewer='ann')
    assert catalogue.episode(FIRST['id']).label == 'untriaged'


def test_a_label_for_a_folder_that_is_gone_is_refused(out: Path, catalogue: Catalogue) -> None:
    shutil.rmtree(out / FIRST['id'])
    with pytest.raises(StoreError, match='is gone or incomplete; run: flywheel episodes rebuild'):
        catalogue.label(FIRST['id'], 'failure', reviewer='ann')


def test_labels_cannot_be_edited(out: Path, catalogue: Catalogue) -> None:
    catalogue.label(FIRST['id'], 'failure', reviewer='ann')
    connection = sqlite3.connect(out / CATALOGUE)
    with pytest.raises(sqlite3.IntegrityError, match='never edited'):
        connection.execute("UPDATE labels SET label = 'false_alarm'")
    connection.close()


def test_content_hash_is_blind_to_order_and_wall_clock(tmp_path: Path) -> None:
    hashes = set()
    for out, manifests in (('one', [FIRST, THIRD]), ('two', [THIRD, FIRST])):
        harvest(tmp_path / out, *manifests)
        with Catalogue.open(tmp_path / out) as opened:
            opened.label(FIRST['id'], 'failure', reviewer='ann', time=f'at {out}')
            hashes.add(opened.content_hash())
    assert len(hashes) == 1


@pytest.mark.parametrize('change', ['label', 'episode', 'bag'])
def test_content_hash_sees_every_change(catalogue: Catalogue, change: str) -> None:
    before = catalogue.content_hash()
    if change == 'label':
        catalogue.label(FIRST['id'], 'failure', reviewer='ann')
    elif change == 'episode':
        write_episode(catalogue.out, make_manifest(30.0))
        catalogue.add_episode(make_manifest(30.0)['id'])
    else:
        catalogue.add_bag(watched(bag='quiet'))
    assert catalogue.content_hash() != before


@pytest.mark.parametrize('damage', ['none', 'gone', 'garbage', 'cut', 'newer', 'empty'])
def test_rebuild_gives_the_same_content_whatever_became_of_the_file(
    out: Path, damage: str
) -> None:
    with Catalogue.open(out) as opened:
        opened.label(FIRST['id'], 'failure', reviewer='ann', reason='it slipped')
        opened.add_bag(watched(bag='quiet', damage={'missing_bytes': 7}))
        before = opened.content_hash()
    spoil(out / CATALOGUE, damage)
    rebuilt = rebuild(out)
    assert (rebuilt.episodes, rebuilt.bags, rebuilt.refused) == (3, 3, ())
    with Catalogue.open(out) as opened:
        assert opened.content_hash() == before


def spoil(path: Path, damage: str) -> None:
    data = path.read_bytes()
    if damage == 'gone':
        path.unlink()
    elif damage == 'garbage':
        path.write_bytes(b'garbage' * 1000)
    elif damage == 'cut':
        path.write_bytes(data[: len(data) // 2])
    elif damage == 'empty':
        path.write_bytes(b'')
    elif damage == 'newer':
        connection = sqlite3.connect(path)
        with connection:
            connection.execute("INSERT INTO migrations (name) VALUES ('m999_tomorrow')")
        connection.close()


def test_garbage_is_refused_with_the_remedy(out: Path) -> None:
    spoil(out / CATALOGUE, 'garbage')
    with pytest.raises(BrokenDatabaseError, match=f'run: flywheel episodes rebuild {out}'):
        Catalogue.open(out)


def test_a_newer_catalogue_is_refused_with_the_remedy(out: Path) -> None:
    spoil(out / CATALOGUE, 'newer')
    with pytest.raises(BrokenDatabaseError, match=r'newer version.*m999_tomorrow.*rebuild'):
        Catalogue.open(out)


def test_rebuild_says_what_it_could_not_read_and_keeps_the_rest(out: Path) -> None:
    (out / FIRST['id'] / 'manifest.json').write_text('{')
    (out / SECOND['id'] / 'labels.jsonl').write_text('nonsense\n')
    (out / THIRD['id']).rename(out / ('f' * 16))
    bag = next((out / 'bags').iterdir())
    bag.write_text('[]')
    rebuilt = rebuild(out)
    assert (rebuilt.episodes, rebuilt.bags, len(rebuilt.refused)) == (0, 1, 4)
    for name in (FIRST['id'], SECOND['id'], 'f' * 16, bag.name):
        assert any(name in reason for reason in rebuilt.refused)


def test_rebuild_of_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match='no such folder'):
        rebuild(tmp_path / 'none')
    assert not (tmp_path / 'none').exists()


def test_each_migration_is_recorded_with_what_it_made(out: Path) -> None:
    connection = sqlite3.connect(out / CATALOGUE)
    ran = [name for (name,) in connection.execute('SELECT name FROM migrations ORDER BY 1')]
    connection.close()
    assert ran == sorted(MIGRATIONS)


def test_a_catalogue_left_half_migrated_is_finished(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / CATALOGUE, isolation_level=None)
    connection.execute('CREATE TABLE migrations (name TEXT PRIMARY KEY, applied_at TEXT)')
    MIGRATIONS['m001_bags'](connection)
    connection.execute("INSERT INTO migrations (name) VALUES ('m001_bags')")
    connection.close()
    harvest(tmp_path, FIRST)
    with Catalogue.open(tmp_path) as opened:
        assert [row.id for row in opened.episodes()] == ids(FIRST)


def test_a_name_that_is_not_unicode_is_kept_readable(tmp_path: Path) -> None:
    manifest = make_manifest(bag='caf\udce9')
    harvest(tmp_path, manifest)
    with Catalogue.open(tmp_path) as opened:
        assert opened.episode(manifest['id']).bag == 'caf\\udce9'


def test_a_bag_with_a_path_for_a_name_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(SchemaError, match='name'):
        catalogue.add_bag(replace(watched(), name='../../x'))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / 'out').write_text('mine')
    with pytest.raises(StoreError, match='out: cannot be written'):
        Catalogue.open(tmp_path / 'out')


def write_bag(out: Path, bag: str) -> None:
    harvest(out, *(make_manifest(float(start), bag) for start in range(4)))


def test_writers_in_several_processes_lose_nothing(tmp_path: Path) -> None:
    bags = [f'bag_{number}' for number in range(6)]
    with ProcessPoolExecutor(4, mp_context=get_context('fork')) as pool:
        list(pool.map(write_bag, [tmp_path] * 6, bags))  # all begin without a catalogue
    with Catalogue.open(tmp_path) as opened:
        assert len(opened.episodes()) == 24
        content = opened.content_hash()
    assert rebuild(tmp_path).episodes == 24
    with Catalogue.open(tmp_path) as opened:
        assert opened.content_hash() == content

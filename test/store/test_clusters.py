# SPDX-License-Identifier: Apache-2.0
"""Clusters never change what they once said: not by new episodes, crashes, writers or labels."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from episode_maker import harvest, make_manifest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmos_flywheel.core.errors import SchemaError, StoreError
from cosmos_flywheel.store.catalogue import Catalogue, rebuild
from cosmos_flywheel.store.clusters import CLUSTERS, Member, Newcomer, read_members
from cosmos_flywheel.store.clusters import assign as assign_newcomers

DETAILS = {'picture': ['top left', 'bottom right'], 'state': ['elbow', 'wrist']}


def kind(start_s: float, bag: str, *causes: str, peak: float = 3.0, **changes: Any) -> Any:
    """An episode with these causes, given as `channel` or `channel=detail`."""
    manifest = make_manifest(start_s, bag, **changes)
    quiet = {'threshold': 1.0, 'guaranteed': False, 'onset_ns': None}
    pairs = [cause.partition('=')[::2] for cause in causes]
    manifest['causes'] = [name for name, _ in pairs]
    manifest['channels'] = {
        name: {**quiet, 'peak': peak, 'detail': detail, 'alarms': [[0, 10**9]]}
        for name, detail in pairs
    }
    return manifest


KICK = kind(2.0, 'bag_a', 'picture=top left')
AGAIN = kind(10.0, 'bag_a', 'picture=top left', peak=5.0)
STALL = kind(2.0, 'bag_b', 'state=elbow')
LATER = kind(2.0, 'bag_c', 'state=elbow', peak=2.5)


def assign(out: Path, manifests: list[Any]) -> tuple[Member, ...]:
    return assign_newcomers(out, map(Newcomer.of, manifests))


def places(out: Path) -> dict[str, str]:
    return {member.episode: member.cluster for member in read_members(out)}


def test_alike_episodes_share_a_cluster_named_by_its_founder(tmp_path: Path) -> None:
    harvest(tmp_path, KICK, AGAIN, STALL)
    first = KICK['id'][:8]
    assert places(tmp_path) == {
        KICK['id']: first, AGAIN['id']: first, STALL['id']: STALL['id'][:8],
    }  # fmt: skip
    with Catalogue.open(tmp_path) as catalogue:
        common, rare = catalogue.clusters()
        assert [row.cluster for row in catalogue.episodes()] == [first, first, rare.id]
    assert (common.id, common.name, len(common.members)) == (first, 'picture (top left)', 2)
    assert [member.id for member in common.members] == [AGAIN['id'], KICK['id']]  # by severity
    assert common.labels == {'untriaged': 2}
    assert common.bags == ('bag_a',)
    assert common.last_seen.id == AGAIN['id']


def test_robots_are_not_mixed(tmp_path: Path) -> None:
    other = kind(2.0, 'bag_b', 'picture=top left', robot='g1')
    harvest(tmp_path, KICK, other)
    assert len(set(places(tmp_path).values())) == 2


def test_a_second_harvest_joins_what_the_first_founded(tmp_path: Path) -> None:
    harvest(tmp_path, STALL, KICK)
    before = places(tmp_path)
    harvest(tmp_path, LATER, AGAIN)
    after = places(tmp_path)
    assert after == before | {LATER['id']: STALL['id'][:8], AGAIN['id']: KICK['id'][:8]}


def test_a_label_never_changes_a_cluster(tmp_path: Path) -> None:
    harvest(tmp_path, KICK)
    with Catalogue.open(tmp_path) as catalogue:
        catalogue.label(KICK['id'], 'false_alarm', reviewer='ann')
    harvest(tmp_path, AGAIN)
    assert places(tmp_path)[AGAIN['id']] == KICK['id'][:8]


def test_a_cluster_outlives_the_folder_of_its_founder(tmp_path: Path) -> None:
    harvest(tmp_path, KICK)
    shutil.rmtree(tmp_path / KICK['id'])
    harvest(tmp_path, AGAIN)
    rebuild(tmp_path)
    with Catalogue.open(tmp_path) as catalogue:
        (row,) = catalogue.clusters()
    assert (row.id, row.name) == (KICK['id'][:8], 'picture (top left)')
    assert [member.id for member in row.members] == [AGAIN['id']]


def test_rebuild_gives_the_same_and_takes_in_what_has_none(tmp_path: Path) -> None:
    harvest(tmp_path, STALL, KICK)
    with Catalogue.open(tmp_path) as catalogue:
        before = catalogue.content_hash()
    (tmp_path / 'catalogue.sqlite').unlink()
    rebuild(tmp_path)
    with Catalogue.open(tmp_path) as catalogue:
        assert catalogue.content_hash() == before
    (tmp_path / CLUSTERS).unlink()  # as in a folder of an earlier version
    rebuild(tmp_path)
    with Catalogue.open(tmp_path) as catalogue:
        assert catalogue.content_hash() == before


def test_rebuild_names_a_damaged_file_and_lists_the_episodes(tmp_path: Path) -> None:
    harvest(tmp_path, KICK)
    (tmp_path / CLUSTERS).write_text('nonsense\n')
    rebuilt = rebuild(tmp_path)
    assert rebuilt.episodes == 1
    assert f'{CLUSTERS}, line 1' in rebuilt.refused[0]
    with pytest.raises(SchemaError, match='line 1'):
        read_members(tmp_path)


def test_an_unknown_episode_is_refused(tmp_path: Path) -> None:
    with Catalogue.open(tmp_path) as catalogue, pytest.raises(StoreError, match='is gone'):
        catalogue.assign_clusters(['f' * 16])


def test_founders_whose_ids_begin_alike_get_ids_of_their_own(tmp_path: Path) -> None:
    twins = [KICK | {'id': '00000000' + 'a' * 8}, STALL | {'id': '00000000' + 'b' * 8}]
    first, second = assign(tmp_path, twins)
    assert first.cluster == '00000000' != second.cluster
    assert len(second.cluster) == 8


@pytest.mark.parametrize('keep', [0, 1, 40])
def test_cut_off_anywhere_and_run_again_it_is_as_if_never_cut(tmp_path: Path, keep: int) -> None:
    manifests = [KICK, AGAIN, STALL, LATER]
    assign(tmp_path, manifests)
    path = tmp_path / CLUSTERS
    whole = path.read_bytes()
    ends = [0, *(i + 1 for i, byte in enumerate(whole) if byte == ord('\n'))]
    for start, end in pairwise(ends):
        path.write_bytes(whole[: min(start + keep, end)])
        assign(tmp_path, manifests)
        assert path.read_bytes() == whole


causes = st.sets(
    st.sampled_from([f'{name}={d}' for name, details in DETAILS.items() for d in details])
    | st.just('clock_health'),
    min_size=1,
    max_size=3,
).map(lambda found: sorted({one.partition('=')[0]: one for one in found}.values()))
kinds = st.lists(st.tuples(causes, st.floats(1.0, 30.0)), min_size=1, max_size=12)


@settings(max_examples=60)
@given(kinds, st.data())
def test_adding_episodes_never_changes_earlier_assignments(drawn: Any, data: Any) -> None:
    manifests = [
        kind(float(number), f'bag_{number % 3}', *found, peak=peak)
        for number, (found, peak) in enumerate(drawn)
    ]
    cut = data.draw(st.integers(0, len(manifests)))
    with TemporaryDirectory() as folder:
        out = Path(folder)
        assign(out, manifests[:cut])
        before = (out / CLUSTERS).read_bytes()
        assign(out, data.draw(st.permutations(manifests)))
        after = (out / CLUSTERS).read_bytes()
        assert after.startswith(before)
        assign(out, manifests)
        assert (out / CLUSTERS).read_bytes() == after
        assert set(places(out)) == {manifest['id'] for manifest in manifests}


@settings(max_examples=30)
@given(kinds, st.data())
def test_the_order_in_which_episodes_are_found_does_not_matter(drawn: Any, data: Any) -> None:
    manifests = [kind(float(n), 'bag', *found, peak=p) for n, (found, p) in enumerate(drawn)]
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        assert assign(Path(one), manifests) == assign(
            Path(other), data.draw(st.permutations(manifests))
        )


def harvest_bag(out: Path, bag: str) -> None:
    found = [kind(float(n), bag, ('picture=top left', 'state=elbow')[n % 2]) for n in range(4)]
    harvest(out, *found)


def test_harvests_that_run_beside_one_another_agree(tmp_path: Path) -> None:
    bags = [f'bag_{number}' for number in range(6)]
    with ProcessPoolExecutor(4, mp_context=get_context('fork')) as pool:
        list(pool.map(harvest_bag, [tmp_path] * 6, bags))
    members = read_members(tmp_path)
    assert len({member.episode for member in members}) == len(members) == 24
    assert sum(member.founder is not None for member in members) == 2
    with Catalogue.open(tmp_path) as catalogue:
        assert [len(row.members) for row in catalogue.clusters()] == [12, 12]
        content = catalogue.content_hash()
    rebuild(tmp_path)
    with Catalogue.open(tmp_path) as catalogue:
        assert catalogue.content_hash() == content


def test_a_line_holds_nothing_but_what_its_manifest_says(tmp_path: Path) -> None:
    assign(tmp_path, [KICK])
    (line,) = (tmp_path / CLUSTERS).read_text().splitlines()
    assert json.loads(line)['founder'] == {
        'robot': 'mujoco_push',
        'name': 'picture (top left)',
        'marks': {
            'alarms are brief': 0.25, 'alarms last': 0.25, 'cause picture': 2.0,
            'first picture': 0.5, 'picture comes once': 0.5, 'picture: left': 0.5,
            'picture: top': 0.5,
        },
    }  # fmt: skip

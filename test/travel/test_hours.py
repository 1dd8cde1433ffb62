# SPDX-License-Identifier: Apache-2.0
"""The hours a robot was watched come along, each bag once, and never become less."""

from __future__ import annotations

import pytest
from episode_maker import watched
from travelling import http, keep_episodes, serving, take_all

from cosmos_flywheel.core.errors import SchemaError
from cosmos_flywheel.store.catalogue import Catalogue, rebuild
from cosmos_flywheel.travel.hours import note_hours, read_hours


def watched_s(out) -> float:
    with Catalogue.open(out) as catalogue:
        return catalogue.watched_hours() * 3600


def keep_bags(out, *bags) -> None:
    out.mkdir(exist_ok=True)
    with Catalogue.open(out) as catalogue:
        for bag in bags:
            catalogue.add_bag(bag)


def test_hours_come_with_the_episodes_and_grow_with_them(tmp_path):
    robot, desk = tmp_path / 'robot', tmp_path / 'desk'
    keep_episodes(robot, 1)
    keep_bags(robot, watched(watched_s=18.0), watched(bag='nothing in it', watched_s=12.0))
    with serving(robot) as server:
        source = http(server)
        assert take_all(source, desk).bags == 2
        assert watched_s(desk) == pytest.approx(30.0)
        assert source.hours() is None  # told already
        keep_bags(robot, watched(watched_s=20.0))
        assert take_all(source, desk).bags == 1
        assert watched_s(desk) == pytest.approx(32.0)
    rebuild(desk)
    assert watched_s(desk) == pytest.approx(32.0)


def test_one_bag_by_several_roads_and_configurations_counts_once(tmp_path):
    robot, desk = tmp_path / 'robot', tmp_path / 'desk'
    keep_bags(robot, watched(watched_s=18.0), watched(watched_s=16.0, config_hash='a' * 64))
    keep_bags(desk, watched(watched_s=19.0))
    told = read_hours(robot, None)
    assert note_hours(desk, told, 'one road') == 1
    assert note_hours(desk, told, 'another') == 0
    assert watched_s(desk) == pytest.approx(19.0)


def test_only_hours_of_the_robot_that_was_named_leave(tmp_path):
    keep_bags(tmp_path, watched(bag='mine', robot='g1'), watched(bag='not mine', robot='h1'))
    assert [bag['name'] for bag in read_hours(tmp_path, 'g1')['bags']] == ['mine']


@pytest.mark.parametrize('change', [{'watched_s': 9e9}, {'watched_s': -1.0}, {'name': '../x'}])
def test_hours_that_cannot_be_are_refused_and_nothing_is_entered(tmp_path, change):
    keep_bags(tmp_path / 'robot', watched(), watched(bag='other'))
    told = read_hours(tmp_path / 'robot', None)
    told['bags'][1] |= change
    (tmp_path / 'desk').mkdir()
    with pytest.raises(SchemaError, match='bag 1'):
        note_hours(tmp_path / 'desk', told, 'a robot')
    assert watched_s(tmp_path / 'desk') == 0

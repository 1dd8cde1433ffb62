# SPDX-License-Identifier: Apache-2.0
"""Orders to candidate folders, and the same candidates from their manifests."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from order_maker import ENVELOPE, ROBOT, SAME, make_episode, make_order

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.core.errors import ConfigError, StoreError
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.generate.augment import Augment
from cosmos_flywheel.generate.make import (
    brief_of,
    differences,
    make_candidate,
    order_id,
    request_of,
    variation_of,
)
from cosmos_flywheel.generate.rules import bounds, motion
from cosmos_flywheel.generate.sim import Simulator
from cosmos_flywheel.store.candidates import (
    find_candidate,
    iter_candidates,
    read_candidate,
    read_run,
    truth_folder,
)
from cosmos_flywheel.video.decode import decode_video

DIM = replace(SAME, cell={'light': 'dim'})


@pytest.fixture(scope='module')
def episode(tmp_path_factory):
    return make_episode(tmp_path_factory.mktemp('out'))


@pytest.fixture(scope='module')
def made(episode):
    return make_candidate(episode.parent, make_order(episode, DIM), Augment())


def test_a_candidate_says_whose_it_is_and_how_it_was_made(episode, made):
    manifest = read_candidate(made.folder, verify=True)
    assert manifest['episode'] == episode.name
    assert manifest['kind'] == 'augmentation'
    assert manifest['variation']['cell'] == {'light': 'dim'}
    assert manifest['provenance']['parents'] == [episode.name, 'a bag']
    assert manifest['provenance']['licence'] == 'CC0-1.0'
    assert manifest['actions']['source'] == 'recorded'
    assert manifest['onset_s'] == pytest.approx(2.0, abs=0.07)


def test_its_film_has_one_frame_more_than_commands(made):
    manifest = read_candidate(made.folder)
    _, frames = decode_video((made.folder / 'video.webm').read_bytes())
    commands = np.load(made.folder / 'actions.npz')['robot']
    assert len(frames) == manifest['video']['frames'] == len(commands) + 1
    assert list(frames[0].shape[:2]) == manifest['video']['size']


def test_what_the_run_cost_stands_beside_the_manifest(made):
    assert read_run(made.folder)['cpu_s'] > 0
    manifest = (made.folder / 'manifest.json').read_text()
    assert 'cpu_s' not in manifest
    assert not truth_folder(made.folder).exists()


def test_the_same_order_is_not_made_twice(episode, made):
    again = make_candidate(episode.parent, make_order(episode, DIM), Augment())
    assert made.is_new
    assert not again.is_new
    assert list(iter_candidates(episode.parent)) == [made.folder]


def test_made_from_its_manifest_every_byte_is_the_same(made, episode):
    manifest = read_candidate(made.folder)
    order = replace(
        make_order(episode),
        brief=brief_of(made.folder),
        variation=variation_of(manifest),
        seed=manifest['seed'],
    )
    assert differences(made.folder, order, Augment()) == ()


def test_another_order_is_not_taken_for_the_same(made, episode):
    with pytest.raises(ConfigError, match='another order'):
        differences(made.folder, make_order(episode, DIM, seed=9), Augment())


def test_brief_cell_seed_parameters_and_robot_file_all_decide_the_id(episode):
    order = make_order(episode, DIM)
    other = Augment()
    other.parameters = {'revision': 99}
    ids = {
        order_id(order, Augment()),
        order_id(make_order(episode, SAME), Augment()),
        order_id(make_order(episode, DIM, 1), Augment()),
        order_id(make_order(episode, DIM, envelope=replace(ENVELOPE, hz=30.0)), Augment()),
        order_id(order, other),
        order_id(replace(order, robot=replace(order.robot, task='another')), Augment()),
    }
    assert len(ids) == 6


def test_a_candidate_that_does_not_say_by_which_robot_file_it_was_made_is_told(made, tmp_path):
    folder = shutil.copytree(made.folder, tmp_path / made.id)
    manifest = json.loads((folder / 'manifest.json').read_text())
    assert manifest['parameters'].pop('robot_sha256') == ROBOT.config_hash()
    (folder / 'manifest.json').write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match='did not note the robot file'):
        differences(folder, make_order(made.folder.parents[1] / manifest['episode']), Augment())


def test_bags_decide_the_id_where_commands_are_taken_from_them(episode):
    bag = episode.parent / 'bag'
    nominal, by_script = Variation('recovery', 'nominal'), Simulator()
    with open_bag(bag) as source:
        assert request_of(Augment(), ROBOT, nominal, [bag])['nominal'] == [source.bag_id]
    assert request_of(Augment(), ROBOT, SAME, [bag]) == request_of(Augment(), ROBOT, SAME, [])
    assert 'nominal' not in request_of(by_script, ROBOT, nominal, [bag])


def test_what_a_generator_does_not_make_is_refused_by_name(episode, tmp_path):
    with pytest.raises(ConfigError, match=r'augment: recovery: .*recorded commands only'):
        make_candidate(tmp_path, make_order(episode, Variation('recovery', 'nominal')), Augment())
    assert list(iter_candidates(tmp_path)) == []


def test_a_path_that_left_the_envelope_is_said_where_it_was_executed(episode, tmp_path):
    tight = replace(ENVELOPE, speed=(0.01, 0.7))
    made = make_candidate(tmp_path, make_order(episode, SAME, envelope=tight), Augment())
    said = read_candidate(made.folder)['actions']['violations']
    assert said[0].startswith('gantry_x leaves its speed at step')


def test_steps_whose_commands_nobody_heard_are_told_and_no_violations(episode, tmp_path):
    class LateCommands(Augment):
        def make(self, order):
            made = super().make(order)
            values = made.commands.values.copy()
            values[:2] = np.nan
            return replace(made, commands=replace(made.commands, values=values))

    folder = make_candidate(tmp_path, make_order(episode, SAME), LateCommands()).folder
    assert read_candidate(folder)['notes'][-1].startswith('not every command was heard in 2 of')
    assert bounds(folder) == motion(folder) == ''


def test_a_damaged_candidate_is_named(episode, tmp_path):
    made = make_candidate(tmp_path, make_order(episode, DIM), Augment())
    (made.folder / 'video.webm').write_bytes(b'not a film')
    with pytest.raises(StoreError, match=r'video.webm: differs'):
        read_candidate(made.folder, verify=True)
    assert find_candidate(tmp_path, made.id[:5]) == made.folder
    with pytest.raises(StoreError, match='no candidate begins'):
        find_candidate(tmp_path, 'zzz')


def test_the_manifest_holds_no_clock_and_no_path(made, episode):
    text = json.dumps(read_candidate(made.folder))
    assert str(episode.parent) not in text
    assert read_run(made.folder)['started'][:10] not in text

# SPDX-License-Identifier: Apache-2.0
"""The failure acted out again in another scene of the simulator."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sim_episode import make_sim_episode, make_sim_order, nominal_envelope

from cosmos_flywheel.bags.recording import Recording
from cosmos_flywheel.core.envelope import measure_envelope
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.generate import rehearsal, sim
from cosmos_flywheel.generate.acts import (
    ACTS,
    FOLLOWS,
    HALF,
    share_missing,
    share_of_way,
    unproved,
)
from cosmos_flywheel.generate.make import differences, make_candidate
from cosmos_flywheel.generate.rehearsal import Wanted, rehearsed
from cosmos_flywheel.generate.sim import Simulator, task_of
from cosmos_flywheel.sim import find_robot
from cosmos_flywheel.sim.base_drive import plan_drive
from cosmos_flywheel.sim.episode import Episode
from cosmos_flywheel.sim.record import Rehearsal, rehearse
from cosmos_flywheel.sim.record import record as record_episode
from cosmos_flywheel.sim.world import Setup
from cosmos_flywheel.store.candidates import read_candidate, truth_folder
from cosmos_flywheel.store.packs import load_pack
from cosmos_flywheel.store.robots import load_robot

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures('rendering')]

SIM = Simulator()
USUAL = {'light': 'usual', 'surface': 'usual', 'camera': 'usual', 'friction': 'usual'}
SAME = Variation('same_failure_new_scene', 'expert', USUAL)
MISS = Variation('near_miss', 'perturbed', USUAL)


@pytest.fixture(scope='module')
def pushed(tmp_path_factory, rendering):
    """A failure of the arm: something kicks the box; and what nominal pushes command."""
    out = tmp_path_factory.mktemp('out')
    return make_sim_episode(out, 'arm', 'push', 'kick'), nominal_envelope(out, 'arm', 'push')


@pytest.fixture(scope='module')
def order(pushed):
    episode, envelope = pushed

    def make(variation=SAME, seed=0, cause='object_moved', **changes):
        changes = {'envelope': envelope, **changes}
        return make_sim_order(episode, 'arm', cause, variation, seed, **changes)

    return make


def first_met(order_of):
    """What is made of the first seed whose order can be met: not every scene can be saved."""
    refusals = []
    for seed in range(8):
        try:
            return SIM.make(order_of(seed))
        except ConfigError as error:
            refusals.append(str(error))
    raise AssertionError(refusals)


def label_of(made):
    return json.loads(made.truth['label.json'])


def test_the_same_failure_happens_in_another_scene(order):
    made = SIM.make(order())
    label = label_of(made)
    assert (label['robot'], label['task'], label['fault']) == ('arm', 'push', 'kick')
    assert 'the task ends badly' in made.notes[0]
    assert made.onset_s == label['onset_s'] > 1
    assert len(made.frames) == len(made.commands.values) + 1
    other = SIM.make(order(seed=1))
    assert label_of(other)['seed'] != label['seed']


def test_a_near_miss_is_hit_and_still_ends_well(order):
    made = SIM.make(order(MISS))
    assert 'the task ends well' in made.notes[0]
    assert label_of(made)['fault'] == 'kick'
    assert label_of(made)['max_object_deviation_m'] > 0


def test_after_a_recovery_the_task_is_done_and_nominal_bounds_are_kept(order):
    recovery = Variation('recovery', 'nominal', USUAL)
    made = first_met(lambda seed: order(recovery, seed, cause='actuator_stall'))
    label = label_of(made)
    assert 'the task ends well' in made.notes[0]
    assert made.commands.source == 'expert'
    assert any('nominal commands were ordered' in note for note in made.notes)
    assert label['frames'] / label['fps'] > label['onset_s'] + 6


def test_what_the_brief_lets_follow_a_failure_is_acted_out(order):
    after = Variation('recovery', 'nominal', USUAL | {'after': 'the push'})
    assert SIM.refusal(order().brief, after) == ''
    made = first_met(lambda seed: order(after, seed))
    assert label_of(made)['fault'] == 'kick'
    assert 'the task ends well' in made.notes[0]
    assert 'without it the task ends badly' in made.notes


def test_earlier_begins_earlier_than_later(order):
    soon, late = (SIM.make(order(replace(SAME, family=f))).onset_s for f in ('earlier', 'later'))
    assert 1.5 <= soon < late


def test_equal_orders_give_equal_bytes_and_the_truth_lies_apart(order, tmp_path):
    made = make_candidate(tmp_path, order(), SIM)
    manifest = read_candidate(made.folder, verify=True)
    assert manifest['kind'] == 'simulation'
    assert {f['file'] for f in manifest['files']} == {'thumbnail.jpg', 'clip.mcap'}
    assert (truth_folder(made.folder) / 'label.json').is_file()
    assert not list(made.folder.glob('*label*'))
    assert differences(made.folder, order(), SIM) == ()


def test_a_script_that_leaves_the_envelope_is_refused(order, pushed):
    tight = replace(pushed[1], speed=(0.01,) * 6)
    with pytest.raises(ConfigError, match=r'expert commands are refused: \w+ leaves its speed'):
        SIM.make(order(envelope=tight))


@pytest.mark.parametrize(
    ('cause', 'family', 'reason'),
    [
        ('toppled', 'recovery', "cannot fail by 'toppled'"),
        ('wrong_object', 'earlier', 'begins with a leg of the script'),
        ('camera_freeze', 'recovery', 'the world does not notice'),
        ('blocked_path', 'recovery', 'knows no way round'),
        ('missed_grasp', 'near_miss', 'always misses it'),
        ('texture', 'same_failure_new_scene', 'is no failure'),
    ],
)
def test_what_cannot_be_acted_out_is_refused_in_words(order, cause, family, reason):
    brief = order(cause=cause).brief
    assert reason in SIM.refusal(brief, Variation(family, 'recorded'))


@pytest.mark.parametrize(
    ('cause', 'family', 'cell', 'reason'),
    [
        ('slipped_object', 'recovery', {'after': 'the push'}, 'with fault kick, not with slip'),
        ('object_moved', 'harder', {'after': 'the push'}, 'with family recovery, not with harder'),
        ('object_moved', 'recovery', {'after': 'a while'}, "knows no after 'a while'"),
        ('blocked_path', 'recovery', {'way': 'around the obstacle'}, 'knows no way'),
        ('object_moved', 'faster', {'pace': 'four fifths'}, 'with family slower, not with faster'),
    ],
)
def test_no_other_cause_and_family_claims_what_is_acted_out(order, cause, family, cell, reason):
    assert reason in SIM.refusal(order(cause=cause).brief, Variation(family, 'expert', cell))


def test_only_the_arm_has_a_table_top(order):
    steel = replace(SAME, cell={'surface': 'steel'})
    brief = order().brief
    assert SIM.refusal(brief, steel) == ''
    base = replace(brief, origin=replace(brief.origin, robot='sim_base'))
    base = replace(base, failure=replace(brief.failure, cause='person_in_way'))
    assert 'with robot arm, not with base' in SIM.refusal(base, steel)


def test_the_packs_words_are_those_that_are_acted_out():
    """A value that no pack orders of that family would never be asked for."""
    packs = [load_pack(name)[0] for name in ('embodied_robot', 'warehouse')]
    families = [(c.name, f) for pack in packs for c in pack.causes for f in c.families]
    ordered = {
        (family.name, axis, value, sim.CAUSES.get(cause, cause))
        for cause, family in families
        for axis, values in family.axes.items()
        for value in values
    }
    for axis, acts in ACTS.items():
        for value, act in acts.items():
            faults = {fault for family, a, v, fault in ordered if (a, v) == (axis, value)}
            assert faults >= set(act.faults), value
            families = {family for family, a, v, _ in ordered if (a, v) == (axis, value)}
            assert act.family in (families | {''} if families else families), value


def test_a_robot_without_a_twin_is_refused(order):
    brief = order().brief
    brief = replace(brief, origin=replace(brief.origin, robot='g1'))
    assert "no twin of robot 'g1'" in SIM.refusal(brief, SAME)
    assert 'knows no light' in SIM.refusal(order().brief, replace(SAME, cell={'light': 'x'}))


def test_a_cause_that_the_clip_cannot_have_is_named(order):
    with pytest.raises(ConfigError, match='the clip shows arm push, which cannot fail by'):
        SIM.make(order(cause='missed_grasp'))


@pytest.mark.parametrize('task', ['patrol', 'dock'])
def test_the_task_of_a_base_is_told_by_its_commands(task):
    for seed in range(12):
        commands = plan_drive(Setup(task, seed), 30).commands[:150].astype(np.float32)
        stamps_ns = np.arange(len(commands)) * 10**9 // 30
        pictures = np.zeros((len(commands), 1, 1, 3), np.uint8)
        recording = Recording(stamps_ns, pictures, commands, commands)
        assert task_of('base', recording, ('linear.x', 'angular.z')) == task, seed


def test_commands_of_a_base_are_known_from_its_first_picture_on():
    """Its speeds have no stamp, so that a reader of the bag misses the first."""
    robot = load_robot('sim_base')
    recording = record_episode(find_robot('base'), Setup('dock', 3), seconds=2.0, film=False)
    seen = sim._read(sim._as_bag(recording), robot)
    assert np.isnan(seen.actions[0]).all()
    told = recording.truth['command']
    envelope = measure_envelope(robot.action_names, ('m/s', 'rad/s'), 15.0, [told])
    order = SimpleNamespace(variation=SAME, brief=SimpleNamespace(envelope=envelope), robot=robot)
    found = sim._commands(order, seen, recording)
    np.testing.assert_array_equal(found.values, told[: len(seen) - 1])


def test_a_scene_that_leaves_the_envelope_gives_way_to_another():
    """Its first scene needs more than the envelope has; the second one does not."""
    arm = find_robot('arm')
    scenes = [Setup('push', seed, arm.faults['slip']) for seed in (1, 2)]
    paths = [rehearse(arm, replace(scene, strength=1.0)).commands for scene in scenes]
    units = ('rad',) * 5 + ('m',)
    bounds = measure_envelope(load_robot('sim_arm').action_names, units, 15.0, paths[1:], room=0.0)
    wanted = Wanted((1.0,), None, is_needed=False, envelope=bounds)
    assert bounds.violations(paths[0])
    assert rehearsed(arm, scenes, wanted) == (replace(scenes[1], strength=1.0), 1)
    with pytest.raises(ConfigError, match=r'expert commands are refused: .* tried in 1 scenes'):
        rehearsed(arm, scenes[:1], wanted)


def test_a_scene_in_which_the_fault_does_no_harm_gives_way_to_one_in_which_it_does(monkeypatch):
    does_harm = {2}
    monkeypatch.setattr(
        rehearsal,
        'rehearse',
        lambda _, setup: Rehearsal(setup.seed not in does_harm, np.zeros((3, 6)), 1),
    )
    scenes = [Setup('push', seed) for seed in (1, 2, 3)]
    wanted = Wanted((0.5, 1.0), ends_well=False, is_needed=False, envelope=None)
    assert rehearsed(find_robot('arm'), scenes, wanted) == (replace(scenes[1], strength=0.5), 1)
    does_harm.clear()
    assert rehearsed(find_robot('arm'), scenes, wanted) == (replace(scenes[0], strength=0.5), 0)


@pytest.mark.parametrize(('strength', 'is_true'), [(0.25, True), (0.45, False)])
def test_half_of_the_way_is_told_by_the_truth(strength, is_true):
    fault = find_robot('arm').faults['wrong_object']
    setup = Setup('pick_place', 4, fault, strength, recovers=True)
    label, truth = acted(setup)
    recording = SimpleNamespace(truth=truth, label=label, ends_well=True)
    assert abs(share_of_way(truth) - 2 * strength) < 0.1
    half = Variation('recovery', 'nominal', {'after': HALF})
    assert (unproved(half, recording) == '') == is_true


@pytest.mark.parametrize(('strength', 'is_true'), [(0.9, True), (0.03, False)])
def test_a_joint_that_hardly_stalls_is_no_proof(strength, is_true):
    fault = find_robot('arm').faults['stall']
    label, truth = acted(Setup('pick_place', 4, fault, strength, recovers=True))
    recording = SimpleNamespace(truth=truth, label=label, ends_well=True)
    follows = Variation('recovery', 'nominal', {'after': FOLLOWS})
    assert (unproved(follows, recording) == '') == is_true
    assert unproved(follows, SimpleNamespace(truth=truth, ends_well=False)) != ''


def test_missing_pictures_are_counted():
    sent = [SimpleNamespace(msgtype='sensor_msgs/msg/CompressedImage')] * 33
    truth = {'is_affected': np.arange(45) < 20}
    recording = SimpleNamespace(truth=truth, messages=sent, ends_well=True)
    assert share_missing(recording) == 0.6
    half, most = (
        Variation('harder', 'recorded', {'missing': value})
        for value in ('half of the pictures', 'most pictures')
    )
    assert unproved(half, recording) == ''
    assert unproved(most, recording) == '60% of the pictures are missing, not most pictures'


def acted(setup):
    """Label and truth of an episode without its pictures."""
    with closing(Episode(find_robot('arm'), setup)) as episode:
        blank = np.zeros((24, 40, 3), np.uint8)
        episode._world.picture = lambda: blank
        while episode.ticks < round(episode.seconds * 30):
            if episode.has_frame():
                episode.frame(0)
            episode.step()
        return episode.judged()

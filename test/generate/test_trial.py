# SPDX-License-Identifier: Apache-2.0
"""A generator and rules on trial: what it makes, what steers it, who notices what is wrong."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from order_maker import FAMILIES, ROBOT, make_brief, make_episode
from push_bags import HEIGHT, WIDTH, recording, write

from cosmos_flywheel import schemas
from cosmos_flywheel.bags.recording import Recording
from cosmos_flywheel.capture.candidate import unasked_alarms
from cosmos_flywheel.capture.model import load_judge
from cosmos_flywheel.cli.main import main
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.job import Price
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.generate.augment import Augment
from cosmos_flywheel.generate.make import make_candidate
from cosmos_flywheel.generate.purse import Purse
from cosmos_flywheel.generate.rules import TODAY, Rule
from cosmos_flywheel.generate.trial import run_trial
from cosmos_flywheel.generate.trial_answer import Answer, overall
from cosmos_flywheel.generate.trial_reference import STEPS, recorded_slopes, twin_instants
from cosmos_flywheel.generate.trial_scenarios import Subject, ask_scenarios
from cosmos_flywheel.generate.trial_steering import ask_steering
from cosmos_flywheel.generate.wrong import make_wrong
from cosmos_flywheel.store.briefs import save_brief
from cosmos_flywheel.store.candidates import iter_candidates
from cosmos_flywheel.store.robots import load_robot

KEYFRAME = bytes(cv2.imencode('.png', np.zeros((HEIGHT, WIDTH, 3), np.uint8))[1])
SAME = FAMILIES[:1]
"""What `augment` makes all of."""
AS_RECORDED = Variation(
    'same_failure_new_scene',
    'recorded',
    dict.fromkeys(('light', 'camera', 'sensor'), 'as_recorded'),
)


@pytest.fixture(scope='module')
def out(tmp_path_factory):
    """An output folder with one episode and its brief."""
    folder = tmp_path_factory.mktemp('out')
    brief = make_brief(make_episode(folder))
    save_brief(folder / 'briefs', brief, {'keyframes/0.png': KEYFRAME})
    return folder


@pytest.fixture(scope='module')
def subject(out):
    (episode,) = (path.parent for path in out.glob('*/clip.mcap'))
    return Subject(make_brief(episode, families=SAME), episode, ROBOT)


@pytest.fixture(scope='module')
def document(out, subject):
    """What the verb writes."""
    words = ['trial', subject.episode, '--out', out, '--untriaged', '-n', 1]
    assert main([str(word) for word in words]) == 1
    return schemas.load(out / 'trial' / 'trial.json', 'trial-v1')


def run(out, subject, *, rules=TODAY, cpu_s=600.0):
    return run_trial(
        out, [subject], Augment(), rules, Purse(600.0, cpu_s), count=1, seed=0,
        progress=lambda *_: None,
    )  # fmt: skip


def test_what_is_missing_is_asked_for_and_a_candidate_is_made(document, out):
    told = document['scenarios']
    refusals = {one['cell'].split(': ')[1]: one['refusal'] for one in told['wanted']}
    assert 'recorded commands only' in refusals['recovery, nominal commands']
    assert refusals['same_failure_new_scene (light dim)'] == ''
    assert (told['verdict'], round(told['share'], 2)) == ('no-go', 0.29)
    assert [one['id'] for one in told['made']] == [one.name for one in iter_candidates(out)]


def test_who_changes_appearance_only_is_not_steered(document):
    assert document['steering']['verdict'] == 'no-go'
    assert 'not applicable' in document['steering']['reason']


def test_each_wrong_candidate_is_caught_by_the_rule_that_is_meant_for_it(document):
    told = document['rules']
    caught = {one['way']: one['by'] for one in told['ways'] if one['caught']}
    assert told['good']['caught'] == 0
    for way, rule in (('cut_short', 'whole'), ('outside', 'bounds'), ('jerked', 'motion')):
        assert caught[way] == {rule: 1}
    assert not {'mirrored', 'frozen', 'vanished'} & caught.keys()
    assert told['verdict'] == 'undecided'
    assert 'no rule yet for what is shuffled or backwards or mirrored' in told['reason']


class Fussy(Augment):
    """Takes no order with a seed below ten thousand."""

    def make(self, order):
        if order.seed < 10_000:
            raise ConfigError('too plain')
        return super().make(order)


def test_a_refused_order_is_tried_with_a_seed_of_no_other_order(subject, tmp_path):
    found = ask_scenarios(
        tmp_path, [subject], Fussy(), Purse(1, 600), count=2, seed=0, progress=lambda _: None
    )
    assert [one.seed for one in found.made] == [10_000, 10_000]
    assert len({one.id for one in found.made}) == 2


def test_a_rule_that_rejects_everything_has_noticed_nothing(out, subject):
    trial = run(out, subject, rules=[Rule('grim', 'nothing', ('mirrored',), lambda _: 'no')])
    assert trial.rules.answer.verdict == 'no-go'
    assert trial.rules.answer.reason.startswith('the rules reject 1 of 1 good candidates (grim')
    assert all(one.caught == 0 for one in trial.rules.ways)


def test_what_the_budget_does_not_reach_is_told_and_undecided(out, subject):
    trial = run(out, subject, cpu_s=0.0)
    said = trial.scenarios.answer
    assert said.verdict == 'undecided'
    assert said.reason == '0 of 1 candidates were made, then the budget of 0 CPU seconds is spent'
    assert trial.rules.answer.reason == 'there is no candidate to make wrong'
    whole = run(out, subject)
    assert whole.scenarios.answer.verdict == 'go'


def test_a_piece_may_begin_only_if_the_dearest_of_its_kind_would_fit():
    purse = Purse(10.0, 600.0)
    purse.expect('film', Price(gpu_s=11.0))
    assert purse.lacks('film') == 'of 10 GPU seconds 10 are left, and a film takes 11'
    with purse.pay('film') as piece:
        piece.gpu_s = 6.0
    assert purse.lacks('film') == 'of 10 GPU seconds 4 are left, and a film takes 6'
    with purse.pay('film') as piece:
        piece.gpu_s = 5.0
    assert purse.lacks('chunk') == 'the budget of 10 GPU seconds is spent'
    assert purse.lacks('judgement', gpu=False) == ''


def test_what_may_not_be_altered_is_not_tried(tmp_path, capsys):
    episode = make_episode(tmp_path)
    brief = make_brief(episode, licence='CC-BY-ND-4.0')
    save_brief(tmp_path / 'briefs', brief, {'keyframes/0.png': KEYFRAME})
    assert main(['trial', str(episode), '--out', str(tmp_path), '--untriaged']) == 2
    assert 'forbids derivatives' in capsys.readouterr().err
    assert list(iter_candidates(tmp_path)) == []


def test_settings_of_films_go_with_who_makes_films(tmp_path, capsys):
    assert main(['trial', 'any', '--out', str(tmp_path), '--steps', '4']) == 2
    assert 'steps=4 is of the backends remote and cosmos' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('said', 'verdict'),
    [
        (('go', 'go', 'go'), 'go'),
        (('go', 'undecided', 'go'), 'undecided'),
        (('undecided', 'go', 'no-go'), 'no-go'),
    ],
)
def test_one_no_is_a_no_and_go_needs_all_three(said, verdict):
    assert overall(Answer(one, 'because') for one in said) == verdict


def test_the_twin_is_asked_at_the_instant_that_its_recording_shows(rendering):
    instant = next(twin_instants('arm', 'push', load_robot('sim_arm')))
    same, reply = instant.ask(np.zeros(6)), instant.ask(np.array([0.08, 0, 0, 0, 0, 0]))
    apart = np.abs(instant.recording.pictures.astype(float) - same.picture).mean((1, 2, 3))
    assert apart.argmin() == instant.keyframe + STEPS
    assert (same.moved, np.linalg.norm(same.flow)) == (0, 0)
    assert reply.moved > 0.01
    assert np.linalg.norm(reply.flow) > 0.3


class Painter:
    """Draws a ball where it is told to be, or elsewhere: `turn` maps commands to places."""

    name, kind = 'painter', 'generated'

    def __init__(self, turn):
        self.turn = np.array(turn, float)

    def steered(self, _order, recording, keyframe, path):
        frames = np.repeat(recording.pictures[keyframe : keyframe + 1], len(path), 0)
        for frame, (x, y) in zip(frames, path @ self.turn.T, strict=True):
            at = round(16 * (WIDTH / 2 + 80 * x)), round(16 * (HEIGHT / 2 + 80 * y))
            cv2.circle(frame, at, 16 * 7, (40, 220, 40), -1, cv2.LINE_AA, 4)
        return frames, 0.0


@pytest.mark.parametrize(
    ('turn', 'state'),
    [
        (((1, 0), (0, 1)), 'answers'),
        (((-1, 0), (0, 1)), 'does not answer'),
        (((0, 0), (0, 1)), 'does not answer'),
    ],
    ids=['obeys', 'goes the other way', 'stands still'],
)
def test_a_generator_answers_to_what_moves_as_it_was_recorded_to(subject, tmp_path, turn, state):
    one = replace(subject, nominal=(write(tmp_path / 'nominal', recording(8.0, 0.7)),))
    found = ask_steering(one, Painter(turn), Purse(1, 600), seed=0, progress=lambda _: None)
    assert (found.reference, found.instants) == ('the recorded motion', 3)
    assert {axis.name: axis.state for axis in found.axes}['gantry_x'] == state
    assert ('gantry_x' in found.answer.reason) == (
        state != 'answers' or found.answer.verdict == 'go'
    )


def test_commands_that_always_go_together_are_not_told_apart():
    chance = np.random.default_rng(5)
    noise = np.kron(chance.uniform(0, 255, (12, 16, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    x, other = chance.normal(0, 0.2, (2, 90)).cumsum(1)
    pictures = np.stack([np.roll(noise, round(2 * one), 1) for one in x])
    stamps_ns, states = np.arange(90) * 10**8, np.zeros((90, 0), np.float32)

    def told(*actions):
        columns = np.column_stack(actions).astype(np.float32)
        return recorded_slopes([Recording(stamps_ns, pictures, states, columns)], 'absolute')

    slopes, sure = told(x, other)
    assert sure.tolist() == [True, False]
    assert slopes[0, 0] == pytest.approx(2, rel=0.3)
    assert not told(x, 2 * x)[1].any()


def test_channels_let_a_good_candidate_pass_and_notice_what_is_wrong(root, order, tmp_path):
    asked = order(AS_RECORDED)
    made = make_candidate(tmp_path, asked, Augment())
    judge, episodes = load_judge(root / 'demo' / 'model'), asked.episode.parent
    assert unasked_alarms(made.folder, ROBOT, judge) == {}  # states as they were commanded
    wrong = make_wrong(tmp_path / 'aside', [made.folder], 0, 'frozen')
    assert unasked_alarms(wrong, ROBOT, judge, episodes).keys() == {'stream_health'}

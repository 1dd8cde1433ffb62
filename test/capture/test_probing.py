# SPDX-License-Identifier: Apache-2.0
"""Engines that listen to actions and such that do not, told apart on real bags."""

from __future__ import annotations

import html
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from push_bags import CAMERA, recording, without, write

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.capture.analysis import Analysis
from cosmos_flywheel.capture.fit import fit, fit_judge
from cosmos_flywheel.capture.grounding import Probing, every_ticks, moved, staying
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.model import Judge, grounding_of, save_judge
from cosmos_flywheel.cli.main import main
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.grounding import KINDS
from cosmos_flywheel.engines import ENGINES, Persistence
from cosmos_flywheel.store.episodes import iter_episodes, read_episode
from cosmos_flywheel.store.robots import load_robot

ROBOT = load_robot('mujoco_push')
BAGS = 3


class Deaf(Persistence):
    """Says that it follows actions, and does not."""

    level = 'deaf'

    def __init__(self, size, horizon=2) -> None:
        super().__init__(size, horizon)
        self.spec = replace(self.spec, follows_actions=True)


class Obedient(Deaf):
    """Expects the robot to be where it is told to be."""

    level = 'obedient'

    def predict(self, observation, actions, steps=None):
        said = super().predict(observation, actions, steps)
        return replace(said, state=actions.values[list(steps)])


class Shadow(Deaf):
    """Reads what was executed from measured states, and hears no command."""

    level = 'shadow'

    def __init__(self, size, horizon=2) -> None:
        super().__init__(size, horizon)
        self.spec = replace(self.spec, reads_measured=True)
        self.seen = {}

    def observe(self, observation):
        self.seen[observation.stamp_ns] = observation.state

    def predict(self, observation, actions, steps=None):
        said = super().predict(observation, actions, steps)
        if actions.is_plan:
            return said
        return replace(said, state=np.stack([self.seen[s] for s in said.stamps_ns.tolist()]))


class Attentive(Shadow):
    """The same, but a plan it reads."""

    level = 'attentive'

    def predict(self, observation, actions, steps=None):
        said = super().predict(observation, actions, steps)
        return replace(said, state=actions.values[list(steps)]) if actions.is_plan else said


@pytest.fixture(autouse=True)
def peers(monkeypatch) -> None:
    for engine in (Deaf, Obedient, Shadow, Attentive):
        monkeypatch.setitem(ENGINES, engine.level, engine)


@pytest.fixture(scope='module')
def bags(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp('nominal')
    return [write(folder / f'run {i}', recording(5.0, phase=i)) for i in range(BAGS)]


def judge_of(bags: list[Path], level: str) -> Judge:
    return fit_judge(bags, ROBOT, level)


def thresholds(judge: Judge, bag: Path) -> dict[str, float]:
    """In force at the end of a bag."""
    with open_bag(bag) as source:
        analysis = Analysis(source, ROBOT, judge, CaptureSettings())
        *_, last = (analysis.scorer.score(moment) for moment in analysis.moments())
    return {c.name: c.threshold for c in last.channels}


def test_a_model_deaf_to_actions_is_muted_whatever_its_thresholds(bags):
    judge = judge_of(bags, 'deaf')
    known = judge.calibration.grounding
    assert set(known.channels) == {'picture', 'state'}
    assert all(i.value == 0 and i.interval == (0, 0) for i in known.channels.values())
    found = thresholds(judge, bags[0])
    assert math.isnan(found['picture'])
    assert math.isnan(found['state'])
    assert found['tracking_error'] > 0
    assert judge.calibration.channels['picture'].threshold > 0


def test_what_measured_states_give_away_is_not_credited_to_commands(bags):
    """A shadow foretells every state to the last bit, and would not miss the commands."""
    known = judge_of(bags, 'shadow').calibration.grounding
    assert known.channels['state'].holds_zero
    assert known.channels['state'].chunks > 30
    assert judge_of(bags, 'attentive').calibration.grounding.channels['state'].interval[0] > 0.3


def test_each_channel_is_judged_by_its_own_predictions(bags):
    """The state listens, the picture does not."""
    judge = judge_of(bags, 'obedient')
    known = judge.calibration.grounding
    assert known.channels['state'].interval[0] > 0.3
    assert known.channels['picture'].holds_zero
    found = thresholds(judge, bags[0])
    assert found['state'] > 0
    assert math.isnan(found['picture'])


def test_a_muted_channel_says_why_and_still_shows_its_score(bags):
    judge = judge_of(bags, 'deaf')
    with open_bag(bags[0]) as source:
        analysis = Analysis(source, ROBOT, judge, CaptureSettings())
        list(analysis.run())
        trace = analysis.trace('run')
    assert any(n.startswith('picture is muted') for n in trace.notes)
    picture = next(c for c in trace.channels if c.name == 'picture')
    assert np.isfinite(picture.scores).any()
    assert np.isnan(picture.thresholds).all()
    assert analysis.scores.scores[-1].action_grounding == 0
    assert (trace.action_grounding, 'muted' in trace.grounding) == (0, True)


@pytest.mark.parametrize('level', ['persistence', 'flow'])
def test_engines_that_promise_nothing_of_actions_keep_their_thresholds(bags, level):
    judge = judge_of(bags, level)
    assert judge.calibration.grounding is None
    assert 'grounding' not in judge.calibration.to_mapping()
    assert grounding_of(judge, judge.make_engine(None)).value == 0
    assert all(limit > 0 for limit in thresholds(judge, bags[0]).values())


def test_neither_the_order_of_bags_nor_the_number_of_workers_changes_the_index(bags):
    known = fit(bags, ROBOT, 'obedient').grounding
    assert fit(bags[::-1], ROBOT, 'obedient').grounding == known


def test_a_robot_without_a_camera_is_judged_by_its_state(tmp_path):
    paths = [
        write(tmp_path / f'blind {i}', without(recording(5.0, phase=i), CAMERA))
        for i in range(BAGS)
    ]
    known = fit(paths, ROBOT, 'obedient').grounding
    assert set(known.channels) == {'state'}
    assert known.value > 0.3


def test_bags_that_are_too_short_leave_it_unmeasured(tmp_path):
    path = write(tmp_path / 'short', recording(2.0))
    judge = judge_of([path], 'deaf')
    assert judge.calibration.grounding.channels == {}
    assert 'not measured' in judge.calibration.grounding.in_words()
    assert thresholds(judge, path)['picture'] > 0


def test_every_report_shows_it(bags, tmp_path, capsys):
    model, out = tmp_path / 'model', tmp_path / 'out'
    judge = judge_of(bags, 'obedient')
    save_judge(judge.calibration, model, prior=judge.prior)
    before, after = recording(6.0), recording(6.0, phase=2)
    rows = [r for r in before if r.at_s < 3] + [r for r in after if r.at_s >= 3]
    bag = write(tmp_path / 'jumps', rows)
    words = ['harvest', str(bag), '--robot', 'mujoco_push', '--model', str(model)]
    assert main([*words, '--out', str(out), '--workers', '1']) == 0
    said = judge.calibration.grounding.in_words()
    assert said in html.unescape((out / 'report.html').read_text('utf-8'))
    folder = next(iter_episodes(out))
    assert read_episode(folder)['action_grounding'] == judge.calibration.grounding.value
    assert read_episode(folder)['channels']['picture']['threshold'] is None
    capsys.readouterr()
    assert main(['episodes', 'show', folder.name, '--out', str(out)]) == 0
    assert f'action grounding {judge.calibration.grounding.value:.2f}' in capsys.readouterr().out


def test_a_fit_prints_it(bags, tmp_path, capsys):
    words = ['fit', *map(str, bags), '--robot', 'mujoco_push', '--engine', 'flow']
    assert main([*words, '-o', str(tmp_path / 'model')]) == 0
    assert 'action grounding: 0: this engine does not follow actions' in capsys.readouterr().out


def test_wrong_actions_come_from_the_past_and_differ_from_the_true_ones(bags):
    asked: dict[tuple[int, int], list[np.ndarray]] = {}

    class Listening(Obedient):
        def predict(self, observation, actions, steps=None):
            key = observation.stamp_ns, len(actions.values)
            asked.setdefault(key, []).append(actions.values)
            return super().predict(observation, actions, steps)

    with open_bag(bags[0]) as source:
        analysis = Analysis(source, ROBOT, Judge('obedient'), CaptureSettings())
        analysis.engine = Listening((96, 128))
        probing = Probing(ROBOT, analysis.engine, 1)
        analysis.watcher.hindsight, analysis.watcher.engine = probing, analysis.engine
        moments = list(analysis.moments())
    told = {m.tick.action.tobytes() for m in moments}
    many = [chunks for chunks in asked.values() if len(chunks) > 1]
    assert len(many) == len(probing.probed.ticks) > 30
    for true, *wrong in many:
        assert len(wrong) == len(KINDS) - 1
        assert not any(np.array_equal(true, one) for one in wrong)
        shuffled, stay, shifted = wrong
        assert all(v.tobytes() in told for v in shifted)
        assert np.abs(shuffled[0] - true[0]).max() < 0.1, 'a motion from where the robot is'
        assert (stay == stay[0]).all()


def make_arm(**action) -> Robot:
    source = {'topic': '/told', 'field': 'position', 'names': ['hip', 'hand']}
    document = {
        'schema': 'robot-v1',
        'name': 'arm',
        'clock': {'hz': 15},
        'action': {'sources': [source], **action},
    }
    return Robot.from_mapping(document)


@pytest.mark.parametrize(
    ('robot', 'rest'),
    [
        (ROBOT, [1, 2]),
        (make_arm(kind='absolute'), [5, 6]),
        (make_arm(kind='delta'), [0, 0]),
        (make_arm(kind='delta', gripper={'name': 'hand', 'closed': 0, 'open': 9}), [0, 6]),
    ],
    ids=['where one is', 'as told before', 'no change', 'no change of the hand'],
)
def test_staying_asks_for_nothing(robot, rest):
    state, command = np.array([1.0, 2.0], np.float32), np.array([5.0, 6.0], np.float32)
    assert staying(robot, state, command).tolist() == rest
    assert command.tolist() == [5, 6]


def test_commands_of_elsewhere_are_moved_along():
    there, here = np.array([1.0, 2.0], np.float32), np.array([0.0, 4.0], np.float32)
    commands = np.array([[1.0, 2.0], [1.5, 2.0]], np.float32)
    assert moved(ROBOT, commands, there, here).tolist() == [[0, 4], [0.5, 4]]
    assert moved(make_arm(kind='delta'), commands, there, here).tolist() == commands.tolist()


def test_an_engine_with_a_stride_is_probed_where_it_predicts(bags):
    class Strided(Obedient):
        def __init__(self, size, horizon=2) -> None:
            super().__init__(size, horizon)
            self.spec = replace(self.spec, stride=4)

    with open_bag(bags[0]) as source:
        analysis = Analysis(source, ROBOT, Judge('obedient'), CaptureSettings())
        engine = Strided((96, 128))
        probing = Probing(ROBOT, engine, 5)
        analysis.watcher.hindsight, analysis.watcher.engine = probing, engine
        moments = list(analysis.moments())
    ticks = probing.probed.ticks
    assert len(ticks) > 5
    assert all(moments[i].predicted_state is not None for i in ticks)
    assert np.diff(ticks).min() >= 5


def test_long_recordings_and_slow_engines_are_probed_less_often():
    assert every_ticks(15.0, 60.0) == 4
    assert every_ticks(15.0, 3600.0) == 135
    assert every_ticks(2.0, 10.0) == 1
    assert every_ticks(10.0, 60.0, stride=16) == 64

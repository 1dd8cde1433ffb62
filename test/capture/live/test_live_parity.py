# SPDX-License-Identifier: Apache-2.0
"""The live path, fed with a bag's messages, gives the scores of a harvest of that bag."""

from __future__ import annotations

import queue
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from taking_turns import heard_in, watched

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.bags.wire import WireTypes
from cosmos_flywheel.capture.analysis import Analysis
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.live.comparing import Compared, Comparing
from cosmos_flywheel.capture.live.predicting import Foretold, Predicting
from cosmos_flywheel.capture.model import Judge, load_judge
from cosmos_flywheel.core.grounding import Grounding, Index
from cosmos_flywheel.store.robots import load_robot

ROBOT = 'mujoco_push'


@pytest.fixture(scope='module')
def bag(root: Path) -> Path:
    return root / 'demo' / 'bags' / 'mujoco_push_faults' / 'bags' / 'push_1104'


def harvested(bag: Path, judge: Judge) -> dict[int, dict[str, float]]:
    with open_bag(bag) as source:
        analysis = Analysis(source, load_robot(ROBOT), judge, CaptureSettings())
        return {
            moment.tick.stamp_ns: {c.name: c.score for c in analysis.scorer.score(moment).channels}
            for moment in analysis.moments()
        }


def alarms_of(bag: Path, judge: Judge) -> set[str]:
    """Channels that alarm in a harvest."""
    with open_bag(bag) as source:
        analysis = Analysis(source, load_robot(ROBOT), judge, CaptureSettings())
        scores = [analysis.scorer.score(moment) for moment in analysis.moments()]
    return {name for score in scores for name in score.alarms}


def live(bag: Path, judges: dict[str, Judge]) -> list[Compared]:
    """What the live path makes of the bag."""
    return watched(bag, load_robot(ROBOT), judges)


@pytest.mark.parametrize('level', ['local', 'flow'])
def test_live_scores_are_those_of_a_harvest(root, bag, level):
    judge = load_judge(root / 'demo' / 'model') if level == 'local' else Judge('flow')
    expected = harvested(bag, judge)
    compared = live(bag, {level: judge})
    assert len(compared) >= len(expected) - 4
    blind = 0
    for one in compared:
        wanted = expected[one.score.stamp_ns]
        assert {c.name for c in one.score.channels} == set(wanted)
        for channel in one.score.channels:
            if channel.name == 'picture' and not one.moment.residuals[0] is not None:
                blind += 1
                continue
            np.testing.assert_allclose(channel.score, wanted[channel.name], rtol=1e-6, atol=1e-6)
    assert blind <= 10


def test_alarms_are_those_of_a_harvest(root, bag):
    compared = live(bag, {'local': load_judge(root / 'demo' / 'model')})
    assert any(one.score.alarms for one in compared)


def test_what_is_muted_in_a_harvest_is_muted_live(root, bag):
    judge = load_judge(root / 'demo' / 'model')
    deaf = Index(0.0, (-0.01, 0.01), {}, 60, 8)
    known = replace(judge.calibration, grounding=Grounding(True, {'picture': deaf}))
    muted = replace(judge, calibration=known)
    compared = live(bag, {'local': muted})
    alarms = {name for one in compared for name in one.score.alarms}
    assert 'picture' in {n for one in live(bag, {'local': judge}) for n in one.score.alarms}
    assert alarms == alarms_of(bag, muted)
    assert 'picture' not in alarms
    assert {one.score.action_grounding for one in compared} == {0.0}
    assert any(c.score > 1 for one in compared for c in one.score.channels if c.name == 'picture')


def test_a_level_without_a_calibration_never_alarms(bag):
    compared = live(bag, {'flow': Judge('flow')})
    assert not any(one.score.alarms for one in compared)
    assert all(np.isnan(c.threshold) for one in compared for c in one.score.channels)
    assert any(c.score > 0 for one in compared for c in one.score.channels)


def test_a_change_of_the_level_loses_no_tick_and_no_memory_of_other_channels(bag):
    judges = {'flow': Judge('flow'), 'persistence': Judge('persistence')}
    robot, types = load_robot(ROBOT), WireTypes([])
    found: queue.Queue[Foretold] = queue.Queue()
    expected = sorted(harvested(bag, judges['flow']))
    messages = heard_in(bag, robot)
    comparing = Comparing(robot, judges, types)
    makers = [Predicting(robot, {name: judge}, types, found.put) for name, judge in judges.items()]
    compared, before = [], {}
    try:
        for number, heard in enumerate(messages):
            is_late = number > len(messages) // 2
            for late, predicting in enumerate(makers):
                predicting.take(heard)
                predicting.wait(10.0)
                while not found.empty():
                    foretold = found.get()
                    for prediction in foretold.predictions if late == is_late else ():
                        comparing.give(prediction)
            comparing.take(heard, heard.received_ns)
            compared += comparing.settled(heard.received_ns)
            if not is_late and comparing.feed.watcher is not None:
                before = {c.name: c for c in comparing.feed.watcher.channels}
    finally:
        for predicting in makers:
            predicting.close()
    stamps = [one.score.stamp_ns for one in compared]
    assert stamps == [stamp for stamp in expected if stamps[0] <= stamp <= stamps[-1]]
    assert [one.score.level for one in compared][:: len(compared) - 1] == ['flow', 'persistence']
    after = {c.name: c for c in comparing.feed.watcher.channels}
    assert {name for name in before if after[name] is not before[name]} == {'picture', 'state'}
    changed = next(i for i, one in enumerate(compared) if one.score.level == 'persistence')
    tracking = [c for c in compared[changed].score.channels if c.name == 'tracking_error']
    assert tracking[0].score == tracking[0].score, 'it goes on at once'

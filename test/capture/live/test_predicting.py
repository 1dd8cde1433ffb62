# SPDX-License-Identifier: Apache-2.0
"""A slow, failing or hung engine never holds up the messages, and is left for a lower level."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.bags.wire import WireTypes
from cosmos_flywheel.capture.live.feed import Heard
from cosmos_flywheel.capture.live.plan import Plan
from cosmos_flywheel.capture.live.predicting import LOOKAHEAD, Foretold, Predicting
from cosmos_flywheel.capture.model import Judge
from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines import ENGINES, Flow, Persistence
from cosmos_flywheel.store.robots import load_robot

NS = 10**9
ROBOT = load_robot('mujoco_push')


@pytest.fixture(scope='module')
def messages(root: Path) -> list[Heard]:
    bag = root / 'demo' / 'bags' / 'mujoco_push_faults' / 'bags' / 'push_1100'
    with open_bag(bag) as source:
        return [
            Heard(m.topic, m.msgtype, m.log_ns, bytes(m.data))
            for m in source.messages(set(ROBOT.topics))
        ]


@pytest.fixture
def level(monkeypatch):
    """Makes an engine level of a class."""

    def make(name: str, kind: type[Persistence]) -> Judge:
        monkeypatch.setattr(kind, 'level', name)
        monkeypatch.setitem(ENGINES, name, kind)
        return Judge(name)

    return make


@pytest.fixture
def predicting():
    made: list[Predicting] = []

    def make(judges: list[Judge], **options) -> tuple[Predicting, list[Foretold]]:
        told: list[Foretold] = []
        by_level = {judge.level: judge for judge in judges}
        made.append(Predicting(ROBOT, by_level, WireTypes([]), told.append, **options))
        return made[-1], told

    yield make
    for one in made:
        one.close()


def levels_of(told: list[Foretold]) -> list[str]:
    return [p.level for one in told for p in one.predictions]


def test_an_engine_that_raises_is_left_and_its_words_are_kept(messages, level, predicting):
    class Broken(Persistence):
        def predict(self, observation, actions, steps=None):
            raise EngineError('no memory left')

    made, told = predicting([level('broken', Broken), Judge('persistence')])
    for heard in messages:
        made.take(heard)
        made.wait(5.0)
    made.look()
    assert made.ladder.level == 'persistence'
    assert 'broken: no memory left' in made.problem
    assert set(levels_of(told)) == {'persistence'}


def test_an_engine_that_hangs_is_left(messages, level, predicting):
    free = threading.Event()

    class Hung(Persistence):
        def predict(self, observation, actions, steps=None):
            free.wait(30)
            return super().predict(observation, actions, steps)

    made, told = predicting([level('hung', Hung), Judge('persistence')], hung_s=0.5)
    half = len(messages) // 2
    for heard in messages[:half]:
        made.take(heard)
    time.sleep(0.1)
    made.look(time.monotonic() + 1.0)
    assert made.ladder.level == 'persistence'
    assert 'hung' in made.problem
    for heard in messages[half:]:
        made.take(heard)
        made.wait(5.0)
    free.set()
    time.sleep(0.1)
    assert set(levels_of(told)) == {'persistence'}, 'what a hung engine says later is not heard'


def test_the_session_of_a_level_that_is_left_is_closed(messages, level, predicting):
    closed, free = [], threading.Event()

    class Asking(Persistence):
        """As a remote engine: closing ends what is being asked."""

        def predict(self, observation, actions, steps=None):
            assert free.wait(30), 'nobody closed the session'
            raise EngineError('closed while it was asked')

        def close(self):
            closed.append(self)
            free.set()

    made, _ = predicting([level('asking', Asking), Judge('persistence')], hung_s=0.5)
    for heard in messages:
        made.take(heard)
        if made.is_busy:
            break
    left = made.feed.engine
    made.look(time.monotonic() + 1.0)
    assert closed == [left]
    assert made.ladder.level == 'persistence'
    made.close()
    assert closed == [left], 'once'


def test_all_that_ends_a_session_closes_it_and_a_close_that_fails_is_told(
    messages, level, predicting
):
    closed = []

    class Failing(Persistence):
        def close(self):
            closed.append(self)
            raise OSError('already gone')

    made, _ = predicting([level('failing', Failing)])
    for heard in messages[: len(messages) // 2]:
        made.take(heard)
    first = made.feed.engine
    made.begin_anew()
    second = made.feed.engine
    made.close()
    assert closed[-2:] == [first, second]
    assert made.problem == 'OSError: already gone'


def test_a_slow_engine_holds_nothing_up_and_what_it_missed_is_counted(messages, level, predicting):
    class Slow(Persistence):
        def predict(self, observation, actions, steps=None):
            time.sleep(0.05)
            return super().predict(observation, actions, steps)

    made, told = predicting([level('slow', Slow)])
    begun_s = time.monotonic()
    for heard in messages:
        made.take(heard)
    taking_s = time.monotonic() - begun_s
    made.wait(20.0)
    ticks = sum(one.stride for one in told)
    assert made.skipped > ticks / 2
    assert made.coverage < 0.5
    assert taking_s < 0.05 * ticks


def test_a_level_that_cannot_keep_up_gives_way(messages, level, predicting, monkeypatch):
    class Slow(Flow):
        def predict(self, observation, actions, steps=None):
            time.sleep(0.1)
            return super().predict(observation, actions, steps)

    made, told = predicting([level('slow', Slow), Judge('persistence')])
    for heard in messages:
        made.take(heard)
        made.wait(5.0)
    made.look()
    assert made.ladder.level == 'persistence'
    assert made.changed == 'slow cannot keep up'
    assert levels_of(told)[0] == 'slow'
    assert levels_of(told)[-1] == 'persistence'


def test_a_plan_is_followed_ahead(messages, predicting):
    made, told = predicting([Judge('flow')], mode=LOOKAHEAD)
    first_ns = messages[0].received_ns
    stamps = first_ns + np.arange(-10, 200) * (NS // 15)
    plan = Plan(stamps, np.zeros((len(stamps), 2)), is_linear=True, end_ns=int(stamps[-1]) + 1)
    for number, heard in enumerate(messages):
        if number == len(messages) // 2:
            made.plan(plan)
        made.take(heard)
        made.wait(5.0)
    assert told
    for one in told:
        (prediction,) = one.predictions
        assert prediction.stamps_ns[0] > prediction.input_stamp_ns


def test_after_the_scene_was_changed_by_hand_the_past_is_gone(messages, predicting):
    made, told = predicting([Judge('flow')])
    half = len(messages) // 2
    for heard in messages[:half]:
        made.take(heard)
        made.wait(5.0)
    before = len(told)
    assert before
    made.begin_anew()
    for heard in messages[half:]:
        made.take(heard)
        made.wait(5.0)
    new = told[before:]
    begin_ns = min(p.input_stamp_ns for one in new for p in one.predictions)
    assert begin_ns >= messages[half].received_ns - NS // 5


def test_a_chunk_model_is_asked_once_a_stride_and_has_all_of_it(messages, level, predicting):
    class Chunky(Persistence):
        def __init__(self, size, horizon=2):
            super().__init__(size, 8)
            self.spec = replace(self.spec, stride=4)

        def predict(self, observation, actions, steps=None):
            time.sleep(0.1)
            return super().predict(observation, actions, steps)

    made, told = predicting([level('chunky', Chunky), Judge('persistence')])
    for heard in messages:
        made.take(heard)
        made.wait(5.0)
    made.look()
    assert made.ladder.level == 'chunky'
    assert 0.3 < made.ladder.real_time_factor < 0.9
    assert {one.stride for one in told[1:]} == {4}
    starts = [p.input_stamp_ns for one in told for p in one.predictions]
    assert len(set(starts)) == len(starts)
    assert made.coverage > 0.8


def test_with_time_to_spare_it_is_measured_how_far_predictions_rest_on_actions(
    messages, level, predicting, monkeypatch
):
    class Obedient(Persistence):
        def __init__(self, size, horizon=2):
            super().__init__(size, horizon)
            self.spec = replace(self.spec, follows_actions=True)

        def predict(self, observation, actions, steps=None):
            said = super().predict(observation, actions, steps)
            return replace(said, state=actions.values[list(steps)])

    monkeypatch.setattr('cosmos_flywheel.capture.live.predicting.PROBE_S', 0.2)
    monkeypatch.setattr('cosmos_flywheel.capture.live.predicting.SPARE', 1e9)
    monkeypatch.setattr('cosmos_flywheel.core.grounding.BLOCK_S', 0.4)
    made, _ = predicting([level('obedient', Obedient)])
    for heard in messages:
        made.take(heard)
        made.wait(5.0)
    assert made.grounding['state'].interval[0] > 0
    assert made.grounding['picture'].holds_zero
    assert made.skipped == 0
    assert not made.problem
    made.begin_anew()
    assert made.grounding == {}


@pytest.mark.parametrize('spare', [0.0, 1e9], ids=['none', 'plenty'])
def test_only_time_to_spare_is_spent_on_wrong_actions(
    messages, level, predicting, monkeypatch, spare
):
    asked: list[int] = []

    class Counting(Persistence):
        def __init__(self, size, horizon=2):
            super().__init__(size, horizon)
            self.spec = replace(self.spec, follows_actions=True)

        def predict(self, observation, actions, steps=None):
            asked.append(observation.stamp_ns)
            return super().predict(observation, actions, steps)

    monkeypatch.setattr('cosmos_flywheel.capture.live.predicting.SPARE', spare)
    made, told = predicting([level('counting', Counting)])
    for heard in messages:
        made.take(heard)
        made.wait(5.0)
    assert (len(asked) > len(set(asked))) == (spare > 0)
    assert len(levels_of(told)) == len(set(asked))


def test_an_engine_that_hangs_over_wrong_actions_is_left(messages, level, predicting, monkeypatch):
    free, seen = threading.Event(), set()

    class Hung(Persistence):
        def __init__(self, size, horizon=2):
            super().__init__(size, horizon)
            self.spec = replace(self.spec, follows_actions=True)

        def predict(self, observation, actions, steps=None):
            if observation.stamp_ns in seen:
                free.wait(30)
            seen.add(observation.stamp_ns)
            return super().predict(observation, actions, steps)

    monkeypatch.setattr('cosmos_flywheel.capture.live.predicting.SPARE', 1e9)
    made, _ = predicting([level('hung', Hung), Judge('persistence')], hung_s=0.5)
    for heard in messages:
        made.take(heard)
        made.wait(0.2)
        if made.is_busy:
            break
    time.sleep(0.1)
    made.look(time.monotonic() + 1.0)
    free.set()
    assert made.ladder.level == 'persistence'
    assert 'hung' in made.problem

# SPDX-License-Identifier: Apache-2.0
"""Rules on the task's outcome are asked of whole bags, beside everything else that is watched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from push_bags import STATES, Row, recording, text, write

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.capture.analysis import Analysis, Capture, collect_evidence
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.model import Judge
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.store.robots import load_robot

RESULT = '/task_result'
FAILED_S = 1.5
FAILED = {
    'name': 'task failed',
    'topic': RESULT,
    'field': 'data',
    'bad': {'starts_with': 'failed'},
}
TOO_FAR = {
    'name': 'too far',
    'topic': STATES,
    'field': 'position[gantry_x]',
    'bad': {'above': 0.15, 'for_s': 0.2},
}


def judged_by(*rules: dict) -> Robot:
    plain = load_robot('mujoco_push')
    document = {
        'schema': 'robot-v1',
        'name': 'r',
        'clock': {'hz': 15},
        'action': {'sources': [{'topic': '/c', 'field': 'position', 'names': ['a']}]},
        'outcome': list(rules),
    }
    return replace(plain, outcomes=Robot.from_mapping(document).outcomes)


def results(failed: bool) -> list[Row]:
    """What a robot says of its task at 5 Hz, without a header."""
    stamps_s = np.arange(0, 3, 0.2) + 0.003
    return [
        Row(RESULT, float(s), text('failed: lost it' if failed and s > FAILED_S else 'running'))
        for s in stamps_s
    ]


@pytest.fixture
def watch(tmp_path: Path):
    """Writes a recording with more rows as a bag, and watches it uncalibrated."""

    def run(robot: Robot, more: list[Row]) -> tuple[list[Capture], Analysis]:
        path = write(tmp_path / 'bag', [*recording(3.0), *more])
        with open_bag(path) as source:
            analysis = Analysis(source, robot, Judge('persistence'), CaptureSettings())
            return list(analysis.run()), analysis

    return run


def test_a_task_that_fails_is_captured_by_what_the_robot_says_of_it(watch):
    captures, analysis = watch(judged_by(FAILED), results(failed=True))
    (capture,) = captures
    (cause,) = capture.incident.causes
    assert (cause.name, cause.detail) == ('outcome', 'task failed')
    onset_s = (cause.onset_ns - analysis.source.start_ns) / 1e9
    assert FAILED_S <= onset_s <= FAILED_S + 0.2
    assert not any('task failed' in note for note in analysis.notes())


def test_a_task_that_goes_on_is_silent(watch):
    captures, analysis = watch(judged_by(FAILED), results(failed=False))
    assert captures == []
    outcome = analysis.trace('bag').channels[-1]
    assert outcome.name == 'outcome'
    assert np.nanmax(outcome.scores) == 0


def test_a_rule_may_ask_a_topic_that_is_a_state_as_well(watch):
    captures, _ = watch(judged_by(TOO_FAR), [])
    assert [c.name for c in captures[0].incident.causes] == ['outcome']
    assert captures[0].incident.causes[0].detail == 'too far'


def test_topics_of_rules_alone_are_no_streams_and_no_clocks(watch):
    _, analysis = watch(judged_by(FAILED), results(failed=False))
    elements = {c.name: c.elements for c in analysis.watcher.channels}
    assert not any(RESULT in e for e in elements['stream_health'] + elements['clock_health'])


def test_without_its_topic_the_channel_is_blind_and_a_note_says_so(watch):
    captures, analysis = watch(judged_by(FAILED), [])
    assert captures == []
    assert np.isnan(analysis.trace('bag').channels[-1].scores).all()
    assert f'not in this bag: {RESULT}' in list(analysis.notes())


def test_a_result_of_another_kind_is_noted_and_stops_nothing(watch):
    captures, analysis = watch(judged_by({**FAILED, 'bad': {'above': 3}}), results(failed=True))
    assert captures == []
    note = next(note for note in analysis.notes() if note.startswith(RESULT))
    assert "15 × not judged (first: outcome 'task failed': field 'data' is 'running'" in note


def test_a_robot_without_rules_has_no_such_channel(watch):
    _, analysis = watch(load_robot('mujoco_push'), results(failed=True))
    assert 'outcome' not in {c.name for c in analysis.watcher.channels}


def test_a_calibration_is_fed_by_one_number_a_rule(tmp_path: Path):
    with open_bag(write(tmp_path / 'bag', [*recording(1.0), *results(failed=False)])) as source:
        robot = judged_by(FAILED, TOO_FAR)
        analysis = Analysis(source, robot, Judge('persistence'), CaptureSettings())
        evidence = collect_evidence(analysis)[0]['outcome']
    assert evidence.shape == (15, 2)

# SPDX-License-Identifier: Apache-2.0
"""A contract that is true passes, and each way to be wrong is named with its fix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from preflight_logs import (
    ACTION,
    JOINTS,
    STATE,
    STEPS,
    changed,
    checked,
    finding,
    joint_log,
    step_log,
    track,
)

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.preflight import CHECKS, Log, Report
from cosmos_flywheel.core.rotation import matrix_from_rot6d
from cosmos_flywheel.schemas import check

Change = Callable[[np.ndarray], np.ndarray]


def told(log: Log, change: Change) -> Log:
    """The log with its commands changed."""
    values = change(log.tracks[ACTION].values.copy())
    return replace(log, tracks={**log.tracks, ACTION: track(values)})


def times(columns: Any, factor: float) -> Change:
    def change(values: np.ndarray) -> np.ndarray:
        values[:, columns] *= factor
        return values

    return change


def swapped(values: np.ndarray) -> np.ndarray:
    return values[:, [1, 0, *range(2, values.shape[1])]]


def transposed(values: np.ndarray) -> np.ndarray:
    turn = matrix_from_rot6d(values[:, 3:])
    values[:, 3:] = np.concatenate([turn[:, 0], turn[:, 1]], axis=1)
    return values


def quarter(values: np.ndarray) -> np.ndarray:
    values[:, :3] = values[:, :3] @ np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    return values


def differences(values: np.ndarray) -> np.ndarray:
    values[:, :3] = np.diff(values[:, :3], axis=0, prepend=values[:1, :3])
    return values


def clipped(values: np.ndarray) -> np.ndarray:
    low, high = np.quantile(values[:, :3], (0.1, 0.9), axis=0)
    values[:, :3] = np.clip(values[:, :3], low, high)
    return values


@pytest.mark.parametrize('seed', range(5))
def test_contracts_that_are_true_pass(seed):
    for report in (checked(JOINTS, joint_log(seed=seed)), checked(STEPS, step_log(seed=seed))):
        assert report.wrong == ()
        assert report.verdict == 'ok'
        assert tuple(one.check for one in report.findings) == CHECKS


@pytest.mark.parametrize(
    ('change', 'name', 'elements', 'fix'),
    [
        (times([0, 1, 2], 1 / 55), 'units', ('a', 'b', 'c'), 'times 55'),
        (times([0, 1, 2], np.degrees(1)), 'units', ('a', 'b', 'c'), 'write the units'),
        (times(1, 1000), 'units', ('b',), 'times 0.001'),
        (times(2, -1), 'sign', ('c',), 'turn the sign of c'),
        (swapped, 'order', ('a', 'b'), 'a → b, b → a'),
        (differences, 'kind', (), r'action.kind: delta'),
        (clipped, 'clamped', ('a', 'b', 'c'), 'before they are clamped'),
        (lambda v: np.roll(v, 14, axis=0), 'time offset', (), '/action: -0.'),
    ],
)
def test_commands_that_are_not_what_is_written_are_named(change, name, elements, fix):
    report = checked(JOINTS, told(joint_log(), change))
    assert report.wrong[0].check == name
    assert report.wrong[0].elements == elements
    assert fix in report.wrong[0].fix


@pytest.mark.parametrize(
    ('change', 'name'),
    [
        (times([0, 1, 2], 1000), 'units'),
        (times(1, -1), 'sign'),
        (swapped, 'order'),
        (quarter, 'frame'),
        (transposed, 'rotation'),
        (lambda v: np.roll(v, 1, axis=0), 'time offset'),
        (lambda v: np.roll(v, -1, axis=0), 'time offset'),
    ],
)
def test_steps_that_are_not_what_is_written_are_named(change, name):
    assert checked(STEPS, told(step_log(), change)).wrong[0].check == name


@pytest.mark.parametrize(
    ('path', 'value', 'name'),
    [
        ('action.rate_hz', 50, 'rate'),
        ('action.kind', 'delta', 'kind'),
        ('action.gripper', {'name': 'gripper', 'closed': 1.0, 'open': 0.0}, 'gripper sense'),
        ('action.gripper', {'name': 'gripper', 'closed': 0, 'open': 255}, 'gripper range'),
        ('action.normaliser', {'q01': [-30.0] * 4, 'q99': [30.0] * 4}, 'normaliser'),
        ('action.normaliser', {'q01': [-0.1] * 4, 'q99': [0.1] * 4}, 'normaliser'),
    ],
)
def test_robot_files_that_do_not_fit_are_named(path, value, name):
    written = JOINTS if path != 'action.kind' else changed(JOINTS, 'action.tracks', None)
    assert name in {one.check for one in checked(changed(written, path, value), joint_log()).wrong}


def test_a_frame_word_is_held_against_the_motion():
    found = checked(changed(STEPS, 'action.frame', 'base'), step_log()).wrong[0]
    assert (found.check, found.fix) == ('frame', 'action.frame: tool')
    unknown = checked(changed(STEPS, 'action.frame', 'my_link'), step_log())
    assert finding(unknown, 'frame').verdict == 'ok'


def test_a_domain_of_another_width_and_rate_is_named():
    other = changed(STEPS, 'cosmos', None) | {'cosmos': {'domain': 'pusht'}}
    assert {'width', 'rate'} <= {one.check for one in checked(other, step_log()).wrong}


def test_pictures_that_stand_still_or_come_late_are_named():
    log = joint_log(60.0)
    still = np.zeros(len(log.sight.stamps_ns))
    frozen = replace(log, sight=replace(log.sight, step=still, span=still))
    found = finding(checked(JOINTS, frozen), 'still pictures')
    assert (found.verdict, found.elements) == ('wrong', ('top',))
    late = replace(log, sight=replace(log.sight, stamps_ns=log.sight.stamps_ns + 600_000_000))
    found = finding(checked(JOINTS, late), 'picture time')
    assert found.verdict == 'wrong'
    assert found.numbers['shift_s'] == pytest.approx(-0.6, abs=0.1)


def test_commands_that_never_change_are_named_and_nothing_else_is_guessed():
    report = checked(JOINTS, told(joint_log(), lambda values: 0 * values))
    assert [one.check for one in report.wrong] == ['told']
    assert finding(report, 'units').verdict == 'cannot tell'


def test_an_element_that_no_message_has_is_named():
    log = joint_log()
    values = log.tracks[ACTION].values.copy()
    values[:, 2] = np.nan
    report = checked(JOINTS, replace(log, tracks={**log.tracks, ACTION: track(values)}))
    assert report.wrong[0].check == 'presence'
    assert report.wrong[0].elements == ('c',)


def test_noise_and_a_robot_that_stands_still_decide_nothing():
    draw = np.random.default_rng(0)
    noise = {key: track(draw.normal(size=(400, 4))) for key in (STATE, ACTION)}
    still = {STATE: track(np.ones((400, 4))), ACTION: track(np.ones((400, 4)))}
    for tracks in (noise, still):
        plain = changed(JOINTS, 'action.gripper', None)
        assert checked(plain, Log('made up', tracks)).wrong == ()


@pytest.mark.parametrize('rows', [3, 4, 10])
def test_a_short_recording_is_looked_at_without_an_error(rows):
    log = joint_log()
    tracks = {key: track(log.tracks[key].values[:rows]) for key in log.tracks}
    assert checked(JOINTS, Log('short', tracks)).wrong == ()


def test_recordings_without_commands_are_refused():
    log = joint_log()
    with pytest.raises(ConfigError, match=r'no commands in these recordings \(/action\)'):
        checked(JOINTS, Log('blind', {STATE: log.tracks[STATE]}))


def test_a_report_goes_into_json_and_back():
    report = checked(JOINTS, told(joint_log(), times(0, 1000)))
    document = report.to_mapping()
    check(document, 'preflight-v1')
    assert Report.from_mapping(document).to_mapping() == document
    assert document['verdict'] == 'wrong'

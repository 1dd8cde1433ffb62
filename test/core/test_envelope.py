# SPDX-License-Identifier: Apache-2.0
"""What leaves the action envelope is told: which element, which bound, at which step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cosmos_flywheel.core.envelope import Envelope, measure_envelope
from cosmos_flywheel.core.errors import ConfigError

HZ = 10.0


@pytest.fixture
def path() -> np.ndarray:
    time_s = np.arange(40) / HZ
    return np.stack([np.sin(time_s), 0.5 * np.cos(time_s)], 1)


@pytest.fixture
def envelope(path) -> Envelope:
    return measure_envelope(('pan', 'tilt'), ('rad', 'rad'), HZ, [path, path[::-1]])


def limits(envelope: Envelope, actions: object, before: object = None) -> set[tuple[str, str]]:
    return {(v.name, v.limit) for v in envelope.violations(actions, before)}


def test_what_was_commanded_lies_within(envelope, path):
    assert not envelope.violations(path)
    assert not envelope.violations(path[20:], path[:20])


def test_each_bound_is_told_with_its_element_and_first_step(envelope, path):
    far = path.copy()
    far[7:, 0] = envelope.high[0] + 0.001
    (high, *rates) = envelope.violations(far)
    assert (high.name, high.limit, high.step) == ('pan', 'high', 7)
    assert {r.limit for r in rates} == {'speed', 'acceleration'}
    assert str(high).startswith('pan leaves its high at step 7: ')


def test_a_quick_path_leaves_its_speed_only_where_it_is_quick(envelope, path):
    assert ('pan', 'speed') in limits(envelope, path[::2])
    assert not limits(envelope, np.repeat(path[:1], 5, 0))


def test_the_join_with_what_was_executed_is_judged_too(envelope, path):
    alone, joined = path[20:], limits(envelope, path[20:], path[:3])
    assert not limits(envelope, alone)
    assert ('pan', 'speed') in joined
    (first, *_) = [v for v in envelope.violations(alone, path[:3]) if v.limit == 'speed']
    assert first.step == 0


def test_what_was_wrong_before_is_not_held_against_the_path(envelope, path):
    wild = path[:5] + np.array([[9.0, 9.0]] * 4 + [[0.0, 0.0]])
    assert all(v.step >= 0 for v in envelope.violations(path[5:], wild))
    assert ('pan', 'high') not in limits(envelope, path[5:], wild)


def test_commands_that_are_no_numbers_never_pass(envelope, path):
    path[3, 1] = np.nan
    assert {'low', 'high'} <= {v.limit for v in envelope.violations(path) if v.name == 'tilt'}


def test_what_nobody_heard_of_a_recording_is_not_held_against_it(envelope, path):
    path[:3] = np.nan
    assert not envelope.violations(path, recorded=True)
    assert 'tilt is not known at step 0' in str(envelope.violations(path)[1])
    path[9, 1] += 40.0
    assert {v.step for v in envelope.violations(path, recorded=True)} <= {9, 10, 11}


def test_clamping_keeps_the_bounds(envelope, path):
    assert not limits(envelope, envelope.clamped(path * 3)) & {('pan', 'low'), ('pan', 'high')}


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'low': (0.0,)}, 'low has not 2 entries'),
        ({'speed': (1.0, 0.0)}, 'speed of tilt is 0.0; it must exceed 0'),
        ({'high': (float('nan'), 1.0)}, 'high of pan is nan'),
        ({'low': (5.0, 5.0)}, 'pan is bounded by 5.0'),
        ({'hz': 0.0}, 'hz is 0.0'),
    ],
)
def test_a_nonsensical_envelope_is_refused(envelope, change, words):
    with pytest.raises(ConfigError, match=words):
        replace(envelope, **change)


def test_another_width_is_refused(envelope):
    with pytest.raises(ConfigError, match=r'give \(T, 2\): pan, tilt'):
        envelope.violations(np.zeros((4, 3)))


def test_too_little_to_measure_is_refused():
    with pytest.raises(ConfigError, match='no recording holds three commands'):
        measure_envelope(('a',), ('m',), HZ, [np.zeros((2, 1))])

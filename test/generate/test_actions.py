# SPDX-License-Identifier: Apache-2.0
"""Where commands come from, and that none is planned outside the envelope."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from order_maker import ENVELOPE, ROBOT

from cosmos_flywheel.bags.recording import Recording
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.generate.actions import (
    nominal_path,
    perturbed,
    planned,
    recorded_commands,
    varied_in_time,
)

HZ = 15.0
TIMES_S = np.arange(45) / HZ
_WHOLE_S = np.arange(-2, 45) / HZ
WHOLE = np.column_stack([0.2 * np.sin(1.5 * _WHOLE_S), 0.1 * np.cos(_WHOLE_S)])
BEFORE, PATH = WHOLE[:2], WHOLE[2:]


def recording(path: np.ndarray, offset: float = 0.0) -> Recording:
    values = path.astype(np.float32)
    stamps_ns = (np.arange(len(path)) / HZ * 1e9).astype(np.int64)
    pictures = np.zeros((len(path), 4, 4, 3), np.uint8)
    return Recording(stamps_ns, pictures, values + np.float32(offset), values)


def test_a_planned_path_within_the_envelope_is_taken_with_its_source():
    found = planned(PATH, 'expert', ROBOT, ENVELOPE, BEFORE)
    assert found.source == 'expert'
    assert found.hz == ROBOT.clock.hz
    assert found.violations == ()


@pytest.mark.parametrize('limit', ['low', 'high', 'speed', 'acceleration'])
def test_a_planned_path_that_leaves_a_bound_is_refused_by_its_name(limit):
    bounds = {'low': (-0.1, -0.35), 'high': (0.1, 0.35), 'speed': (0.05, 0.7)}
    tight = replace(ENVELOPE, **{limit: bounds.get(limit, (0.01, 4.0))})
    with pytest.raises(
        ConfigError, match=f'expert commands are refused: gantry_x leaves its {limit}'
    ):
        planned(PATH, 'expert', ROBOT, tight)


def test_a_jump_from_what_was_executed_is_refused():
    with pytest.raises(ConfigError, match='leaves its speed at step 0'):
        planned(PATH, 'nominal', ROBOT, ENVELOPE, BEFORE + 0.2)


def test_a_path_with_a_gap_is_refused():
    broken = PATH.copy()
    broken[7, 1] = np.nan
    with pytest.raises(ConfigError, match='gantry_y is not known at step 7'):
        planned(broken, 'perturbed', ROBOT, ENVELOPE)


def test_nothing_is_planned_without_an_envelope():
    with pytest.raises(ConfigError, match='need an envelope'):
        planned(PATH, 'perturbed', ROBOT, None)


def test_a_recorded_path_that_left_the_envelope_is_told_and_not_refused():
    found = recorded_commands(recording(PATH), ROBOT, replace(ENVELOPE, speed=(0.01, 0.7)))
    assert found.values.shape == (len(PATH) - 1, 2)
    assert any('gantry_x leaves its speed' in said for said in found.violations)
    assert recorded_commands(recording(np.full_like(PATH, np.nan)), ROBOT, ENVELOPE) is None


@pytest.mark.parametrize('family', ['faster', 'slower', 'earlier', 'later', 'harder'])
def test_a_path_varied_in_time_begins_where_it_began(family):
    found = varied_in_time(PATH, family, HZ)
    assert found.shape == PATH.shape
    assert np.allclose(found[0], PATH[0], atol=1e-9)
    assert not np.allclose(found, PATH, atol=1e-3)


def test_faster_is_faster_and_slower_is_slower():
    ramp = np.column_stack([0.1 * TIMES_S, 0.0 * TIMES_S])
    speeds = {
        f: np.diff(varied_in_time(ramp, f, HZ)[:20, 0]).mean()
        for f in ('slower', 'near_miss', 'faster')
    }
    assert speeds['slower'] < speeds['near_miss'] < speeds['faster']
    late, soon = (varied_in_time(ramp, f, HZ)[25, 0] for f in ('later', 'earlier'))
    assert late < ramp[25, 0] < soon


def test_a_perturbed_path_strays_smoothly_within_the_envelope_and_joins():
    found, share = perturbed(PATH, np.random.default_rng(1), ENVELOPE, HZ, BEFORE)
    assert ENVELOPE.violations(found, BEFORE) == ()
    assert 0 < np.abs(found - PATH).max() <= share * 0.7 + 1e-9
    assert np.abs(found[0] - PATH[0]).max() < 0.01


def test_a_tight_envelope_makes_a_perturbation_smaller_before_it_is_refused():
    acceleration = np.abs(np.diff(PATH, 2, axis=0)).max(0) * HZ * HZ
    tight = replace(ENVELOPE, acceleration=tuple(acceleration + 0.3))
    _, wide = perturbed(PATH, np.random.default_rng(1), ENVELOPE, HZ, BEFORE)
    _, narrow = perturbed(PATH, np.random.default_rng(1), tight, HZ, BEFORE)
    assert narrow < wide
    with pytest.raises(ConfigError, match='of the range leaves the envelope'):
        perturbed(PATH, np.random.default_rng(1), replace(ENVELOPE, low=(0.1, 0)), HZ, BEFORE)


def test_nominal_commands_are_those_after_the_most_similar_state():
    other = recording(PATH[::-1].copy())
    long = recording(PATH)
    state = long.states[12]
    path, said = nominal_path([other, long], state, ENVELOPE, PATH[10:12], 20, HZ)
    assert 'recording 2 from its tick 12' in said
    assert np.allclose(path[-1], PATH[31], atol=1e-6)
    assert np.abs(path[0] - PATH[11]).max() < 0.01
    assert ENVELOPE.violations(path, PATH[10:12]) == ()


def test_too_short_a_nominal_recording_is_named():
    with pytest.raises(ConfigError, match='no nominal recording is 60 commands long'):
        nominal_path([recording(PATH)], PATH[0].astype(np.float32), ENVELOPE, BEFORE, 60, HZ)


def test_no_nominal_path_within_the_envelope_is_a_refusal_that_names_the_bound():
    tight = replace(ENVELOPE, speed=(0.01, 0.7))
    state = PATH[12].astype(np.float32)
    with pytest.raises(ConfigError, match=r'nominal commands are refused.*leaves its speed'):
        nominal_path([recording(PATH)], state, tight, PATH[10:12], 20, HZ)

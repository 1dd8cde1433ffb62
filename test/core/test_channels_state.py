# SPDX-License-Identifier: Apache-2.0
"""State surprise is the distance of what was measured from what was predicted."""

from __future__ import annotations

import numpy as np
from moment_maker import moment, vector

from cosmos_flywheel.core.channels import StateChannel


def test_the_surprise_is_the_absolute_difference_element_by_element():
    channel = StateChannel(['hip', 'knee'], (0.1,))
    seen = moment(0, vector(1, 2), predicted_states=(vector(1.5, 0),))
    assert channel.evidence(seen).tolist() == [0.5, 2]
    assert channel.elements == ('hip', 'knee')


def test_without_a_prediction_every_element_is_unknown():
    evidence = StateChannel(['hip', 'knee'], (0.1,)).evidence(moment(0, vector(1, 2)))
    assert np.isnan(evidence).all()
    assert evidence.shape == (2,)


def test_an_element_that_was_not_measured_is_unknown_and_the_others_are_judged():
    seen = moment(0, vector(float('nan'), 2), predicted_states=(vector(0, 0),))
    evidence = StateChannel(['hip', 'knee'], (0.1,)).evidence(seen)
    assert np.isnan(evidence[0])
    assert evidence[1] == 2


def test_normal_sizes_never_fall_below_the_floor():
    channel = StateChannel(['hip', 'knee', 'toe'], (0.1,))
    settled = channel.settle(vector(1, 0, float('nan')))
    assert settled.tolist() == [1, *channel.floors[1:].tolist()]


def test_every_horizon_has_elements_of_its_own():
    channel = StateChannel(['hip'], (0.2, 0.8))
    seen = moment(0, vector(1), predicted_states=(vector(1.5), vector(3)))
    assert channel.elements == ('hip 0.2 s ahead', 'hip 0.8 s ahead')
    assert channel.evidence(seen).tolist() == [0.5, 2]

# SPDX-License-Identifier: Apache-2.0
"""Brightness tells light from dark, and nothing from nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cosmos_flywheel.core.appearance import brightness


@pytest.mark.parametrize(('level', 'expected'), [(0, 0.0), (51, 0.2), (255, 1.0)])
def test_an_even_picture_is_as_bright_as_its_px(level, expected):
    assert brightness(np.full((48, 64, 3), level, np.uint8)) == pytest.approx(expected)


def test_without_a_picture_nothing_is_known():
    assert math.isnan(brightness(None))
    assert math.isnan(brightness(np.empty((0, 0, 3), np.uint8)))


def test_half_of_a_picture_counts_half():
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24] = 255
    assert brightness(picture) == pytest.approx(0.5)

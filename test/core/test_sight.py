# SPDX-License-Identifier: Apache-2.0
"""Pictures tell a cover from a thing that moves, and a late picture from one that stands."""

from __future__ import annotations

import numpy as np
import pytest

from cosmos_flywheel.core.sight import sight_at

TICKS, ONSET = 90, 45
STAMPS = np.arange(TICKS, dtype=np.int64) * 66_666_667


def pictures(at=range(TICKS), noise=2.0) -> np.ndarray:
    """A textured scene that passes by, 96 x 144 px, two px a tick."""
    chance = np.random.default_rng(0)
    coarse = chance.uniform(40, 220, (24, 120)).repeat(4, 0).repeat(4, 1)
    made = np.stack([coarse[:, 2 * shift : 2 * shift + 144] for shift in at])
    made = made + chance.normal(0, noise, made.shape)
    return np.repeat(made.clip(0, 255).astype(np.uint8)[..., None], 3, -1)


def test_a_cover_hides_its_share_of_the_picture_at_once():
    seen = pictures()
    seen[ONSET : ONSET + 20, 24:72, 36:108] = 20
    assert sight_at(ONSET, STAMPS, seen)['covered'] == pytest.approx(0.25, abs=0.05)
    assert sight_at(ONSET, STAMPS, pictures())['covered'] < 0.02


def test_a_thing_that_moves_through_is_no_cover():
    # It is a twelfth of the picture, and hides a third of its own size in 0.2 s.
    seen = pictures([0] * TICKS)
    for t in range(ONSET - 5, TICKS):
        left = 3 * (t - ONSET + 5)
        seen[t, 24:72, left : left + 24] = 20
    assert sight_at(ONSET, STAMPS, seen)['covered'] < 0.06


def test_a_picture_that_falls_behind_stands_amid_motion():
    late = pictures([*range(ONSET - 6), *[ONSET - 7] * 5, *range(ONSET - 6, TICKS - 5)])
    assert sight_at(ONSET, STAMPS, late)['stood_s'] == pytest.approx(5 / 15, abs=0.01)
    assert sight_at(ONSET, STAMPS, pictures())['stood_s'] == 0
    halted = pictures([min(t, ONSET) for t in range(TICKS)])
    assert sight_at(ONSET, STAMPS, halted)['stood_s'] == 0
    assert 'stood_s' not in sight_at(ONSET, STAMPS, pictures([0] * TICKS))


def test_what_fills_the_picture_takes_its_contrast_and_its_detail_for_good():
    seen = pictures()
    seen[ONSET + 8 :] = 90
    signs = sight_at(ONSET, STAMPS, seen)
    assert signs['filled'] > 0.95
    assert signs['plain'] > 0.9
    assert sight_at(ONSET, STAMPS, pictures())['plain'] < 0.1


def test_a_clip_of_two_pictures_tells_nothing():
    assert sight_at(0, STAMPS[:2], pictures()[:2]) == {}


def test_a_clip_that_begins_with_the_onset_tells_of_no_loss():
    signs = sight_at(0, STAMPS, pictures())
    assert 'plain' not in signs
    assert 'filled' not in signs


def test_pictures_that_did_not_come_are_counted_by_the_usual_step():
    kept = np.array([t for t in range(TICKS) if not ONSET < t <= ONSET + 12 or t % 3 == 0])
    onset = int(np.searchsorted(kept, ONSET))
    signs = sight_at(onset, STAMPS[kept], pictures()[kept])
    assert signs['missing'] == pytest.approx(8 / 24, abs=0.05)
    assert sight_at(ONSET, STAMPS, pictures())['missing'] == 0


def test_a_picture_that_is_sent_again_is_frozen_and_one_with_new_noise_is_not():
    seen = pictures()
    seen[ONSET : ONSET + 10] = seen[ONSET]
    assert sight_at(ONSET, STAMPS, seen)['frozen_s'] == pytest.approx(9 / 15, abs=0.01)
    assert sight_at(ONSET, STAMPS, pictures([0] * TICKS))['frozen_s'] == 0

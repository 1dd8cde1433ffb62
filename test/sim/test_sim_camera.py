# SPDX-License-Identifier: Apache-2.0
"""A simulated camera is noisy and, if told to, lies; before that it is the same for a seed."""

from __future__ import annotations

import numpy as np
import pytest

from cosmos_flywheel.sim.camera import NOISE_SIGMA, Camera, camera_faults, lasts_s
from cosmos_flywheel.sim.world import Setup, Span, by_name

FAULTS = by_name(camera_faults(('push',)))
HZ, FRAMES, ONSET = 15, 60, 30
HEIGHT, WIDTH = 48, 80


def scene(number: int) -> np.ndarray:
    """A grey picture with a white bar that moves to the right by a pixel a frame."""
    picture = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    picture[:, number : number + 8] = 200
    return picture


def film(fault: str = 'none', strength: float = 1.0, seed: int = 1) -> list[np.ndarray | None]:
    kind = FAULTS.get(fault)
    setup = Setup('push', seed, kind, strength if kind else 0.0)
    last_s = lasts_s(setup)
    stop_s = np.inf if last_s is None else ONSET / HZ + last_s
    camera = Camera(setup, Span(ONSET / HZ, stop_s) if kind else None, HZ)
    return [camera.take(number / HZ, scene(number)) for number in range(FRAMES)]


def bar(picture: np.ndarray) -> float:
    """Where the bar begins."""
    return float(np.argmax(picture[:, :, 1].mean(axis=0) > 150))


NOMINAL = film()


def test_a_nominal_picture_is_noisy_by_a_little():
    apart = NOMINAL[10].astype(float) - scene(10)
    assert apart.std(axis=(0, 1)) == pytest.approx([NOISE_SIGMA] * 3, abs=0.6)
    assert np.abs(apart.mean(axis=(0, 1))).max() < 10


def test_another_seed_has_another_gain():
    assert abs(film(seed=2)[10].mean() - NOMINAL[10].mean()) > 0.2


@pytest.mark.parametrize('fault', FAULTS)
def test_nothing_changes_before_the_onset_and_something_after(fault):
    pictures = film(fault, 0.3)
    assert all(np.array_equal(a, b) for a, b in zip(pictures[:ONSET], NOMINAL, strict=False))
    changed = [
        a is None or not np.array_equal(a, b) for a, b in zip(pictures, NOMINAL, strict=True)
    ]
    assert any(changed[ONSET : ONSET + 12])


@pytest.mark.parametrize(('strength', 'frames'), [(0.1, 6), (1.0, 30)])
def test_a_frozen_camera_repeats_its_last_picture_to_the_bit(strength, frames):
    pictures = film('freeze', strength)
    frozen = [np.array_equal(picture, NOMINAL[ONSET - 1]) for picture in pictures]
    assert frozen.index(True) == ONSET - 1
    assert sum(frozen) == frames + 1


@pytest.mark.parametrize(('strength', 'share'), [(0.1, 0.058), (1.0, 0.4)])
def test_an_occlusion_covers_as_much_as_it_says(strength, share):
    pictures = film('occlusion', strength)
    assert (pictures[ONSET + 10] < 60).mean() == pytest.approx(share, rel=0.2)
    assert (pictures[-1] < 60).mean() == 0


def test_a_strong_loss_drops_most_pictures_for_a_while():
    lost = [picture is None for picture in film('dropped_frames')]
    assert sum(lost[ONSET : ONSET + 22]) >= 16
    assert not any(lost[ONSET + 23 :])
    assert 1 <= sum(p is None for p in film('dropped_frames', 0.2)) <= 12


@pytest.mark.parametrize(('strength', 'frames'), [(0.1, 1), (0.5, 3), (1.0, 6)])
def test_late_pictures_show_the_past(strength, frames):
    pictures = film('latency', strength)
    assert bar(NOMINAL[-1]) - bar(pictures[-1]) == frames
    places = [bar(picture) for picture in pictures[:60]]
    assert np.all(np.diff(places) >= 0)


def test_white_balance_warms_the_picture_and_stays():
    red, green, blue = film('white_balance')[-1].mean(axis=(0, 1)) / NOMINAL[-1].mean(axis=(0, 1))
    assert (red, green, blue) == pytest.approx((1.2, 1.0, 0.8), abs=0.01)


def test_noise_grows_and_stays():
    apart = film('noise', 0.5)[-1][:, :40].astype(float)
    assert apart.std(axis=(0, 1)) == pytest.approx([NOISE_SIGMA + 5] * 3, rel=0.1)

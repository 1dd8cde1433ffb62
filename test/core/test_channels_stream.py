# SPDX-License-Identifier: Apache-2.0
"""Stream health tells sensors that stopped from sensors with nothing new to tell."""

from __future__ import annotations

import numpy as np
import pytest
from moment_maker import EMPTY, PERIOD_NS, moment, vector

from cosmos_flywheel.core.channels import StreamChannel
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import Picture

JOINTS = '/joints'
FREEZE = 'freeze of camera top'


def make_channel() -> StreamChannel:
    return StreamChannel([JOINTS], ['top'])


def picture(value: int = 0) -> Picture:
    """A textured picture; another value gives another one."""
    return np.random.default_rng(value).integers(30, 220, (48, 64, 3), np.uint8)


def watch(moments, channel: StreamChannel | None = None) -> dict[str, np.ndarray]:
    """Evidence along the moments, by element."""
    channel = channel or make_channel()
    rows = np.array([channel.evidence(m) for m in moments])
    return dict(zip(channel.elements, rows.T, strict=True))


def moving(pictures: list[int], positions: list[float]) -> dict[str, np.ndarray]:
    """A run of pictures by number and joint positions, one each a tick."""
    return watch(
        moment(i, vector(x), pictures=[picture(p)])
        for i, (p, x) in enumerate(zip(pictures, positions, strict=True))
    )


def arriving(stamps_s: list[float], until_s: float) -> dict[str, np.ndarray]:
    """Ticks at 10 Hz at which joint messages of these stamps have arrived."""
    stamps = [round(s * NS) for s in stamps_s]
    ticks = [i * PERIOD_NS for i in range(round(until_s * NS / PERIOD_NS))]
    return watch(
        moment(i, arrived={JOINTS: due} if due else {})
        for i, t in enumerate(ticks)
        if (due := [s for s in stamps if t - PERIOD_NS < s <= t]) or True
    )


def test_a_picture_that_stands_while_the_robot_moves_is_a_freeze_of_that_long():
    frozen = moving([*range(20), *[19] * 10], [0.1 * i for i in range(30)])[FREEZE]
    assert frozen[:20].max() == 0
    assert frozen[-1] == pytest.approx(1.0, abs=0.01)


def test_a_picture_that_stands_while_the_robot_stands_is_no_freeze():
    positions = [*(0.1 * i for i in range(20)), *[1.9] * 30]
    assert moving([*range(20), *[19] * 30], positions)[FREEZE].max() == 0


def test_a_robot_that_never_moved_has_no_freeze():
    assert moving([0] * 30, [1.0] * 30)[FREEZE].max() == 0


def test_repeated_pictures_of_a_slow_camera_are_a_freeze_of_a_moment_only():
    frozen = moving([i // 3 for i in range(60)], [0.1 * i for i in range(60)])[FREEZE]
    assert frozen.max() == pytest.approx(0.2, abs=0.01)


def test_sensor_noise_on_a_still_robot_is_little_motion():
    rng = np.random.default_rng(0)
    still = (1.9 + 1e-4 * rng.standard_normal(30)).tolist()
    positions = [*(0.1 * i for i in range(20)), *still]
    assert moving([*range(20), *[19] * 30], positions)[FREEZE].max() < 0.05


def test_commanded_motion_counts_as_motion():
    frozen = watch(
        moment(i, action=vector(0.1 * i), pictures=[picture(min(i, 10))]) for i in range(30)
    )[FREEZE]
    assert frozen[-1] == pytest.approx(1.9, abs=0.01)


@pytest.mark.parametrize('state', [EMPTY, vector(float('nan'))], ids=['none', 'unknown'])
def test_for_a_robot_that_reports_no_motion_every_second_counts(state):
    frozen = watch(moment(i, state, pictures=[picture()]) for i in range(20))[FREEZE]
    assert frozen[-1] == pytest.approx(1.9, abs=0.01)


def test_motion_that_is_unknown_for_a_while_is_no_motion():
    positions = [*(0.1 * i for i in range(20)), *[float('nan')] * 20]
    assert moving([*range(20), *[19] * 20], positions)[FREEZE].max() == 0


def test_a_new_picture_between_ticks_ends_a_freeze():
    frozen = watch(
        moment(i, vector(0.1 * i), pictures=[picture(i), picture()]) for i in range(20)
    )[FREEZE]
    assert frozen.max() == 0


def test_a_gap_is_the_time_since_the_newest_message():
    gap = arriving([0.1 * i for i in range(20)], 4)[f'gap of {JOINTS}']
    assert gap[:20].max() == 0
    assert gap[-1] == pytest.approx(2.0, abs=0.01)


def test_a_topic_that_never_spoke_has_no_gap():
    assert np.isnan(arriving([], 3)[f'gap of {JOINTS}']).all()


def test_a_message_that_is_late_or_repeats_is_no_gap():
    channel = make_channel()
    stamps = [1.0, 0.2, 1.0]
    found = watch([moment(10, arrived={JOINTS: [round(s * NS) for s in stamps]})], channel)
    assert found[f'gap of {JOINTS}'].tolist() == [0]


def test_a_slower_driver_is_told_as_the_factor_by_which_it_is_slower():
    stamps = [0.02 * i for i in range(200)] + [4 + 0.1 * i for i in range(40)]
    rate = arriving(stamps, 8)[f'rate of {JOINTS}']
    assert np.isnan(rate[:19]).all()
    assert rate[20:40].max() < 1.05
    assert rate[-1] == pytest.approx(5, rel=0.05)


def test_a_steady_topic_delivers_at_its_best_rate_throughout():
    rate = arriving([0.02 * i for i in range(400)], 8)[f'rate of {JOINTS}']
    assert np.nanmax(rate) < 1.05


def test_a_covered_lens_is_blank():
    covered = np.full((48, 64, 3), 12, np.uint8)
    found = watch([moment(0, pictures=[picture()]), moment(1, pictures=[covered])])
    before, after = found['blank of camera top']
    assert before < 0.1
    assert after > 10


@pytest.mark.parametrize('level', [0, 255])
def test_the_share_of_black_or_burnt_out_pixels_is_told(level):
    half = picture().copy()
    half[:, :32] = level
    (share,) = watch([moment(0, pictures=[half])])['saturated of camera top']
    assert share == pytest.approx(0.5)


def test_a_camera_that_never_delivered_has_nothing_to_tell():
    found = watch([moment(0), moment(1)])
    assert all(np.isnan(v).all() for name, v in found.items() if 'camera' in name)


def test_after_a_reset_nothing_of_the_past_is_a_gap_or_a_freeze():
    channel = make_channel()
    arrived = {JOINTS: [9 * NS]}
    watch([moment(90, vector(0), pictures=[picture()], arrived=arrived)], channel)
    channel.reset()
    found = watch([moment(0, vector(5), pictures=[picture()])], channel)
    assert np.isnan(found[f'gap of {JOINTS}']).all()
    assert found[FREEZE].tolist() == [0]

# SPDX-License-Identifier: Apache-2.0
"""The recorded clip with another appearance, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from order_maker import SAME, make_episode, make_order
from push_bags import CAMERA_HZ, COVERED_S

from cosmos_flywheel.core.errors import OrderError
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.generate.augment import AXES, Augment
from cosmos_flywheel.generate.base import Made
from cosmos_flywheel.generate.clip import read_clip
from cosmos_flywheel.store.episodes import CLIP

AUGMENT = Augment()


@pytest.fixture(scope='module')
def episode(tmp_path_factory):
    return make_episode(tmp_path_factory.mktemp('out'))


@pytest.fixture(scope='module')
def made(episode) -> Callable[..., Made]:
    def make(seed: int = 0, **cell: str) -> Made:
        whole = {**dict.fromkeys(AXES, 'as_recorded'), **cell}
        return AUGMENT.make(make_order(episode, replace(SAME, cell=whole), seed))

    return make


def test_the_commands_are_the_recorded_ones(episode, made):
    recording = read_clip(make_order(episode)).recording
    commands = made(light='dim').commands
    assert commands.source == 'recorded'
    assert np.array_equal(commands.values, recording.actions[:-1], equal_nan=True)
    assert len(made().frames) == len(recording) == len(commands.values) + 1


def test_the_onset_is_where_it_was(made):
    found = made(light='dim')
    assert found.onset_s == pytest.approx(COVERED_S, abs=1 / CAMERA_HZ)
    dark = (found.frames.max(-1) < 8).mean((1, 2))
    assert np.flatnonzero(dark > 0.1)[0] == round(COVERED_S * CAMERA_HZ)


def test_equal_orders_give_equal_pictures_and_other_seeds_give_others(made):
    first = made(3, sensor='noisy').frames
    assert np.array_equal(first, made(3, sensor='noisy').frames)
    assert not np.array_equal(first, made(4, sensor='noisy').frames)


def test_dim_is_darker_and_bright_is_brighter_than_recorded(episode, made):
    before = read_clip(make_order(episode)).recording.pictures.mean()
    for seed in range(4):
        assert made(seed, light='dim').frames.mean() < 0.8 * before
        assert made(seed, light='bright').frames.mean() > 1.05 * before


def test_warm_and_cool_part_red_from_blue(made):
    def redness(frames):
        return frames[..., 0].mean() / frames[..., 2].mean()

    assert redness(made(light='warm').frames) > 1.2 * redness(made(light='cool').frames)


def test_nothing_flickers_that_did_not_before(episode, made):
    before = read_clip(make_order(episode)).recording.pictures[:20].mean((1, 2, 3))
    after = made(camera='turned', light='side').frames[:20].mean((1, 2, 3))
    ratio = after / before
    assert ratio.std() / ratio.mean() < 0.02


@pytest.mark.parametrize('axis', sorted(AXES))
def test_every_value_of_every_axis_changes_the_picture(made, axis):
    plain = made(camera='as_recorded').frames.astype(int)
    for value in set(AXES[axis]) - {'as_recorded'}:
        assert np.abs(made(**{axis: value}).frames - plain).mean() > 1, value


def test_what_an_order_leaves_open_its_seed_decides(episode):
    cells = {AUGMENT.make(make_order(episode, SAME, seed)).notes[1] for seed in range(8)}
    assert len(cells) > 3
    assert all('light ' in cell and 'sensor ' in cell for cell in cells)


def test_what_is_not_a_matter_of_looks_is_refused(episode):
    brief = make_order(episode).brief
    assert AUGMENT.refusal(brief, replace(SAME, cell={'light': 'dim'})) == ''
    assert 'recorded commands only' in AUGMENT.refusal(brief, Variation('recovery', 'nominal'))
    assert 'does not vary object' in AUGMENT.refusal(brief, replace(SAME, cell={'object': 'mug'}))
    assert "no light 'pink'" in AUGMENT.refusal(brief, replace(SAME, cell={'light': 'pink'}))


def test_a_clip_that_is_gone_or_another_is_named(tmp_path):
    episode = make_episode(tmp_path)
    order = make_order(episode)
    with (episode / CLIP).open('ab') as file:
        file.write(b'more')
    with pytest.raises(OrderError, match=r'clip.mcap: is not the clip'):
        AUGMENT.make(order)
    (episode / CLIP).unlink()
    with pytest.raises(OrderError, match=r'clip.mcap: is missing'):
        AUGMENT.make(order)

# SPDX-License-Identifier: Apache-2.0
"""Films offline: chunk after chunk, layers from the host, and what diffusers makes of a noise."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='engine cosmos needs torch')

from cosmos_flywheel.core.errors import EngineError  # noqa: E402
from cosmos_flywheel.engines.base import FORWARD_DYNAMICS, POLICY  # noqa: E402
from cosmos_flywheel.engines.cosmos.canvas import Canvas  # noqa: E402
from cosmos_flywheel.engines.cosmos.caption import conversation, film_caption  # noqa: E402
from cosmos_flywheel.engines.cosmos.dims import Dims, VaeDims  # noqa: E402
from cosmos_flywheel.engines.cosmos.film import IMAGE_TO_VIDEO, FilmOrder, NoRoomError  # noqa: E402
from cosmos_flywheel.engines.cosmos.film_maker import FilmMaker, FilmParts  # noqa: E402
from cosmos_flywheel.engines.cosmos.prefill import prefill  # noqa: E402
from cosmos_flywheel.engines.cosmos.vae import Vae  # noqa: E402
from cosmos_flywheel.engines.cosmos.weights import RandomWeights  # noqa: E402

DIMS = Dims(
    layers=3, hidden=32, heads=2, kv_heads=1, head_dim=16, mlp=64, vocabulary=512,
    rope_axes=(4, 2, 2),
)  # fmt: skip
VAE = VaeDims(base=2, decoder_base=2, blocks=1)
CANVAS = Canvas((64, 96), (48, 90))
"""Shown is (48, 80): both the canvas and the content are cut."""


def picture(size=CANVAS.size):
    return np.random.default_rng(3).integers(0, 256, (*size, 3), np.uint8)


def ordered(mode=FORWARD_DYNAMICS, **changes):
    rows = np.random.default_rng(4).uniform(-1, 1, (11, 10)).astype(np.float32)
    given = {
        'picture': picture(), 'canvas': CANVAS, 'captions': ('push', 'and on'), 'frames': 12,
        'fps': 15.0, 'steps': 2, 'guidance': 1.0, 'shift': 10.0, 'seed': 5, 'chunk': 8,
        'domain': 8, 'width': 10, 'rows': rows if mode == FORWARD_DYNAMICS else None,
    }  # fmt: skip
    return FilmOrder(mode, **{**given, **changes})


def made(**options):
    weights = RandomWeights(DIMS.shapes())

    def read(words, is_film):
        letters = ''.join(part['content'] for part in conversation(words, is_film=is_film))
        return prefill(weights, DIMS, torch.tensor([3 + ord(x) % 500 for x in letters] + [1, 2]))

    vae = Vae.load(RandomWeights(VAE.shapes()), VAE)
    return FilmMaker(FilmParts(DIMS, weights, vae, read), **options)


@pytest.fixture(scope='module')
def maker():
    return made()


def test_a_film_goes_on_from_the_last_picture_of_its_chunk(maker):
    whole = maker.make(ordered())
    assert whole.frames.shape == (12, 48, 80, 3)
    assert np.array_equal(whole.rows, ordered().rows)
    first = maker.make(ordered(captions=('push',), frames=9, rows=ordered().rows[:8]))
    assert np.array_equal(whole.frames[:9], first.frames)
    again = maker.make(ordered())
    assert np.array_equal(again.frames, whole.frames)
    for other in (
        ordered(seed=6),
        ordered(captions=('push', 'and back')),
        ordered(rows=np.concatenate([ordered().rows[:8], -ordered().rows[8:]])),
    ):
        assert not np.array_equal(maker.make(other).frames[9:], whole.frames[9:])


def test_a_policy_gives_a_row_between_any_two_pictures(maker):
    film = maker.make(ordered(POLICY))
    assert film.rows.shape == (11, 10)
    assert len(film.frames) == 12


def test_layers_that_the_host_lends_give_the_same_film(maker):
    lent = made(from_host=True).make(ordered())
    assert lent.from_host
    assert np.array_equal(lent.frames, maker.make(ordered()).frames)


def test_where_the_card_is_too_small_the_host_lends_the_layers(maker, monkeypatch):
    small, usual, tries = made(), FilmMaker.begun, []

    def crowded(self, *asked):
        tries.append(self.from_host)
        if not self.from_host or len(tries) > 3:
            raise torch.OutOfMemoryError
        return usual(self, *asked)

    monkeypatch.setattr(FilmMaker, 'begun', crowded)
    film = small.make(ordered())
    assert tries == [False, True, True]
    monkeypatch.undo()
    assert np.array_equal(film.frames, maker.make(ordered()).frames)
    monkeypatch.setattr(FilmMaker, 'begun', crowded)
    with pytest.raises(NoRoomError, match='fewer frames'):
        small.make(ordered())


@pytest.mark.parametrize(
    ('mode', 'changes', 'words'),
    [
        (FORWARD_DYNAMICS, {'rows': None}, 'takes rows of actions'),
        (FORWARD_DYNAMICS, {'captions': ('one',)}, '1 captions for 2 chunks'),
        (FORWARD_DYNAMICS, {'rows': np.full((11, 10), np.nan, 'f4')}, 'hold NaN'),
        (IMAGE_TO_VIDEO, {'captions': ('one',), 'frames': 8}, 'frames is 8'),
        (IMAGE_TO_VIDEO, {'captions': ('one',), 'frames': 9, 'steps': 0}, 'steps is 0'),
        (POLICY, {'picture': picture((48, 90))}, 'the canvas takes uint8'),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_by_its_field(mode, changes, words):
    with pytest.raises(EngineError, match=words):
        ordered(mode, **changes)


def test_a_film_without_actions_is_what_diffusers_makes_of_its_noise(root, monkeypatch, need):
    if importlib.util.find_spec('diffusers') is None:
        need('cosmos', 'diffusers is not installed: `make learn`')
    monkeypatch.setattr(sys, 'path', [str(root / 'bench'), *sys.path])
    import cosmos_parity as bench

    monkeypatch.setattr(bench, 'VAE', VAE)
    peer = bench.make_peer(DIMS)
    size = 48, 80
    words, avoid = 'A cube falls. It breaks.', 'blur'
    captions = (film_caption(words, 9, 24, size), film_caption(avoid, 9, 24, size, avoid=True))
    theirs = peer.tokenize_prompt(words, avoid, num_frames=9, height=48, width=80, fps=24.0)
    for caption, ids in zip(captions, theirs, strict=True):
        assert bench.Letters().apply_chat_template(
            conversation(caption, is_film=True)
        ).input_ids == list(ids[:-2])
    order = ordered(
        IMAGE_TO_VIDEO, picture=picture(size), canvas=Canvas(size, size), captions=captions[:1],
        negative=captions[1], frames=9, fps=24.0, steps=3, guidance=6.0,
    )  # fmt: skip
    maker = made()
    start = maker.begun(order, 0, order.picture).latents().clone()
    with torch.no_grad():
        found = peer(
            prompt=words, negative_prompt=avoid, image=order.picture, num_frames=9, height=48,
            width=80, fps=24.0, num_inference_steps=3, guidance_scale=6.0, latents=start,
            output_type='np',
        ).video  # fmt: skip
    film = maker.make(replace(order))
    apart = np.abs(film.frames.astype(float) - 255 * np.asarray(found))
    assert apart.max() < 1.0
    assert np.abs(np.diff(film.frames.astype(float), axis=0)).max() > 10, 'the film does not move'

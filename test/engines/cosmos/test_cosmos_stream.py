# SPDX-License-Identifier: Apache-2.0
"""The causal streaming loop: as one whole pass under a mask, in memory that does not grow."""

from __future__ import annotations

import pytest

torch = pytest.importorskip('torch', reason='engine cosmos needs torch')

from whole_pass import patches_of, whole_stream  # noqa: E402

from cosmos_flywheel.core.errors import EngineError  # noqa: E402
from cosmos_flywheel.engines.cosmos.causal.loop import StreamLoop  # noqa: E402
from cosmos_flywheel.engines.cosmos.dims import Dims  # noqa: E402
from cosmos_flywheel.engines.cosmos.generation import Generation  # noqa: E402
from cosmos_flywheel.engines.cosmos.loop import Task  # noqa: E402
from cosmos_flywheel.engines.cosmos.prefill import Text, prefill  # noqa: E402
from cosmos_flywheel.engines.cosmos.weights import RandomWeights  # noqa: E402

DIMS = Dims(
    layers=2, hidden=32, heads=4, kv_heads=2, head_dim=16, mlp=64, vocabulary=64,
    rope_axes=(4, 2, 2),
)  # fmt: skip
FRAMES, WIDTH, DOMAIN, FPS = 4, 5, 2, 15.0
TASK = Task('forward_dynamics', (FRAMES, 2, 4), 4 * FRAMES, WIDTH, DOMAIN, FPS)
TIMES = (1.0, 15 / 16, 5 / 6, 5 / 8)


@pytest.fixture(scope='module')
def text() -> Text:
    return prefill(RandomWeights(DIMS.shapes()), DIMS, torch.arange(9)).padded(12)


def made(text: Text, window: int = 6, times: tuple[float, ...] = TIMES) -> StreamLoop:
    generation = Generation.load(RandomWeights(DIMS.shapes()), DIMS)
    return StreamLoop(generation, TASK, text, window, times)


def past(chunks: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents of a first frame and so many chunks, and actions for one chunk more."""
    draw = torch.Generator().manual_seed(3)
    latents = torch.randn(1, 48, 1 + FRAMES * chunks, 2, 4, generator=draw)
    return latents, torch.rand(4 * FRAMES * (chunks + 1), WIDTH, generator=draw) * 2 - 1


def fed(loop: StreamLoop, latents: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Keep all latents; the actions of the chunk that comes next."""
    loop.keep(latents[:, :, :1])
    per = 4 * FRAMES
    for index in range((latents.shape[2] - 1) // FRAMES):
        chunk = latents[:, :, 1 + FRAMES * index : 1 + FRAMES * (index + 1)]
        loop.keep(chunk, actions[per * index : per * (index + 1)])
    return actions[-per:]


@pytest.mark.parametrize('chunks', [0, 1, 3], ids=['first', 'window not full', 'frames left'])
@pytest.mark.parametrize('window', [4, 6, 99])
def test_the_window_gives_what_one_whole_pass_under_a_mask_gives(text, chunks, window):
    loop = made(text, window)
    latents, actions = past(chunks)
    acting = fed(loop, latents, actions)
    noise = loop.draw(7)
    found = loop.foretell(acting, noise)
    shaped = noise.view(len(TIMES), FRAMES, -1, DIMS.patch_width)
    wanted = whole_stream(
        DIMS, text, latents, actions, shaped, window=window, times=TIMES, domain=DOMAIN, fps=FPS
    )
    ours = torch.stack([patches_of(found[0, :, f]) for f in range(FRAMES)])
    assert found.shape == (1, 48, FRAMES, 2, 4)
    assert float((ours - wanted).norm() / wanted.norm()) < 1e-4


def test_what_has_left_the_window_is_forgotten_and_what_is_in_it_is_not(text):
    answers = []
    for changed in (None, 0, 2):
        loop = made(text, window=4)
        latents, actions = past(3)
        if changed is not None:
            latents[:, :, 1 + FRAMES * changed : 1 + FRAMES * (changed + 1)] += 1
        answers.append(loop.foretell(fed(loop, latents, actions), loop.draw(1)))
    # A frame is seen through what saw it: two layers reach two windows back and no further.
    assert torch.equal(answers[0], answers[1])
    assert not torch.allclose(answers[0], answers[2], atol=1e-3)


def test_memory_is_made_once_however_long_the_stream(text):
    loop = made(text)
    places = [t.data_ptr() for t in (*loop.keys, *loop.values)]
    latents, actions = past(6)
    acting = fed(loop, latents, actions)
    loop.foretell(acting, loop.draw(0))
    assert [t.data_ptr() for t in (*loop.keys, *loop.values)] == places
    assert {len(t) for t in (*loop.keys, *loop.values)} == {12 + 6 * (4 + 2)}
    assert sorted(loop.holds) == list(range(19, 25))
    assert not any(
        isinstance(v, torch.Tensor) and v.numel() > loop.keys[0].numel()
        for v in vars(loop).values()
    )


def test_a_stream_that_is_forgotten_begins_as_a_new_one(text):
    latents, actions = past(2)
    loop, fresh = made(text), made(text)
    fed(loop, latents + 1, actions)
    loop.forget()
    answers = [one.foretell(fed(one, latents, actions), one.draw(0)) for one in (loop, fresh)]
    assert torch.equal(*answers)


def test_steps_noise_and_actions_decide(text):
    latents, actions = past(1)
    loop = made(text)
    acting = fed(loop, latents, actions)
    known = loop.foretell(acting, loop.draw(0))
    assert len(loop.draw(0)) == 4
    assert torch.equal(loop.foretell(acting, loop.draw(0)), known), 'asking moves nothing'
    fewer = made(text, times=TIMES[:3])
    fed(fewer, latents, actions)
    others = (
        loop.foretell(acting, loop.draw(1)),
        loop.foretell(-acting, loop.draw(0)),
        fewer.foretell(acting, loop.draw(0)[:3]),
    )
    for other in others:
        assert not torch.allclose(other, known, atol=1e-3)


def test_wrong_turns_are_refused(text):
    loop, (latents, actions) = made(text), past(1)
    with pytest.raises(EngineError, match='begins with a picture'):
        loop.foretell(actions[:16], loop.draw(0))
    with pytest.raises(EngineError, match='4 latent frames do not come next'):
        loop.keep(latents[:, :, 1:], actions[:16])
    loop.keep(latents[:, :, :1])
    with pytest.raises(EngineError, match='1 latent frames do not come next'):
        loop.keep(latents[:, :, :1])
    with pytest.raises(EngineError, match=r'\(16, 4\) do not fit'):
        loop.foretell(actions[:16, :4], loop.draw(0))
    with pytest.raises(EngineError, match='NaN'):
        loop.keep(latents[:, :, 1:], actions[:16] * float('nan'))
    with pytest.raises(EngineError, match='window of 3'):
        made(text, window=3)

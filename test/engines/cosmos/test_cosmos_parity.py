# SPDX-License-Identifier: Apache-2.0
"""The Cosmos loop: beside diffusers where that is installed, and what holds without it."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='engine cosmos needs torch')

from cosmos_flywheel.core.errors import EngineError  # noqa: E402
from cosmos_flywheel.engines.cosmos import cuda  # noqa: E402
from cosmos_flywheel.engines.cosmos.dims import Dims, VaeDims  # noqa: E402
from cosmos_flywheel.engines.cosmos.generation import Generation  # noqa: E402
from cosmos_flywheel.engines.cosmos.loop import Loop, Task  # noqa: E402
from cosmos_flywheel.engines.cosmos.prefill import Text, prefill  # noqa: E402
from cosmos_flywheel.engines.cosmos.sampler import make_schedule  # noqa: E402
from cosmos_flywheel.engines.cosmos.vae import Stream, Vae  # noqa: E402
from cosmos_flywheel.engines.cosmos.weights import RandomWeights  # noqa: E402

DIMS = Dims(
    layers=2, hidden=64, heads=4, kv_heads=2, head_dim=16, mlp=128, vocabulary=512,
    rope_axes=(4, 2, 2),
)  # fmt: skip
VAE = VaeDims(base=8, decoder_base=8, blocks=1)
TASK = Task('forward_dynamics', (5, 3, 4), 16, 10, 8, 15.0)


@pytest.fixture(scope='module')
def text() -> Text:
    return prefill(RandomWeights(DIMS.shapes()), DIMS, torch.arange(20))


def made(text: Text, task: Task = TASK, steps: int = 4) -> Loop:
    generation = Generation.load(RandomWeights(DIMS.shapes()), DIMS)
    loop = Loop(generation, task, [text], make_schedule(steps, 10.0))
    draw = torch.Generator().manual_seed(1)
    frames = 5 if task.mode == 'inverse_dynamics' else 1
    first = torch.randn(1, 48, frames, 3, 4, generator=draw)
    actions = torch.rand(16, task.width, generator=draw)
    loop.begin(first, None if task.acts else actions, loop.draw(2))
    return loop


@pytest.mark.slow
def test_the_loop_gives_what_diffusers_gives(root, monkeypatch, need):
    if importlib.util.find_spec('diffusers') is None:
        need('cosmos', 'diffusers is not installed: `make learn`')
    monkeypatch.setattr(sys, 'path', [str(root / 'bench'), *sys.path])
    import cosmos_parity as bench

    monkeypatch.setattr(bench, 'CHUNK', 8)  # the bench compares 16

    with torch.no_grad():
        peers = {kind: bench.make_peer(dims) for kind, dims in bench.KINDS.items()}
        for kind, *case in bench.CASES:
            found = bench.compare(peers[kind], bench.KINDS[kind], *case)
            assert found.pop('encode_same'), case
            assert max(found.values()) < bench.MOST_ERROR, case


def test_the_last_state_is_the_last_guess_of_the_clean_one():
    schedule = make_schedule(1, 10.0)
    assert schedule.coefficients == pytest.approx(np.array([[1.0, -1.0]]), abs=1e-5)


def test_a_straight_path_is_followed_exactly():
    schedule = make_schedule(10, 5.0)
    noise, clean = 3.0, -2.0
    history = np.full(11, noise - clean)
    history[0] = noise
    assert schedule.coefficients[-1] @ history == pytest.approx(clean, abs=1e-4)
    assert (np.diff(schedule.timesteps) < 0).all()


def test_padding_of_the_text_changes_nothing(text):
    plain, padded = made(text), made(text.padded(64))
    plain.run()
    padded.run()
    torch.testing.assert_close(plain.latents(), padded.latents(), rtol=1e-4, atol=1e-5)


def test_actions_and_seed_matter_and_the_given_frame_stays(text):
    loop, other = made(text), made(text)
    draw = torch.Generator().manual_seed(1)
    first = torch.randn(1, 48, 1, 3, 4, generator=draw)
    other.begin(first, torch.zeros(16, 10), other.draw(2))
    loop.run()
    other.run()
    assert torch.equal(loop.latents()[:, :, :1], first)
    assert not torch.allclose(loop.latents(), other.latents(), atol=1e-4)


@pytest.mark.parametrize('mode', ['inverse_dynamics', 'policy'])
def test_predicted_actions_are_as_wide_as_the_domain_says(text, mode):
    loop = made(text, replace(TASK, mode=mode, width=7))
    loop.run()
    assert loop.actions().shape == (16, 7)
    assert not loop.state[0, loop.split :].view(16, 64)[:, 7:].any()


def test_recorded_steps_give_the_loops_numbers(text):
    loop, recorded = made(text), made(text)
    replay = cuda.GraphLoop(recorded)
    loop.run()
    replay.run()
    torch.testing.assert_close(recorded.latents(), loop.latents())


def test_float8_stays_near_and_its_exact_steps_stay_nearer(text):
    wanted, loop = made(text).velocity(), made(text)
    cuda.to_float8(loop)
    near = (loop.velocity() - wanted).norm() / wanted.norm()
    nearer = (loop.velocity(exact=True) - wanted).norm() / wanted.norm()
    assert 0 < nearer < near < 0.2


def test_a_frame_encoded_alone_has_the_bits_of_a_whole_clips_first():
    vae = Vae.load(RandomWeights(VAE.shapes()), VAE)
    clip = torch.rand(1, 3, 9, 32, 48) * 2 - 1
    whole = vae.encode(clip)
    assert whole.shape == (1, 48, 3, 2, 3)
    assert torch.equal(vae.encode_group(clip[:, :, :1], Stream()), whole[:, :, :1])
    assert [p.shape[2] for p in vae.decode(whole)] == [1, 4, 4]


def test_wrong_input_is_refused_with_a_remedy(text):
    with pytest.raises(EngineError, match='forward_dynamics'):
        replace(TASK, mode='forward_dynamic')
    with pytest.raises(EngineError, match='domain 40'):
        made(text, replace(TASK, domain=40))
    with pytest.raises(EngineError, match='larger bucket'):
        text.padded(8)
    with pytest.raises(EngineError, match='NaN'):
        made(text).begin(torch.zeros(1, 48, 1, 3, 4), torch.full((16, 10), np.nan), 0)
    with pytest.raises(EngineError, match=r'\(16, 10\)'):
        made(text).begin(torch.zeros(1, 48, 1, 3, 4), torch.zeros(16, 9), 0)
    with pytest.raises(EngineError, match='multiples of 16'):
        Vae.load(RandomWeights(VAE.shapes()), VAE).encode(torch.zeros(1, 3, 1, 30, 32))
    with pytest.raises(EngineError, match='negative prompt'):
        made(text, replace(TASK, guidance=3.0))

# SPDX-License-Identifier: Apache-2.0
"""Part `pycuda` of `gpu_neighbour`: the doors between pycuda and torch, on a real card."""

from __future__ import annotations

from typing import Any

import torch
from nano import TINY
from torch import Tensor

from cosmos_flywheel.engines.cosmos.dims import VaeDims
from cosmos_flywheel.engines.cosmos.generation import Generation
from cosmos_flywheel.engines.cosmos.loop import Loop, Task
from cosmos_flywheel.engines.cosmos.prefill import prefill
from cosmos_flywheel.engines.cosmos.sampler import make_schedule
from cosmos_flywheel.engines.cosmos.vae import Stream, Vae
from cosmos_flywheel.engines.cosmos.weights import RandomWeights
from cosmos_flywheel.engines.tensorrt.card import Card
from cosmos_flywheel.engines.tensorrt.form import Form

CANVAS = (64, 96)
VAE = VaeDims(base=8, decoder_base=8, blocks=1)
COUNT = 1 << 20


def measure_doors(figures: dict[str, Any], bars: dict[str, bool]) -> None:
    """Every door once, by its bits."""
    card = Card()
    figures['pycuda'] = {'card': card.name, 'driver': card.driver}
    found = {
        'pinned memory there and back': goes_round(card),
        "torch queues on pycuda's stream": shares_stream(card),
        "the loop gives the same bits on pycuda's buffers": loop_is_same(card),
    }
    for name, held in found.items():
        print(f'{name}: {held}', flush=True)
        bars[name] = held


def goes_round(card: Card) -> bool:
    """Pinned to the device to pinned."""
    form = Form((COUNT,), 'float32')
    there, back = card.pinned(form), card.pinned(form)
    there.copy_(torch.rand(COUNT))
    back.fill_(-1)
    with card.working():
        back.copy_(there.to('cuda', non_blocking=True), non_blocking=True)
    card.wait()
    return bool((there == back).all()) and there.data_ptr() != back.data_ptr()


def shares_stream(card: Card) -> bool:
    """What torch computes there is done when pycuda says that the stream is empty."""
    shown = card.pinned(Form((COUNT,), 'float32'))
    with card.working():
        same = torch.cuda.current_stream().cuda_stream == card.handle
        x = torch.arange(COUNT, device='cuda', dtype=torch.float32)
        shown.copy_(x * 2 + 1, non_blocking=True)
    card.wait()
    return same and bool((shown == torch.arange(COUNT) * 2.0 + 1).all())


def loop_is_same(card: Card) -> bool:
    """A chunk from a picture in pycuda's memory on pycuda's stream, beside torch's own."""
    picture = torch.randint(0, 256, (*CANVAS, 3), dtype=torch.uint8)
    ours = card.pinned(Form(tuple(picture.shape), 'uint8'))
    ours.copy_(picture)
    loop, vae = made()
    expected = predicted(loop, vae, picture.pin_memory()).cpu()
    shown = card.pinned(Form(tuple(expected.shape), 'float32'))
    with card.working():
        shown.copy_(predicted(loop, vae, ours), non_blocking=True)
    card.wait()
    return bool((shown == expected).all()) and bool(torch.isfinite(expected).all())


def made() -> tuple[Loop, Vae]:
    """A small loop and autoencoder with random weights."""
    weights = RandomWeights(TINY.shapes(), 0, 'cuda', torch.bfloat16)
    text = prefill(weights, TINY, torch.arange(20, device='cuda'))
    task = Task('forward_dynamics', (5, CANVAS[0] // 16, CANVAS[1] // 16), 16, 10, 8, 15.0)
    loop = Loop(Generation.load(weights, TINY), task, [text], make_schedule(4, 10.0))
    return loop, Vae.load(RandomWeights(VAE.shapes(), 1, 'cuda', torch.bfloat16), VAE)


def predicted(loop: Loop, vae: Vae, picture: Tensor) -> Tensor:
    """Latents of one chunk."""
    seen = picture.to('cuda', non_blocking=True).permute(2, 0, 1)[None, :, None]
    first = vae.encode_group(seen.to(torch.bfloat16) / 127.5 - 1, Stream())
    actions = torch.linspace(-1, 1, 160, device='cuda').view(16, 10)
    loop.begin(first, actions, loop.draw(7))
    loop.run()
    return loop.latents().float()

# SPDX-License-Identifier: Apache-2.0
"""One candidate of generator `cosmos` on this GPU: seconds, memory, price; and too small a card.

The models have their real size and random weights: speed and memory are real, pictures are noise.
Seconds are those that the queue charges (`Film.gpu_s`): from the first work on the card to the
last, decoding included, loading not. Every row is printed when it is measured.

    python bench/generate_gpu.py                 # Nano and Super, under 8 minutes on an H200
    python bench/generate_gpu.py --only nano     # a part of it
    python bench/generate_gpu.py --tiny          # the same code on a CPU, to see that it runs

Needs torch with CUDA; no file, no network.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nano import DOMAIN, FPS, SHIFT, SIZES, TEXT, TINY, WIDTH, attempt  # opens the engines' door

from cosmos_flywheel.engines.base import FORWARD_DYNAMICS, POLICY
from cosmos_flywheel.engines.cosmos.canvas import Canvas
from cosmos_flywheel.engines.cosmos.dims import VaeDims
from cosmos_flywheel.engines.cosmos.film import IMAGE_TO_VIDEO, FilmOrder, NoRoomError
from cosmos_flywheel.engines.cosmos.film_maker import FilmMaker, FilmParts
from cosmos_flywheel.engines.cosmos.plan import film_s
from cosmos_flywheel.engines.cosmos.prefill import prefill
from cosmos_flywheel.engines.cosmos.vae import Vae
from cosmos_flywheel.engines.cosmos.weights import RandomWeights

PARTS = ('nano', 'nano_fp8', 'nano_small_card', 'super', 'super_fp8', 'super_small_card')
CANVASES = {256: (192, 320), 480: (480, 832)}
CHUNK, CHUNKS, FRAMES = 16, 4, 189
PER_HOUR = 3.5
"""Money for an hour of the card; give your own with --per-hour."""
SMALL_GB = {'nano': 12.0, 'super': 24.0}
"""Of a card that the tower alone does not fit (13.9 and 62 GB in 16 bits)."""
TOO_SMALL_GB = 1.5


class Run:
    """One run: its clock, and what it has measured."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.tiny = args, bool(args.tiny)
        self.began_s = time.perf_counter()
        self.device = 'cpu' if self.tiny else 'cuda'
        self.figures: dict[str, Any] = {}
        self.bars: dict[str, bool] = {}
        self.lines: list[str] = []

    def left_s(self) -> float:
        """Of the time budget."""
        return float(self.args.budget) - (time.perf_counter() - self.began_s)

    def tell(self, name: str, **values: Any) -> None:
        """Print and keep one row at once."""
        self.figures[name] = values
        words = ', '.join(
            f'{k} {v:.4g}' if isinstance(v, float) else f'{k} {v}' for k, v in values.items()
        )
        self.say(f'[{time.perf_counter() - self.began_s:6.1f} s] {name}: {words}')

    def say(self, line: str) -> None:
        """Print a line, and keep it for the file."""
        self.lines.append(line)
        print(line, flush=True)
        if os.environ.get('OUT'):  # at once: a run that is cut off leaves what it has
            path = Path(os.environ['OUT']) / 'generate_gpu.txt'
            path.write_text('\n'.join(self.lines) + '\n')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--only', nargs='+', choices=PARTS, default=PARTS)
    parser.add_argument('--tiny', action='store_true', help='a small model on the CPU')
    parser.add_argument('--budget', type=float, default=460, help='seconds')
    parser.add_argument('--per-hour', type=float, default=PER_HOUR, help='money for the card')
    run = Run(parser.parse_args())
    if not run.tiny:
        if not torch.cuda.is_available():
            sys.exit('no NVIDIA GPU is seen by torch; give --tiny for a run on the CPU')
        run.tell('machine', gpu=torch.cuda.get_device_name(), torch=torch.__version__)
    for part in run.args.only:
        size, _, how = part.partition('_')
        attempt(run, part, lambda run, s=size, h=how: measure(run, s, h))
        release(run)
    if run.tiny:
        run.bars.clear()
    run.say(json.dumps({'bench': 'generate_gpu', 'figures': run.figures, 'bars': run.bars}))
    return 0


def measure(run: Run, size: str, how: str) -> None:
    """One model on the whole card, in float8, or on a card that is too small."""
    maker = make_maker(run, size, float8=how == 'fp8')
    if how == 'small_card':
        measure_small_card(run, size, maker)
        return
    name = f'{size} {how or "bf16"}'
    chunk = ordered(run, FORWARD_DYNAMICS, 480, 1)
    candidate(run, f'{name}, one chunk under commands at 480', maker, chunk, twice=True)
    if size == 'nano':
        four = ordered(run, FORWARD_DYNAMICS, 480, CHUNKS)
        candidate(run, f'{name}, four chunks under commands at 480', maker, four)
    if not how and size == 'nano':
        candidate(run, f'{name}, policy at 480', maker, ordered(run, POLICY, 480, 1))
    tier = 480 if size == 'nano' and not how else 256
    candidate(
        run, f'{name}, {FRAMES} frames from words at {tier}', maker,
        ordered(run, IMAGE_TO_VIDEO, tier, 1),
    )  # fmt: skip


def measure_small_card(run: Run, size: str, maker: FilmMaker) -> None:
    """The same chunk with layers lent by the host, and then no room for anything."""
    order = ordered(run, FORWARD_DYNAMICS, 480, 1)
    if not run.tiny:
        limit(SMALL_GB[size])
    else:
        maker.from_host = True
    name = f'{size} bf16 in {SMALL_GB[size]:g} GB, one chunk under commands at 480'
    candidate(run, name, maker, order)
    whole = run.figures.get(f'{size} bf16, one chunk under commands at 480', {}).get('sum')
    if whole is not None:
        same = whole == run.figures[name]['sum']
        run.tell(f'{size}, the same film as on the whole card', same=same)
        run.bars[f'{size}: layers from the host give the same film'] = same
    if run.tiny:
        return
    limit(TOO_SMALL_GB)
    try:
        maker.make(order)
    except NoRoomError as error:
        run.tell(f'{size} in {TOO_SMALL_GB:g} GB', refused=str(error))
        run.bars[f'{size}: no room is told'] = True


def make_maker(run: Run, size: str, *, float8: bool) -> FilmMaker:
    """Of random weights on the device."""
    dims = TINY if run.tiny else SIZES[size]
    vae_dims = VaeDims(base=8, decoder_base=8, blocks=1) if run.tiny else VaeDims()
    dtype = torch.float32 if run.tiny else torch.bfloat16
    tower = RandomWeights(dims.shapes(), 0, run.device, dtype)

    def read(words: str, is_film: bool) -> Any:
        letters = [3 + ord(letter) % 500 for letter in words] or [1]
        ids = torch.tensor((letters * TEXT)[: TEXT + is_film], device=run.device)
        with torch.no_grad():
            return prefill(tower, dims, ids)

    with torch.no_grad():
        vae = Vae.load(RandomWeights(vae_dims.shapes(), 1, run.device, dtype), vae_dims)
    return FilmMaker(FilmParts(dims, tower, vae, read), float8=float8)


def ordered(run: Run, mode: str, tier: int, chunks: int) -> FilmOrder:
    """A film as the generator asks for it, with the trained settings."""
    size = (64, 96) if run.tiny else CANVASES[tier]
    draw = np.random.default_rng(5)
    acts = mode != IMAGE_TO_VIDEO
    frames = 1 + CHUNK * chunks if acts else (17 if run.tiny else FRAMES)
    rows = draw.uniform(-1, 1, (frames - 1, WIDTH)).astype(np.float32)
    return FilmOrder(
        mode,
        draw.integers(0, 256, (*size, 3), np.uint8),
        Canvas(size, size),
        tuple(f'part {number}' for number in range(chunks)),
        frames,
        FPS if acts else 24.0,
        steps=2 if run.tiny else (30 if acts else 35),
        guidance=1.0 if acts else 6.0,
        shift=SHIFT,
        seed=3,
        negative='blur',
        chunk=CHUNK,
        domain=DOMAIN,
        width=WIDTH,
        rows=rows if mode == FORWARD_DYNAMICS else None,
    )


def candidate(
    run: Run, name: str, maker: FilmMaker, order: FilmOrder, *, twice: bool = False
) -> None:
    """Make one, and one more where it is cheap: the first also loads, reads and tunes."""
    passes = order.chunks * order.steps * (1 if order.guidance == 1 else 2)
    cells = order.latent[1], order.latent[2]
    ahead = order.chunk if order.acts else order.frames - 1
    expected_s = film_s(maker.dims, cells, ahead, order.chunk if order.acts else 0, passes)
    if not run.tiny and run.left_s() < 1.5 * expected_s * (2 if twice else 1) + 15:
        run.tell(name, skipped='the time budget is spent')
        return
    if not run.tiny:
        torch.cuda.reset_peak_memory_stats()
    began_s = time.perf_counter()
    films = [maker.make(order)]
    first_s = time.perf_counter() - began_s
    if twice:
        films.append(maker.make(order))
    last = films[-1]
    told: dict[str, Any] = {
        'frames': len(last.frames),
        'gpu_s': last.gpu_s,
        'first_with_loading_s': first_s,
        'expected_s': expected_s,
        'money': last.gpu_s * run.args.per_hour / 3600,
        'layers_from_host': last.from_host,
    }
    if not run.tiny:
        told['peak_gb'] = torch.cuda.max_memory_allocated() / 1e9
    if twice:
        told['same_again'] = bool(np.array_equal(films[0].frames, last.frames))
    told['sum'] = int(last.frames.astype(np.uint64).sum() % 2**32)
    run.tell(name, **told)


def limit(most_gb: float) -> None:
    """As if the card had no more."""
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(most_gb * 1e9 / whole)


def release(run: Run) -> None:
    """Everything back for the next part."""
    gc.collect()
    if not run.tiny:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(1.0)


if __name__ == '__main__':
    raise SystemExit(main())

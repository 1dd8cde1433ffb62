# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""Cosmos3 in its real size with random weights: seconds per step and per chunk on this GPU.

Forward dynamics of 16 actions, host frame in to 17 host frames out. Needs torch with CUDA, no file
and no network; diffusers beside it is timed where it can be imported. Random weights say nothing
about the worth of a prediction: the trained setting is 480 with 30 or 50 steps for robots and av,
256 for libero and pusht; fewer steps are unproved. Every row is printed when it is measured.

    python bench/nano.py --tier 256      # then the same with --tier 480
    python bench/nano.py --size super --tier 256    # the 64B model: does it fit, how fast is it
    python bench/nano.py --tiny          # the same code on a CPU, small, to see that it runs
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
# The engines' door opens those of the CPU too, whose libraries a bare GPU machine may lack.
door = ModuleType('cosmos_flywheel.engines')
door.__path__ = [str(ROOT / 'cosmos_flywheel' / 'engines')]
sys.modules.setdefault(door.__name__, door)

from cosmos_flywheel.engines.cosmos.cuda import (
    GraphLoop,
    GraphVae,
    channels_last,
    compiled_layer,
    compiled_passes,
    to_float8,
    whole_size_gb,
)
from cosmos_flywheel.engines.cosmos.dims import Dims, VaeDims
from cosmos_flywheel.engines.cosmos.generation import Generation, multiply, quantised
from cosmos_flywheel.engines.cosmos.loop import Loop, Task
from cosmos_flywheel.engines.cosmos.prefill import prefill
from cosmos_flywheel.engines.cosmos.sampler import make_schedule
from cosmos_flywheel.engines.cosmos.vae import PLAIN, Vae
from cosmos_flywheel.engines.cosmos.weights import RandomWeights

CANVASES = {256: (192, 320), 480: (480, 832)}
ACTIONS, WIDTH, DOMAIN, FPS, SHIFT, TEXT = 16, 10, 8, 15.0, 10.0, 134
STEPS = (30, 10, 4)
CHUNKS = {30: 100, 10: 20, 4: 20}
SUPER = Dims(layers=64, hidden=5120, heads=64, kv_heads=8, head_dim=128, mlp=25600)
SIZES = {'nano': Dims(), 'super': SUPER}
FEW = 5
"""Chunks of each row of Super, whose question is whether it fits."""
MOST_GB = {('nano', 'bf16'): 18, ('nano', 'fp8'): 12, ('super', 'bf16'): 80}
STEP_BAR = {256: 0.67, 480: 0.80}
REAL_TIME_S = ACTIONS / FPS
PARTS = ('floor', 'accuracy', 'bf16', 'fp8', 'diffusers')
TINY = Dims(
    layers=2,
    hidden=64,
    heads=4,
    kv_heads=2,
    head_dim=16,
    mlp=128,
    vocabulary=512,
    rope_axes=(4, 2, 2),
)


class Nano:
    """One run: its sizes, its clock and what it has measured."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.began_s = time.perf_counter()
        self.args = args
        self.tiny = bool(args.tiny)
        self.device = 'cpu' if self.tiny else 'cuda'
        self.dims = TINY if self.tiny else SIZES[args.size]
        self.vae_dims = VaeDims(base=8, decoder_base=8, blocks=1) if self.tiny else VaeDims()
        self.dtype = torch.float32 if self.tiny else torch.bfloat16
        self.canvas = (64, 96) if self.tiny else CANVASES[args.tier]
        self.latent = (5, self.canvas[0] // 16, self.canvas[1] // 16)
        self.figures: dict[str, Any] = {}
        self.bars: dict[str, bool] = {}
        self.floor_ms: dict[str, float] = {}
        self.reserve_s = 90.0 if 'diffusers' in (args.only or PARTS) else 20.0
        """Kept free for diffusers, which comes last."""

    def left_s(self) -> float:
        """Of the time budget."""
        return float(self.args.budget) - (time.perf_counter() - self.began_s)

    def tell(self, name: str, **values: Any) -> None:
        """Print and keep one row at once."""
        self.figures[name] = values
        words = ', '.join(
            f'{k} {v:.4g}' if isinstance(v, float) else f'{k} {v}' for k, v in values.items()
        )
        print(f'[{time.perf_counter() - self.began_s:6.1f} s] {name}: {words}', flush=True)

    def weights(self, dtype: torch.dtype) -> RandomWeights:
        """The tower's; drawn in bf16 whatever they are cast to."""
        return RandomWeights(self.dims.shapes(), 0, self.device, dtype)

    def wanted(self, part: str) -> bool:
        """Whether asked for, with time left."""
        if part not in (self.args.only or PARTS):
            return False
        if self.left_s() < 30:
            self.tell(part, skipped='the time budget is spent')
            return False
        return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--tier', type=int, choices=sorted(CANVASES), default=256)
    parser.add_argument('--size', choices=tuple(SIZES), default='nano')
    parser.add_argument('--only', nargs='+', choices=PARTS)
    parser.add_argument('--tiny', action='store_true', help='a small model on the CPU')
    parser.add_argument('--budget', type=float, default=530, help='seconds')
    parser.add_argument('--no-compile', action='store_true')
    args = parser.parse_args()
    if args.size == 'super':
        args.only = args.only or ['floor', 'bf16']
    nano = Nano(args)
    if not nano.tiny:
        if not torch.cuda.is_available():
            sys.exit('no NVIDIA GPU is seen by torch; give --tiny for a run on the CPU')
        torch.backends.cudnn.benchmark = True
        name = torch.cuda.get_device_name()
        nano.tell('machine', gpu=name, torch=torch.__version__, cuda=torch.version.cuda)
    with torch.no_grad():
        for part, work in (
            ('floor', measure_floor),
            ('accuracy', measure_accuracy),
            ('bf16', measure_ours),
            ('diffusers', measure_diffusers),
        ):
            asked = nano.wanted(part) or (part == 'bf16' and nano.wanted('fp8'))
            if asked:
                attempt(nano, part, work)
    if nano.tiny:
        nano.bars.clear()  # they are for the real size on a GPU
    print(
        json.dumps(
            {'bench': args.size, 'tier': args.tier, 'figures': nano.figures, 'bars': nano.bars}
        )
    )
    return 0


def attempt(nano: Nano, part: str, work: Callable[[Nano], None]) -> None:
    """One part's failure must not cost the others their time."""
    try:
        work(nano)
    except Exception as error:  # whatever a driver, a compiler or the peer raises
        nano.tell(f'{part} failed', error=f'{type(error).__name__}: {str(error)[:400]}')
    gc.collect()
    if not nano.tiny:
        torch.cuda.empty_cache()


def time_ms(nano: Nano, work: Callable[[], Any], times: int = 10) -> float:
    """Median of device events, or of the host's clock on a CPU."""
    found = []
    for round_ in range(times + 2):
        if nano.tiny:
            began = time.perf_counter()
            work()
            found.append((time.perf_counter() - began) * 1e3)
        else:
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            work()
            last.record()
            torch.cuda.synchronize()
            found.append(first.elapsed_time(last))
        if round_ < 2:
            found.clear()
    return statistics.median(found)


def measure_floor(nano: Nano) -> None:
    """The least milliseconds of a step: arithmetic at this card's measured rate, or reading."""
    dims, size = nano.dims, 256 if nano.tiny else 8192
    like = {'device': nano.device, 'dtype': nano.dtype}
    a, b = torch.randn(size, size, **like), torch.randn(size, size, **like) / size**0.5
    packed = quantised(b, a.abs().amax())
    small = None if nano.tiny else (a.float() / packed[2]).clamp(-448, 448).to(torch.float8_e4m3fn)

    def float8() -> Any:
        if small is None:
            return multiply(a, packed)
        return torch._scaled_mm(
            small, packed[0].t(), scale_a=packed[2], scale_b=packed[1],
            out_dtype=nano.dtype, use_fast_accum=True,
        )  # fmt: skip

    rate = {'bf16': lambda: a @ b, 'fp8': float8}
    flops = 2 * size**3
    rates = {k: flops / time_ms(nano, w, 20) / 1e9 for k, w in rate.items()}
    source = torch.empty(2**22 if nano.tiny else 2**32, dtype=torch.uint8, device=nano.device)
    target = torch.empty_like(source)
    copy_tb = 2 * source.numel() / time_ms(nano, lambda: target.copy_(source)) / 1e9
    area = (nano.latent[1] // 2) * (nano.latent[2] // 2)
    tokens = nano.latent[0] * area + ACTIONS
    matrices = [s for n, s in dims.shapes().items() if is_gen_matrix(n)]
    numbers = sum(s[0] * s[1] for s in matrices)
    attend = 4 * dims.layers * dims.heads * dims.head_dim * tokens * (tokens + TEXT) / 1e12
    linear = 2 * numbers * tokens / 1e12
    for kind, width in (('bf16', 2), ('fp8', 1)):
        work_ms = 1e3 * (linear / rates[kind] + attend / rates['bf16'])
        nano.floor_ms[kind] = max(work_ms, numbers * width / copy_tb / 1e9)
    nano.tell(
        'floor', tokens=tokens, bf16_tflops=rates['bf16'], fp8_tflops=rates['fp8'],
        copy_tb_s=copy_tb, bf16_step_ms=nano.floor_ms['bf16'], fp8_step_ms=nano.floor_ms['fp8'],
    )  # fmt: skip


def is_gen_matrix(name: str) -> bool:
    parts = ('add_q', 'add_k', 'add_v', 'to_add_out', 'mlp_moe_gen')
    return name.startswith('layers.') and any(p in name for p in parts)


def make_loop(nano: Nano, generation: Generation, text: Any, steps: int) -> Loop:
    """A begun loop; its first frame and actions are random."""
    task = Task('forward_dynamics', nano.latent, ACTIONS, WIDTH, DOMAIN, FPS)
    loop = Loop(generation, task, [text], make_schedule(steps, SHIFT))
    draw = torch.Generator().manual_seed(5)
    first = torch.randn(1, 48, 1, *nano.latent[1:], generator=draw)
    actions = torch.rand(ACTIONS, WIDTH, generator=draw) * 2 - 1
    loop.begin(first, actions, loop.draw(3))
    return loop


def make_text(nano: Nano, weights: RandomWeights, dims: Dims) -> Any:
    ids = (torch.arange(TEXT) * 7 + 11) % 500
    return prefill(weights, dims, ids.to(nano.device))


class Widened:
    """The same tensors in float32, so that only rounding on the way differs."""

    def __init__(self, weights: RandomWeights) -> None:
        self.inner = weights

    def get(self, name: str) -> torch.Tensor:
        """One tensor."""
        return self.inner.get(name).float()


def measure_accuracy(nano: Nano) -> None:
    """Errors of one velocity against float32 on a few layers of the real width."""
    dims = replace(nano.dims, layers=min(4, nano.dims.layers))
    weights = RandomWeights(dims.shapes(), 0, nano.device, nano.dtype)
    wide = Widened(weights)
    exact = make_loop(
        nano,
        Generation.load(wide, dims),
        prefill(wide, dims, ((torch.arange(TEXT) * 7 + 11) % 500).to(nano.device)),
        4,
    )
    wanted = exact.velocity()
    narrow = make_loop(nano, Generation.load(weights, dims), make_text(nano, weights, dims), 4)
    found = {'layers': dims.layers, 'bf16': relative(narrow.velocity(), wanted)}
    to_float8(narrow)
    found['fp8'] = relative(narrow.velocity(), wanted)
    found['fp8_a16'] = relative(narrow.velocity(exact=True), wanted)
    nano.tell('error of a velocity against fp32', **found)


def relative(ours: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((ours - wanted).norm() / wanted.norm())


def measure_ours(nano: Nano) -> None:
    """Our loop: bf16 first, then the same tower in float8."""
    weights = nano.weights(nano.dtype)
    began = time.perf_counter()
    text = make_text(nano, weights, nano.dims)
    generation = Generation.load(weights, nano.dims)
    vae = Vae.load(
        RandomWeights(nano.vae_dims.shapes(), 1, nano.device, nano.dtype), nano.vae_dims
    )
    if not nano.tiny:
        torch.cuda.synchronize()
    nano.tell('made', seconds=time.perf_counter() - began, tower_gb=whole_size_gb(generation))
    compiles = not nano.tiny and not nano.args.no_compile
    if not nano.tiny:
        vae = channels_last(vae, compiled_passes() if compiles else PLAIN)
    graphs = GraphVae(vae, nano.canvas, nano.latent)
    measure_vae(nano, vae, graphs)
    layer = compiled_layer() if compiles else None
    if nano.wanted('bf16'):
        measure_kind(nano, 'bf16', generation, text, graphs, layer)
    if nano.wanted('fp8'):
        to_float8(make_loop(nano, generation, text, 4))
        gc.collect()
        if not nano.tiny:
            torch.cuda.empty_cache()
        measure_kind(nano, 'fp8', generation, text, graphs, layer)
        measure_row(nano, 'fp8', 30, generation, text, graphs, layer, keeps_exact=False)


def measure_vae(nano: Nano, vae: Vae, graphs: GraphVae) -> None:
    picture = torch.randint(0, 256, (*nano.canvas, 3), dtype=torch.uint8)
    picture = picture if nano.tiny else picture.pin_memory()
    latents = torch.randn(1, 48, *nano.latent, device=nano.device)
    groups = replace(vae, passes=PLAIN).decode(latents.to(nano.dtype))
    plain = torch.cat([(g[0].permute(1, 2, 3, 0).float() + 1) * 127.5 for g in groups])
    shown = torch.cat(synchronized(nano, graphs.decode(latents)))
    apart = (plain.cpu() - shown.float()).abs()
    nano.tell('vae, compiled beside plain', mean_levels=float(apart.mean()))
    nano.tell(
        'vae', encode_ms=time_ms(nano, lambda: graphs.encode(picture)),
        decode_ms=time_ms(nano, lambda: list(graphs.decode(latents))),
        first_frame_ms=time_ms(nano, lambda: next(graphs.decode(latents))),
    )  # fmt: skip


def synchronized(nano: Nano, parts: Any) -> list[torch.Tensor]:
    """All parts, once they have arrived."""
    found = list(parts)
    if not nano.tiny:
        torch.cuda.synchronize()
    return found


def measure_kind(
    nano: Nano, kind: str, generation: Generation, text: Any, graphs: GraphVae, layer: Any
) -> None:
    """Step, whole chunk and latent mode of one precision."""
    if not nano.tiny:
        torch.cuda.reset_peak_memory_stats()
    for steps in STEPS:
        measure_row(nano, kind, steps, generation, text, graphs, layer)
    if not nano.tiny:
        peak = torch.cuda.max_memory_allocated() / 1e9
        nano.tell(f'{kind} memory', peak_gb=peak)
        most = MOST_GB[nano.args.size, kind]
        nano.bars[f'{kind} peak at most {most} GB'] = peak <= most


def measure_row(
    nano: Nano,
    kind: str,
    steps: int,
    generation: Generation,
    text: Any,
    graphs: GraphVae,
    layer: Any,
    *,
    keeps_exact: bool = True,
) -> None:
    """One count of steps of one precision."""
    name = f'{kind}, {steps} steps' + ('' if keeps_exact else ', none of them in 16 bits')
    if nano.left_s() < nano.reserve_s + 20:
        nano.tell(name, skipped='the time budget is spent')
        return
    loop = make_loop(nano, generation, text, steps)
    began = time.perf_counter()
    recorded = GraphLoop(loop, layer, keeps_exact=keeps_exact)
    set_up_s = time.perf_counter() - began
    picture = torch.randint(0, 256, (*nano.canvas, 3), dtype=torch.uint8)
    picture = picture if nano.tiny else picture.pin_memory()
    actions = torch.rand(ACTIONS, WIDTH, device=nano.device) * 2 - 1
    noise = loop.draw(9)

    def latent_mode() -> None:
        loop.begin(graphs.encode(picture), actions, noise)
        recorded.run()

    def chunk() -> None:
        latent_mode()
        for _ in graphs.decode(loop.latents()):
            pass

    def step() -> None:
        loop.index.zero_()
        recorded.step()

    step_ms = time_ms(nano, step)
    few = nano.args.size == 'super' or not keeps_exact
    chunks = clock(nano, chunk, FEW if few else CHUNKS[steps])
    latents = clock(nano, latent_mode, FEW)
    floor_share = nano.floor_ms.get(kind, float('nan')) / step_ms
    nano.tell(
        name, step_ms=step_ms, floor_share=floor_share,
        **{f'chunk_{k}': v for k, v in chunks.items()}, latent_p50=latents['p50_ms'],
        latent_p99=latents['p99_ms'], real_time_p99=chunks['p99_ms'] / 1e3 / REAL_TIME_S,
        set_up_s=set_up_s, finite=bool(torch.isfinite(loop.state).all()),
    )  # fmt: skip
    if nano.args.size == 'nano' and keeps_exact:
        judge(nano, kind, steps, floor_share, chunks, latents)


def judge(
    nano: Nano,
    kind: str,
    steps: int,
    share: float,
    chunks: dict[str, Any],
    latents: dict[str, Any],
) -> None:
    """The bars that one row decides."""
    tier = nano.args.tier
    if kind == 'bf16' and steps == 30:
        nano.bars[f'step at {STEP_BAR[tier]:.0%} of floor speed'] = share >= STEP_BAR[tier]
        if tier == 256:
            nano.bars['real-time factor p99 below 0.35'] = (
                chunks['p99_ms'] / 1e3 / REAL_TIME_S < 0.35
            )
    if steps == 10 and tier == 256:
        nano.bars[f'{kind} latent mode, 10 steps, at most 100 ms'] = latents['p50_ms'] <= 100


def clock(nano: Nano, work: Callable[[], Any], times: int) -> dict[str, Any]:
    """Host milliseconds of whole calls, the device idle before and after."""
    found: list[float] = []
    for round_ in range(2 + (3 if nano.tiny else times)):
        if found and nano.left_s() < nano.reserve_s:
            break
        if not nano.tiny:
            torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        if not nano.tiny:
            torch.cuda.synchronize()
        if round_ >= 2:
            found.append((time.perf_counter() - began) * 1e3)
    found.sort()

    def quantile(share: float) -> float:
        return found[min(len(found) - 1, int(share * len(found)))]

    return {
        'count': len(found),
        'p50_ms': quantile(0.5),
        'p95_ms': quantile(0.95),
        'p99_ms': quantile(0.99),
        'max_ms': found[-1],
    }


def measure_diffusers(nano: Nano) -> None:
    """The released pipeline as it is, in eager mode; needs its wheel on the path."""
    try:
        from diffusers import CosmosActionCondition
    except ImportError as error:
        nano.tell('diffusers', skipped=f'cannot be imported ({error})')
        return
    nano.reserve_s = 10.0
    pipeline = make_pipeline(nano)
    if not nano.tiny:
        torch.cuda.reset_peak_memory_stats()
    condition = CosmosActionCondition(
        mode='forward_dynamics', chunk_size=ACTIONS, domain_name='droid_lerobot',
        resolution_tier=256 if nano.tiny else nano.args.tier,
        raw_actions=torch.rand(ACTIONS, WIDTH) * 2 - 1,
        image=torch.rand(1, 3, *nano.canvas), view_point='third_person_view',
    )  # fmt: skip

    def call() -> Any:
        return pipeline(
            prompt='put the red cube into the blue bowl', action=condition, fps=FPS,
            num_inference_steps=4 if nano.tiny else 30, guidance_scale=1.0, output_type='pt',
            use_system_prompt=False,
        )  # fmt: skip

    chunks = clock(nano, call, 8)
    peak = 0.0 if nano.tiny else torch.cuda.max_memory_allocated() / 1e9
    nano.tell('diffusers eager, 30 steps', **chunks, peak_gb=peak)
    least = {('bf16', 256): 5.5, ('fp8', 256): 8.0, ('bf16', 480): 1.7, ('fp8', 480): 2.5}
    for kind in ('bf16', 'fp8'):
        ours = nano.figures.get(f'{kind}, 30 steps', {}).get('chunk_p50_ms')
        if ours:
            times = chunks['p50_ms'] / ours
            bar = least[kind, nano.args.tier]
            nano.tell(f'{kind} against diffusers', times=times)
            nano.bars[f'{kind} at least {bar:g} times diffusers'] = times >= bar


class Numbers:
    """Stands for a tokenizer: as many ids as our text has, whatever is asked."""

    eos_token_id = 1

    def convert_tokens_to_ids(self, token: str) -> int:
        """One id for every special token."""
        return 2

    def apply_chat_template(self, *_: Any, **__: Any) -> Any:
        """The same row each time; the pipeline adds two ids."""
        return SimpleNamespace(input_ids=[(7 * i + 11) % 500 for i in range(TEXT - 2)])


def make_pipeline(nano: Nano) -> Any:
    """Diffusers' pipeline of the same size, random weights made on the device."""
    from diffusers import (
        AutoencoderKLWan,
        Cosmos3OmniPipeline,
        Cosmos3OmniTransformer,
        UniPCMultistepScheduler,
    )

    def build(kind: Any, sizes: Any, seed: int) -> Any:
        config = {k: v for k, v in sizes.config().items() if not k.startswith('_')}
        before = torch.get_default_dtype()
        torch.set_default_dtype(nano.dtype)
        with torch.device(nano.device):
            module = kind(**config).eval().requires_grad_(False)
        torch.set_default_dtype(before)
        weights = RandomWeights(sizes.shapes(), seed, nano.device, nano.dtype)
        held = dict(module.named_parameters())
        for name in sizes.shapes():
            held[name].copy_(weights.get(name))
        return module

    transformer = build(Cosmos3OmniTransformer, nano.dims, 0)
    half = torch.arange(0, nano.dims.head_dim, 2, dtype=torch.float32, device=nano.device)
    transformer.rotary_emb.inv_freq = 1.0 / nano.dims.rope_base ** (half / nano.dims.head_dim)
    transformer.time_embedder.float()
    pipeline = Cosmos3OmniPipeline(
        transformer=transformer,
        text_tokenizer=Numbers(),
        vae=build(AutoencoderKLWan, nano.vae_dims, 1),
        scheduler=UniPCMultistepScheduler(
            prediction_type='flow_prediction', use_flow_sigmas=True, flow_shift=SHIFT
        ),
        enable_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


if __name__ == '__main__':
    raise SystemExit(main())

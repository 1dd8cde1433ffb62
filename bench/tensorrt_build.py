# SPDX-License-Identifier: Apache-2.0
"""The TensorRT back end as far as a machine without a GPU can show it.

A tiny random checkpoint of Nano's kind is exported to ONNX, unit by unit. The units, chained by
the runtime class on onnxruntime, must give the frames of the eager loop (relative error below
1e-4). Needs what `make learn` brings.

    python bench/tensorrt_build.py
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import print_table

from cosmos_flywheel.engines.cosmos.checkpoint import Checkpoint, write_random
from cosmos_flywheel.engines.cosmos.dims import Dims, VaeDims
from cosmos_flywheel.engines.cosmos.generation import Generation
from cosmos_flywheel.engines.cosmos.loop import Loop, Task
from cosmos_flywheel.engines.cosmos.prefill import prefill
from cosmos_flywheel.engines.cosmos.sampler import make_schedule
from cosmos_flywheel.engines.cosmos.vae import Stream, Vae
from cosmos_flywheel.engines.tensorrt.export import export
from cosmos_flywheel.engines.tensorrt.onnx_executor import OnnxExecutor
from cosmos_flywheel.engines.tensorrt.runtime import Runtime
from cosmos_flywheel.engines.tensorrt.setting import Setting
from cosmos_flywheel.engines.tensorrt.units import Units

MOST_ERROR = 1e-4
REVISION = 'a' * 40
DIMS = Dims(
    layers=3, hidden=64, heads=4, kv_heads=2, head_dim=16, mlp=128, vocabulary=512,
    rope_axes=(4, 2, 2),
)  # fmt: skip
VAE = VaeDims(base=8, decoder_base=8, blocks=1)
SETTING = Setting((64, 96), (3, 5), actions=8, text=24, group=2, precision='float32')
"""Odd latent sides, a prompt shorter than its bucket and a last group of one layer on purpose."""
TASK = Task('forward_dynamics', (3, 3, 5), 8, 10, 8, 15.0)
CASES = (
    ('forward dynamics', TASK),
    ('with guidance 3', replace(TASK, guidance=3.0)),
    ('policy', replace(TASK, mode='policy', width=7)),
)
IDS = (torch.arange(17) * 7 % 512, torch.arange(5))
STEPS, SHIFT, SEED = 4, 10.0, 3


def make_units(folder: Path, setting: Setting = SETTING) -> Units:
    """Of a tiny random checkpoint."""
    if not folder.exists():
        write_random(folder, DIMS, VAE)
    return Units(Checkpoint(folder, REVISION), setting)


def export_all(units: Units, folder: Path) -> list[tuple[str, float, int]]:
    """Names, seconds and bytes of the units' graphs."""
    found = []
    for name in units.names:
        begun_s = time.perf_counter()
        path = export(units.load(name), folder)
        size = sum(p.stat().st_size for p in folder.glob(f'{path.name}*'))
        found.append((name, time.perf_counter() - begun_s, size))
    return found


def compare(units: Units, folder: Path, task: Task) -> dict[str, float]:
    """Relative errors of the chained units beside the eager loop; levels of 255 in pictures."""
    draw = torch.Generator().manual_seed(7)
    picture = torch.randint(0, 256, (*SETTING.canvas, 3), dtype=torch.uint8, generator=draw)
    actions = None if task.acts else torch.rand(task.actions, task.width, generator=draw) * 2 - 1
    ids = IDS if task.guidance != 1.0 else IDS[:1]
    loop, vae = eager(units, task, ids, picture, actions)
    frames = torch.cat(list(vae.decode(loop.latents())), 2)
    runtime = Runtime(units, OnnxExecutor(folder), task, ids, make_schedule(STEPS, SHIFT))
    shown = torch.cat([p.clone() for p in runtime.predict(picture, actions, SEED)])
    latents = runtime.loop.latents()
    ours = torch.cat(list(runtime.vae.decode(latents)), 2)
    expected = ((frames[0].permute(1, 2, 3, 0) + 1) * 127.5).round()
    errors = {
        'latents': relative(latents, loop.latents()),
        'frames': relative(ours, frames),
        'levels': float((shown.float() - expected).abs().max()),
    }
    if task.acts:
        errors['actions'] = relative(runtime.loop.actions(), loop.actions())
    runtime.close()
    return errors


def eager(units: Units, task: Task, ids: Any, picture: Any, actions: Any) -> tuple[Loop, Vae]:
    """The plain loop, run, and the plain autoencoder."""
    weights = units.checkpoint.transformer(dtype=torch.float32)
    vae = Vae.load(units.checkpoint.vae(dtype=torch.float32), VAE)
    texts = [prefill(weights, DIMS, row) for row in ids]
    loop = Loop(Generation.load(weights, DIMS), task, texts, make_schedule(STEPS, SHIFT))
    seen = picture.permute(2, 0, 1)[None, :, None].float() / 127.5 - 1
    rows, columns = units.setting.latent
    first = vae.encode_group(seen, Stream())[..., :rows, :columns]
    loop.begin(first, actions, loop.draw(SEED))
    loop.run()
    return loop, vae


def relative(ours: Any, theirs: Any) -> float:
    return float((ours - theirs).norm() / theirs.norm())


def measure_chain(
    units: Units, folder: Path, figures: dict[str, Any], bars: dict[str, bool]
) -> None:
    """Export, chain, compare."""
    rows: list[tuple[object, ...]] = [('unit', 'exported in', 'graph')]
    rows += [(n, f'{s:.1f} s', f'{b / 1e6:.2f} MB') for n, s, b in export_all(units, folder)]
    print_table(rows)
    rows = [('units on onnxruntime', 'latents', 'actions', 'frames', 'levels of 255')]
    worst = 0.0
    for name, task in CASES:
        found = compare(units, folder, task)
        worst = max(worst, *(v for k, v in found.items() if k != 'levels'))
        cells = [f'{found[k]:.1e}' if k in found else '' for k in ('latents', 'actions', 'frames')]
        rows.append((name, *cells, f'{found["levels"]:.0f}'))
    print_table(rows)
    figures['worst error of the chain'] = worst
    bars[f'error of the chain below {MOST_ERROR:g}'] = worst < MOST_ERROR


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--quick', action='store_true', help='the same: it is small')
    parser.parse_args()
    figures: dict[str, Any] = {}
    bars: dict[str, bool] = {}
    with torch.no_grad(), tempfile.TemporaryDirectory() as scratch:
        units = make_units(Path(scratch, 'model'))
        measure_chain(units, Path(scratch, 'onnx'), figures, bars)
    print(json.dumps({'bench': 'tensorrt_build', 'figures': figures, 'bars': bars}))
    return 0


if __name__ == '__main__':
    raise SystemExit(main())

# SPDX-License-Identifier: Apache-2.0
"""The TensorRT back end as far as a machine without a GPU can show it.

A tiny random checkpoint of Nano's kind is exported to ONNX, unit by unit. The units, chained by
the runtime class on onnxruntime, must give the frames of the eager loop (relative error below
1e-4). Then TensorRT for RTX builds an engine of each, in float32 and bfloat16, for cards that are
not here; what goes in and out, and in which types layers compute, is read from its own network.
Last, everything that can go wrong is made to go wrong. No engine is executed: there is no GPU
here, and the library refuses the one that benches are lent (compute capability 9.0). Needs what
`make learn` brings.

    python bench/tensorrt_build.py
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import print_table

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.cosmos.checkpoint import Checkpoint, write_random
from cosmos_flywheel.engines.cosmos.dims import Dims, VaeDims
from cosmos_flywheel.engines.cosmos.generation import Generation
from cosmos_flywheel.engines.cosmos.loop import Loop, Task
from cosmos_flywheel.engines.cosmos.prefill import prefill
from cosmos_flywheel.engines.cosmos.sampler import make_schedule
from cosmos_flywheel.engines.cosmos.vae import Stream, Vae
from cosmos_flywheel.engines.tensorrt.build import build
from cosmos_flywheel.engines.tensorrt.door import Door
from cosmos_flywheel.engines.tensorrt.export import export
from cosmos_flywheel.engines.tensorrt.form import Forms
from cosmos_flywheel.engines.tensorrt.network import Network, check_architecture
from cosmos_flywheel.engines.tensorrt.onnx_executor import OnnxExecutor
from cosmos_flywheel.engines.tensorrt.runtime import Runtime
from cosmos_flywheel.engines.tensorrt.setting import Setting
from cosmos_flywheel.engines.tensorrt.shelf import Entry, Shelf
from cosmos_flywheel.engines.tensorrt.units import Units

MOST_ERROR = 1e-4
REVISION = 'a' * 40
DIMS = Dims(
    layers=3, hidden=64, heads=4, kv_heads=2, head_dim=16, mlp=128, vocabulary=512,
    rope_axes=(4, 2, 2),
)  # fmt: skip
VAE = VaeDims(base=8, decoder_base=8, blocks=1)
SETTING = Setting((192, 320), (3, 5), actions=8, text=24, group=2, precision='float32')
"""Of a camera of 80x48 at tier 256. Odd latent sides, a prompt shorter than its bucket and a last
group of one layer on purpose."""
ARCHITECTURES = ('sm_89', 'sm_120')
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


def measure_builds(
    units: Units, door: Door, folder: Path, figures: dict[str, Any], bars: dict[str, bool]
) -> None:
    """In float32 from the graphs that are there; in bfloat16 as the command builds them."""
    rows: list[tuple[object, ...]] = [('engine', 'for', 'size', 'layers', 'types', 'in', 'out')]
    same, begun_s = True, time.perf_counter()
    for name in units.names:
        unit, network = units.shadow(name), Network(door, folder / 'onnx' / f'{name}.onnx')
        network.check(unit.inputs, unit.forms())
        for architecture in ARCHITECTURES:
            size = memoryview(network.build(architecture)).nbytes
            rows.append(row_of(name, architecture, size, network.types, unit.inputs, unit.forms()))
    narrow = make_units(units.checkpoint.folder, replace(SETTING, precision='bfloat16'))
    shelf = Shelf(folder / 'engines')
    for entry, is_new in build(narrow, door, 'sm_89', shelf):
        unit, key = narrow.shadow(entry.key.unit), entry.key
        same &= is_new and (key.inputs, key.outputs) == (unit.inputs, unit.forms())
        rows.append(
            row_of(key.unit, 'sm_89', entry.size_bytes, entry.types, key.inputs, key.outputs)
        )
    print_table(rows)
    again = [is_new for _, is_new in build(narrow, door, 'sm_89', shelf)]
    figures['engines'] = len(rows) - 1
    figures['seconds for all, exporting bfloat16 included'] = round(time.perf_counter() - begun_s)
    bars['engines take and give what was exported'] = same
    bars['engines that are there are not built again'] = not any(again)


def row_of(
    name: str,
    architecture: str,
    size_bytes: int,
    types: Mapping[str, int],
    inputs: Forms,
    outputs: Forms,
) -> tuple[object, ...]:
    """Layers that compute in each type; the first tensors in and out, and how many there are."""

    def told(forms: Forms) -> str:
        first = next(iter(forms.items()))
        return f'{len(forms)}: {first[0]} {first[1]}'

    floats = ', '.join(f'{n} {t}' for t, n in sorted(types.items()) if t in ('BF16', 'FLOAT'))
    size = f'{size_bytes / 1e6:.2f} MB'
    return (name, architecture, size, sum(types.values()), floats, told(inputs), told(outputs))


def measure_failures(
    units: Units, door: Door, folder: Path, figures: dict[str, Any], bars: dict[str, bool]
) -> None:
    """Every way to fail that a machine without a GPU can take; what is said, and what is left."""
    shelf = Shelf(folder / 'failing')
    engine = next(iter(build(units, door, 'sm_89', shelf)))[0]
    whole = engine.path.read_bytes()
    narrow = make_units(units.checkpoint.folder, replace(SETTING, precision='bfloat16'))

    def cut() -> None:
        engine.path.write_bytes(whole[:-100])
        engine.verify()

    cases: dict[str, Callable[[], Any]] = {
        'None for a card without bfloat16': lambda: list(build(narrow, door, 'sm_75', shelf)),
        'None for want of a driver': lambda: door.load('prefill_0', whole),
        'None for a truncated engine': lambda: door.load('prefill_0', whole[: len(whole) // 2]),
        'False for a broken graph': lambda: Network(door, broken_graph(folder)),
        'an architecture it does not know': lambda: check_architecture(door, 'sm_90', None),
        'no card and none named': lambda: check_architecture(door, None, None),
        'an engine of another version': lambda: taken(engine, '0.9', 'sm_89'),
        'an engine of another card': lambda: taken(engine, door.version, 'sm_120'),
        'a truncated file': cut,
    }
    told = 0
    for name, fail in cases.items():
        try:
            fail()
        except EngineError as error:
            told += 1
            print(f'{name}:\n  {str(error).replace(str(folder), "FOLDER")}')
        else:
            print(f'{name}:\n  NOTHING WAS SAID')
    left = interrupted(units, door, folder)
    print(f'Ctrl-C while encode is built: kept are {", ".join(left)}\n')
    figures['failures told'] = f'{told} of {len(cases)}'
    bars['every failure is told with its remedy'] = told == len(cases)
    bars['Ctrl-C leaves no half file'] = {name.rpartition('-')[0] for name in left} == {
        'prefill_0',
        'prefill_1',
    }


def broken_graph(folder: Path) -> Path:
    path = folder / 'broken.onnx'
    path.write_bytes(b'no graph')
    return path


def taken(entry: Entry, version: str, architecture: str) -> None:
    """As an executor looks engines over."""
    faults = entry.key.misfits(entry.key.library, version, architecture)
    if faults:
        raise EngineError(f'{entry.path}: {"; ".join(faults)}')


def interrupted(units: Units, door: Door, folder: Path) -> list[str]:
    """Names of what a build leaves that gets SIGINT in the midst of its third unit."""
    shelf = folder / 'interrupted'

    def interrupt(name: str, share: float) -> None:
        if name == 'encode' and share < 1:
            os.kill(os.getpid(), signal.SIGINT)

    with contextlib.suppress(KeyboardInterrupt):
        list(build(units, door, 'sm_89', Shelf(shelf), interrupt))
    return sorted(path.name for path in shelf.iterdir())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--quick', action='store_true', help='the same: it is small')
    parser.parse_args()
    figures: dict[str, Any] = {}
    bars: dict[str, bool] = {}
    with torch.no_grad(), tempfile.TemporaryDirectory() as scratch:
        units = make_units(Path(scratch, 'model'))
        measure_chain(units, Path(scratch, 'onnx'), figures, bars)
        door = Door.open('tensorrt_rtx')
        print(f'{door.library} {door.version}, for {", ".join(door.architectures)}')
        measure_builds(units, door, Path(scratch), figures, bars)
        measure_failures(units, door, Path(scratch), figures, bars)
    print(json.dumps({'bench': 'tensorrt_build', 'figures': figures, 'bars': bars}))
    return 0


if __name__ == '__main__':
    raise SystemExit(main())

# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""The commands that a user gives before Cosmos may watch a robot, at true size, on this GPU.

A checkpoint of Cosmos3-Nano's sizes with random weights is written to disk. Its first half of a
bag is fitted, the second is what `engine accept` and `engine bench` are given, `engine tune` tries
ways of asking, and the whole bag is harvested; then the same for a causal checkpoint. Every
command runs in a process of its own and is shown with its output, exit code and seconds. Random
weights prove that the commands run, how fast, and that a level without skill is refused; never
accuracy.

    python bench/acceptance.py --bag BAG --robot droid --work DIR    # DIR takes 32 GB
    python bench/acceptance.py --bag BAG --robot droid --tiny        # small, on a CPU
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'test')]

from tiny_cosmos import DIMS, VAE, write_tokenizer

from cosmos_flywheel.bags.clip import write_clip
from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.engines.cosmos.actions import ActionMap
from cosmos_flywheel.engines.cosmos.causal.manifest import Embodiment, Manifest
from cosmos_flywheel.engines.cosmos.checkpoint import write_random
from cosmos_flywheel.engines.cosmos.dims import Dims, VaeDims
from cosmos_flywheel.store.robots import load_robot

COMMIT = 'e' * 40
SHARDS = 16
PARTS = ('256', '480', 'tune', 'stream')


class Run:
    """Commands of one robot and one bag, in one folder."""

    def __init__(self, args: argparse.Namespace, work: Path) -> None:
        self.robot, self.bag, self.work = args.robot, args.bag, work
        self.is_tiny = args.tiny
        self.checkpoint = work / COMMIT
        self.halves = [work / 'first.mcap', work / 'second.mcap']
        self.began_s, self.budget_s = time.perf_counter(), args.budget
        self.ended: list[tuple[str, int, float]] = []

    def part(self, name: str) -> None:
        """All commands of one of `PARTS`."""
        quick = ['chunk=4', 'stride=4', 'precision=fp32'] if self.is_tiny else []
        steps, fewer = ('1', '1') if self.is_tiny else ('10', '4')
        if name == '256':
            self.watch('cosmos-256', self.checkpoint, [f'steps={steps}', *quick])
        elif name == '480':
            chosen = quick or ['precision=fp8']
            self.watch('cosmos-480', self.checkpoint, [f'steps={fewer}', *chosen])
        elif name == 'stream':
            causal = write_causal(self.checkpoint, self.work / 'causal' / COMMIT, self.robot)
            self.watch('cosmos-stream', causal, [])
        else:
            precisions = 'fp32' if self.is_tiny else 'bf16,fp8'
            self.command(
                'tune', 'engine', 'tune', '--robot', self.robot, '--checkpoint', self.checkpoint,
                '--tiers', '256', '--steps', f'{steps},4', '--precisions', precisions,
                '-o', self.work / 'tune', *(f'--set={q}' for q in quick[:2]),
                *self.halves, self.bag,
            )  # fmt: skip

    def command(self, name: str, *words: object) -> None:
        """One `flywheel` command: what it said, its exit code and its seconds."""
        line = [str(word) for word in words]
        if time.perf_counter() - self.began_s > self.budget_s:
            print(f'\n{name}: not begun, the time is used up', flush=True)
            return
        print(f'\n$ flywheel {" ".join(line)}'.replace(str(self.work), 'DIR'), flush=True)
        program = 'import sys; from cosmos_flywheel.cli.main import main; sys.exit(main())'
        env = {**os.environ, 'XDG_CACHE_HOME': str(self.work / 'cache')}
        began_s = time.perf_counter()
        done = subprocess.run(
            [sys.executable, '-c', program, *line],
            env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        took_s = time.perf_counter() - began_s
        said = done.stdout + '\n'.join(done.stderr.replace('\r', '\n').splitlines()[-12:])
        print(said.replace(str(self.work), 'DIR'))
        print(f'[exit code {done.returncode}, {took_s:.1f} s]', flush=True)
        self.ended.append((name, done.returncode, took_s))

    def watch(self, engine: str, checkpoint: Path, settings: Sequence[str]) -> None:
        """Fit, accept, bench and harvest one level."""
        model = self.work / f'model-{engine}'
        common = ('--robot', self.robot, '--model', model)
        chosen = [word for one in settings for word in ('--set', one)]
        self.command(
            f'fit {engine}', 'fit', self.halves[0], '--robot', self.robot, '--engine', engine,
            '--checkpoint', checkpoint, '-o', model, *chosen,
        )  # fmt: skip
        self.command(f'accept {engine}', 'engine', 'accept', *common, self.halves[1])
        self.command(f'bench {engine}', 'engine', 'bench', *common, self.halves[1])
        out = self.work / f'out-{engine}'
        self.command(f'harvest {engine}', 'harvest', self.bag, *common, '--out', out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--bag', type=Path, required=True)
    parser.add_argument('--robot', required=True, help='with a Cosmos domain')
    parser.add_argument('--work', type=Path, help='a folder for the checkpoint and all else')
    parser.add_argument('--tiny', action='store_true', help='small, for a CPU')
    parser.add_argument('--only', nargs='+', choices=PARTS, default=PARTS, help='in this order')
    parser.add_argument(
        '--budget', type=float, default=math.inf, help='begin no command after so many seconds'
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        run = Run(args, Path(folder))
        print(f'robot {args.robot}, bag {args.bag.name}, {machine()}')
        began_s = time.perf_counter()
        size_bytes = write_checkpoint(run.checkpoint, args.tiny)
        print(
            f'random checkpoint: {size_bytes / 1e9:.2f} GB, {time.perf_counter() - began_s:.1f} s'
        )
        cut(args.bag, run.halves)
        for part in args.only:
            run.part(part)
        print()
        for name, code, took_s in run.ended:
            print(f'{name:24} exit code {code}  {took_s:7.1f} s')
    ended = {name: {'code': code, 'seconds': took_s} for name, code, took_s in run.ended}
    bars = {'every command ended as documented': all(code in (0, 1) for _, code, _ in run.ended)}
    print(json.dumps({'bench': 'acceptance', 'figures': ended, 'bars': bars}))
    return 0


def machine() -> str:
    """The card, or that there is none."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU'
    return f'{name}, torch {torch.__version__}'


def write_checkpoint(folder: Path, is_tiny: bool) -> int:
    """Random weights in the hub's layout, but for tiny ones drawn on the GPU in bf16; bytes."""
    if is_tiny:
        write_random(folder, DIMS, replace(VAE, base=4, decoder_base=4))
    else:
        write_random(folder, Dims(), VaeDims(), 0, SHARDS, None, 'cuda', torch.bfloat16)
    write_tokenizer(folder / 'text_tokenizer')
    return sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())


def write_causal(checkpoint: Path, folder: Path, robot_name: str) -> Path:
    """The same weights, were they a causal checkpoint's."""
    folder.mkdir(parents=True)
    for part in checkpoint.iterdir():
        if part.name != 'transformer':
            (folder / part.name).symlink_to(part)
    inner = folder / 'transformer'
    inner.mkdir()
    for file in (checkpoint / 'transformer').iterdir():
        if file.name != 'config.json':
            (inner / file.name).symlink_to(file)
    actions = ActionMap.of(load_robot(robot_name))
    width = actions.width
    embodiment = Embodiment(actions.id, (0.0,) * width, (1.0,) * width)
    manifest = Manifest(embodiments={actions.domain: embodiment})
    config = json.loads((checkpoint / 'transformer' / 'config.json').read_text())
    (inner / 'config.json').write_text(json.dumps({**config, **manifest.config()}))
    return folder


def cut(bag: Path, halves: Sequence[Path]) -> None:
    """The bag's first and second half, each a bag."""
    with open_bag(bag) as source:
        start_ns, end_ns = source.start_ns, source.end_ns
        middle_ns = (start_ns + end_ns) // 2
        for path, begin_ns, until_ns in (
            (halves[0], start_ns, middle_ns),
            (halves[1], middle_ns, end_ns + 1),
        ):
            write_clip(path, source, start_ns=begin_ns, end_ns=until_ns)


if __name__ == '__main__':
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""Graphics cards by name: what their makers publish of matrix rate, memory and bandwidth.

Rates are dense, with sums in float32, as in the named data sheets and white papers of NVIDIA;
what a data sheet gives with sparsity is halved, a rate in FP4 halved for each step of width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.settings import nearest

REACHED = 0.77
"""Share of the published bf16 rate that a product of 8192³ reached on an H200: 758 of 989 TFLOP/s
(bench/results/nano_256.txt); taken for other cards too."""
REACHED_FP8 = 0.64
"""Likewise in float8: 1274 of 1979 TFLOP/s."""


@dataclass(frozen=True, slots=True)
class Card:
    """One card; rates are what products reach, not what is published."""

    name: str
    bf16_tflops: float
    fp8_tflops: float
    """0 for a card without float8."""
    memory_gb: float
    tb_s: float
    """Of memory bandwidth."""
    source: str
    measured: bool = False
    """Whether rate and bandwidth were measured on the card itself."""


def _published(
    name: str, bf16: float, fp8: float, memory_gb: float, tb_s: float, source: str
) -> Card:
    return Card(name, REACHED * bf16, REACHED_FP8 * fp8, memory_gb, 0.88 * tb_s, source)


_ADA = 'NVIDIA Ada GPU architecture white paper'
_BLACKWELL = 'NVIDIA RTX Blackwell GPU architecture white paper'
_CARDS = (
    _published('b200', 2250, 4500, 180, 7.7, 'NVIDIA DGX B200 data sheet'),
    _published('h200', 989, 1979, 141, 4.8, 'NVIDIA H200 data sheet'),
    _published('h100-sxm', 989, 1979, 80, 3.35, 'NVIDIA H100 data sheet'),
    _published('h100-pcie', 756, 1513, 80, 2.0, 'NVIDIA H100 data sheet'),
    _published('a100-80gb', 312, 0, 80, 2.04, 'NVIDIA A100 data sheet'),
    _published('l40s', 362, 733, 48, 0.86, 'NVIDIA L40S data sheet'),
    _published('l4', 121, 242, 24, 0.30, 'NVIDIA L4 data sheet'),
    _published('rtx-pro-6000', 504, 1008, 96, 1.79, _BLACKWELL),
    _published('rtx-6000-ada', 364, 728, 48, 0.96, _ADA),
    _published('rtx-a6000', 155, 0, 48, 0.77, 'NVIDIA RTX A6000 data sheet'),
    _published('rtx-5090', 210, 419, 32, 1.79, _BLACKWELL),
    _published('rtx-4090', 165, 330, 24, 1.01, _ADA),
    _published('rtx-3090', 71, 0, 24, 0.94, 'NVIDIA Ampere GA102 white paper'),
    _published('jetson-thor', 259, 517, 128, 0.27, 'NVIDIA Jetson Thor data sheet'),
)
CARDS: Mapping[str, Card] = {card.name: card for card in _CARDS}


def card_named(name: str) -> Card:
    """One of the table; EngineError with the nearest name for any other."""
    if name not in CARDS:
        raise EngineError(
            f'no card {name!r} is known here; {nearest(name, tuple(CARDS))}, or measure it with '
            '`python bench/nano.py` and give --measured'
        )
    return CARDS[name]


def card_measured(path: Path) -> tuple[Card, dict[str, Any]]:
    """What `bench/nano.py` printed on a card: the card, and all that it measured.

    Raises:
        EngineError: the file cannot be read, or holds no such output.

    """
    try:
        lines = path.read_text('utf-8').splitlines()
    except OSError as error:
        raise EngineError(f'{path}: cannot be read ({error.strerror})') from error
    found = [line for line in lines if line.startswith('{"bench"')]
    try:
        document = json.loads(found[0])
        floor, machine = document['figures']['floor'], document['figures']['machine']
        memory_gb = float(machine.get('memory_gb', 0)) or _memory_of(machine['gpu'])
        card = Card(
            machine['gpu'],
            floor['bf16_tflops'],
            floor['fp8_tflops'],
            memory_gb,
            floor['copy_tb_s'],
            path.name,
            measured=True,
        )
    except (IndexError, KeyError, ValueError) as error:
        raise EngineError(
            f'{path}: holds no output of `python bench/nano.py`, whose last line is one of JSON '
            'with floor and machine'
        ) from error
    return card, document


def card_here() -> Card:
    """The card of this machine, its matrix rate and bandwidth measured in a second.

    Raises:
        EngineError: torch is missing or sees no GPU.

    """
    try:
        import torch

        from cosmos_flywheel.engines.cosmos.cuda import require_cuda
    except ImportError as error:
        raise EngineError(
            'torch is not installed, so the card of this machine cannot be asked; give --card'
        ) from error
    try:
        require_cuda()
    except EngineError as error:
        raise EngineError(f'{error}; or name a card with --card') from error
    size, times = 8192, 20
    a = torch.randn(size, size, device='cuda', dtype=torch.bfloat16)
    b = torch.randn(size, size, device='cuda', dtype=torch.bfloat16)
    spent = _seconds(lambda: a @ b, times)
    source = torch.empty(2**30, dtype=torch.uint8, device='cuda')
    target = torch.empty_like(source)
    copied = _seconds(lambda: target.copy_(source), times)
    properties = torch.cuda.get_device_properties(0)
    rate = 2 * size**3 / spent / 1e12
    has_fp8 = (properties.major, properties.minor) >= (8, 9)
    return Card(
        properties.name,
        rate,
        rate * REACHED_FP8 * 2 / REACHED if has_fp8 else 0.0,
        properties.total_memory / 1e9,
        2 * source.numel() / copied / 1e12,
        'measured here; float8 scaled as on an H200',
        measured=True,
    )


def _seconds(work: Any, times: int) -> float:
    """Of one piece of work on the device, warmed up."""
    import torch

    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    work()
    first.record()
    for _ in range(times):
        work()
    last.record()
    torch.cuda.synchronize()
    return float(first.elapsed_time(last)) / 1e3 / times


def _memory_of(name: str) -> float:
    """Of a card that the table knows by a part of its name; 0 for any other."""
    words = name.lower().replace(' ', '-')
    return next((c.memory_gb for c in _CARDS if c.name in words), 0.0)

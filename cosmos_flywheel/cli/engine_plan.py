# SPDX-License-Identifier: Apache-2.0
"""`flywheel engine plan --robot R`: what Cosmos would cost on a card, before one is bought."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cosmos_flywheel.cli.table import table
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.store.robots import load_robot

CAMERA = (720, 1280)
DEFAULT_CHUNK = 16
SIZES = ('nano', 'super', 'edge')


def add_parser(actions: Any, name: str) -> None:
    """Declare the action."""
    parser = actions.add_parser(
        name,
        help='what Cosmos would cost on a card: memory, real-time factor, price',
        description='Predicts from the matrix rate of a card, scaled from what was measured on an '
        'H200. By default the card of this machine is asked.',
    )
    card = parser.add_mutually_exclusive_group()
    card.add_argument('--card', metavar='NAME', help='a card by name, such as rtx-pro-6000')
    card.add_argument(
        '--measured', type=Path, metavar='FILE', help='what `python bench/nano.py` printed on it'
    )
    parser.add_argument('--robot', required=True, help='a shipped robot or a robot file')
    parser.add_argument('--size', choices=SIZES, default='nano', help='of the model')
    parser.add_argument(
        '--camera',
        default=f'{CAMERA[1]}x{CAMERA[0]}',
        metavar='WxH',
        help='of the primary camera (default: %(default)s)',
    )
    parser.add_argument(
        '--price', type=float, metavar='N', help='of the card for an hour, in any currency'
    )
    parser.set_defaults(action=run)


def run(args: argparse.Namespace) -> int:
    """Print every way to ask, and which the model was trained for that keeps up."""
    from cosmos_flywheel.engines.cosmos import cards, plan

    if args.price is not None and args.price < 0:
        raise ConfigError(f'--price {args.price:g}: give 0 or more')
    world = _world(args, load_robot(args.robot), plan)
    measured: dict[str, Any] = {}
    if args.measured:
        card, measured = cards.card_measured(args.measured)
    elif args.card:
        card = cards.card_named(args.card)
    else:
        card = cards.card_here()
    choices = plan.plan(card, plan.SIZES[args.size], world)
    print('\n'.join(_lines(args, card, world, choices, plan)))
    print('\n'.join(_measured(measured)))
    return 0


def _world(args: argparse.Namespace, robot: Robot, plan: Any) -> Any:
    from cosmos_flywheel.engines.cosmos.settings import trained_tier

    sizes = re.fullmatch(r'(\d+)x(\d+)', args.camera)
    if not sizes or '0' in sizes.groups():
        raise ConfigError(f'--camera {args.camera}: give WIDTHxHEIGHT, such as 1280x720')
    wide, high = map(int, sizes.groups())
    if robot.domain is None:
        raise ConfigError(
            f'robot {robot.name}: cosmos.domain is none, Cosmos was trained on no such robot; '
            'name a domain to plan for it'
        )
    if robot.cosmos.view_layout == 'concat_view':
        high += high // 2
    tier = trained_tier(robot.domain.name)
    chunk = robot.cosmos.chunk or DEFAULT_CHUNK
    return plan.World((high, wide), robot.clock.hz, chunk, tier)


def _lines(
    args: argparse.Namespace, card: Any, world: Any, choices: list[Any], plan: Any
) -> Iterator[str]:
    known = 'measured' if card.measured else 'predicted from published rates'
    yield (
        f'{card.name}: {card.bf16_tflops:.0f} TFLOP/s bf16, {card.fp8_tflops:.0f} float8, '
        f'{card.tb_s:.2f} TB/s, {card.memory_gb:.0f} GB ({known}: {card.source})'
    )
    yield f'chunks of {world.chunk} actions at {world.hz:g} Hz, {args.size}'
    yield ''
    yield 'predicted:'
    rows = [
        ('tier', 'steps', 'precision', 'memory', 'chunk', 'latents', 'real time', 'stride',
         *(('a robot-hour',) if args.price is not None else ()), 'trained?'),
    ]  # fmt: skip
    for c in choices:
        cost: tuple[str, ...] = ()
        if args.price is not None:
            cost = (f'{plan.price(c, args.price):.2f}' if c.fits else '-',)
        rows.append(
            (
                str(c.tier),
                str(c.steps),
                c.precision,
                f'{c.memory_gb:.1f} GB' + ('' if c.fits else ', too much'),
                f'{c.chunk_ms:.0f} ms',
                f'{c.latent_ms:.0f} ms',
                f'{c.real_time_factor:.2f}',
                f'{c.stride(world.chunk)}' if c.keeps_up else '-',
                *cost,
                'yes' if c.trained else 'unproved',
            )
        )
    yield from table(rows, right=(0, 1))
    yield ''
    chosen = plan.pick(choices)
    if chosen is None:
        yield (
            'no setting that the model was trained for keeps up here; what keeps up is unproved '
            'until `flywheel fit` measures its skill on your own recordings'
        )
    else:
        asked = {
            'steps': chosen.steps,
            'precision': chosen.precision,
            'chunk': world.chunk,
            'stride': chosen.stride(world.chunk),
        }
        words = ' '.join(f'--set {name}={value}' for name, value in asked.items())
        yield f'take --engine cosmos-{chosen.tier} {words}'


def _measured(document: dict[str, Any]) -> Iterator[str]:
    """What a bench measured on the card, as it did."""
    rows = [('steps', 'chunk p50', 'chunk p99', 'real time p99')]
    for name, row in document.get('figures', {}).items():
        if 'chunk_p99_ms' in row:
            rows.append(
                (
                    name,
                    f'{row["chunk_p50_ms"]:.0f} ms',
                    f'{row["chunk_p99_ms"]:.0f} ms',
                    f'{row["real_time_p99"]:.2f}',
                )
            )
    if len(rows) > 1:
        yield ''
        yield f'measured, {document["bench"]} at tier {document["tier"]}, 16 actions at 15 Hz:'
        yield from table(rows, right=(1, 2, 3))

# SPDX-License-Identifier: Apache-2.0
"""A card's matrix rate → what Cosmos would cost on it, scaled from what was measured on an H200.

A step cannot be faster than its arithmetic at the card's rate, nor than reading its weights once;
the loop reached a measured share of that. In float8 the first and last steps keep 16 bits, for
which the weights are widened each time. The autoencoder is bound by arithmetic and scales with the
rate alone. Figures of another card are predictions, and are called so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.cosmos.canvas import Canvas
from cosmos_flywheel.engines.cosmos.cards import Card
from cosmos_flywheel.engines.cosmos.dims import EXACT_ENDS, EXACT_SHARE, GROUP, Dims
from cosmos_flywheel.engines.cosmos.settings import TIERS

SIZES: Mapping[str, Dims] = {
    'nano': Dims(),
    'super': Dims(layers=64, hidden=5120, heads=64, kv_heads=8, head_dim=128, mlp=25600),
    'edge': Dims(
        layers=28, hidden=2048, heads=16, mlp=9216, gated=False, vocabulary=131072,
        eps=1e-5, rope_base=1e8, text_qk_norm=False, text_k_norm_for_gen=True,
    ),
}  # fmt: skip
"""By name of the base models."""
TEXT = 134
"""Tokens of a caption, as the bench has it."""
STEPS = (30, 10, 4)
PRECISIONS: Mapping[str, int] = {'bf16': 2, 'fp8': 1}
"""Bytes of a weight."""


@dataclass(frozen=True, slots=True)
class Reached:
    """What bench/results/nano_256.txt and nano_480.txt say of one tier on an H200."""

    tflops: float
    """Of bf16 products in the same run."""
    bf16: float
    """Share of the floor's speed that a step reached."""
    fp8: float
    encode_ms: float
    decode_ms: float
    """Of five latent frames of `cells` latent cells."""
    cells: int
    extra_gb: float
    """Peak of memory above the tower's weights, in bf16; more than in float8."""


REACHED: Mapping[int, Reached] = {
    256: Reached(758, 0.695, 0.657, 2.08, 56.0, 12 * 20, 3.3),
    480: Reached(778, 0.805, 0.769, 7.35, 295.6, 30 * 52, 9.3),
}
"""By tier, 30 steps; commit 87d23bf."""


@dataclass(frozen=True, slots=True)
class World:
    """What a robot asks of the model."""

    camera: tuple[int, int]
    """(H, W) in px of what is laid on the canvas."""
    hz: float
    chunk: int
    trained_tier: int

    def __post_init__(self) -> None:
        if self.chunk % GROUP or self.chunk < GROUP or self.hz <= 0:
            raise EngineError(
                f'a chunk of {self.chunk} at {self.hz:g} Hz cannot be planned; give a multiple of '
                f'{GROUP}, and a rate above 0'
            )


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to ask, and what it is predicted to cost."""

    tier: int
    steps: int
    precision: str
    memory_gb: float
    fits: bool
    chunk_ms: float
    latent_ms: float
    """Without decoding: latent mode."""
    real_time_factor: float
    """Time of a chunk over the time that it foretells; below 1 keeps up."""
    trained: bool
    """Whether tier and steps are what the model was trained and evaluated with."""

    @property
    def keeps_up(self) -> bool:
        """Whether chunk after chunk can be foretold as time goes by."""
        return self.fits and self.real_time_factor < 1

    def stride(self, chunk: int) -> int:
        """The least ticks between starts with which it keeps up."""
        return max(1, math.ceil(self.real_time_factor * chunk))


def plan(card: Card, dims: Dims, world: World) -> list[Choice]:
    """Every tier, count of steps and precision on a card, the most faithful first."""
    ways = product(sorted(TIERS, key=lambda t: t != world.trained_tier), STEPS, PRECISIONS)
    return [
        _choice(card, dims, world, tier, steps, precision)
        for tier, steps, precision in ways
        if precision != 'fp8' or card.fp8_tflops
    ]


def pick(choices: list[Choice]) -> Choice | None:
    """The first that keeps up as the model was trained, else None: nothing else is a default."""
    return next((c for c in choices if c.trained and c.keeps_up), None)


def size_of(dims: Dims) -> str:
    """Name of the base model that has these dimensions; `other` if none has."""
    return next((name for name, known in SIZES.items() if known == dims), 'other')


def film_s(dims: Dims, latent: tuple[int, int], ahead: int, actions: int, passes: int) -> float:
    """Seconds that an H200 is expected to work on one pass of the sampler over a film, and decode.

    Args:
        dims: of the model.
        latent: (h, w) latent cells that are shown.
        ahead: pictures after the given one.
        actions: told or proposed.
        passes: through the tower: steps, twice as many with guidance.

    """
    rows, columns = latent
    frames = 1 + ahead // GROUP
    tokens = frames * -(-rows // dims.patch) * -(-columns // dims.patch) + actions
    numbers = sum(map(math.prod, _tower(dims)))
    attend = 4 * dims.layers * dims.heads * dims.head_dim * tokens * (tokens + TEXT)
    known = REACHED[max(REACHED)]
    decode_ms = known.decode_ms * frames / 5 * rows * columns / known.cells
    rate = known.tflops * known.bf16 * 1e12
    return passes * (2 * numbers * tokens + attend) / rate + decode_ms / 1e3


def price(choice: Choice, per_hour: float) -> float:
    """Of watching one robot for an hour, by the share of the card that it keeps busy."""
    return per_hour * min(1.0, choice.real_time_factor)


def _choice(card: Card, dims: Dims, world: World, tier: int, steps: int, precision: str) -> Choice:
    known, canvas = REACHED[tier], Canvas.choose(world.camera, tier)
    rows, columns = canvas.latent
    frames = 1 + world.chunk // GROUP
    tokens = frames * -(-rows // dims.patch) * -(-columns // dims.patch) + world.chunk
    slower = known.tflops / card.bf16_tflops
    area = rows * columns / known.cells
    encode_ms = known.encode_ms * slower * area
    decode_ms = known.decode_ms * slower * area * frames / 5
    weights = sum(map(math.prod, _tower(dims)))
    others = sum(math.prod(s) for n, s in dims.shapes().items() if not n.startswith('layers.'))
    embedding = dims.vocabulary * dims.hidden
    memory_gb = (weights * PRECISIONS[precision] + (others - embedding) * 2) / 1e9
    memory_gb += known.extra_gb
    chunk_ms = encode_ms + _steps_ms(card, dims, tokens, precision, steps, known) + decode_ms
    return Choice(
        tier,
        steps,
        precision,
        memory_gb,
        memory_gb <= card.memory_gb,
        chunk_ms,
        chunk_ms - decode_ms,
        chunk_ms / 1e3 * world.hz / world.chunk,
        tier == world.trained_tier and steps >= STEPS[0],
    )


def _steps_ms(
    card: Card, dims: Dims, tokens: int, precision: str, steps: int, known: Reached
) -> float:
    wide_ms = _floor_ms(card, dims, tokens, 'bf16') / known.bf16
    if precision == 'bf16':
        return steps * wide_ms
    exact = min(steps, 2 * min(EXACT_ENDS, max(1, round(EXACT_SHARE * steps))))
    # Read in one byte, written and read again in two.
    widen_ms = 5 * sum(map(math.prod, _tower(dims))) / card.tb_s / 1e9
    narrow_ms = _floor_ms(card, dims, tokens, precision) / known.fp8
    return (steps - exact) * narrow_ms + exact * (wide_ms + widen_ms)


def _floor_ms(card: Card, dims: Dims, tokens: int, precision: str) -> float:
    """The least milliseconds of a step: arithmetic at the card's rate, or reading once."""
    numbers = sum(map(math.prod, _tower(dims)))
    rate = card.bf16_tflops if precision == 'bf16' else card.fp8_tflops
    attend = 4 * dims.layers * dims.heads * dims.head_dim * tokens * (tokens + TEXT)
    work_s = 2 * numbers * tokens / rate / 1e12 + attend / card.bf16_tflops / 1e12
    read_s = numbers * PRECISIONS[precision] / card.tb_s / 1e12
    return 1e3 * max(work_s, read_s)


def _tower(dims: Dims) -> Iterator[tuple[int, ...]]:
    """Shapes of the generation tower's matrices."""
    parts = ('add_q', 'add_k', 'add_v', 'to_add_out', 'mlp_moe_gen')
    for name, shape in dims.shapes().items():
        if name.startswith('layers.') and any(part in name for part in parts):
            yield shape

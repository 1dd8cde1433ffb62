# SPDX-License-Identifier: Apache-2.0
"""Random numbers to the goods on the racks, as MJCF."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cosmos_flywheel.sim.base_aisle import (
    AISLE_HALF_M,
    LEVELS_M,
    Triple,
    box,
    each_rack,
    rack_span,
)
from cosmos_flywheel.sim.base_texture import CARTON_KINDS

CARDBOARD: tuple[Triple, ...] = (
    (0.80, 0.62, 0.42), (0.72, 0.55, 0.36), (0.86, 0.70, 0.50), (0.66, 0.50, 0.34),
)  # fmt: skip
CARDBOARD_SHARE = 0.68
COLOURED: tuple[Triple, ...] = (
    (0.30, 0.44, 0.66), (0.74, 0.74, 0.72), (0.62, 0.24, 0.20), (0.32, 0.50, 0.36),
)  # fmt: skip
"""The others."""
OTHER_COLOURS: tuple[Triple, ...] = (
    (0.90, 0.45, 0.70), (0.95, 0.80, 0.15), (0.25, 0.75, 0.70), (0.55, 0.30, 0.75),
    (0.20, 0.22, 0.25), (0.95, 0.95, 0.98), (0.95, 0.50, 0.10), (0.45, 0.80, 0.25),
)  # fmt: skip
"""Of goods that no nominal episode has."""

GOOD = 'good_'
"""How the names of all goods begin."""
CLEAR_M = 0.66
"""From shelf to shelf, less what a hand needs."""
EMPTY_SHARE, STACKED_SHARE = 0.06, 0.7


class Good(NamedTuple):
    """One box on a shelf."""

    centre: Triple
    half: Triple
    """Half its edges, in metres."""
    look: str
    """Material and colour."""


def goods_xml(chance: np.random.Generator) -> str:
    """Goods for all racks."""
    goods = [good for number, side in each_rack() for good in _fill(chance, number, side)]
    return ''.join(
        box(good.centre, good.half, f'name="{GOOD}{number}" {good.look}')
        for number, good in enumerate(goods)
    )


def carton_look(chance: np.random.Generator) -> str:
    """A design and a colour as nominal goods have them, as attributes of a geom."""
    colours = CARDBOARD if chance.random() < CARDBOARD_SHARE else COLOURED
    shade = chance.uniform(0.85, 1.1)
    red, green, blue = np.minimum(shade * np.array(colours[chance.integers(len(colours))]), 1)
    design = chance.integers(CARTON_KINDS)
    return f'material="carton{design}" rgba="{red:.3f} {green:.3f} {blue:.3f} 1"'


def _fill(chance: np.random.Generator, number: int, side: int) -> Iterator[Good]:
    """One rack, its shelves from end to end."""
    start, stop = rack_span(number)
    for shelf in LEVELS_M:
        at = start + 0.08
        while (width := float(chance.uniform(0.25, 0.62))) < stop - 0.06 - at:
            if chance.random() > EMPTY_SHARE:
                yield from _stack(chance, (at + width / 2, shelf), width / 2, side)
            at += width + float(chance.uniform(0.015, 0.09))


def _stack(
    chance: np.random.Generator, foot: tuple[float, float], half_width: float, side: int
) -> Iterator[Good]:
    """One box, or two on top of one another, where there is room; `foot` is x and z."""
    x, bottom = foot
    top = bottom + CLEAR_M
    half_depth = float(chance.uniform(0.17, 0.28))
    y = side * (AISLE_HALF_M + float(chance.uniform(0.01, 0.12)) + half_depth)
    for _ in range(2):
        half_height = float(chance.uniform(0.1, 0.25))
        if bottom + 2 * half_height > top:
            return
        half = (half_width, half_depth, half_height)
        yield Good((x, y, bottom + half_height), half, carton_look(chance))
        bottom += 2 * half_height
        if chance.random() > STACKED_SHARE:
            return

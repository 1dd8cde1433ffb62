# SPDX-License-Identifier: Apache-2.0
"""An aisle between empty racks, as MJCF: floor, walls, racks, markings, lamps.

The aisle runs along x with its middle at y = 0. Passages cross it, one at x = 0, the others a
pitch apart. The building is the same for every seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

Triple = tuple[float, float, float]

PITCH_M = 4.5
"""From passage to passage."""
PASSAGE_M = 1.7
AISLE_HALF_M = 1.3
RACK_DEPTH_M = 0.75
LANE_M = 4.4
"""Where the wall behind the lane behind the racks stands."""
FIRST_RACK, LAST_RACK = -2, 3
"""Rack n stands before passage n."""
NEAR_END_M, FAR_END_M = -10.0, 15.5
CEILING_M = 5.0

LEVELS_M = (0.12, 0.95, 1.78)
"""Upper sides of the shelves."""

RACK_COLOUR_RGBA = '.16 .3 .55 1'

STATIC = 'contype="0" conaffinity="0"'
"""Of what is seen but not touched."""


def rack_span(number: int) -> tuple[float, float]:
    """From where to where, along x, the racks before passage `number` stand."""
    stop = number * PITCH_M - PASSAGE_M / 2
    return stop - (PITCH_M - PASSAGE_M), stop


def aisle_xml() -> str:
    """Geoms of the world body; the racks are empty."""
    racks = [geom for number, side in each_rack() for geom in _rack(number, side)]
    return ''.join([*_building(), *_markings(), *racks])


def each_rack() -> Iterator[tuple[int, int]]:
    """Number and side, +1 to the left, of every rack."""
    return product(range(FIRST_RACK, LAST_RACK + 1), (-1, 1))


def box(centre: Triple, half: Triple, look: str, touch: str = STATIC) -> str:
    """A box geom, as MJCF: `look` names its material or colour; `touch` what it collides with."""
    return f'<geom type="box" pos="{_numbers(centre)}" size="{_numbers(half)}" {look} {touch}/>'


def _numbers(values: Triple) -> str:
    return ' '.join(f'{value:.4f}' for value in values)


def _rack(number: int, side: int) -> Iterator[str]:
    """Uprights, shelves, a dark back, and one box that can be bumped into."""
    start, stop = rack_span(number)
    middle, half = (start + stop) / 2, (stop - start) / 2
    front, back = side * AISLE_HALF_M, side * (AISLE_HALF_M + RACK_DEPTH_M)
    for x in (start + 0.04, stop - 0.04):
        for y in (front - side * 0.03, back):
            yield box((x, y, 1.35), (0.04, 0.035, 1.35), 'material="upright"')
    for shelf in LEVELS_M:
        y = (front + back) / 2
        yield box((middle, y, shelf - 0.025), (half, RACK_DEPTH_M / 2, 0.025), 'material="board"')
        beam = (middle, front - side * 0.012, shelf - 0.05)
        yield box(beam, (half, 0.015, 0.05), 'material="beam"')
    yield box((middle, back, 1.35), (half, 0.01, 1.3), 'material="back"')
    # The floor under a rack is dark: there are no shadows to make it so.
    yield box(
        (middle, (front + back) / 2, 0.004), (half, RACK_DEPTH_M / 2, 0.002), 'rgba=".1 .1 .1 1"'
    )
    body = (middle, (front + back) / 2, 0.6)
    yield box(body, (half, RACK_DEPTH_M / 2, 0.6), 'rgba="0 0 0 0"', 'contype="1" conaffinity="1"')


def _building() -> Iterator[str]:
    middle, half = (NEAR_END_M + FAR_END_M) / 2, (FAR_END_M - NEAR_END_M) / 2
    yield (
        f'<geom name="floor" type="plane" pos="{middle} 0 0" size="{half} {LANE_M} 1" '
        'material="floor" contype="3" conaffinity="3" friction="1 0.005 0.0001"/>'
    )
    for side in (-1, 1):
        yield box((middle, side * LANE_M, 2.5), (half, 0.05, 2.5), 'material="wall"')
        yield box((middle, side * LANE_M, 0.45), (half, 0.07, 0.45), 'rgba=".36 .42 .47 1"')
        for x in np.arange(NEAR_END_M + 1.4, FAR_END_M, PITCH_M / 2):
            pillar = (float(x), side * (LANE_M - 0.06), 2.5)
            yield box(pillar, (0.11, 0.08, 2.5), 'material="steel"')
            yield box(
                (float(x), side * (LANE_M - 0.145), 0.55), (0.11, 0.006, 0.55), 'material="yellow"'
            )
            sign = (float(x) + 1.0, side * (LANE_M - 0.06), 1.55)
            yield box(sign, (0.3, 0.01, 0.22), 'material="carton4" rgba=".5 .7 .55 1"')
    for x in (NEAR_END_M, FAR_END_M):
        yield box((x, 0, 2.5), (0.05, LANE_M, 2.5), 'material="wall"')
        yield box((x, 0, 1.4), (0.09, 1.2, 1.4), 'material="shutter"')
    yield box((middle, 0, CEILING_M), (half, LANE_M, 0.05), 'rgba=".33 .34 .36 1"')
    for x in np.arange(NEAR_END_M + 1, FAR_END_M, 2.25):
        yield box((x, 0, CEILING_M - 0.25), (0.08, LANE_M, 0.14), 'rgba=".24 .25 .28 1"')
        lamp = (x + 1.1, 0.0, CEILING_M - 0.5)
        yield box(lamp, (0.65, 0.12, 0.03), 'material="lamp"')


def _markings() -> Iterator[str]:
    """Paint on the floor: lines along the racks, bars where passages are, dashes between."""
    flat = 0.003
    middle, half = (NEAR_END_M + FAR_END_M) / 2, (FAR_END_M - NEAR_END_M) / 2
    for side in (-1, 1):
        line = (middle, side * (AISLE_HALF_M - 0.14), 0.0)
        yield box(line, (half, 0.04, flat), 'material="yellow"')
    for number in range(FIRST_RACK, LAST_RACK + 1):
        x = number * PITCH_M
        for edge in (x - PASSAGE_M / 2, x + PASSAGE_M / 2):
            yield box((edge, 0, 0), (0.045, AISLE_HALF_M - 0.3, flat), 'material="white"')
        for dash in range(4):
            at = x + PASSAGE_M / 2 + 0.4 + 0.72 * dash
            yield box((at, 0, 0), (0.18, 0.03, flat), 'material="white"')
        for side in (-1, 1):
            for bar in range(3):
                before = (x - PASSAGE_M / 2 - 0.25 - 0.16 * bar, side * 0.85, 0.0)
                yield box(before, (0.035, 0.13, flat), 'material="white"')

# SPDX-License-Identifier: Apache-2.0
"""Random numbers to the textures of a warehouse, as PNG files in memory.

A moving camera sees its motion by texture only, so that no large surface is of one colour.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

FLOOR_PX, SIDE_PX = 512, 128
CARTON_KINDS = 5
"""Designs of cartons: textures `carton0` … `carton4`."""


def make_textures(chance: np.random.Generator) -> Mapping[str, bytes]:
    """PNG files by name: floor, wall, wood, steel, shutter, and every kind of carton."""
    drawn = {
        'floor': _floor(chance),
        'wall': _wall(chance),
        'wood': _wood(chance),
        'steel': _flecked(chance, (150, 152, 155), 6.0),
        'shutter': _shutter(chance),
    }
    drawn |= {f'carton{kind}': _carton(chance, kind) for kind in range(CARTON_KINDS)}
    return {name: _png(picture) for name, picture in drawn.items()}


def _png(picture: Floats) -> bytes:
    pixels = np.clip(picture, 0, 255).astype(np.uint8)
    return bytes(cv2.imencode('.png', pixels[:, :, ::-1])[1])


def _clouds(chance: np.random.Generator, side_px: int, cells: int) -> Floats:
    """Smooth noise of about ±1 that repeats without a seam: (side, side, 1)."""
    coarse = np.pad(chance.normal(size=(cells, cells)), 4, mode='wrap').astype(np.float32)
    scale = side_px // cells
    smooth = cv2.resize(coarse, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    edge = 4 * scale
    inner = smooth[edge : edge + side_px, edge : edge + side_px, None]
    return np.asarray(inner, np.float32)


def _flecked(chance: np.random.Generator, colour: tuple[int, int, int], sigma: float) -> Floats:
    grain = chance.normal(scale=sigma, size=(SIDE_PX, SIDE_PX, 1))
    stains = sigma * _clouds(chance, SIDE_PX, 8)
    return np.asarray(np.array(colour) + grain + stains, np.float32)


def _floor(chance: np.random.Generator) -> Floats:
    """Worn concrete: stains of three sizes, specks, joints between slabs, tyre marks."""
    size = FLOOR_PX
    picture = np.full((size, size, 3), (132, 130, 126), np.float32)
    for cells, depth in ((4, 6.0), (16, 9.0), (64, 10.0), (128, 8.0)):
        picture += depth * _clouds(chance, size, cells)
    picture += chance.normal(scale=5.0, size=(size, size, 1))
    for _ in range(60):
        centre = tuple(int(c) for c in chance.integers(0, size, 2))
        shade = float(chance.uniform(-45, 30))
        _blot(picture, centre, int(chance.integers(2, 7)), shade)
    for _ in range(5):
        _tyre_mark(picture, chance)
    for at in (0, size // 2):
        picture[at : at + 3] -= 38
        picture[:, at : at + 3] -= 38
    return picture


def _blot(picture: Floats, centre: tuple[int, ...], radius_px: int, shade: float) -> None:
    mask = np.zeros(picture.shape[:2], np.float32)
    cv2.circle(mask, (centre[0], centre[1]), radius_px, 1.0, -1, cv2.LINE_AA)
    picture += shade * cv2.GaussianBlur(mask, (5, 5), 0)[..., None]


def _tyre_mark(picture: Floats, chance: np.random.Generator) -> None:
    size = picture.shape[0]
    along = np.linspace(0, size, 40)
    bend = chance.uniform(10, 40) * np.sin(2 * np.pi * along / size + chance.uniform(0, 6))
    points = np.stack([along, chance.uniform(0, size) + bend], axis=-1).astype(np.int32)
    mask = np.zeros(picture.shape[:2], np.float32)
    cv2.polylines(mask, [points], False, 1.0, int(chance.integers(4, 9)), cv2.LINE_AA)
    picture -= chance.uniform(10, 24) * cv2.GaussianBlur(mask, (7, 7), 0)[..., None]


def _wall(chance: np.random.Generator) -> Floats:
    """Sheet metal with ribs."""
    picture = _flecked(chance, (176, 180, 184), 4.0)
    ribs = 14 * np.sin(2 * np.pi * np.arange(SIDE_PX) / 16)
    return np.asarray(picture + ribs[None, :, None], np.float32)


def _shutter(chance: np.random.Generator) -> Floats:
    """A roller door: slats one above the other."""
    picture = _flecked(chance, (84, 112, 148), 4.0)
    slats = np.where(np.arange(SIDE_PX) % 16 < 2, -40, 6)
    return np.asarray(picture + slats[:, None, None], np.float32)


def _wood(chance: np.random.Generator) -> Floats:
    picture = _flecked(chance, (178, 138, 92), 7.0)
    grain = cv2.GaussianBlur(chance.normal(size=(SIDE_PX, SIDE_PX)).astype(np.float32), (0, 0), 1)
    streaks = cv2.blur(grain, (SIDE_PX // 2, 1)) * 90
    return np.asarray(picture + streaks[..., None], np.float32)


def _carton(chance: np.random.Generator, kind: int) -> Floats:
    """Light cardboard, tinted by the geom's colour; with tape, a label, arrows or stripes."""
    picture = _flecked(chance, (225, 225, 225), 5.0)
    side = SIDE_PX
    edge = cv2.rectangle(np.zeros((side, side), np.float32), (0, 0), (side - 1, side - 1), 1.0, 5)
    picture -= 55 * edge[..., None]
    if kind in (0, 1, 3):
        cv2.rectangle(picture, (side // 2 - 9, 0), (side // 2 + 9, side), (196, 192, 178), -1)
    if kind in (0, 2):
        _label(picture, chance, (int(chance.integers(10, 60)), int(chance.integers(60, 84))))
    if kind == 1:
        for x in (22, 92):
            cv2.arrowedLine(picture, (x, 108), (x, 66), (70, 70, 70), 5, cv2.LINE_AA, 0, 0.4)
    if kind == 3:
        picture[44:66] -= (10, 90, 120)
    if kind == 4:
        for y in range(14, side, 22):
            cv2.rectangle(picture, (10, y), (side - 10, y + 8), (150, 150, 160), -1)
    return picture


def _label(picture: Floats, chance: np.random.Generator, corner: tuple[int, int]) -> None:
    """A white sheet with bars of a code."""
    x, y = corner
    cv2.rectangle(picture, (x, y), (x + 46, y + 34), (252, 252, 252), -1)
    at = x + 4
    while at < x + 40:
        width = int(chance.integers(1, 4))
        cv2.rectangle(picture, (at, y + 5), (at + width, y + 22), (30, 30, 30), -1)
        at += width + int(chance.integers(2, 4))

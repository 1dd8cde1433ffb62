# SPDX-License-Identifier: Apache-2.0
"""A setup to how the arm's table and light look: a little different for every seed."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from cosmos_flywheel.sim.camera import SETTLE_S
from cosmos_flywheel.sim.world import Numbers, Setup, Span

MOST_LIGHT = 0.3
MOST_STRIPES = 60.0
PLANK_PX, RINGS = 32, 9.0
"""Width of a plank on the texture of a wooden top, and how far its rings stand out, of 255."""

_TOPS = {'': (184, 160, 122), 'wood': (150, 104, 62), 'steel': (150, 154, 160)}
"""Colour of the table top by what it is made of."""


class Look:
    """Paints a model when it is new, and changes its light while an episode runs."""

    def __init__(self, model: Any, setup: Setup, span: Span | None) -> None:
        self._model, self._setup, self._span = model, setup, span
        chance = setup.chance('look')
        self._brightness = setup.change.light * (1 + 0.02 * chance.standard_normal())
        self._brighter = setup.chance('light').choice((-1, 1))
        model.light_pos[:] += chance.uniform(-0.05, 0.05, model.light_pos.shape)
        model.light_dir[:] += chance.uniform(-0.03, 0.03, model.light_dir.shape)
        self._lamp = model.light_diffuse.copy()
        self._ambient = model.vis.headlight.ambient.copy()
        self._paint_table()

    def change(self, at_s: float) -> None:
        """Set the light of this instant."""
        gain = self._brightness
        if self._span is not None and self._setup.has('light'):
            share = self._span.share(at_s, SETTLE_S)
            gain *= 1 + self._brighter * MOST_LIGHT * self._setup.strength * share
        self._model.light_diffuse[:] = gain * self._lamp
        self._model.vis.headlight.ambient[:] = gain * self._ambient

    def _paint_table(self) -> None:
        model, chance = self._model, self._setup.chance('table')
        texture = model.texture('table').id
        shape = int(model.tex_height[texture]), int(model.tex_width[texture]), 3
        start = int(model.tex_adr[texture])
        material = self._setup.change.material
        colour = np.asarray(_TOPS[material]) + 2 * chance.standard_normal(3)
        clouds = chance.normal(0, 5, (9, 9))
        grain: Numbers = np.asarray(
            cv2.resize(clouds, shape[1::-1], interpolation=cv2.INTER_CUBIC), np.float64
        )
        grain += chance.normal(0, 3, shape[:2])
        stripes = self._setup.strength if self._setup.has('texture') else 0.0
        if stripes := max(stripes, self._setup.change.surface):
            waves = np.sin(np.arange(shape[1]) * 2 * np.pi / 32 + chance.uniform(0, 6))
            grain += stripes * MOST_STRIPES * 0.5 * np.sign(waves)
        if material == 'wood':  # planks of their own shade, with rings that wind along them
            row, column = np.mgrid[: shape[0], : shape[1]]
            shades = chance.normal(0, 14, shape[0] // PLANK_PX)[row // PLANK_PX]
            seams = -40.0 * (row % PLANK_PX < 2)
            grain += (
                shades + seams + RINGS * np.sin(row + 4 * np.sin(column / 40 + row // PLANK_PX))
            )
        elif material == 'steel':  # brushed along one side
            grain = 0.2 * grain + chance.normal(0, 7, (shape[0], 1))
        pixels = np.clip(colour + grain[..., None], 0, 255).astype(np.uint8)
        model.tex_data[start : start + pixels.size] = pixels.ravel()

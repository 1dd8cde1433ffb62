# SPDX-License-Identifier: Apache-2.0
"""How the aisle is lit and what stands in the racks, where that is not as usual."""

from __future__ import annotations

from typing import Any

import numpy as np

from cosmos_flywheel.sim.base_goods import GOOD, OTHER_COLOURS
from cosmos_flywheel.sim.base_texture import CARTON_KINDS
from cosmos_flywheel.sim.camera import SETTLE_S
from cosmos_flywheel.sim.world import Setup, Span

MOST_LIGHT = 0.35


class Look:
    """Fills the racks of a new model, and changes its light while an episode runs."""

    def __init__(self, model: Any, setup: Setup, span: Span | None) -> None:
        self._model, self._setup, self._span = model, setup, span
        self._brighter = int(setup.chance('lamps').choice((-1, 1)))
        self._lamps = model.light_diffuse.copy()
        self._ambient = model.vis.headlight.ambient.copy()
        self._headlight = model.vis.headlight.diffuse.copy()
        others = setup.strength if setup.has('other_goods') else 0.0
        if others := max(others, setup.change.surface):
            self._change_goods(setup.chance('other goods'), others)

    def change(self, at_s: float) -> None:
        """Set the light of this instant, in seconds from the start."""
        gain = self._setup.change.light
        if self._span is not None and self._setup.has('light'):
            share = self._setup.strength * self._span.share(at_s, SETTLE_S)
            gain *= 1 + self._brighter * MOST_LIGHT * share
        self._model.light_diffuse[:] = gain * self._lamps
        self._model.vis.headlight.ambient[:] = gain * self._ambient
        self._model.vis.headlight.diffuse[:] = gain * self._headlight

    def _change_goods(self, chance: np.random.Generator, strength: float) -> None:
        """Other colours, prints and depths; a stronger change keeps those of a weaker one."""
        model = self._model
        designs = [model.material(f'carton{kind}').id for kind in range(CARTON_KINDS)]
        for geom in range(model.ngeom):
            if not model.geom(geom).name.startswith(GOOD):
                continue
            luck, inset = chance.uniform(size=2)
            colour = int(chance.integers(len(OTHER_COLOURS)))
            design = int(chance.integers(CARTON_KINDS))
            if luck < 0.05 + 0.95 * strength:
                model.geom_rgba[geom, :3] = OTHER_COLOURS[colour]
                model.geom_matid[geom] = designs[design]
                model.geom_pos[geom, 1] += 0.12 * inset * np.sign(model.geom_pos[geom, 1])

# SPDX-License-Identifier: Apache-2.0
"""The generators that need nothing but an order, by name, and who of some makes a variation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.settings import nearest
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.generate.augment import Augment
from cosmos_flywheel.generate.base import Generator
from cosmos_flywheel.generate.plan import make_plan
from cosmos_flywheel.generate.sim import Simulator

BACKENDS: Mapping[str, Callable[[], Generator]] = {'augment': Augment, 'sim': Simulator}


def find_backend(name: str) -> Generator:
    """The generator of that name.

    Raises:
        ConfigError: there is none.

    """
    if name == 'local':
        raise ConfigError('generator local needs an engine: give --model, see flywheel fit')
    if name not in BACKENDS:
        raise ConfigError(f'no generator {name!r}; {nearest(name, BACKENDS)}')
    return BACKENDS[name]()


def usual_backend(brief: Brief) -> Generator:
    """Exact physics where the robot has a twin that can fail so, else the recorded clip anew."""
    simulator = Simulator()
    if make_plan(brief, simulator, 1).orders:
        return simulator
    return Augment()


def makers(
    generators: Sequence[Generator], brief: Brief, variation: Variation
) -> tuple[tuple[str, ...], str]:
    """Names of those that make a variation of a brief, and, where none does, why."""
    told = {one.name: one.refusal(brief, variation) for one in generators}
    names = tuple(name for name, why in told.items() if not why)
    return names, '' if names else '; '.join(f'{name} {why}' for name, why in told.items())

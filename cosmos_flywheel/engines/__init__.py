# SPDX-License-Identifier: Apache-2.0
"""World models behind one interface; `make_engine` makes one by name."""

from __future__ import annotations

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.settings import nearest
from cosmos_flywheel.engines.base import EngineSpec, WorldModel
from cosmos_flywheel.engines.flow import Flow
from cosmos_flywheel.engines.local import Local, LocalModel
from cosmos_flywheel.engines.persistence import Persistence

__all__ = [
    'ENGINES',
    'LEVELS',
    'EngineSpec',
    'Flow',
    'Local',
    'LocalModel',
    'WorldModel',
    'make_engine',
]

ENGINES: dict[str, type[Persistence]] = {'persistence': Persistence, 'flow': Flow}
"""By level name, those that need no weights."""
LEVELS = (Local.level, *ENGINES)
"""Every engine that runs on a CPU, the best first."""


def make_engine(level: str, size: tuple[int, int], horizon: int = 2) -> WorldModel:
    """The named engine for pictures of this (H, W).

    Raises:
        EngineError: there is no engine of that name.

    """
    if level == Local.level:
        raise EngineError(
            'engine local must be fitted first: `flywheel fit NOMINAL_BAGS --robot R -o model`, '
            'then give --model'
        )
    if level not in ENGINES:
        raise EngineError(f'unknown engine {level!r}; {nearest(level, ENGINES)}')
    return ENGINES[level](size, horizon)

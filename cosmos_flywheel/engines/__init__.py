# SPDX-License-Identifier: Apache-2.0
"""World models behind one interface; `make_engine` makes one by name."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.settings import nearest
from cosmos_flywheel.core.types import Picture, Prediction
from cosmos_flywheel.engines.base import ActingModel, EngineSpec, WorldModel
from cosmos_flywheel.engines.cosmos.causal.settings import LEVEL
from cosmos_flywheel.engines.cosmos.model import CosmosModel
from cosmos_flywheel.engines.cosmos.session import Cosmos
from cosmos_flywheel.engines.cosmos.settings import TIERS, CosmosSettings
from cosmos_flywheel.engines.flow import Flow
from cosmos_flywheel.engines.local import Local, LocalModel
from cosmos_flywheel.engines.persistence import Persistence
from cosmos_flywheel.engines.picture import exposure_residual, tolerant_residual

__all__ = [
    'COSMOS_LEVELS',
    'ENGINES',
    'LEVELS',
    'REMOTE_LEVELS',
    'STREAM_LEVEL',
    'ActingModel',
    'Cosmos',
    'CosmosModel',
    'CosmosSettings',
    'EngineSpec',
    'Flow',
    'Local',
    'LocalModel',
    'WorldModel',
    'acting',
    'make_engine',
    'residual_of',
]

ENGINES: dict[str, type[Persistence]] = {'persistence': Persistence, 'flow': Flow}
"""By level name, those that need no weights."""
LEVELS = (Local.level, *ENGINES)
"""Every engine that runs on a CPU, the best first."""
STREAM_LEVEL = LEVEL
"""The causal checkpoint, at whatever tier."""
COSMOS_LEVELS = {**{f'cosmos-{tier}': tier for tier in TIERS}, STREAM_LEVEL: max(TIERS)}
REMOTE_LEVELS = {f'remote-{tier}': tier for tier in TIERS}
"""Resolution tier by level: Cosmos here, and at a server."""


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
    if level in COSMOS_LEVELS:
        raise EngineError(
            f'engine {level} must be fitted first: `flywheel fit NOMINAL_BAGS --robot R --engine '
            f'{level} --checkpoint DIR -o model`, then give --model'
        )
    if level in REMOTE_LEVELS:
        raise EngineError(
            f'engine {level} must be fitted first: `flywheel fit NOMINAL_BAGS --robot R --engine '
            f'{level} --endpoint URL -o model`, then give --model'
        )
    if level not in ENGINES:
        raise EngineError(f'unknown engine {level!r}; {nearest(level, ENGINES)}')
    return ENGINES[level](size, horizon)


def acting(engine: WorldModel, mode: str) -> ActingModel:
    """The same session, seen to answer a mode other than forward dynamics.

    Raises:
        EngineError: it does not.

    """
    if mode not in engine.spec.modes:
        raise EngineError(
            f'engine {engine.spec.level} does no {mode}, only {", ".join(engine.spec.modes)}; '
            'take a level of Cosmos, fitted for a domain whose actions have a fixed width'
        )
    return cast(ActingModel, engine)


def residual_of(prediction: Prediction, actual: Picture) -> NDArray[np.float32] | None:
    """Where a prediction's last frame and an actual picture of any size part, without the engine.

    As the engine of that level compares them, but for how the picture is brought to the frame's
    size; (H, W) of the frame, None for a prediction without one.
    """
    if prediction.frames is None:
        return None
    frame = prediction.frames[-1]
    height, width = frame.shape[:2]
    seen = np.asarray(cv2.resize(actual, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    if prediction.unsure is None:
        return exposure_residual(frame, seen)
    return tolerant_residual(frame, seen, prediction.unsure[-1])

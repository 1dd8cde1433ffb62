# SPDX-License-Identifier: Apache-2.0
"""Cosmos' steps through engines: a model folder's settings → a tower that an executor computes.

Text and autoencoder stay with torch here; the tower is where the time goes.
"""

from __future__ import annotations

import time

import torch

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.cosmos.checkpoint import Checkpoint
from cosmos_flywheel.engines.cosmos.loop import Loop
from cosmos_flywheel.engines.cosmos.model import CosmosModel
from cosmos_flywheel.engines.cosmos.sums import cache_folder
from cosmos_flywheel.engines.tensorrt.build import find, key_of
from cosmos_flywheel.engines.tensorrt.card import present_card
from cosmos_flywheel.engines.tensorrt.door import Door
from cosmos_flywheel.engines.tensorrt.engine_executor import EngineExecutor, Place
from cosmos_flywheel.engines.tensorrt.executor import Executor
from cosmos_flywheel.engines.tensorrt.runtime import EngineTower
from cosmos_flywheel.engines.tensorrt.setting import Setting
from cosmos_flywheel.engines.tensorrt.shelf import Shelf
from cosmos_flywheel.engines.tensorrt.units import Units

PRECISIONS = {'bf16': 'bfloat16', 'fp32': 'float32'}
"""Cosmos' words → torch's; float8 engines do not exist."""


class EngineSteps:
    """Walks a begun loop whose tower an executor computes.

    Args:
        loop: begun.
        executor: of its tower.
        duty: share of the time that steps may keep the GPU busy, above 0, at most 1.

    """

    def __init__(self, loop: Loop, executor: Executor, duty: float = 1.0) -> None:
        self._loop, self._executor, self._duty = loop, executor, duty

    def run(self) -> None:
        """All steps, after what torch has queued on its own stream, and waited for."""
        if torch.cuda.is_available():
            torch.cuda.current_stream().synchronize()
        for _ in range(self._loop.schedule.steps):
            begun_s = time.perf_counter()
            with self._executor.working():
                self._loop.step()
            if self._duty < 1:
                self._executor.wait()
                time.sleep((time.perf_counter() - begun_s) * (1 / self._duty - 1))
        self._executor.wait()


def steps_of(loop: Loop, duty: float) -> EngineSteps:
    """Steps of a loop whose tower `engine_tower` made."""
    tower = loop.generation
    assert isinstance(tower, EngineTower)
    return EngineSteps(loop, tower.executor, duty)


def setting_of(model: CosmosModel, group: int) -> Setting:
    """What a model folder asks of engines with so many layers each.

    Raises:
        EngineError: its text has no fixed length, or its precision no engines.

    """
    settings, canvas = model.settings, model.view.canvas
    if not settings.bucket:
        raise EngineError(
            'engines of TensorRT take texts of one length; fit with bucket=192, or whatever the '
            'caption needs'
        )
    if settings.precision not in PRECISIONS:
        raise EngineError(
            f'there are no engines of precision {settings.precision}; take bf16, or back_end=cuda'
        )
    precision = PRECISIONS[settings.precision]
    return Setting(canvas.size, canvas.latent, settings.chunk, settings.bucket, group, precision)


def engine_tower(
    model: CosmosModel, door: Door | None = None, card: Place | None = None
) -> EngineTower:
    """The tower of a model folder, its engines on the card.

    Args:
        model: names checkpoint and sizes.
        door: the library; by default the first that is there.
        card: by default the present GPU, which is then this process' own.

    Raises:
        EngineError: library, card or engines are missing, or they do not fit one another.

    """
    setting_of(model, 1)
    door = door or Door.open()
    card = card or present_card()
    shelf = Shelf(cache_folder() / 'engines')
    units = _stocked(model, door, card.architecture, shelf)
    steps = [name for name in units.names if name.startswith('step')]
    executor = EngineExecutor(door, card, find(units, door, card.architecture, shelf, steps))
    for name in steps:
        executor.load(name)
    return EngineTower.open(units, executor)


def _stocked(model: CosmosModel, door: Door, architecture: str, shelf: Shelf) -> Units:
    """Units in groups as large as those that were built."""
    checkpoint = Checkpoint(model.checkpoint, model.commit)
    for group in range(checkpoint.dims.layers, 0, -1):
        units = Units(checkpoint, setting_of(model, group))
        if shelf.holds(key_of(units, 'step_0', door, architecture)):
            return units
    return Units(checkpoint, setting_of(model, 1))

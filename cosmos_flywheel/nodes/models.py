# SPDX-License-Identifier: Apache-2.0
"""Words of a parameter → the judges of the deadline ladder, the best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cosmos_flywheel.capture.model import CALIBRATION, Judge, load_judge
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError, EngineError
from cosmos_flywheel.core.settings import nearest
from cosmos_flywheel.engines import ENGINES
from cosmos_flywheel.engines.card import cards_here
from cosmos_flywheel.nodes.parameters import Parameter
from cosmos_flywheel.store.robots import load_robot

ROBOT = Parameter('robot', '', 'robot file, or the name of one that is shipped')
MODELS = Parameter(
    'models',
    (),
    'the deadline ladder, the best first: folders that `flywheel fit` made, or names of engines '
    'that need no weights; only those with a folder may alarm',
)
GPU_DUTY = Parameter(
    'gpu_duty',
    0.0,
    'share of the time that steps of engine cosmos may keep the GPU busy; 0 as it was fitted',
    least=0.0,
    most=1.0,
)
GPU_MEMORY_GB = Parameter(
    'gpu_memory_gb',
    0.0,
    "most of the GPU's memory that engine cosmos may take; 0 as it was fitted",
    'GB',
    0.0,
    1000.0,
)


def load_given_robot(given: str) -> Robot:
    """The robot of parameter `robot`; raises ConfigError where none was given."""
    if not given:
        raise ConfigError('parameter robot is not set; give a robot file, or the name of one')
    return load_robot(given)


def load_models(given: Sequence[str], robot: Robot) -> dict[str, Judge]:
    """By level, in the order given; without any, engine `flow`.

    Raises:
        ConfigError: a folder holds no model, or one of another robot, or two entries are of the
            same level.

    """
    judges: dict[str, Judge] = {}
    for entry in given or ('flow',):
        judge = _judge(entry)
        judge.check_robot(robot)
        if judge.level in judges:
            raise ConfigError(f'parameter models: {entry} is a second {judge.level!r}; leave one')
        judges[judge.level] = judge
    return judges


def refusals(judges: Mapping[str, Judge]) -> dict[str, str]:
    """By level, why its predictions may not alarm on this machine; others are left out."""
    cards = cards_here()
    found = {level: judge.refused(cards) for level, judge in judges.items()}
    return {level: why for level, why in found.items() if why}


def prepare(
    judges: Mapping[str, Judge], duty: float, memory_gb: float
) -> tuple[dict[str, Judge], dict[str, str]]:
    """The levels that can run here, what they need loaded, and why others cannot, by level.

    Args:
        judges: by level, the best first.
        duty: of parameter gpu_duty.
        memory_gb: of parameter gpu_memory_gb.

    Raises:
        EngineError: none can.

    """
    changed = {k: v for k, v in (('duty', duty), ('memory_gb', memory_gb)) if v}
    ready: dict[str, Judge] = {}
    left_out: dict[str, str] = {}
    for level, judge in judges.items():
        asked = judge if judge.cosmos is None else judge.with_cosmos(**changed)
        try:
            asked.prepare()
        except EngineError as error:
            left_out[level] = str(error)
        else:
            ready[level] = asked
    if not ready:
        raise EngineError('; '.join(left_out.values()))
    return ready, left_out


def _judge(entry: str) -> Judge:
    folder = Path(entry)
    if (folder / CALIBRATION).is_file() or '/' in entry:
        return load_judge(folder)
    if entry not in ENGINES:
        raise ConfigError(
            f'parameter models: {entry!r} is neither a folder with a model nor an engine; '
            f'{nearest(entry, ENGINES)}'
        )
    return Judge(entry)

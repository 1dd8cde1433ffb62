# SPDX-License-Identifier: Apache-2.0
"""Names of simulated robots to robots that fail at will, for labelled recordings.

Nothing here imports MuJoCo before an episode starts, so that names can be listed without it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import cast

from cosmos_flywheel.core.errors import SimError
from cosmos_flywheel.core.settings import nearest
from cosmos_flywheel.sim.world import Robot

ROBOTS: Mapping[str, str] = {
    'arm': 'cosmos_flywheel.sim.arm',
    'base': 'cosmos_flywheel.sim.base',
}
"""By name, the module that offers the robot as `ROBOT`; imported when it is asked for."""


def find_robot(name: str) -> Robot:
    """The robot of that name; raises SimError naming the nearest one when there is none."""
    if name not in ROBOTS:
        raise SimError(f'robot {name!r} is not simulated here; {nearest(name, ROBOTS)}')
    return cast('Robot', importlib.import_module(ROBOTS[name]).ROBOT)

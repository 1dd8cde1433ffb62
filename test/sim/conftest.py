# SPDX-License-Identifier: Apache-2.0
"""Skips, said aloud, where MuJoCo is not installed or nothing can be rendered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from sim_help import SCENE

from cosmos_flywheel.core.errors import SimError
from cosmos_flywheel.sim.render import Eye, load_mujoco


@pytest.fixture(scope='session')
def mujoco(need: Callable[[str, str], NoReturn]) -> Any:
    """The simulator."""
    try:
        return load_mujoco()
    except SimError as error:
        need('render', str(error))


@pytest.fixture(scope='session')
def rendering(mujoco: Any, need: Callable[[str, str], NoReturn]) -> Any:
    """The simulator, where it can render too."""
    try:
        Eye(mujoco.MjModel.from_xml_string(SCENE), 'above').close()
    except SimError as error:
        need('render', str(error))
    return mujoco

# SPDX-License-Identifier: Apache-2.0
"""Skips, said aloud, where the simulator cannot render."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import NoReturn

import pytest

from cosmos_flywheel.core.errors import SimError
from cosmos_flywheel.sim import find_robot
from cosmos_flywheel.sim.world import Setup


@pytest.fixture(scope='session')
def rendering(need: Callable[[str, str], NoReturn]) -> None:
    """Where a test needs pictures of the simulator."""
    try:
        with closing(find_robot('arm').start(Setup('push', 0))) as world:
            world.picture()
    except SimError as error:
        need('render', str(error))

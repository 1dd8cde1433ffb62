# SPDX-License-Identifier: Apache-2.0
"""Skips, said aloud, where the simulator cannot render; orders that a fitted engine can make."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import pytest
from nominal_episode import nominal_orders

from cosmos_flywheel.bags.source import find_bags
from cosmos_flywheel.core.errors import SimError
from cosmos_flywheel.generate.base import Order
from cosmos_flywheel.generate.local import LocalRollout
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


@pytest.fixture(scope='session')
def bags(root: Path) -> list[Path]:
    """A few nominal recordings of the demo."""
    return find_bags([root / 'demo' / 'bags' / 'mujoco_push_faults' / 'nominal'])[:4]


@pytest.fixture(scope='session')
def local(root: Path) -> LocalRollout:
    """The engine that was fitted to them."""
    return LocalRollout(root / 'demo' / 'model')


@pytest.fixture(scope='session')
def order(bags: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Order]:
    """Orders of an episode that is a nominal recording: commands and envelope are known."""
    return nominal_orders(bags, tmp_path_factory.mktemp('out'))

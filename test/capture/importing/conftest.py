# SPDX-License-Identifier: Apache-2.0
"""What the tests of importing share."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import NoReturn

import pytest


@pytest.fixture
def pyarrow(need: Callable[[str, str], NoReturn]) -> None:
    """Skip where the tables of LeRobot data sets cannot be read."""
    if importlib.util.find_spec('pyarrow') is None:
        need('lerobot', 'pyarrow is not installed: `make learn`')

# SPDX-License-Identifier: Apache-2.0
"""What all tests share: one thread per native library, and skips that CI turns into failures."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

for _name in ('OMP', 'OPENBLAS', 'MKL', 'NUMEXPR', 'OPENCV_FOR'):
    # OpenCV calls its variable OPENCV_FOR_THREADS_NUM, the others NAME_NUM_THREADS.
    _suffix = 'THREADS_NUM' if _name == 'OPENCV_FOR' else 'NUM_THREADS'
    os.environ.setdefault(f'{_name}_{_suffix}', '1')

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

# How long an example takes says more of the machine than of the code.
settings.register_profile('patient', deadline=None)
settings.load_profile('patient')

# A shell without job control starts what runs in the background deaf to Ctrl-C, and so would be
# every process that a test starts and then interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


def skip_or_fail(what: str, reason: str) -> NoReturn:
    """Skip for a reason, or fail where REQUIRE (browser,ros,...) names what is missing."""
    if what in os.environ.get('REQUIRE', '').split(','):
        pytest.fail(f'REQUIRE names {what}, but {reason}')
    pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes test, a folder's tests share one, and with it what they made."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(str(item.path.parent)))


@pytest.fixture(scope='session')
def need() -> Callable[[str, str], NoReturn]:
    """Call `need('ros', 'rclpy is not installed')` where a test cannot run for want of it."""
    return skip_or_fail


@pytest.fixture(scope='session')
def root() -> Path:
    """The repository."""
    return ROOT

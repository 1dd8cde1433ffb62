# SPDX-License-Identifier: Apache-2.0
"""Installations of this package, each made once for all tests that look at it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

SOURCES = (
    'LICENSE', 'MANIFEST.in', 'README.md', 'build_messages', 'config', 'cosmos_flywheel', 'launch',
    'msg', 'package.xml', 'pyproject.toml', 'resource', 'setup.cfg', 'setup.py',
)  # fmt: skip
OFFLINE = ('No matching distribution', 'Could not fetch URL', 'NewConnectionError', 'ProxyError')

Run = Callable[..., str]


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment of a shell in which no ROS 2 was sourced and no wheel has set its paths.

    What pip installs in it is compiled when it is imported: of the ROS wheels, hardly anything is.
    """
    gone = ('AMENT_', 'COLCON_', 'LD_LIBRARY_PATH', 'PYTHONPATH', 'RMW_', 'ROS_', '_ROS_')
    kept = {k: v for k, v in os.environ.items() if not k.startswith(gone)}
    return kept | {'PIP_COMPILE': '0'} | extra


def run_checked(command: Sequence[str | Path], *, timeout_s: float = 280, **options) -> str:
    """Run a command to its end and return its output; a failure shows it."""
    options.setdefault('env', clean_environment())
    options.setdefault('cwd', '/')  # from the repository, its own package would be imported
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        **options,
    )
    assert done.returncode == 0, f'{command} returned {done.returncode}:\n{done.stdout[-6000:]}'
    return done.stdout


@pytest.fixture(scope='session')
def run() -> Run:
    return run_checked


@pytest.fixture(scope='session')
def environment() -> Callable[..., dict[str, str]]:
    return clean_environment


@pytest.fixture(scope='session')
def copy_sources(root: Path) -> Callable[[Path], Path]:
    """Copies what a build needs to a folder, without what builds in place have left behind."""
    leftovers = shutil.ignore_patterns('__pycache__', '*.so', 'msg')

    def copy(target: Path) -> Path:
        for name in SOURCES:
            source = root / name
            if source.is_dir():
                ignore = leftovers if name == 'cosmos_flywheel' else None
                shutil.copytree(source, target / name, ignore=ignore)
            elif source.is_file():
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        return target

    return copy


@pytest.fixture(scope='session')
def pip_prefix(
    copy_sources: Callable[[Path], Path],
    need: Callable[[str, str], NoReturn],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """An empty environment in which `pip install '.[ros]'` was all that was said."""
    if sys.platform != 'linux' or os.uname().machine != 'x86_64':
        need('ros', 'there are ROS 2 wheels for x86_64 Linux only')
    folder = tmp_path_factory.mktemp('pip')
    source = copy_sources(folder / 'source')
    run_checked([sys.executable, '-m', 'venv', folder / 'prefix'])
    command = [folder / 'prefix/bin/python', '-m', 'pip', 'install', f'{source}[ros]']
    try:
        run_checked(command, timeout_s=580, env=clean_environment(COSMOS_FLYWHEEL_MSGS='required'))
    except AssertionError as error:
        if any(sign in str(error) for sign in OFFLINE):
            need('ros', f'the package index cannot be reached: {str(error)[-300:]}')
        raise
    return folder / 'prefix'


@pytest.fixture(scope='session')
def colcon_overlay(
    copy_sources: Callable[[Path], Path],
    need: Callable[[str, str], NoReturn],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The install folder of a colcon workspace that holds this package, on top of the wheels."""
    colcon = Path(sys.executable).with_name('colcon')
    if not colcon.is_file():
        need('ros', 'colcon is not installed')
    workspace = tmp_path_factory.mktemp('colcon')
    copy_sources(workspace / 'src' / 'cosmos_flywheel')
    path = f'{colcon.parent}{os.pathsep}{os.environ["PATH"]}'
    environment = clean_environment(PATH=path, COSMOS_FLYWHEEL_MSGS='required')
    run_checked(
        [colcon, 'build', '--event-handlers', 'console_direct+'], cwd=workspace, env=environment
    )
    return workspace / 'install'

# SPDX-License-Identifier: Apache-2.0
"""The name of a shipped robot, or the path of a robot file, into a checked `Robot`."""

from __future__ import annotations

import os
import sys
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

from cosmos_flywheel.core.contract import SCHEMA, Robot
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.settings import nearest
from cosmos_flywheel.schemas import check

PACKAGE = 'cosmos_flywheel'
SUFFIXES = ('.yaml', '.yml')
LARGEST_BYTES = 16 * 1024 * 1024
"""No robot file or URDF is larger; a path to a bag given by mistake is."""


def load_robot(name_or_path: str | Path) -> Robot:
    """Load a shipped robot by its name, or any robot file by its path.

    Raises:
        ConfigError: there is none, or its content is wrong; names file, key and remedy.
        SchemaError: its content is not that of `robot-v1`.

    """
    path = find_robot(name_or_path)
    return robot_from_text(_read(path), path)


def robot_from_text(text: str, path: Path) -> Robot:
    """Make a robot of a robot file's text; `path` is where it lies or will lie."""
    document = _parse(text, path)

    def read_text(name: str) -> str:
        return _read(path.parent / name)

    robot = Robot.from_mapping(document, place=str(path), read_text=read_text)
    check(document, SCHEMA, where=str(path))
    return robot


def find_robot(name_or_path: str | Path) -> Path:
    """Path of a robot file: anything with a folder or a suffix in it is a path, else a name."""
    path = Path(name_or_path)
    if path.suffix in SUFFIXES or len(path.parts) != 1:
        if not path.is_file():
            raise ConfigError(f'{path}: no such robot file; {nearest(path.stem, robot_names())}')
        return path
    found = find_config() / 'robots' / f'{path}.yaml'
    if not found.is_file():
        raise ConfigError(
            f'no robot {str(path)!r} is shipped; {nearest(str(path), robot_names())}; '
            'a file of your own is given by its path, such as ./robot.yaml'
        )
    return found


def robot_names() -> tuple[str, ...]:
    """Names of the shipped robots."""
    return tuple(sorted(path.stem for path in (find_config() / 'robots').glob('*.yaml')))


def find_config() -> Path:
    """The folder of shipped configuration: the source tree's, an overlay's, or the prefix's.

    The source tree comes first: an editable install has no other, and a package that was installed
    has none beside it.
    """
    for folder in _config_folders():
        if (folder / 'robots').is_dir():
            return folder
    tried = ', '.join(map(str, _config_folders()))
    raise ConfigError(f'shipped configuration not found; install {PACKAGE} again (tried {tried})')


def _config_folders() -> Iterator[Path]:
    source = Path(__file__).resolve().parents[2]
    if (source / 'setup.cfg').is_file():
        yield source / 'config'
    overlays = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    for prefix in (*filter(None, overlays), sys.prefix):
        yield Path(prefix) / 'share' / PACKAGE / 'config'


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ConfigError(f'{path}: too large for a robot file or URDF; give the right file')
        return path.read_text(encoding='utf-8')
    except OSError as error:
        raise ConfigError(f'{path}: cannot be read ({error.strerror}); check the path') from error
    except UnicodeDecodeError as error:
        raise ConfigError(f'{path}: is not UTF-8 text ({error}); give a text file') from error


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is written twice, of which YAML would keep the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for place, key in enumerate(keys) if key in keys[:place]]
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f'key {twice[0]!r} is written twice; keep one', node.start_mark
            )
        return super().construct_mapping(node, deep)


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        document = yaml.load(text, _StrictLoader)  # a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f'{path}: is not YAML; correct it: {error}') from error
    if not isinstance(document, dict):
        raise ConfigError(f'{path}: holds no keys; begin with "schema: {SCHEMA}"')
    return document

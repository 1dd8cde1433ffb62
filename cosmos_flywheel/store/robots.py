# SPDX-License-Identifier: Apache-2.0
"""The name of a shipped robot, or the path of a robot file, into a checked `Robot`."""

from __future__ import annotations

from pathlib import Path

from cosmos_flywheel.core.contract import SCHEMA, Robot
from cosmos_flywheel.schemas import check
from cosmos_flywheel.store.shipped import Shipped, parse_mapping, read_text

ROBOTS = Shipped('robot', 'robots')
_WHAT = 'a robot file or URDF'


def load_robot(name_or_path: str | Path) -> Robot:
    """Load a shipped robot by its name, or any robot file by its path.

    Raises:
        ConfigError: there is none, or its content is wrong; names file, key and remedy.
        SchemaError: its content is not that of `robot-v1`.

    """
    path = ROBOTS.find(name_or_path)
    return robot_from_text(read_text(path, _WHAT), path)


def robot_from_text(text: str, path: Path) -> Robot:
    """Make a robot of a robot file's text; `path` is where it lies or will lie."""
    document = parse_mapping(text, path, SCHEMA)

    def read_beside(name: str) -> str:
        return read_text(path.parent / name, _WHAT)

    robot = Robot.from_mapping(document, place=str(path), read_text=read_beside)
    check(document, SCHEMA, where=str(path))
    return robot


def robot_names() -> tuple[str, ...]:
    """Names of the shipped robots."""
    return ROBOTS.names()

# SPDX-License-Identifier: Apache-2.0
"""The name of a shipped domain pack, or the path of a pack file, into a checked `Pack`."""

from __future__ import annotations

from pathlib import Path

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.lineage import config_hash
from cosmos_flywheel.core.pack import SCHEMA, Pack
from cosmos_flywheel.schemas import check
from cosmos_flywheel.store.shipped import Shipped, parse_mapping, read_text

PACKS = Shipped('pack', 'packs')


def load_pack(name_or_path: str | Path) -> tuple[Pack, str]:
    """Load a shipped pack by its name, or any pack file by its path.

    Returns:
        The pack, and 64 hex digits of its content, whatever the file's order and comments.

    Raises:
        ConfigError: there is none, or its content is wrong; names file, key and remedy.
        SchemaError: its content is not that of `pack-v1`.

    """
    path = PACKS.find(name_or_path)
    document = parse_mapping(read_text(path, 'a pack'), path, SCHEMA)
    check(document, SCHEMA, where=str(path))
    return Pack.from_mapping(document, place=str(path)), config_hash(document)


def pack_for(robot: str) -> str:
    """Name of the shipped pack that is meant for a robot.

    Raises:
        ConfigError: none is, or several are.

    """
    found = [name for name in PACKS.names() if robot in load_pack(name)[0].robots]
    if len(found) != 1:
        raise ConfigError(
            f'no pack is meant for robot {robot!r}; name one with --pack: '
            f'{", ".join(PACKS.names())}'
        )
    return found[0]

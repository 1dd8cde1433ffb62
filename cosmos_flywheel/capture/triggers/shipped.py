# SPDX-License-Identifier: Apache-2.0
"""The name of shipped triggers, or the path of a trigger file, into that path."""

from __future__ import annotations

from pathlib import Path

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.settings import nearest
from cosmos_flywheel.store.shipped import SUFFIXES, find_config


def find_triggers(name_or_path: str | Path) -> Path:
    """Anything with a folder or a suffix in it is a path, else a name such as `nav2`.

    Raises:
        ConfigError: nothing of that name is shipped.

    """
    path = Path(name_or_path)
    if path.suffix in SUFFIXES or len(path.parts) != 1:
        return path
    folder = find_config() / 'triggers'
    found = folder / f'{path}.yaml'
    if not found.is_file():
        known = tuple(sorted(p.stem for p in folder.glob('*.yaml')))
        raise ConfigError(
            f'no triggers {str(path)!r} are shipped; {nearest(str(path), known)}; a file of your '
            'own is given by its path, such as ./triggers.yaml'
        )
    return found

# SPDX-License-Identifier: Apache-2.0
"""Files that people write, robots and packs among them: found by name or path, read strictly."""

from __future__ import annotations

import os
import sys
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.settings import nearest

PACKAGE = 'cosmos_flywheel'
SUFFIXES = ('.yaml', '.yml')
LARGEST_BYTES = 16 * 1024 * 1024
"""No such file is larger; a path to a bag given by mistake is."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """One kind of them."""

    noun: str
    """For messages, such as robot."""
    folder: str
    """Of the shipped ones, below `config/`."""

    def find(self, name_or_path: str | Path) -> Path:
        """Path of a file: anything with a folder or a suffix in it is a path, else a name.

        Raises:
            ConfigError: there is none; names the nearest that is shipped.

        """
        path = Path(name_or_path)
        if path.suffix in SUFFIXES or len(path.parts) != 1:
            if not path.is_file():
                raise ConfigError(
                    f'{path}: no such {self.noun} file; {nearest(path.stem, self.names())}'
                )
            return path
        found = find_config() / self.folder / f'{path}.yaml'
        if not found.is_file():
            raise ConfigError(
                f'no {self.noun} {str(path)!r} is shipped; {nearest(str(path), self.names())}; '
                f'a file of your own is given by its path, such as ./{self.noun}.yaml'
            )
        return found

    def names(self) -> tuple[str, ...]:
        """Names of those that are shipped."""
        return tuple(sorted(p.stem for p in (find_config() / self.folder).glob('*.yaml')))


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


def read_text(path: Path, what: str) -> str:
    """A file's text; ConfigError says that it is too large for `what`, or not readable."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ConfigError(f'{path}: too large for {what}; give the right file')
        return path.read_text(encoding='utf-8')
    except OSError as error:
        raise ConfigError(f'{path}: cannot be read ({error.strerror}); check the path') from error
    except UnicodeDecodeError as error:
        raise ConfigError(f'{path}: is not UTF-8 text ({error}); give a text file') from error


def parse_mapping(text: str, path: Path, schema: str) -> dict[str, Any]:
    """The keys of a YAML text; ConfigError for anything else, and for a key written twice."""
    try:
        document = yaml.load(text, _StrictLoader)  # a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f'{path}: is not YAML; correct it: {error}') from error
    if not isinstance(document, dict):
        raise ConfigError(f'{path}: holds no keys; begin with "schema: {schema}"')
    return document


def _config_folders() -> Iterator[Path]:
    source = Path(__file__).resolve().parents[2]
    if (source / 'setup.cfg').is_file():
        yield source / 'config'
    overlays = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    for prefix in (*filter(None, overlays), sys.prefix):
        yield Path(prefix) / 'share' / PACKAGE / 'config'


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

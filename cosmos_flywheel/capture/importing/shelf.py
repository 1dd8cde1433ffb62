# SPDX-License-Identifier: Apache-2.0
"""The folder that an import fills: bags, and `source.json` that says where they come from.

    OUT/source.json  robot.yaml  bags/NAME/

A bag appears when it is whole. `source.json` is there from the start, so that the same command
goes on where it was stopped, and another set is not mixed in.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cosmos_flywheel import __version__, schemas
from cosmos_flywheel.bags.record import UNFINISHED
from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.capture.importing.origin import Item, Origin
from cosmos_flywheel.core.errors import BagError, StoreError
from cosmos_flywheel.core.lineage import canonical_json, sha256_file, sha256_hex
from cosmos_flywheel.store.files import storing, write_document

SOURCE, BAGS, ROBOT = 'source.json', 'bags', 'robot.yaml'
SCHEMA = 'source-v1'


class Shelf:
    """One import's output folder.

    Args:
        out: the folder.
        origin: what is imported into it.
        revision: of the set, where it is known.
        licence: of the set, where it is known.

    Raises:
        StoreError: the folder holds something else.
        SchemaError: its `source.json` is damaged.

    """

    def __init__(
        self, out: Path, origin: Origin, *, revision: str | None = None, licence: str | None = None
    ) -> None:
        self.out = out
        self._origin = origin
        self._said = {'revision': revision, 'licence': licence}
        self._identity = sha256_hex(canonical_json([origin.kind, origin.name, origin.identity]))
        self._files: dict[str, Mapping[str, Any]] = {}
        self._episodes: dict[str, Mapping[str, Any]] = {}
        self._take_up()

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other imports out of the folder, and remove what a killed one left unfinished.

        Raises:
            StoreError: another import is at work, or the folder cannot be written.

        """
        with storing(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.out, os.O_RDONLY)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreError(
                    f'{self.out}: another import fills it; wait for that one, or choose another -o'
                ) from error
            with storing(self.out):
                for path in (self.out / BAGS).glob(f'{UNFINISHED}*'):
                    shutil.rmtree(path)
            yield
        finally:
            os.close(lock)

    def bag(self, item: Item) -> Path:
        """Where an episode's bag lies or will lie."""
        return self.out / BAGS / item.name

    def holds(self, item: Item) -> bool:
        """Whether its bag is there and whole; one that is damaged is removed."""
        path = self.bag(item)
        if not path.exists():
            return False
        try:
            rows = rows_of(path)
        except BagError:
            rows = 0
        if rows and (item.rows is None or rows == item.rows):
            return True
        with storing(path):
            shutil.rmtree(path)
        return False

    def note(self, item: Item) -> None:
        """Take a whole bag into `source.json`, which `write` writes."""
        self._note_files(item.files)
        self._episodes[item.name] = {
            'bag': item.name,
            'index': item.index,
            'rows': rows_of(self.bag(item)),
            'fps': item.fps,
            'tasks': list(item.tasks),
            'files': list(item.files),
        }

    def write(self) -> None:
        """Put `source.json` in place."""
        origin = self._origin
        self._note_files(origin.meta_files)
        document = {
            'schema': SCHEMA,
            'kind': origin.kind,
            'name': origin.name,
            'repo_id': origin.repo_id,
            'codebase_version': origin.version,
            **self._said,
            'robot_type': origin.robot_type,
            'topics': {key: dict(topic) for key, topic in origin.topics.items()},
            'left_out': dict(origin.left_out),
            'files': [self._files[name] for name in sorted(self._files)],
            'episodes': [self._episodes[name] for name in sorted(self._episodes)],
            'notes': list(origin.notes),
            'identity': self._identity,
            'version': __version__,
        }
        with storing(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            write_document(self.out / SOURCE, document, SCHEMA)

    def _take_up(self) -> None:
        """What an earlier run left."""
        path = self.out / SOURCE
        if not path.exists():
            if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
                raise StoreError(f'{self.out}: is no import and not empty; choose another -o')
            return
        document = schemas.load(path, SCHEMA)
        if document['identity'] != self._identity:
            raise StoreError(
                f'{self.out}: holds an import of {document["name"]!r} as it was described then, '
                'or with other features left out; choose another -o'
            )
        for key, said in self._said.items():
            self._said[key] = said if said is not None else document[key]
        self._files = {one['file']: one for one in document['files']}
        there = [one for one in document['episodes'] if (self.out / BAGS / one['bag']).exists()]
        self._episodes = {one['bag']: one for one in there}

    def _note_files(self, names: tuple[str, ...]) -> None:
        """Hash those that are new or have another size than before."""
        for name in names:
            path = self._origin.root / name
            with storing(path):
                size_bytes = path.stat().st_size
                if self._files.get(name, {}).get('bytes') != size_bytes:
                    self._files[name] = {
                        'file': name,
                        'bytes': size_bytes,
                        'sha256': sha256_file(path),
                    }


def licence_of_bag(path: Path) -> str | None:
    """The licence of the set that a bag was imported from; None for one of another origin.

    Raises:
        SchemaError: the import's `source.json` is damaged.

    """
    whole = path.resolve()
    for bag in (whole, whole.parent):
        source = bag.parent.parent / SOURCE
        if bag.parent.name == BAGS and source.is_file():
            document = schemas.load(source, SCHEMA)
            if any(one['bag'] == bag.name for one in document['episodes']):
                licence: str | None = document['licence']
                return licence
    return None


def rows_of(path: Path) -> int:
    """Messages of a bag's busiest topic; raises BagError for one that is not whole."""
    with open_bag(path) as bag:
        if bag.damage is not None:
            raise BagError(f'{path}: {bag.damage.what}')
        return max((topic.count for topic in bag.topics.values()), default=0)

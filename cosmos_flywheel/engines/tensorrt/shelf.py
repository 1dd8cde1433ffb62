# SPDX-License-Identifier: Apache-2.0
"""Engines on disk, each beside a document that says what it was built from, and its hash.

An engine serves one architecture, one version of TensorRT, one set of shapes, one precision and
one revision of a checkpoint. Where any of them differs there is none, and it is built anew.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_flywheel import schemas
from cosmos_flywheel.core.errors import EngineError, SchemaError
from cosmos_flywheel.core.lineage import canonical_json, config_hash, sha256_file
from cosmos_flywheel.engines.tensorrt.door import REBUILD
from cosmos_flywheel.engines.tensorrt.form import Form, Forms

SCHEMA = 'engine-v1'
SUFFIX = '.engine'
NAME_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Key:
    """All that decides whether an engine may be used."""

    unit: str
    architecture: str
    """Compute capability, such as sm_89."""
    library: str
    """tensorrt, or tensorrt_rtx."""
    version: str
    precision: str
    """Type of weights and activations, as torch calls it."""
    revision: str
    """Commit of the checkpoint."""
    export: int
    """Counts up whenever equal weights are exported as another graph."""
    inputs: Forms
    outputs: Forms

    @property
    def name(self) -> str:
        """Of the engine's files, without suffix."""
        return f'{self.unit}-{config_hash(self.document())[:NAME_DIGITS]}'

    def misfits(self, library: str, version: str, architecture: str | None) -> list[str]:
        """In words, why this library and card (None: there is none) cannot take the engine."""
        faults = []
        if (self.library, self.version) != (library, version):
            faults.append(
                f'was built by {self.library} {self.version}, here is {library} {version}; '
                f'{REBUILD}'
            )
        if architecture not in (None, self.architecture):
            faults.append(f'was built for {self.architecture}, this is {architecture}; {REBUILD}')
        return faults

    def document(self) -> dict[str, Any]:
        """As JSON has it; tensors in the graph's order."""
        plain = {f: getattr(self, f) for f in self.__slots__ if f not in ('inputs', 'outputs')}
        for side, forms in (('inputs', self.inputs), ('outputs', self.outputs)):
            plain[side] = [{'name': name, **form.document()} for name, form in forms.items()]
        return plain

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Key:
        """Inverse of `document`."""
        plain = {f: document[f] for f in cls.__slots__}
        for side in ('inputs', 'outputs'):
            plain[side] = {t['name']: Form.read(t) for t in document[side]}
        return cls(**plain)


@dataclass(frozen=True, slots=True)
class Entry:
    """One engine of a shelf."""

    path: Path
    key: Key
    sha256: str
    size_bytes: int
    layers: Mapping[str, int]
    """How many layers of each kind its network had."""
    types: Mapping[str, int]
    """How many of them compute in each type, as the library calls it."""

    def verify(self) -> None:
        """EngineError unless the file is the one that was written."""
        try:
            size = self.path.stat().st_size
        except OSError as error:
            raise EngineError(
                f'{self.path}: cannot be read ({error.strerror}); {REBUILD}'
            ) from error
        if size != self.size_bytes:
            raise EngineError(
                f'{self.path}: is cut off ({size} of {self.size_bytes} bytes); {REBUILD}'
            )
        if sha256_file(self.path) != self.sha256:
            raise EngineError(f'{self.path}: is not the engine that was built; {REBUILD}')


class Shelf:
    """A folder of engines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: Key) -> Entry | None:
        """The engine of a key, looked over byte by byte; None if it is absent or broken."""
        try:
            entry = self.read(self.folder / f'{key.name}.json')
            entry.verify()
        except (SchemaError, EngineError):
            return None
        return entry if entry.key == key else None

    def holds(self, key: Key) -> bool:
        """Whether there is an engine of a key, whole or not."""
        return (self.folder / f'{key.name}.json').is_file()

    def put(
        self,
        key: Key,
        engine: bytes | memoryview,
        layers: Mapping[str, int],
        types: Mapping[str, int],
    ) -> Entry:
        """Keep an engine, whole or not at all.

        Raises:
            EngineError: the folder cannot be written.

        """
        path = self.folder / f'{key.name}{SUFFIX}'
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            _write(path, engine)
            entry = Entry(path, key, sha256_file(path), path.stat().st_size, layers, types)
            _write(path.with_suffix('.json'), _text(entry))
        except OSError as error:
            raise _unwritten(path, error) from error
        return entry

    def entries(self) -> list[Entry]:
        """All engines, by name.

        Raises:
            SchemaError: a document is broken.

        """
        return [self.read(path) for path in self.documents()]

    def documents(self) -> list[Path]:
        """Paths of all engines' documents."""
        return sorted(self.folder.glob('[!.]*.json'))

    def read(self, path: Path) -> Entry:
        """The engine of a document; SchemaError if that is broken."""
        document = schemas.load(path, SCHEMA)
        return Entry(
            path.with_name(document['file']),
            Key.read(document['key']),
            document['sha256'],
            document['bytes'],
            document['layers'],
            document['types'],
        )

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder on the same disk for what an engine is built from; gone afterwards."""
        folder = self.folder / f'.graph.partial-{os.getpid()}'
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
        except OSError as error:
            raise _unwritten(folder, error) from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what a build that was killed left half written."""
        for path in self.folder.glob('.*.partial-*'):
            process = path.name.rpartition('-')[2]
            if not process.isdigit() or Path('/proc', process).exists():
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _unwritten(path: Path, error: OSError) -> EngineError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = 'free space' if full else 'choose another folder with --shelf'
    return EngineError(
        f'{path}: cannot be written ({error.strerror}); {remedy}; nothing incomplete was kept'
    )


def _text(entry: Entry) -> bytes:
    document = {
        'schema': SCHEMA,
        'key': entry.key.document(),
        'file': entry.path.name,
        'sha256': entry.sha256,
        'bytes': entry.size_bytes,
        'layers': dict(entry.layers),
        'types': dict(entry.types),
    }
    schemas.check(document, SCHEMA, where=entry.path.name)
    text = json.dumps(json.loads(canonical_json(document)), indent=2, sort_keys=True) + '\n'
    return text.encode('ascii')


def _write(path: Path, data: bytes | memoryview) -> None:
    partial = path.with_name(f'.{path.name}.partial-{os.getpid()}')
    try:
        with partial.open('wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)

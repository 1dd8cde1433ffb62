# SPDX-License-Identifier: Apache-2.0
"""A shared folder or object store between robot and workstation, through fsspec.

    URL/EPISODE_ID/SHA256         the files, by their content
    URL/EPISODE_ID/parcel.json    what belongs together; written last
    URL/EPISODE_ID/receipt.json   of the receiver; the robot then clears the rest away
    URL/hours/SOURCE.json         how long each robot's folder was watched

Object stores rename nothing, so an episode counts once its parcel is there.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from cosmos_flywheel.core.errors import (
    ConfigError,
    FlywheelError,
    NotNowError,
    SchemaError,
    TravelError,
)
from cosmos_flywheel.core.lineage import canonical_json
from cosmos_flywheel.travel.limit import BLOCK_BYTES, Limit
from cosmos_flywheel.travel.outbox import Content, Outbox
from cosmos_flywheel.travel.parcel import Entry, Parcel, folder_id

PARCEL, RECEIPT, HOURS = 'parcel.json', 'receipt.json', 'hours'
LARGEST_DOCUMENT_BYTES = 16 << 20


class SharedFolder:
    """A place that both sides can write.

    Args:
        url: as fsspec has it: `file:///mnt/share`, `s3://bucket/robots`, `memory://x`.

    Raises:
        ConfigError: fsspec, or what it needs for this kind of URL, is not installed.

    """

    def __init__(self, url: str) -> None:
        try:
            fsspec: Any = importlib.import_module('fsspec')
        except ImportError as error:
            raise ConfigError(
                "shared folders need fsspec; pip install 'cosmos_flywheel[travel]'"
            ) from error
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ConfigError(f'{url}: {error}') from error
        self._url = url.rstrip('/')
        self._hours: dict[str, Any] = {}

    @property
    def is_preparing(self) -> bool:
        """Never known here."""
        return False

    def parcels(self) -> tuple[Parcel, ...]:
        """All that lies there whole and has no receipt."""
        found = []
        for name in self.names():
            document = self._read(name, PARCEL)
            if document is None or self._read(name, RECEIPT) is not None:
                continue
            parcel = Parcel.from_document(document, f'{self._url}/{name}/{PARCEL}')
            if parcel.id == name:
                found.append(parcel)
        return tuple(found)

    def hours(self) -> Mapping[str, Any] | None:
        """Those of all robots that push here."""
        found: dict[str, Any] = {}
        for name in self.names(HOURS):
            document = self._read(HOURS, name)
            if document is not None and isinstance(document.get('bags'), list):
                found = {**document, 'bags': [*found.get('bags', ()), *document['bags']]}
        if found == self._hours:
            return None
        self._hours = found
        return found

    def put_hours(self, source: str, document: Mapping[str, Any]) -> None:
        """Lay down those of one robot's folder, if they have changed."""
        name, data = f'{source}.json', canonical_json(document)
        if document['bags'] and canonical_json(self._read(HOURS, name)) != data:
            self._write(HOURS, name, BytesIO(data), Limit(None))

    def blocks(self, parcel: Parcel, entry: Entry, offset: int) -> tuple[int, Iterator[bytes]]:
        """The bytes of a file from an offset on."""
        return offset, self._blocks(parcel, entry, offset)

    def acknowledge(self, parcel: Parcel) -> None:
        """Leave the receipt."""
        self._write(parcel.id, RECEIPT, BytesIO(canonical_json(parcel.receipt())), Limit(None))

    def receipt(self, name: str) -> Mapping[str, Any] | None:
        """That for an episode, if there is one."""
        return self._read(name, RECEIPT)

    def put(self, parcel: Parcel, content: Callable[[str], Content | None], limit: Limit) -> bool:
        """Lay a parcel down, as far as it does not lie there; whether it was not there."""
        known = self._read(parcel.id, PARCEL)
        if known is not None and canonical_json(known) == canonical_json(parcel.document()):
            return False
        for entry in parcel.files:
            if self._size(parcel.id, entry.sha256) == entry.bytes:
                continue
            held = content(entry.sha256)
            if held is None:
                raise NotNowError(f'{parcel.id}: has changed meanwhile')
            with BytesIO(held) if isinstance(held, bytes) else held.open('rb') as source:
                self._write(parcel.id, entry.sha256, source, limit)
        document = BytesIO(canonical_json(parcel.document()))
        self._write(parcel.id, PARCEL, document, Limit(None))
        return True

    def clear(self, name: str) -> None:
        """Remove an episode that has arrived; its receipt last."""
        with self._away():
            base = self._path(name)
            for path in sorted(map(str, self._files.ls(base, detail=False)), key=_receipt_last):
                self._files.rm_file(path)
            self._files.invalidate_cache()
            if self._files.exists(base):  # object stores have no folders
                self._files.rmdir(base)

    def names(self, *parts: str) -> list[str]:
        """Of everything that lies there, or in a folder of it."""
        with self._away():
            if not self._files.exists(self._path(*parts)):
                return []
            found = self._files.ls(self._path(*parts), detail=False, refresh=True)
        return sorted(str(path).rstrip('/').rsplit('/', 1)[-1] for path in found)

    def _path(self, *parts: str) -> str:
        return '/'.join((self._root.rstrip('/'), *parts))

    def _size(self, *parts: str) -> int | None:
        with self._away():
            path = self._path(*parts)
            return int(self._files.size(path)) if self._files.exists(path) else None

    def _read(self, *parts: str) -> dict[str, Any] | None:
        """A document; None if it is not there, or not yet whole."""
        with self._away():
            try:
                with self._files.open(self._path(*parts), 'rb') as file:
                    document = json.loads(file.read(LARGEST_DOCUMENT_BYTES))
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
                return None
        return document if isinstance(document, dict) else None

    def _write(self, name: str, file: str, source: Any, limit: Limit) -> None:
        with self._away():
            self._files.makedirs(self._path(name), exist_ok=True)
            with self._files.open(self._path(name, file), 'wb') as sink:
                while block := source.read(BLOCK_BYTES):
                    limit.take(len(block))
                    sink.write(block)

    def _blocks(self, parcel: Parcel, entry: Entry, offset: int) -> Iterator[bytes]:
        done = offset
        with self._away(), self._files.open(self._path(parcel.id, entry.sha256), 'rb') as file:
            file.seek(offset)
            while done < entry.bytes:
                block = file.read(BLOCK_BYTES)
                if not block:
                    raise NotNowError(f'{self._url}: {entry.file} of {parcel.id} is cut off')
                done += len(block)
                yield block

    @contextmanager
    def _away(self) -> Iterator[None]:
        """Libraries of object stores raise what they like; none of it loses bytes."""
        try:
            yield
        except FlywheelError:
            raise
        except Exception as error:
            raise NotNowError(f'{self._url}: cannot be used ({error})') from error


def push(outbox: Outbox, url: str, tell: Callable[[str], object]) -> tuple[int, int]:
    """At the robot: take receipts that lie there, and lay down what may leave.

    Returns how many episodes have arrived since, and how many were laid down.

    Raises:
        TravelError: the policy does not allow this place.
        NotNowError: it cannot be written just now; what was begun is gone on with.

    """
    if not outbox.policy.may_write(url):
        raise TravelError(
            f'{url}: the policy allows nothing to go there; name it under its key `endpoints`'
        )
    folder = SharedFolder(url)
    limit = Limit(outbox.policy.bytes_s)
    outbox.look()
    arrived = 0
    for name in folder.names():
        receipt = folder.receipt(name)
        try:
            if receipt is not None and outbox.receive(receipt):
                folder.clear(name)
                arrived += 1
                tell(f'{name}: arrived')
            elif receipt is not None:
                tell(f'{name}: the receipt there is not for what is here; the episode stays')
        except SchemaError as error:
            tell(f'{name}: {error}')
    while outbox.prepare():
        pass
    folder.put_hours(folder_id(outbox.out), outbox.hours())
    look = outbox.look()
    laid = [p.id for p in look.parcels if folder.put(p, _holder(outbox, p), limit)]
    for name in laid:
        tell(f'{name}: laid down')
    return arrived, len(laid)


def _holder(outbox: Outbox, parcel: Parcel) -> Callable[[str], Content | None]:
    return lambda sha256: outbox.content(parcel.id, sha256)


def _receipt_last(path: str) -> tuple[bool, str]:
    """The parcel first, so that half of one is never seen."""
    return path.endswith(RECEIPT), '' if path.endswith(PARCEL) else path

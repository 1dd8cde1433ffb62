# SPDX-License-Identifier: Apache-2.0
"""What one side says of an episode that travels: its files by sha256, and the receipt for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from socket import gethostname
from typing import Any, Protocol

from cosmos_flywheel import schemas
from cosmos_flywheel.core.errors import SchemaError
from cosmos_flywheel.core.lineage import sha256_hex
from cosmos_flywheel.store.episodes import MANIFEST

SCHEMA, RECEIPT = 'parcel-v1', 'receipt-v1'


def folder_id(out: Path) -> str:
    """16 hex digits that tell a folder from others, the same for all processes of a machine."""
    told = out.stat()
    return sha256_hex(f'{gethostname()}/{told.st_dev}/{told.st_ino}'.encode())[:16]


@dataclass(frozen=True, slots=True)
class Entry:
    """One file that travels."""

    file: str
    """Its path inside the episode folder."""
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Parcel:
    """One episode that is offered."""

    id: str
    files: tuple[Entry, ...]

    @classmethod
    def from_document(cls, document: Mapping[str, Any], where: str) -> Parcel:
        """Of what another machine said; SchemaError names `where` and what is wrong."""
        schemas.check(document, SCHEMA, where=where)
        files = tuple(Entry(e['file'], e['sha256'], e['bytes']) for e in document['files'])
        names = [entry.file for entry in files]
        if len(set(names)) < len(names) or MANIFEST not in names:
            raise SchemaError(f'{where}: names a file twice or no {MANIFEST}; refuse its sender')
        return cls(document['id'], files)

    def document(self) -> dict[str, Any]:
        """As `parcel-v1` has it."""
        return {'schema': SCHEMA, **asdict(self)}

    def receipt(self) -> dict[str, Any]:
        """A `receipt-v1` for all of it."""
        return {
            'schema': RECEIPT,
            'id': self.id,
            'sha256s': sorted({e.sha256 for e in self.files}),
        }

    @property
    def manifest(self) -> Entry:
        """Its manifest, which tells the content apart."""
        return next(entry for entry in self.files if entry.file == MANIFEST)

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(entry.bytes for entry in self.files)


class Source(Protocol):
    """Where parcels come from: an HTTP server at a robot, or a shared folder."""

    def parcels(self) -> tuple[Parcel, ...]:
        """All that is offered; NotNowError if it cannot be asked."""
        ...

    @property
    def is_preparing(self) -> bool:
        """Whether more is being made ready, by the last `parcels`."""
        ...

    def hours(self) -> Mapping[str, Any] | None:
        """An `hours-v1`, unchecked; None if it is as last time, or not told there."""
        ...

    def blocks(self, parcel: Parcel, entry: Entry, offset: int) -> tuple[int, Iterator[bytes]]:
        """Where the bytes begin (`offset`, or 0 if it cannot be resumed), and the bytes."""
        ...

    def acknowledge(self, parcel: Parcel) -> None:
        """Give the receipt; harmless when repeated."""
        ...

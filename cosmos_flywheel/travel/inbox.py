# SPDX-License-Identifier: Apache-2.0
"""The workstation's side: a parcel → an episode that lies there whole, verified and catalogued.

    OUT/.travel/arriving/EPISODE_ID/   files by sha256, and what has come of the next one
    OUT/quarantine/EPISODE_ID.txt      which manifest was refused, and why

What the other side says is not believed: names and sizes are checked, every byte is hashed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

from cosmos_flywheel.core.errors import BagError, FlywheelError, SchemaError, StoreError
from cosmos_flywheel.core.lineage import canonical_json, sha256_file
from cosmos_flywheel.store.catalogue import Catalogue
from cosmos_flywheel.store.episodes import (
    MANIFEST,
    EpisodeWriter,
    Manifest,
    check_manifest,
    files_named,
    is_complete,
    read_episode,
)
from cosmos_flywheel.store.files import storing, write_bytes
from cosmos_flywheel.store.labels import LABELS, read_labels
from cosmos_flywheel.travel.hours import note_hours
from cosmos_flywheel.travel.limit import Limit
from cosmos_flywheel.travel.parcel import Entry, Parcel, Source, folder_id

ARRIVING, LOCKS = '.travel/arriving', '.travel/locks'
QUARANTINE = 'quarantine'
TRIES = 3
"""A file whose bytes are wrong is fetched so often before its episode is refused."""
SPARE_BYTES = 1 << 20
"""Left free on the disk."""
LARGEST_MANIFEST_BYTES = 64 << 20
PART = '.part'


class Outcome(Enum):
    """What became of a parcel."""

    ARRIVED = 'arrived'
    PRESENT = 'was there'
    BUSY = 'another process fetches it'
    REFUSED = 'refused'


class RefusedError(FlywheelError):
    """What is offered cannot be what it claims to be; trying again would not help."""


class Inbox:
    """Takes parcels into an output folder. Several processes may do so at once.

    Args:
        out: the folder.
        limit: cap on bytes a second.
        tell: told, in words, what goes on.

    """

    def __init__(self, out: Path, limit: Limit, tell: Callable[[str], object]) -> None:
        self.out = out
        self._limit, self._tell = limit, tell

    def take(self, parcel: Parcel, source: Source) -> Outcome:
        """Bring an episode here and give its receipt.

        Raises NotNowError if the other side leaves in the middle, StoreError if this disk cannot
        be written: what has come so far stays and is gone on with.
        """
        if self.refusal(parcel):
            return Outcome.REFUSED
        with self._locked(parcel.id) as is_mine:
            if not is_mine:
                return Outcome.BUSY
            try:
                was_there = self._bring(parcel, source)
            except (RefusedError, SchemaError, BagError) as error:
                self._refuse(parcel, str(error))
                return Outcome.REFUSED
            source.acknowledge(parcel)
            shutil.rmtree(self._folder(parcel), ignore_errors=True)
        return Outcome.PRESENT if was_there else Outcome.ARRIVED

    @property
    def receiver(self) -> str:
        """16 hex digits, the same for all processes that fetch into this folder."""
        with storing(self.out):
            return folder_id(self.out)

    def note(self, hours: Mapping[str, Any], where: str) -> int:
        """Enter operating hours that came along; returns of how many bags they were news."""
        return note_hours(self.out, hours, where)

    def sweep(self) -> None:
        """Clear away what a receiver left that was killed after its episode had its place."""
        for folder in (self.out / ARRIVING).glob('*'):
            if is_complete(self.out, folder.name):
                with self._locked(folder.name) as is_mine:
                    if is_mine:
                        shutil.rmtree(folder, ignore_errors=True)

    def refusal(self, parcel: Parcel) -> str:
        """Why exactly this was refused before; empty if it was not."""
        try:
            sha256, _, reason = self._note(parcel).read_text('utf-8').partition('\n')
        except OSError:
            return ''
        return reason.strip() if sha256 == parcel.manifest.sha256 else ''

    def _bring(self, parcel: Parcel, source: Source) -> bool:
        """Whether it was there already."""
        with storing(self.out):
            self._folder(parcel).mkdir(parents=True, exist_ok=True)
        if parcel.manifest.bytes > LARGEST_MANIFEST_BYTES:
            raise RefusedError(f'{MANIFEST} of {parcel.manifest.bytes} bytes is none')
        self._fetch(parcel, parcel.manifest, source)
        manifest = self._manifest(parcel)
        was_there = is_complete(self.out, parcel.id)
        if was_there:
            self._require_same(parcel, manifest)
        else:
            for entry in parcel.files:
                self._fetch(parcel, entry, source)
            self._place(parcel, manifest)
        with Catalogue.open(self.out) as catalogue:
            catalogue.add_episode(parcel.id)
            catalogue.assign_clusters([parcel.id])
        return was_there

    def _fetch(self, parcel: Parcel, entry: Entry, source: Source) -> None:
        """Until the file lies there under its hash."""
        path = self._folder(parcel) / entry.sha256
        if path.is_file():
            return
        part = path.with_suffix(PART)
        for again in range(1, TRIES + 1):
            self._download(parcel, entry, source, part)
            if part.stat().st_size == entry.bytes and sha256_file(part) == entry.sha256:
                with storing(path):
                    part.rename(path)
                return
            part.unlink()
            self._tell(f'{parcel.id}: {entry.file} came with wrong bytes ({again} of {TRIES})')
        raise RefusedError(f'{entry.file} came {TRIES} times with bytes that are not its sha256')

    def _download(self, parcel: Parcel, entry: Entry, source: Source, part: Path) -> None:
        here = part.stat().st_size if part.exists() else 0
        if here >= entry.bytes:
            if here == 0:
                part.touch()
            return
        self._require_room(entry.bytes - here)
        begin, blocks = source.blocks(parcel, entry, here)
        with storing(part), part.open('r+b' if begin else 'wb') as file:
            file.seek(begin)
            file.truncate()
            for block in blocks:
                self._limit.take(len(block))
                begin += len(block)
                if begin > entry.bytes:
                    raise RefusedError(f'{entry.file} has more than its {entry.bytes} bytes')
                file.write(block)
                file.flush()

    def _require_room(self, needed_bytes: int) -> None:
        with storing(self.out):
            free = shutil.disk_usage(self.out).free
        if free < needed_bytes + SPARE_BYTES:
            raise StoreError(
                f'{self.out}: the disk is full: {needed_bytes} bytes are to come and {free} are '
                'free; free space, the rest is fetched then'
            )

    def _manifest(self, parcel: Parcel) -> Manifest:
        """As it came, if it and the parcel tell of the same files."""
        data = (self._folder(parcel) / parcel.manifest.sha256).read_bytes()
        try:
            manifest = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise RefusedError(f'{MANIFEST} is not JSON ({error})') from error
        if not isinstance(manifest, dict):
            raise RefusedError(f'{MANIFEST} holds no fields')
        check_manifest(manifest, where=f'{parcel.id}/{MANIFEST}')
        named = {str(e['file']): str(e['sha256']) for e in files_named(manifest)}
        brought = {e.file: e.sha256 for e in parcel.files if e.file not in (MANIFEST, LABELS)}
        if manifest['id'] != parcel.id or named != brought:
            raise RefusedError(f'{MANIFEST} tells of other files than the offer')
        return manifest

    def _require_same(self, parcel: Parcel, manifest: Mapping[str, Any]) -> None:
        here = self.out / parcel.id
        try:
            same = canonical_json(read_episode(here, verify=True)) == canonical_json(manifest)
        except FlywheelError as error:
            raise RefusedError(f'{error}; move {here} away, it is fetched again then') from error
        if not same:
            raise RefusedError(f'{here}: holds another result for the same stretch')

    def _place(self, parcel: Parcel, manifest: Manifest) -> None:
        """All at once, under its name."""
        folder = self._folder(parcel)
        labels = folder / LABELS
        with EpisodeWriter(self.out, parcel.id) as writer:
            for entry in parcel.files:
                if entry.file == MANIFEST:
                    continue
                path = labels if entry.file == LABELS else writer.path / entry.file
                with storing(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.unlink(missing_ok=True)
                    _link(folder / entry.sha256, path)
            writer.finish(manifest, labels=read_labels(folder))

    def _refuse(self, parcel: Parcel, reason: str) -> None:
        path = self._note(parcel)
        with storing(path):
            path.parent.mkdir(exist_ok=True)
            write_bytes(path, f'{parcel.manifest.sha256}\n{reason}\n'.encode())
        shutil.rmtree(self._folder(parcel), ignore_errors=True)
        self._tell(f'{parcel.id}: refused: {reason} ({path})')

    def _note(self, parcel: Parcel) -> Path:
        return self.out / QUARANTINE / f'{parcel.id}.txt'

    def _folder(self, parcel: Parcel) -> Path:
        return self.out / ARRIVING / parcel.id

    @contextmanager
    def _locked(self, episode_id: str) -> Iterator[bool]:
        """Whether nobody else fetches this one; a few files serve as locks of all."""
        path = self.out / LOCKS / episode_id[:2]
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(descriptor)


def _link(source: Path, path: Path) -> None:
    """The same bytes under a second name, where the file system can."""
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path)

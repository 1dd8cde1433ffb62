# SPDX-License-Identifier: Apache-2.0
"""The robot's side: which episodes are offered, in which form, and what a receipt brings about.

    OUT/receipts/EPISODE_ID.json     what arrived elsewhere; without it nothing is removed
    OUT/.travel/leaving/…            altered copies that wait to be fetched

What was received is not offered again; removing its receipt makes it so.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_flywheel import schemas
from cosmos_flywheel.core.errors import FlywheelError, TravelError
from cosmos_flywheel.core.lineage import sha256_file, sha256_hex
from cosmos_flywheel.store.budget import FETCHED, mark_fetched, remove_episode
from cosmos_flywheel.store.catalogue import rebuild
from cosmos_flywheel.store.episodes import (
    MANIFEST,
    Manifest,
    files_named,
    iter_episodes,
    read_episode,
)
from cosmos_flywheel.store.files import storing, write_document
from cosmos_flywheel.store.labels import LABELS, UNTRIAGED, read_labels
from cosmos_flywheel.travel.hours import read_hours
from cosmos_flywheel.travel.parcel import RECEIPT, Entry, Parcel
from cosmos_flywheel.travel.policy import BLUR, KEEP, REMOVE, Policy

RECEIPTS = 'receipts'
LEAVING = '.travel/leaving'
LOCK = '.travel/serving'
MOST_READY = 8
"""Altered copies that lie ready at once: they take room on the robot's disk."""
Content = Path | bytes
Alter = Callable[[Path, Manifest, Policy, Path], Path]
"""Makes, of an episode's folder, the copy that may leave, below a folder; returns where."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one look at the folder found."""

    parcels: tuple[Parcel, ...]
    """Those that may leave now."""
    withheld: Mapping[str, str]
    """By id, why an episode stays."""
    waiting: tuple[str, ...]
    """Ids of those that have to be altered first."""
    received: tuple[str, ...]
    """Ids of those that arrived elsewhere."""


class Outbox:
    """The episodes of one robot in one folder. May be used from any thread.

    Args:
        out: the folder.
        robot: only its episodes leave; None for all.
        policy: what may leave, and how.
        alter: makes altered copies.

    """

    def __init__(self, out: Path, robot: str | None, policy: Policy, alter: Alter) -> None:
        self.out, self.policy = out, policy
        self._robot, self._alter = robot, alter
        self._leaving = out / LEAVING / policy.content_hash()[:16]
        self._lock = threading.Lock()
        self._offers: dict[str, tuple[Parcel, dict[str, Content]]] = {}
        self._verified: dict[Path, tuple[int, Manifest, dict[str, Content], list[Entry]]] = {}
        self._failed: dict[str, str] = {}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other servers from this folder, and drop copies made for another policy.

        Raises TravelError while one is there.
        """
        path = self.out / LOCK
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise TravelError(
                    f'{self.out}: is served already; end the other `flywheel travel`'
                ) from error
            for stale in (self.out / LEAVING).glob('*'):
                if stale != self._leaving:
                    shutil.rmtree(stale, ignore_errors=True)
            yield
        finally:
            os.close(descriptor)

    def look(self) -> Outlook:
        """Look through the folder; also does what a receipt asked for and a crash prevented."""
        with self._lock:
            withheld: dict[str, str] = {}
            waiting: list[str] = []
            received: list[str] = []
            offers: dict[str, tuple[Parcel, dict[str, Content]]] = {}
            for folder in iter_episodes(self.out):
                try:
                    if self._settle(folder):
                        received.append(folder.name)
                        continue
                    reason, source = self._judge(folder)
                    if reason:
                        withheld[folder.name] = reason
                    elif source is None:
                        waiting.append(folder.name)
                    else:
                        offers[folder.name] = self._offer(folder, source)
                except FlywheelError as error:
                    withheld[folder.name] = str(error)
            self._offers = offers
            parcels = tuple(parcel for parcel, _ in offers.values())
            return Outlook(parcels, withheld, tuple(waiting), tuple(received))

    def prepare(self) -> bool:
        """Make the altered copy of one episode that waits for it; False if there is none to make.

        An episode that cannot be altered stays, and `look` says why.
        """
        look = self.look()
        ready = sum(1 for p in look.parcels if (self._leaving / p.id).is_dir())
        if not look.waiting or ready >= MOST_READY:
            return False
        name = look.waiting[0]
        try:
            self._leaving.mkdir(parents=True, exist_ok=True)
            self._alter(self.out / name, read_episode(self.out / name), self.policy, self._leaving)
        except (FlywheelError, OSError) as error:
            self._failed[name] = str(error)
        return True

    def hours(self) -> dict[str, Any]:
        """`hours-v1` of this robot: they leave wherever episodes may."""
        return read_hours(self.out, self._robot)

    def content(self, episode_id: str, sha256: str) -> Content | None:
        """What is offered under a hash; None for anything else."""
        with self._lock:
            _, contents = self._offers.get(episode_id, (None, {}))
            return contents.get(sha256)

    def receive(self, receipt: Mapping[str, Any]) -> bool:
        """Take a receipt; False if it is not for what is or was offered. Harmless when repeated.

        Raises SchemaError for something else, StoreError if it cannot be kept.
        """
        schemas.check(receipt, RECEIPT, where='receipt')
        name, plain = (
            str(receipt['id']),
            {key: receipt[key] for key in ('schema', 'id', 'sha256s')},
        )
        with self._lock:
            path = self.out / RECEIPTS / f'{name}.json'
            if path.is_file():
                return bool(schemas.load(path, RECEIPT)['sha256s'] == plain['sha256s'])
            parcel, _ = self._offers.get(name, (None, {}))
            if parcel is None or parcel.receipt() != plain:
                return False
            with storing(path):
                path.parent.mkdir(exist_ok=True)
                write_document(path, plain, RECEIPT)
            del self._offers[name]
            self._settle(self.out / name)
        return True

    def _settle(self, folder: Path) -> bool:
        """Whether there is a receipt for an episode; if so, do what the policy says."""
        path = self.out / RECEIPTS / f'{folder.name}.json'
        if not path.is_file():
            return False
        shutil.rmtree(self._leaving / folder.name, ignore_errors=True)
        if not (folder / MANIFEST).is_file():
            return True
        was_whole = sha256_file(folder / MANIFEST) in schemas.load(path, RECEIPT)['sha256s']
        rule = self.policy.after_whole if was_whole else self.policy.after_altered
        if rule != KEEP and not (folder / FETCHED).exists():
            mark_fetched(folder)
        if rule == REMOVE and remove_episode(folder):
            rebuild(self.out)
        return True

    def _judge(self, folder: Path) -> tuple[str, Path | None]:
        """Why it may not leave, or where the copy lies that may; neither while that is made."""
        if folder.name in self._failed:
            return self._failed[folder.name], None
        manifest = self._whole(folder)[1]
        if self._robot is not None and manifest['robot'] != self._robot:
            return f'is of robot {manifest["robot"]}', None
        labels = read_labels(folder)
        label = labels[-1].label if labels else manifest.get('state', UNTRIAGED)
        reason = self.policy.refusal(manifest, label)
        topics = manifest['clip']['messages']
        if reason or (
            self.policy.redaction.faces != BLUR and all(map(self.policy.may_carry, topics))
        ):
            return reason, folder
        copy = self._leaving / folder.name
        return '', copy if (copy / MANIFEST).is_file() else None

    def _offer(self, folder: Path, source: Path) -> tuple[Parcel, dict[str, Content]]:
        _, _, contents, entries = self._whole(source)
        labels = folder / LABELS
        if self.policy.people and labels.is_file():
            data = labels.read_bytes()
            entries = [*entries, Entry(LABELS, sha256_hex(data), len(data))]
            contents = {**contents, sha256_hex(data): data}
        return Parcel(folder.name, tuple(entries)), contents

    def _whole(self, folder: Path) -> tuple[int, Manifest, dict[str, Content], list[Entry]]:
        """A folder's manifest and files, verified by their hashes once."""
        path = folder / MANIFEST
        changed_ns = path.stat().st_mtime_ns
        known = self._verified.get(folder)
        if known is None or known[0] != changed_ns:
            manifest = read_episode(folder, verify=True)
            hashes = {str(e['file']): str(e['sha256']) for e in files_named(manifest)}
            hashes[MANIFEST] = sha256_file(path)
            entries = [
                Entry(name, sha256, (folder / name).stat().st_size)
                for name, sha256 in sorted(hashes.items())
            ]
            contents: dict[str, Content] = {e.sha256: folder / e.file for e in entries}
            known = self._verified[folder] = (changed_ns, manifest, contents, entries)
        return known

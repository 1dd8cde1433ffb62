# SPDX-License-Identifier: Apache-2.0
"""Turns an output folder's episodes, labels and watched bags into one SQLite file to ask.

The catalogue is an index: everything in it lies in the folders too, and `rebuild` makes it anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from cosmos_flywheel import schemas
from cosmos_flywheel.core.errors import FlywheelError, StoreError
from cosmos_flywheel.core.lineage import canonical_json, sha256_hex
from cosmos_flywheel.store.clusters import Member, Newcomer, assign
from cosmos_flywheel.store.connection import connect, remove
from cosmos_flywheel.store.database import BrokenDatabaseError, Database
from cosmos_flywheel.store.episodes import Manifest, is_complete, iter_episodes, read_episode
from cosmos_flywheel.store.files import storing, write_document
from cosmos_flywheel.store.labels import Label, append_label, read_labels
from cosmos_flywheel.store.records import Cluster, ClusterRow, EpisodeRow, Rebuilt, WatchedBag

BAGS = 'bags'
T = TypeVar('T')

_CONTENT = {
    'bags': 'bag_id, config_hash, name, robot, start_ns, duration_s, watched_s, damage, episodes',
    'episodes': 'id, bag_id, bag, config_hash, robot, task, state, start_ns, onset_ns, end_ns, '
    'start_s, onset_s, end_s, level, calibration_id, manifest_sha256',
    'causes': 'episode, cause',
    'channels': 'episode, channel, peak, threshold, guaranteed, onset_ns',
    'labels': 'episode, line, label, reviewer, reason',
    'clusters': 'id, robot, name',
    'members': 'episode, cluster',
}
"""Columns by table, but for wall-clock times; the first two order the rows."""
_EMPTYING = ('members', 'clusters', 'labels', 'causes', 'channels', 'episodes', 'bags')
"""All tables, those that point to others first."""


class Catalogue:
    """One connection, for the process and thread that opened it; several may write at once."""

    def __init__(self, out: Path, database: Database) -> None:
        self.out = out
        self._database = database

    @classmethod
    def open(cls, out: Path) -> Catalogue:
        """The catalogue of an output folder, made or brought up to date as needed.

        Raises StoreError if the folder cannot be written; BrokenDatabaseError if the file is
        damaged or from a newer version.
        """
        return cls(out, connect(out))

    def close(self) -> None:
        """Harmless when repeated."""
        self._database.close()

    def __enter__(self) -> Catalogue:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def bag_done(self, bag_id: str, config_hash: str) -> bool:
        """Whether this bag was watched to its end so, and its episodes are still there."""
        query = 'SELECT episodes FROM bags WHERE bag_id = ? AND config_hash = ?'
        found = self._database.ask(query, (bag_id, config_hash))
        return bool(found) and all(is_complete(self.out, one) for one in json.loads(found[0][0]))

    def add_bag(self, bag: WatchedBag) -> None:
        """Record that a bag is finished, after its episodes; the file first, then the row."""
        document = {'schema': 'bag-v1', **asdict(bag), 'episodes': sorted(bag.episodes)}
        name = sha256_hex(canonical_json([bag.bag_id, bag.config_hash]))[:16]
        path = self.out / BAGS / f'{name}.json'
        with storing(path):
            path.parent.mkdir(exist_ok=True)
            write_document(path, document, 'bag-v1')
        with self._database.writing():
            self._put_bag(document)

    def hear_of(self, bag: WatchedBag) -> bool:
        """Record a bag that was watched elsewhere; False if as much of it is known."""
        query = 'SELECT watched_s FROM bags WHERE bag_id = ? AND config_hash = ?'
        known = self._database.ask(query, (bag.bag_id, bag.config_hash))
        if known and known[0][0] >= bag.watched_s:
            return False
        self.add_bag(bag)
        return True

    def add_episode(self, episode_id: str) -> bool:
        """Index a complete episode from its folder; False if it was known already.

        Raises StoreError if it is not there or is known with another manifest.
        """
        manifest, labels = _read_episode(self.out / episode_id)
        with self._database.writing():
            return self._put_episode(manifest, labels)

    def label(
        self, prefix: str, label: str, *, reviewer: str, reason: str = '', time: str | None = None
    ) -> Label:
        """Append one judgement to the episode's `labels.jsonl`, then to the catalogue."""
        episode = self.episode(prefix)
        folder = self.folder(episode.id)
        now = time or datetime.now(timezone.utc).isoformat(timespec='seconds')
        said = Label(episode.id, label, reviewer, reason, now)
        append_label(folder, said)
        with self._database.writing():
            self._put_labels(episode.id, read_labels(folder))
        return said

    def episodes(
        self,
        *,
        state: str | None = None,
        cause: str | None = None,
        robot: str | None = None,
        bag: str | None = None,
        cluster: str | None = None,
    ) -> list[EpisodeRow]:
        """What matches all that is given, in the order of bags and time.

        `state` is the label in force, `cause` a channel, `trigger:NAME` or `trigger`, `bag` a
        name or an id.
        """
        conditions = {
            'label = :state': state,
            """id IN (SELECT episode FROM causes WHERE cause = :cause
                OR substr(cause, 1, length(:cause) + 1) = :cause || ':')""": cause,
            'robot = :robot': robot,
            ':bag IN (bag, bag_id)': bag,
            'id IN (SELECT episode FROM members WHERE cluster = :cluster)': cluster,
        }
        given = [text for text, value in conditions.items() if value is not None]
        values = {'state': state, 'cause': cause, 'robot': robot, 'bag': bag, 'cluster': cluster}
        return self._rows(' AND '.join(given) or 'TRUE', values)

    def episode(self, prefix: str) -> EpisodeRow:
        """The one episode whose id begins so; StoreError if there is none or more than one."""
        found = self._rows('substr(id, 1, length(:prefix)) = :prefix', {'prefix': prefix.lower()})
        if not prefix or not found:
            raise StoreError(
                f'{self.out}: no episode begins with {prefix!r}; '
                f'look with: flywheel episodes list {self.out}'
            )
        if len(found) > 1:
            some = ', '.join(row.id for row in found[:3])
            raise StoreError(f'{prefix!r} begins {len(found)} episodes ({some}, …); give more')
        return found[0]

    def folder(self, episode_id: str) -> Path:
        """Where an episode lies; StoreError if it is no longer there."""
        if not is_complete(self.out, episode_id):
            raise StoreError(
                f'{self.out / episode_id}: is gone or incomplete; '
                f'run: flywheel episodes rebuild {self.out}'
            )
        return self.out / episode_id

    def watched_hours(self, robot: str | None = None) -> float:
        """Operating hours of all bags, each counted once: the divisor of a failure rate."""
        query = """SELECT COALESCE(SUM(longest), 0) FROM (SELECT MAX(watched_s) AS longest
            FROM bags WHERE :robot IS NULL OR robot = :robot GROUP BY bag_id)"""
        return float(self._database.ask(query, {'robot': robot})[0][0]) / 3600

    def assign_clusters(self, episodes: Iterable[str]) -> dict[str, Cluster]:
        """Give each of these episodes that has none its cluster; returns those of all of them.

        For all episodes of a harvest at once, at its end: in which order they were found does
        not matter then. Raises StoreError if one is not known or no longer there.
        """
        asked = set(episodes)
        new = asked - {episode for (episode,) in self._database.ask('SELECT episode FROM members')}
        if new:
            manifests = (read_episode(self.folder(one)) for one in sorted(new))
            members = assign(self.out, map(Newcomer.of, manifests))
            with self._database.writing():
                self._put_members(members)
        query = 'SELECT episode, id, name FROM members JOIN clusters ON cluster = id'
        return {
            one: Cluster(*cluster) for one, *cluster in self._database.ask(query) if one in asked
        }

    def clusters(self, cluster: str | None = None) -> list[ClusterRow]:
        """Episodes that are alike, the most common first; those without a cluster are left out."""
        members: dict[str | None, list[EpisodeRow]] = {}
        for row in self.episodes(cluster=cluster):
            members.setdefault(row.cluster, []).append(row)
        rows = [
            ClusterRow(name, words, robot, tuple(sorted(members[name], key=_by_severity)))
            for name, words, robot in self._database.ask(
                'SELECT id, name, robot FROM clusters', ()
            )
            if name in members
        ]
        return sorted(rows, key=lambda row: (-len(row.members), row.id))

    def content_hash(self) -> str:
        """64 hex digits of everything but wall-clock times, whatever the order of writing."""
        content = {
            table: self._database.ask(f'SELECT {columns} FROM {table} ORDER BY 1, 2')
            for table, columns in _CONTENT.items()
        }
        return sha256_hex(canonical_json(content))

    def refill(self) -> Rebuilt:
        """Empty the catalogue and fill it from the folders, while other writers wait."""
        with self._database.writing():
            for table in _EMPTYING:
                self._database.change(f'DELETE FROM {table}')
            refused: list[str] = []
            newcomers: list[Newcomer] = []
            for manifest, labels in _readable(_read_episode, iter_episodes(self.out), refused):
                self._put_episode(manifest, labels)
                newcomers.append(Newcomer.of(manifest))
            with _noting(refused):
                self._put_members(assign(self.out, newcomers))
            records = sorted((self.out / BAGS).glob('[!.]*.json'))
            bags = [*_readable(_read_bag, records, refused)]
            for bag in bags:
                self._put_bag(bag)
        return Rebuilt(len(newcomers), len(bags), tuple(refused))

    def _put_bag(self, document: Mapping[str, Any]) -> None:
        damage = document['damage']
        row = {
            **document,
            'damage': None if damage is None else canonical_json(damage).decode(),
            'episodes': canonical_json(document['episodes']).decode(),
        }
        self._insert('INSERT OR REPLACE', 'bags', row)

    def _put_episode(self, manifest: Manifest, labels: tuple[Label, ...]) -> bool:
        name, sha256 = manifest['id'], sha256_hex(canonical_json(manifest))
        known = self._database.ask('SELECT manifest_sha256 FROM episodes WHERE id = ?', (name,))
        if known and known[0][0] != sha256:
            raise StoreError(
                f'{self.out / name}: differs from what the catalogue knows; '
                f'run: flywheel episodes rebuild {self.out}'
            )
        if not known:
            self._insert('INSERT', 'episodes', _episode_row(manifest, sha256))
            for cause in manifest['causes']:
                self._insert('INSERT', 'causes', {'episode': name, 'cause': cause})
            for channel, score in manifest['channels'].items():
                row = {**score, 'episode': name, 'channel': channel}
                self._insert('INSERT', 'channels', row)
        self._put_labels(name, labels)
        return not known

    def _put_labels(self, episode: str, labels: tuple[Label, ...]) -> None:
        for line, label in enumerate(labels, start=1):
            row = {**asdict(label), 'episode': episode, 'line': line}
            self._insert('INSERT OR IGNORE', 'labels', row, extra=('time',))

    def _put_members(self, members: Iterable[Member]) -> None:
        """Index assignments; of episodes that are not known here nothing is said."""
        known = {episode for (episode,) in self._database.ask('SELECT id FROM episodes')}
        for member in members:
            if member.founder is not None:
                row = {**asdict(member.founder), 'id': member.cluster}
                self._insert('INSERT OR IGNORE', 'clusters', row)
            if member.episode in known:
                self._insert('INSERT OR IGNORE', 'members', asdict(member))

    def _insert(
        self, verb: str, table: str, row: Mapping[str, Any], extra: tuple[str, ...] = ()
    ) -> None:
        columns = [*_CONTENT[table].split(', '), *extra]
        marks = ', '.join(f':{column}' for column in columns)
        text = f'{verb} INTO {table} ({", ".join(columns)}) VALUES ({marks})'
        self._database.change(text, {column: _storable(row[column]) for column in columns})

    def _rows(self, condition: str, values: Mapping[str, Any]) -> list[EpisodeRow]:
        query = f"""
            SELECT id, bag, bag_id, robot, task, label,
                (SELECT cluster FROM members WHERE episode = judged.id),
                start_ns, onset_ns, end_ns, start_s, onset_s, end_s,
                (SELECT json_group_array(cause) FROM causes WHERE episode = judged.id),
                (SELECT json_group_object(channel, json_array(peak, threshold))
                 FROM channels WHERE episode = judged.id)
            FROM judged WHERE {condition} ORDER BY bag, bag_id, start_ns, id"""
        return [_row(values) for values in self._database.ask(query, values)]


def rebuild(out: Path) -> Rebuilt:
    """Make the catalogue anew from the folders, also when its file is damaged or newer.

    A healthy file is refilled in place, so that a harvest which runs beside may go on.
    """
    if not out.is_dir():
        raise StoreError(f'{out}: no such folder; give the folder that a harvest wrote')
    try:
        with Catalogue.open(out) as catalogue:
            return catalogue.refill()
    except BrokenDatabaseError:
        remove(out)
    with Catalogue.open(out) as catalogue:
        return catalogue.refill()


def _readable(read: Callable[[Path], T], paths: Iterable[Path], refused: list[str]) -> Iterator[T]:
    """What can be read; for the rest the reason is added to `refused`."""
    for path in paths:
        with _noting(refused):
            yield read(path)


@contextmanager
def _noting(refused: list[str]) -> Iterator[None]:
    try:
        yield
    except FlywheelError as error:
        refused.append(str(error))


def _read_episode(folder: Path) -> tuple[Manifest, tuple[Label, ...]]:
    manifest = read_episode(folder)
    if manifest['id'] != folder.name:
        raise StoreError(f'{folder}: is episode {manifest["id"]}; rename it so or move it away')
    return manifest, read_labels(folder)


def _read_bag(path: Path) -> Mapping[str, Any]:
    return schemas.load(path, 'bag-v1')


def _episode_row(manifest: Manifest, sha256: str) -> dict[str, Any]:
    source, engine = manifest['source'], manifest['engine']
    return {
        **manifest,
        **manifest['window'],
        'bag_id': source['bag_id'],
        'bag': source['name'],
        'level': engine['level'],
        'manifest_sha256': sha256,
    }


def _storable(value: object) -> object:
    """A value that SQLite takes, whatever bytes a file system allowed in a name."""
    return value.encode('utf-8', 'backslashreplace').decode() if isinstance(value, str) else value


def _row(values: list[Any]) -> EpisodeRow:
    *plain, causes, scores = values
    pairs = {name: tuple(pair) for name, pair in sorted(json.loads(scores).items())}
    return EpisodeRow(*[*plain, tuple(sorted(json.loads(causes))), pairs])


def _by_severity(row: EpisodeRow) -> tuple[float, str]:
    return -row.severity, row.id

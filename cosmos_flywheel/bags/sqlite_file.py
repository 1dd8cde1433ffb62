# SPDX-License-Identifier: Apache-2.0
"""Turns one rosbag2 SQLite file, whole or cut, into raw messages.

Read with the standard library, because rosbags' reader gives nothing of a damaged database and
passes over the write-ahead log of a power cut, where the last messages are.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from cosmos_flywheel.bags.compression import UnpackError, unpack_message
from cosmos_flywheel.bags.records import Channel, Loss, RawMessage, offers_latched
from cosmos_flywheel.core.errors import BagError

MAGIC = b'SQLite format 3\0'

_EVERY = 'SELECT topic_id, timestamp, data FROM messages WHERE timestamp >= ? AND timestamp < ?'
_INT64_MAX = 2**63 - 1


class SqliteFile:
    """One .db3 file. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        """Open the file and count its messages.

        Raises BagError when it is no rosbag2 file, or so damaged that not even its tables can be
        read. Of a cut file every row that is still whole is read; `losses` says what is gone.
        """
        self.path = path
        self.span_ns: tuple[int, int] | None = None
        self._losses: dict[str, Loss] = {}
        self._channels: dict[int, Channel] = {}
        self._counts: Counter[int] = Counter()
        self._whole_rows: list[tuple[int, int]] | None = None
        """Log time and id of each readable row of a damaged file; None for a sound one."""
        with path.open('rb') as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise BagError(f'{path}: not an SQLite file; copy it from the robot anew')
        self._base = self._connect()
        try:
            self._open()
        except BagError:
            self.close()
            raise
        except (sqlite3.Error, TypeError, AttributeError, ValueError) as error:
            self.close()
            raise BagError(
                f'{path}: not a readable rosbag2 database ({error}); copy it from the robot anew, '
                'or try `sqlite3 FILE .recover`'
            ) from error

    @property
    def channels(self) -> Mapping[Channel, int]:
        """Channels with their number of messages."""
        counts: Counter[Channel] = Counter()
        for key, channel in self._channels.items():
            counts[channel] += self._counts[key]
        return counts

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What could not be read so far."""
        return tuple(self._losses.values())

    def close(self) -> None:
        """Release the file."""
        self._base.close()

    def messages(
        self, topics: Collection[str] | None, start_ns: int, stop_ns: int
    ) -> Iterator[RawMessage]:
        """Messages in [start_ns, stop_ns) in log-time order."""
        wanted = {
            key: channel
            for key, channel in self._channels.items()
            if topics is None or channel.topic in topics
        }
        rows = self._rows(wanted, max(start_ns, -_INT64_MAX), min(stop_ns, _INT64_MAX))
        seen = 0
        for key, log_ns, data in rows:
            channel = wanted.get(key)
            if channel is None:
                continue
            seen += 1
            try:
                message = _unpacked(channel, data)
            except UnpackError as error:
                what = (
                    f'{self.path.name}: messages of {channel.topic!r} cannot be unpacked: {error}'
                )
                self._losses[f'{log_ns} {channel.topic}'] = Loss(what, messages=1)
                continue
            yield RawMessage(channel.topic, channel.msgtype, log_ns, message)
        first_ns, last_ns = self.span_ns or (0, 0)
        missed = sum(self._counts[key] for key in wanted) - seen
        if missed > 0 and start_ns <= first_ns and last_ns < stop_ns:
            what = f'{self.path.name}: its index leads to {missed} messages fewer than there are'
            self._losses['index'] = Loss(what, messages=missed)

    def _rows(
        self, wanted: Collection[int], start_ns: int, stop_ns: int
    ) -> Iterator[tuple[int, int, object]]:
        if self._whole_rows is not None:
            for log_ns, row in self._whole_rows:
                if start_ns <= log_ns < stop_ns:
                    yield from self._base.execute(
                        'SELECT topic_id, timestamp, data FROM messages WHERE id = ?', (row,)
                    )
            return
        marks = ','.join('?' * len(wanted))
        try:
            yield from self._base.execute(
                f'{_EVERY} AND topic_id IN ({marks}) ORDER BY timestamp, id',
                (start_ns, stop_ns, *wanted),
            )
        except sqlite3.Error as error:
            self._losses['rows'] = Loss(f'{self.path.name}: reading stopped: {error}')

    def _connect(self) -> sqlite3.Connection:
        """Open read-only; a write-ahead log that a power cut left is read along."""
        where = f'file:{quote(str(self.path.absolute()))}?mode=ro'
        log = self.path.with_name(self.path.name + '-wal')
        if not log.exists() or not log.stat().st_size:
            return _connect(where + '&immutable=1')
        try:
            base = _connect(where)
            base.execute('SELECT COUNT(*) FROM sqlite_master').fetchone()
            return base
        except sqlite3.Error as error:
            self._losses['log'] = Loss(
                f'{self.path.name}: the last messages are in {log.name}, which cannot be read '
                f'here ({error}); copy both files to a writable folder to have them too'
            )
            return _connect(where + '&immutable=1')

    def _open(self) -> None:
        try:
            self._read_channels()
            self._count()
        except sqlite3.DatabaseError as error:
            # A cut file is refused as a whole unless SQLite is told that its schema may be odd.
            self._base.execute('PRAGMA writable_schema = ON')
            self._read_channels()
            self._salvage(error)

    def _read_channels(self) -> None:
        self._require_tables()
        columns = {row[1] for row in self._base.execute('PRAGMA table_info(topics)')}
        qos = 'offered_qos_profiles' if 'offered_qos_profiles' in columns else "''"
        definitions = self._definitions()
        rows = self._base.execute(
            f'SELECT id, name, type, serialization_format, {qos} FROM topics'
        )
        for key, topic, msgtype, encoding, profiles in rows:
            schema_encoding, schema = definitions.get(msgtype, ('', ''))
            self._channels[key] = Channel(
                topic=topic,
                msgtype=msgtype,
                encoding=encoding,
                schema_encoding=schema_encoding,
                schema=schema.encode(),
                metadata=(('offered_qos_profiles', profiles),) if profiles else (),
                latched=offers_latched(topic, profiles),
            )

    def _require_tables(self) -> None:
        """Only real tables: a view could make a hostile file compute for ever."""
        tables = {
            name
            for (name,) in self._base.execute("SELECT name FROM sqlite_master WHERE type='table'")
        }
        if not {'topics', 'messages'} <= tables:
            raise BagError(
                f'{self.path}: an SQLite file, but not of rosbag2 (no table of messages)'
            )

    def _definitions(self) -> dict[str, tuple[str, str]]:
        """Encoding and text by type; recorders before ROS 2 Iron wrote none."""
        try:
            rows = self._base.execute(
                'SELECT topic_type, encoding, encoded_message_definition FROM message_definitions'
            )
            return {name: (encoding, text) for name, encoding, text in rows if text}
        except sqlite3.OperationalError:
            return {}

    def _count(self) -> None:
        rows = self._base.execute(
            'SELECT topic_id, COUNT(*), MIN(timestamp), MAX(timestamp) FROM messages'
            ' GROUP BY topic_id'
        ).fetchall()
        self._counts = Counter({key: count for key, count, _, _ in rows})
        if orphans := sum(row[1] for row in rows if row[0] not in self._channels):
            what = f'{self.path.name}: {orphans} messages belong to no topic of the bag'
            self._losses['orphans'] = Loss(what)
        if rows:
            self.span_ns = min(row[2] for row in rows), max(row[3] for row in rows)

    def _salvage(self, cause: Exception) -> None:
        """List the rows that are still whole. Costs one pass and 100 bytes of memory each."""
        last, rows, spoilt = 0, [], 0
        try:
            for row, log_ns, key in self._base.execute(
                'SELECT id, timestamp, topic_id FROM messages NOT INDEXED ORDER BY id'
            ):
                if row <= last:
                    break  # the tree of pages leads in a circle
                last = row
                if self._is_whole(row):
                    rows.append((log_ns, row))
                    self._counts[key] += 1
                else:
                    spoilt += 1
        except sqlite3.DatabaseError as error:
            cause = error
        self._whole_rows = sorted(rows)
        if rows:
            self.span_ns = self._whole_rows[0][0], self._whole_rows[-1][0]
        self._losses['salvage'] = Loss(
            f'{self.path.name}: a damaged database ({cause}); its rows were read one by one up to '
            f'number {last}: {len(rows)} messages are whole, {spoilt} are spoilt, '
            'later ones are gone',
            messages=spoilt,
        )

    def _is_whole(self, row: int) -> bool:
        try:
            self._base.execute('SELECT data FROM messages WHERE id = ?', (row,)).fetchone()
        except sqlite3.DatabaseError:
            return False
        return True


def _unpacked(channel: Channel, data: object) -> bytes:
    if not isinstance(data, bytes):
        raise UnpackError(f'{type(data).__name__} instead of bytes')
    return unpack_message(data) if channel.encoding == 'cdr' else data


def _connect(where: str) -> sqlite3.Connection:
    base = sqlite3.connect(where, uri=True, check_same_thread=False)
    base.execute('PRAGMA trusted_schema = OFF')
    return base

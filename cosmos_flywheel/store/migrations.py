# SPDX-License-Identifier: Apache-2.0
"""The tables of the catalogue, one step after another."""

from __future__ import annotations

from cosmos_flywheel.store.database import Connection, Step

MIGRATIONS: dict[str, Step] = {}
"""By name, in the order in which they run."""


def migration(step: Step) -> Step:
    """Register a step under its function's name."""
    MIGRATIONS[step.__name__] = step
    return step


@migration
def m001_bags(connection: Connection) -> None:
    """One row for each bag that was watched to its end under one configuration."""
    connection.execute("""
        CREATE TABLE bags (
            bag_id TEXT NOT NULL CHECK (bag_id <> ''),
            config_hash TEXT NOT NULL CHECK (length(config_hash) = 64),
            name TEXT NOT NULL CHECK (name <> ''),
            robot TEXT,
            start_ns INTEGER,
            duration_s REAL NOT NULL CHECK (duration_s >= 0),
            watched_s REAL NOT NULL CHECK (watched_s >= 0),
            damage TEXT,
            episodes TEXT NOT NULL CHECK (json_valid(episodes)),
            PRIMARY KEY (bag_id, config_hash)
        ) STRICT, WITHOUT ROWID
    """)


@migration
def m002_episodes(connection: Connection) -> None:
    """One row for each episode folder, and one for each cause and channel of it."""
    connection.execute("""
        CREATE TABLE episodes (
            id TEXT PRIMARY KEY CHECK (length(id) = 16),
            bag_id TEXT NOT NULL,
            bag TEXT NOT NULL,
            config_hash TEXT NOT NULL,
            robot TEXT,
            task TEXT,
            state TEXT NOT NULL CHECK (state IN
                ('untriaged', 'failure', 'anomaly_no_failure', 'false_alarm', 'sensor_fault')),
            start_ns INTEGER NOT NULL,
            onset_ns INTEGER NOT NULL,
            end_ns INTEGER NOT NULL,
            start_s REAL NOT NULL,
            onset_s REAL NOT NULL,
            end_s REAL NOT NULL,
            level TEXT NOT NULL,
            calibration_id TEXT,
            manifest_sha256 TEXT NOT NULL CHECK (length(manifest_sha256) = 64),
            CHECK (start_ns <= onset_ns AND onset_ns <= end_ns)
        ) STRICT, WITHOUT ROWID
    """)
    connection.execute('CREATE INDEX episodes_by_bag ON episodes (bag_id, start_ns)')
    connection.execute("""
        CREATE TABLE causes (
            episode TEXT NOT NULL REFERENCES episodes (id) ON DELETE CASCADE,
            cause TEXT NOT NULL CHECK (cause <> ''),
            PRIMARY KEY (episode, cause)
        ) STRICT, WITHOUT ROWID
    """)
    connection.execute("""
        CREATE TABLE channels (
            episode TEXT NOT NULL REFERENCES episodes (id) ON DELETE CASCADE,
            channel TEXT NOT NULL CHECK (channel <> ''),
            peak REAL,
            threshold REAL,
            guaranteed INTEGER NOT NULL CHECK (guaranteed IN (0, 1)),
            onset_ns INTEGER,
            PRIMARY KEY (episode, channel)
        ) STRICT, WITHOUT ROWID
    """)


@migration
def m003_labels(connection: Connection) -> None:
    """One row for each line of each `labels.jsonl`; the last line rules."""
    connection.execute("""
        CREATE TABLE labels (
            episode TEXT NOT NULL REFERENCES episodes (id) ON DELETE CASCADE,
            line INTEGER NOT NULL CHECK (line > 0),
            label TEXT NOT NULL CHECK (label IN
                ('untriaged', 'failure', 'anomaly_no_failure', 'false_alarm', 'sensor_fault')),
            reviewer TEXT NOT NULL CHECK (reviewer <> ''),
            reason TEXT NOT NULL,
            time TEXT NOT NULL,
            PRIMARY KEY (episode, line)
        ) STRICT, WITHOUT ROWID
    """)
    connection.execute("""
        CREATE TRIGGER labels_are_never_edited BEFORE UPDATE ON labels
        BEGIN SELECT RAISE(ABORT, 'labels are appended, never edited'); END
    """)
    connection.execute("""
        CREATE VIEW judged AS SELECT episodes.*, COALESCE(
            (SELECT label FROM labels WHERE episode = episodes.id ORDER BY line DESC LIMIT 1),
            state) AS label
        FROM episodes
    """)


@migration
def m004_clusters(connection: Connection) -> None:
    """One row for each cluster, and one for the place of each episode in one."""
    connection.execute("""
        CREATE TABLE clusters (
            id TEXT PRIMARY KEY CHECK (length(id) = 8),
            robot TEXT,
            name TEXT NOT NULL CHECK (name <> '')
        ) STRICT, WITHOUT ROWID
    """)
    connection.execute("""
        CREATE TABLE members (
            episode TEXT PRIMARY KEY REFERENCES episodes (id) ON DELETE CASCADE,
            cluster TEXT NOT NULL REFERENCES clusters (id)
        ) STRICT, WITHOUT ROWID
    """)

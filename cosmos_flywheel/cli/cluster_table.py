# SPDX-License-Identifier: Apache-2.0
"""Clusters of similar episodes → a table for people, and JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from cosmos_flywheel.cli.table import amount, table
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.store.records import ClusterRow

SHOWN_BAGS = 3
FIRST_DATE_S = 946_684_800
"""2000-01-01: a clock that shows less counts from when something was switched on."""


def cluster_lines(rows: Sequence[ClusterRow]) -> list[str]:
    """One line each, under a head, in the order given."""
    if not rows:
        return ['no clusters']
    head = ('cluster', 'episodes', 'name', 'labels', 'last seen', 'bags')
    cells = [
        (row.id, str(len(row.members)), row.name, _labels(row), _last_seen(row), _bags(row))
        for row in rows
    ]
    episodes = sum(len(row.members) for row in rows)
    return [
        *table([head, *cells], right=(1,)),
        f'{len(rows)} cluster{"s" * (len(rows) != 1)} of {episodes} '
        f'episode{"s" * (episodes != 1)}',
    ]


def cluster_as_json(row: ClusterRow) -> dict[str, Any]:
    """All of it, episodes by id, the most severe first."""
    return {
        'id': row.id,
        'name': row.name,
        'robot': row.robot,
        'count': len(row.members),
        'labels': row.labels,
        'last_onset_ns': row.last_seen.onset_ns,
        'bags': list(row.bags),
        'episodes': [member.id for member in row.members],
    }


def _labels(row: ClusterRow) -> str:
    return ', '.join(f'{count} {label}' for label, count in row.labels.items())


def _last_seen(row: ClusterRow) -> str:
    stamp_s = row.last_seen.onset_ns / NS
    if stamp_s < FIRST_DATE_S:
        return f'{amount(stamp_s)} s'
    return datetime.fromtimestamp(stamp_s, timezone.utc).strftime('%Y-%m-%d %H:%M')


def _bags(row: ClusterRow) -> str:
    more = len(row.bags) - SHOWN_BAGS
    return ', '.join([*row.bags[:SHOWN_BAGS], *([f'{more} more'] if more > 0 else [])])

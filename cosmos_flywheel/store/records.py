# SPDX-License-Identifier: Apache-2.0
"""The values that go into the catalogue and come out of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class WatchedBag:
    """One bag that was watched to its end under one configuration: `bag-v1`."""

    bag_id: str
    name: str
    """Last part of its path."""
    config_hash: str
    duration_s: float
    watched_s: float
    """Operating time that channels judged."""
    robot: str | None = None
    start_ns: int | None = None
    """First header stamp; None for a bag without messages."""
    damage: str | Mapping[str, Any] | None = None
    episodes: tuple[str, ...] = ()
    """Ids of what was found in it."""


@dataclass(frozen=True, slots=True)
class EpisodeRow:
    """What the catalogue knows of one episode."""

    id: str
    bag: str
    bag_id: str
    robot: str | None
    task: str | None
    label: str
    """The last label, or the state at capture."""
    cluster: str | None
    """Id of its cluster; None while it has none."""
    start_ns: int
    onset_ns: int
    end_ns: int
    start_s: float
    onset_s: float
    end_s: float
    causes: tuple[str, ...]
    scores: Mapping[str, tuple[float | None, float | None]]
    """Peak and threshold by channel."""

    @property
    def severity(self) -> float:
        """The highest multiple of a threshold among the causes; 0 for triggers alone."""
        known = (self.scores.get(cause, (None, None)) for cause in self.causes)
        return max((peak / limit for peak, limit in known if peak and limit), default=0.0)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a kind of episodes is called."""

    id: str
    """8 hex digits."""
    name: str
    """In a few words."""


@dataclass(frozen=True, slots=True)
class ClusterRow:
    """Episodes that are alike, as the catalogue knows them."""

    id: str
    """8 hex digits."""
    name: str
    robot: str | None
    members: tuple[EpisodeRow, ...]
    """At least one; the most severe first."""

    @property
    def labels(self) -> dict[str, int]:
        """Members by label, the most frequent first."""
        counted = Counter(member.label for member in self.members)
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))

    @property
    def bags(self) -> tuple[str, ...]:
        """Names of the bags in which it was seen."""
        return tuple(sorted({member.bag for member in self.members}))

    @property
    def last_seen(self) -> EpisodeRow:
        """The member with the latest onset."""
        return max(self.members, key=lambda member: (member.onset_ns, member.id))


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild found in the folders."""

    episodes: int
    bags: int
    refused: tuple[str, ...] = ()
    """What could not be read, and why."""

# SPDX-License-Identifier: Apache-2.0
"""Turns episodes into clusters of similar ones, whose ids and members later ones never change.

The first episode of its kind founds a cluster; each later one joins the founder that it is most
like, or founds another. Assignments are appended to one file and never edited.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cosmos_flywheel.core.likeness import Likeness, kind_words, marks_of
from cosmos_flywheel.core.lineage import sha256_hex
from cosmos_flywheel.store.episodes import Manifest
from cosmos_flywheel.store.lines import Document, append_lines, read_lines

CLUSTERS = 'clusters.jsonl'
SCHEMA = 'cluster-v1'
ALIKE = 0.55
"""Episodes that share less than this of their marks are different. Measured on simulated faults of
several strengths: from 0.5 to 0.55 the same faults stay together, below they run into others."""
ID_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Founder:
    """What later episodes are compared with."""

    robot: str | None
    """Only episodes of the same robot are compared."""
    name: str
    marks: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Member:
    """One episode's place: `cluster-v1`."""

    episode: str
    cluster: str
    """8 hex digits."""
    likeness: float
    """To the founder, 0 to 1."""
    founder: Founder | None = None
    """Where this episode founded the cluster."""


@dataclass(frozen=True, slots=True)
class Newcomer:
    """What of an episode decides its cluster."""

    episode: str
    order: tuple[str, str, int, str]
    """By bag and time: newcomers are taken in this order."""
    founder: Founder
    """What it would be as the first of its kind."""

    @classmethod
    def of(cls, manifest: Manifest) -> Newcomer:
        """The little that is kept of a manifest."""
        source, start_ns = manifest['source'], manifest['window']['start_ns']
        return cls(
            manifest['id'],
            (source['name'], source['bag_id'], start_ns, manifest['id']),
            Founder(manifest['robot'], kind_words(manifest), marks_of(manifest)),
        )


def read_members(out: Path) -> tuple[Member, ...]:
    """Every assignment, oldest first; SchemaError names the line that does not hold."""
    return tuple(_member(line) for line in read_lines(out / CLUSTERS, SCHEMA))


def assign(out: Path, newcomers: Iterable[Newcomer]) -> tuple[Member, ...]:
    """Give every episode that has no cluster yet its own; safe beside other writers.

    The result depends on the assignments that were there and on the newcomers, in whatever order
    they are given. On disk when this returns.

    Returns:
        All assignments, old and new, oldest first.

    Raises:
        StoreError: the file cannot be written; what is in it stays.
        SchemaError: a line of the file does not hold.

    """
    ordered = sorted(newcomers, key=lambda one: one.order)
    members: list[Member] = []

    def grow(lines: Sequence[Document]) -> list[Document]:
        members.extend(map(_member, lines))
        known = len(members)
        groups = _Groups(members)
        for newcomer in ordered:
            if newcomer.episode not in groups.known:
                members.append(groups.place(newcomer))
        return [{'schema': SCHEMA, **asdict(member)} for member in members[known:]]

    append_lines(out / CLUSTERS, SCHEMA, grow)
    return tuple(members)


class _Groups:
    """All clusters as they stand, and the next episode's place among them."""

    def __init__(self, members: Iterable[Member]) -> None:
        self.known: set[str] = set()
        self._ids: dict[str | None, list[str]] = {}
        self._likeness: dict[str | None, Likeness] = {}
        self._taken: set[str] = set()
        for member in members:
            self._take(member)

    def place(self, newcomer: Newcomer) -> Member:
        """The episode's cluster; the older one where two are equally alike."""
        episode, founder = newcomer.episode, newcomer.founder
        if founder.robot in self._likeness:
            alike = self._likeness[founder.robot].compare(founder.marks)
            best = int(alike.argmax())
            if alike[best] >= ALIKE:
                cluster = self._ids[founder.robot][best]
                return self._take(Member(episode, cluster, float(alike[best])))
        return self._take(Member(episode, self._free_id(episode), 1.0, founder))

    def _take(self, member: Member) -> Member:
        self.known.add(member.episode)
        if member.founder is not None:
            robot = member.founder.robot
            self._taken.add(member.cluster)
            self._ids.setdefault(robot, []).append(member.cluster)
            self._likeness.setdefault(robot, Likeness()).add(member.founder.marks)
        return member

    def _free_id(self, episode: str) -> str:
        return next(name for name in _names(episode) if name not in self._taken)


def _names(episode: str) -> Iterator[str]:
    while True:
        yield episode[:ID_DIGITS]
        episode = sha256_hex(episode.encode())


def _member(line: Document) -> Member:
    founder = line['founder']
    return Member(
        episode=line['episode'],
        cluster=line['cluster'],
        likeness=line['likeness'],
        founder=founder and Founder(founder['robot'], founder['name'], founder['marks']),
    )

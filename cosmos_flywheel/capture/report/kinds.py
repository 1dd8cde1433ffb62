# SPDX-License-Identifier: Apache-2.0
"""Episodes as the page numbers them → the kinds that they fall into, most common first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cosmos_flywheel.capture.report.result import EpisodeView
from cosmos_flywheel.store.records import Cluster

MAX_LINKS = 24
"""Episodes of a kind that are linked; more are counted."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Episodes of one harvest that are alike."""

    cluster: Cluster
    numbers: tuple[int, ...]
    """Of its episodes on the page, in order."""
    bags: int
    """In how many bags it was seen."""

    @property
    def linked(self) -> tuple[int, ...]:
        """The first of its episodes."""
        return self.numbers[:MAX_LINKS]

    @property
    def more(self) -> int:
        """Episodes that are not linked."""
        return len(self.numbers) - len(self.linked)


def kinds_of(numbered: Iterable[tuple[int, EpisodeView]]) -> dict[str, Kind]:
    """By cluster id, the most common first; episodes without a cluster are left out."""
    found: dict[Cluster, list[tuple[int, str]]] = {}
    for number, view in numbered:
        if view.cluster is not None:
            found.setdefault(view.cluster, []).append((number, view.bag))
    kinds = (
        Kind(cluster, tuple(sorted(n for n, _ in members)), len({bag for _, bag in members}))
        for cluster, members in found.items()
    )
    ordered = sorted(kinds, key=lambda kind: (-len(kind.numbers), kind.numbers))
    return {kind.cluster.id: kind for kind in ordered}

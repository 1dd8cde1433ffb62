# SPDX-License-Identifier: Apache-2.0
"""An output folder into what a plan goes by: its briefs, its failures, what was made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from cosmos_flywheel import schemas
from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.generate.coverage import Costs, State, Tried
from cosmos_flywheel.generate.grid import Real, cell_key, current
from cosmos_flywheel.generate.make import brief_of, variation_of
from cosmos_flywheel.store.briefs import iter_briefs, read_brief
from cosmos_flywheel.store.candidates import iter_candidates, read_candidate
from cosmos_flywheel.store.packs import PACKS, load_pack
from cosmos_flywheel.store.records import EpisodeRow

COSTS, SEEN = 'costs-v1', 'seen-v1'


def read_briefs(folder: Path) -> list[Brief]:
    """The briefs of a folder that were not edited into others; see `current`.

    Raises:
        StoreError: a file of one is missing or damaged.
        SchemaError: a document does not hold.
        ConfigError: what one orders contradicts itself, or it was edited and not taken in.

    """
    return current(filter(None, map(_kept, iter_briefs(folder))))


def real_failures(
    rows: Sequence[EpisodeRow],
    briefs: Sequence[Brief],
    seen: Mapping[str, Mapping[str, str]],
) -> tuple[list[Real], int]:
    """Failures with cause and object, and how many have none that is known.

    An episode is what its brief says, or, without one, what most briefs of its cluster say.

    Args:
        rows: episodes that people called failures.
        briefs: all that are in force.
        seen: value by axis by episode, as people noted it.

    """
    said = {brief.origin.id: (brief.failure.cause, brief.failure.object) for brief in briefs}
    by_cluster: dict[str, Counter[tuple[str, str]]] = {}
    for row in rows:
        if row.cluster is not None and row.id in said:
            by_cluster.setdefault(row.cluster, Counter())[said[row.id]] += 1
    found: list[Real] = []
    for row in rows:
        alike = by_cluster.get(row.cluster or '')
        if row.id in said:
            kind = said[row.id]
        elif alike:
            kind = min(alike, key=lambda one: (-alike[one], one))
        else:
            continue
        found.append(Real(row.id, *kind, seen.get(row.id, {})))
    return found, len(rows) - len(found)


def read_tried(out: Path, rejected: Collection[str], accepted: Collection[str]) -> list[Tried]:
    """Every candidate of an output folder, in the order of their ids.

    Args:
        out: where the folder of candidates lies.
        rejected: ids of those that did not survive.
        accepted: ids of those that did; all others wait.

    Raises:
        StoreError: a folder is incomplete.
        SchemaError: a manifest or its brief does not hold.

    """
    return list(_tried(out, frozenset(rejected), frozenset(accepted)))


def pack_costs(briefs: Sequence[Brief]) -> tuple[Costs, tuple[str, ...]]:
    """What the packs of the briefs say of their causes, and which packs are not shipped.

    Where two packs name a cause alike, the larger cost counts.
    """
    causes: dict[str, float] = {}
    unknown: list[str] = []
    for name in sorted({brief.pack for brief in briefs}):
        if name not in PACKS.names():
            unknown.append(name)
            continue
        for cause in load_pack(name)[0].causes:
            causes[cause.name] = max(cause.cost, causes.get(cause.name, 0.0))
    return Costs(causes), tuple(unknown)


def read_costs(path: Path) -> Costs:
    """A file of `costs-v1`; raises SchemaError where it does not hold."""
    document = schemas.load(path, COSTS)
    return Costs(document.get('causes', {}), document.get('families', {}))


def read_seen(path: Path) -> dict[str, dict[str, str]]:
    """Value by axis by episode, of a file of `seen-v1`; raises SchemaError."""
    episodes: dict[str, dict[str, str]] = schemas.load(path, SEEN)['episodes']
    return episodes


def _tried(out: Path, rejected: frozenset[str], accepted: frozenset[str]) -> Iterator[Tried]:
    briefs: dict[str, Brief] = {}
    for one in iter_candidates(out):
        manifest = read_candidate(one)
        name = manifest['brief']['sha256']
        if name not in briefs:
            briefs[name] = brief_of(one)
        variation = variation_of(manifest)
        state: State = 'waiting'
        if manifest['id'] in rejected:
            state = 'rejected'
        elif manifest['id'] in accepted:
            state = 'accepted'
        key = cell_key(briefs[name], variation)
        yield Tried(manifest['brief']['id'], key, manifest['seed'], state)


def _kept(folder: Path) -> Brief | None:
    """The brief of a folder; None for one that was edited and has a folder of its own by now."""
    brief = read_brief(folder)
    if brief.id == folder.name:
        return brief
    if (folder.parent / brief.id).is_dir():
        return None
    raise ConfigError(f'{folder}: was edited; take it in with: flywheel brief {folder}')

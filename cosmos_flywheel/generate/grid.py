# SPDX-License-Identifier: Apache-2.0
"""Briefs and what is known of failures → the grid: cause × object × family × the family's axes.

An axis may also be left open, as it was in the recording: there lies a failure itself, and what a
generator makes that does not vary the axis. Each cell has the probability that a failure falls
into it. Counts are small, so half a failure is added to every possibility (Krichevsky and
Trofimov, 1981): one that was never met keeps a chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod

from cosmos_flywheel.core.brief import Brief, Family
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.variation import Variation

SMOOTHING = 0.5
"""Added to every count."""
MOST_CELLS = 100_000
AS_IT_WAS = 'same_failure_new_scene'
"""The family that a recorded failure itself belongs to."""

Kind = tuple[str, str]
"""Cause and object."""


@dataclass(frozen=True, slots=True)
class Real:
    """One failure that happened."""

    episode: str
    cause: str
    object: str
    seen: Mapping[str, str] = field(default_factory=dict)
    """Value by axis, where a person said in which light, on which floor … it was; other axes are
    left open."""

    @property
    def kind(self) -> Kind:
        """Cause and object."""
        return self.cause, self.object


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination."""

    cause: str
    object: str
    variation: Variation
    briefs: tuple[str, ...]
    """Ids of those that order it, in their order."""
    probability: float
    """That a failure falls into it; over all cells they sum to 1."""
    real: int
    """Recorded failures that lie in it."""

    @property
    def kind(self) -> Kind:
        """Cause and object."""
        return self.cause, self.object

    @property
    def key(self) -> tuple[str, ...]:
        """Tells it from every other cell, and sorts."""
        return _key(self.cause, self.object, self.variation)

    def __str__(self) -> str:
        thing = f' of {self.object}' if self.object else ''
        return f'{self.cause}{thing}, {self.variation}, {self.variation.actions} commands'


def current(briefs: Iterable[Brief]) -> list[Brief]:
    """Without those that were edited into another one of them, in the order of their ids."""
    found = {brief.id: brief for brief in briefs}
    edited = {parent for brief in found.values() for parent in brief.parents}
    return [found[name] for name in sorted(found) if f'brief:{name}' not in edited]


def cell_key(brief: Brief, variation: Variation) -> tuple[str, ...]:
    """The `Cell.key` of a brief's variation."""
    return _key(brief.failure.cause, brief.failure.object, variation)


def make_grid(briefs: Sequence[Brief], reals: Sequence[Real]) -> list[Cell]:
    """Every cell that a brief orders, with some axes open or none, sorted by `Cell.key`.

    A kind of failure (cause and object) is as probable as it was frequent, and its families are
    alike. Within the family that recorded failures belong to, values are as probable as they were
    frequent, axes apart; within the others they are alike.

    Raises:
        ConfigError: there is no brief, or there are too many cells.

    """
    if not briefs:
        raise ConfigError('no brief to plan for; run: flywheel brief --all')
    orders: dict[tuple[str, ...], list[str]] = {}
    cells: dict[tuple[str, ...], tuple[Kind, Variation]] = {}
    for brief in briefs:
        _check_size(brief)
        for variation in _variations(brief):
            key = cell_key(brief, variation)
            orders.setdefault(key, []).append(brief.id)
            cells[key] = ((brief.failure.cause, brief.failure.object), variation)
        if len(cells) > MOST_CELLS:
            raise ConfigError(f'over {MOST_CELLS} cells; give the briefs fewer axes or values')
    shares = _shares(cells, reals)
    values: dict[Kind, set[tuple[str, str]]] = {}
    for kind, variation in cells.values():
        if variation.family == AS_IT_WAS:
            values.setdefault(kind, set()).update(variation.cell.items())
    lie = Counter(_place(real, values.get(real.kind, ())) for real in reals)
    return [
        Cell(*kind, variation, tuple(orders[key]), shares[key], lie[key])
        for key, (kind, variation) in sorted(cells.items())
    ]


def _variations(brief: Brief) -> Iterator[Variation]:
    """Each family's combinations; an axis that is left open is not in the cell."""
    for family in brief.families:
        axes = sorted(family.axes)
        for values in product(*([None, *family.axes[axis]] for axis in axes)):
            chosen = zip(axes, values, strict=True)
            cell = {axis: value for axis, value in chosen if value is not None}
            yield Variation(family.name, family.actions, cell)


def _place(real: Real, values: Collection[tuple[str, str]]) -> tuple[str, ...]:
    """The key of the cell that a failure lies in; values that nobody orders count as open."""
    cell = {axis: value for axis, value in real.seen.items() if (axis, value) in values}
    return _key(real.cause, real.object, Variation(AS_IT_WAS, 'recorded', cell))


def _shares(
    cells: Mapping[tuple[str, ...], tuple[Kind, Variation]], reals: Sequence[Real]
) -> dict[tuple[str, ...], float]:
    """Probability by cell."""
    counts = Counter(real.kind for real in reals)
    kinds = {kind for kind, _ in cells.values()}
    known = sum(counts[kind] for kind in kinds)
    families: dict[tuple[Kind, str, str], list[tuple[str, ...]]] = {}
    for key, (kind, variation) in cells.items():
        families.setdefault((kind, variation.family, variation.actions), []).append(key)
    of_kind = Counter(kind for kind, _, _ in families)
    shares: dict[tuple[str, ...], float] = {}
    for (kind, _, _), keys in families.items():
        share = (counts[kind] + SMOOTHING) / (known + SMOOTHING * len(kinds)) / of_kind[kind]
        family = [cells[key][1] for key in keys]
        mine = [real for real in reals if real.kind == kind]
        weights = _weights(family, mine if family[0].family == AS_IT_WAS else [])
        whole = sum(weights)
        shares |= {k: share * w / whole for k, w in zip(keys, weights, strict=True)}
    return shares


def _weights(family: Sequence[Variation], reals: Sequence[Real]) -> list[float]:
    """How probable each variation of a family is against the others."""
    axes = sorted({axis for variation in family for axis in variation.cell})
    share: dict[tuple[str, str | None], float] = {}
    for axis in axes:
        values = {variation.cell.get(axis) for variation in family}
        seen = Counter(value if value in values else None for value in _seen(axis, reals))
        whole = sum(seen.values()) + SMOOTHING * len(values)
        share |= {(axis, value): (seen[value] + SMOOTHING) / whole for value in values}
    return [prod(share[axis, one.cell.get(axis)] for axis in axes) for one in family]


def _seen(axis: str, reals: Sequence[Real]) -> list[str | None]:
    return [real.seen.get(axis) for real in reals]


def _key(cause: str, thing: str, variation: Variation) -> tuple[str, ...]:
    cell = [part for item in sorted(variation.cell.items()) for part in item]
    return (cause, thing, variation.family, variation.actions, *cell)


def _check_size(brief: Brief) -> None:
    size = sum(map(_size, brief.families))
    if size > MOST_CELLS:
        raise ConfigError(
            f'brief {brief.id}: orders {size} cells, limit {MOST_CELLS}; give it fewer axes or '
            'values'
        )


def _size(family: Family) -> int:
    return prod(len(values) + 1 for values in family.axes.values())

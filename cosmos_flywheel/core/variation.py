# SPDX-License-Identifier: Apache-2.0
"""One cell of a brief's grid: which family, which value on each axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

from cosmos_flywheel.core.brief import Brief, Family
from cosmos_flywheel.core.lineage import ID_DIGITS, canonical_json, sha256_hex


@dataclass(frozen=True, slots=True)
class Variation:
    """What one candidate is to be, apart from its seed."""

    family: str
    actions: str
    """Where its commands come from; see `core/brief.py`."""
    cell: Mapping[str, str] = field(default_factory=dict)
    """Value by axis."""

    def __str__(self) -> str:
        cell = ', '.join(f'{axis} {value}' for axis, value in sorted(self.cell.items()))
        return f'{self.family} ({cell})' if cell else self.family


def variations(brief: Brief) -> tuple[Variation, ...]:
    """Every cell of every family, in the brief's order."""
    return tuple(one for family in brief.families for one in _cells(family))


def variation_from(asked: Mapping[str, Any]) -> Variation:
    """The variation of a document that names family, actions and cell."""
    return Variation(asked['family'], asked['actions'], dict(asked['cell']))


def candidate_id(
    brief_id: str, variation: Variation, seed: int, backend: str, parameters: Mapping[str, Any]
) -> str:
    """16 hex digits: the same order to the same generator is the same candidate."""
    order = [brief_id, asdict(variation), seed, backend, parameters]
    return sha256_hex(canonical_json(order))[:ID_DIGITS]


def _cells(family: Family) -> list[Variation]:
    axes = sorted(family.axes)
    return [
        Variation(family.name, family.actions, dict(zip(axes, values, strict=True)))
        for values in product(*(family.axes[axis] for axis in axes))
    ]

# SPDX-License-Identifier: Apache-2.0
"""A plan as `plan-v1`, which `flywheel generate` takes and people read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cosmos_flywheel.core.lineage import ID_DIGITS, canonical_json, sha256_hex
from cosmos_flywheel.generate.coverage import Costs, Coverage, Filled
from cosmos_flywheel.generate.grid import SMOOTHING

SCHEMA = 'plan-v1'
NOT_CHOSEN = 'others are worth more'


def plan_document(plan: Coverage, costs: Costs, notes: Sequence[str] = ()) -> dict[str, Any]:
    """Everything that decided the plan; the same plan gives the same document."""
    orders = [asdict(order) for order in plan.orders]
    return {
        'schema': SCHEMA,
        'id': sha256_hex(canonical_json(orders))[:ID_DIGITS],
        'orders': orders,
        'cells': [_cell(one) for one in plan.cells],
        'coverage': {
            'cells': len(plan.cells),
            'before': _covered(plan, after=False),
            'after': _covered(plan, after=True),
        },
        'survival': plan.survival,
        'smoothing': SMOOTHING,
        'costs': asdict(costs),
        'notes': list(notes),
    }


def why_empty(one: Filled) -> str | None:
    """Why nothing covers a cell after the plan; None where something does."""
    if one.after > 0:
        return None
    return one.refusal or NOT_CHOSEN


def _cell(one: Filled) -> dict[str, Any]:
    cell = one.cell
    return {
        'cause': cell.cause,
        'object': cell.object,
        'variation': asdict(cell.variation),
        'briefs': list(cell.briefs),
        'probability': cell.probability,
        'cost': one.cost,
        'real': cell.real,
        'accepted': one.accepted,
        'waiting': one.waiting,
        'rejected': one.rejected,
        'planned': one.planned,
        'before': one.before,
        'after': one.after,
        'empty_because': why_empty(one),
    }


def _covered(plan: Coverage, *, after: bool) -> dict[str, float]:
    reached = sum((one.after if after else one.before) > 0 for one in plan.cells)
    return {
        'cells': reached,
        'probability': min(1.0, plan.share(after=after, by_cost=False)),
        'worth': min(1.0, plan.share(after=after)),
    }

# SPDX-License-Identifier: Apache-2.0
"""A plan → what is put into the queue: exactly its orders, the most valuable first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from cosmos_flywheel import schemas
from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError, FlywheelError
from cosmos_flywheel.core.job import JobOrder
from cosmos_flywheel.core.variation import Variation, variation_from
from cosmos_flywheel.generate.backends import Means, able, find_backend, usual_backend
from cosmos_flywheel.generate.base import Generator
from cosmos_flywheel.generate.order_work import job_order
from cosmos_flywheel.generate.plan_document import SCHEMA
from cosmos_flywheel.store.briefs import BRIEFS, read_brief
from cosmos_flywheel.store.episodes import read_episode
from cosmos_flywheel.store.robots import load_robot

PRIORITIES = 1_000_000
"""A job's priority is the gain of its order in millionths."""


def planned_orders(
    plan: Path,
    out: Path,
    means: Means,
    backends: Sequence[str] = (),
    count: int | None = None,
    nominal: Sequence[Path] = (),
) -> tuple[list[JobOrder], list[str]]:
    """The orders of a plan, and which of them cannot be placed, with the reason.

    An order goes to the first generator that the plan names for it, or where it names none, to the
    brief's usual one.

    Args:
        plan: a file of `plan-v1`.
        out: the output folder with the briefs.
        means: what the generators need.
        backends: only these; empty for all.
        count: at most so many orders; None for all.
        nominal: bags to take commands from.

    Raises:
        SchemaError: the file does not hold.

    """
    document = schemas.load(plan, SCHEMA)

    @cache
    def brief_of(name: str) -> Brief:
        brief = _unchanged(out / BRIEFS / name)
        read_episode(out / brief.origin.id)
        return brief

    @cache
    def robot_of(name: str) -> Robot:
        return load_robot(means.robot or name)

    orders: list[JobOrder] = []
    refused: list[str] = []
    for number, asked in enumerate(document['orders'][:count], start=1):
        variation, name = variation_from(asked['variation']), asked['brief']
        try:
            brief = brief_of(name)
            generator = _maker(asked, brief, variation, means, backends)
            priority = round(asked['gain'] * PRIORITIES)
            robot = robot_of(brief.origin.robot)
            orders.append(
                job_order(brief, generator, variation, asked['seed'], priority, nominal, robot)
            )
        except FlywheelError as error:
            refused.append(f'order {number} of {plan.name}, brief {name}, {variation}: {error}')
    return orders, refused


def _unchanged(folder: Path) -> Brief:
    """The brief of a folder as it was planned for: its id is a hash of everything in it."""
    brief = read_brief(folder)
    if brief.id != folder.name:
        raise ConfigError(
            f'{folder}: was edited since it was planned for; take it in with: flywheel brief '
            f'{folder}, and plan again'
        )
    return brief


def _maker(
    asked: Mapping[str, Any],
    brief: Brief,
    variation: Variation,
    means: Means,
    backends: Sequence[str],
) -> Generator:
    named = asked['backends'] or backends or [usual_backend(brief).name]
    wanted = [name for name in named if not backends or name in backends]
    if not wanted:
        raise ConfigError(
            f'is for {", ".join(named)}, not for {", ".join(backends)}; give one of the former'
        )
    ready = [name for name in wanted if name in able(means)]
    generator = find_backend((ready or wanted)[0], means)
    reason = generator.refusal(brief, variation)
    if reason:
        raise ConfigError(f'{generator.name} {reason}; plan again, with --backend')
    return generator

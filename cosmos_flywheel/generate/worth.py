# SPDX-License-Identifier: Apache-2.0
"""Which failures deserve that something is spent on them, and which of them first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.store.labels import UNTRIAGED

FAILURE = 'failure'


@dataclass(frozen=True, slots=True)
class Worth:
    """One episode as it stands to the others."""

    episode: str
    cluster: str | None
    """None for an episode that is of no kind yet: it stands alone."""
    cost: float
    """Weight of its cause in the pack."""
    severity: float = 0.0
    """Highest multiple of a threshold."""


def deserves(label: str, *, untriaged: bool = False) -> bool:
    """Whether an episode is worth a brief: a person called it a failure, or nobody has spoken."""
    return label == FAILURE or (untriaged and label == UNTRIAGED)


def require_worth(episode: str, label: str, *, untriaged: bool = False) -> None:
    """Raise ConfigError unless the episode deserves a brief."""
    if deserves(label, untriaged=untriaged):
        return
    if label == UNTRIAGED:
        raise ConfigError(
            f'{episode}: nobody has said that it is a failure; run: flywheel episodes label '
            f'{episode} failure; or give --untriaged'
        )
    raise ConfigError(
        f'{episode}: is labelled {label}, and only failures are worth a brief; '
        f'if it is one, run: flywheel episodes label {episode} failure'
    )


def in_order(found: Sequence[Worth]) -> list[tuple[Worth, float]]:
    """The worthiest first, each with its weight: size of its cluster times cost of its cause.

    Only the episodes given count for a cluster's size. Of equal weight, the more severe goes
    first, then the smaller id.
    """
    sizes = Counter(one.cluster for one in found)
    weighed = [(one, one.cost * (sizes[one.cluster] if one.cluster else 1)) for one in found]
    return sorted(weighed, key=lambda w: (-w[1], -w[0].severity, w[0].episode))

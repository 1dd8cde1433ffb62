# SPDX-License-Identifier: Apache-2.0
"""One candidate that is asked for, what it costs, and where its making stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.lineage import ID_DIGITS, canonical_json, sha256_hex

WAITING, CLAIMED, DONE, DEAD, CANCELLED = STATES = (
    'waiting', 'claimed', 'done', 'dead', 'cancelled',
)  # fmt: skip
SEEDS = 1 << 32
"""Seeds are below it: what every generator's random numbers take."""


@dataclass(frozen=True, slots=True)
class Price:
    """What was spent, or is expected to be; nothing is below zero."""

    gpu_s: float = 0.0
    cpu_s: float = 0.0
    money: float = 0.0
    size_bytes: int = 0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not 0 <= value < float('inf'):
                raise ConfigError(f'price: {name} is {value!r}; give a finite number from 0')

    def __add__(self, other: Price) -> Price:
        return Price(
            self.gpu_s + other.gpu_s,
            self.cpu_s + other.cpu_s,
            self.money + other.money,
            self.size_bytes + other.size_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOrder:
    """What is asked for. The same asked for twice is one job."""

    brief_id: str
    brief_sha256: str
    """See `Brief.sha256`."""
    backend: str
    variation: Mapping[str, Any]
    seed: int
    """Of the first attempt."""
    request: Mapping[str, Any] = field(default_factory=dict)
    """Everything else that the backend needs; the queue does not look into it. It counts into the
    id, so it holds no path of a machine."""
    priority: int = 0
    """The higher, the sooner."""
    most_attempts: int = 3
    """Each with another seed."""
    estimate: Price = Price()
    """What one attempt is expected to cost."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < SEEDS:
            raise ConfigError(f'seed {self.seed!r}: give a whole number from 0 to {SEEDS - 1}')
        if self.most_attempts < 1:
            raise ConfigError(f'most_attempts is {self.most_attempts}; give 1 or more')

    @property
    def id(self) -> str:
        """16 hex digits."""
        asked = [self.brief_sha256, self.backend, self.variation, self.seed, self.request]
        return sha256_hex(canonical_json(asked))[:ID_DIGITS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An order, and where it stands."""

    order: JobOrder
    state: str
    attempt: int
    """From 1: the one that runs, or the last one; 0 before the first."""
    price: Price
    """Of all attempts so far."""
    claim: int | None = None
    """Number of the entry in the ledger, while it is claimed."""
    candidate_id: str | None = None
    reason: str = ''
    """Why the last attempt came to nothing."""

    @property
    def id(self) -> str:
        """The order's."""
        return self.order.id

    @property
    def seed(self) -> int:
        """Of this attempt."""
        return attempt_seed(self.order, max(self.attempt, 1))


@dataclass(frozen=True, slots=True)
class Outcome:
    """A candidate that lies in its place."""

    price: Price
    candidate_id: str
    found: bool = False
    """Whether it lay there already, such as from a worker that died before it could say so; the
    price is then what it cost when it was made."""


def attempt_seed(order: JobOrder, attempt: int) -> int:
    """The order's own for the first attempt; for others one that follows from job and attempt."""
    if attempt == 1:
        return order.seed
    return int(sha256_hex(canonical_json([order.id, attempt]))[:8], 16)

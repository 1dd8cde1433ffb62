# SPDX-License-Identifier: Apache-2.0
"""What generation may cost, what it has cost, and which limit stops it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.job import Price


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits for all that a queue ever spends; None is no limit."""

    gpu_s: float | None = None
    money: float | None = None
    candidates: int | None = None
    disk_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and not 0 <= value < float('inf'):
                raise ConfigError(f'budget: {name} is {value!r}; give a finite number from 0')


@dataclass(frozen=True, slots=True)
class Rates:
    """What a second costs, in whatever currency the budget's money is."""

    gpu_s: float = 0.0
    cpu_s: float = 0.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not 0 <= getattr(self, name) < float('inf'):
                raise ConfigError(f'rate of {name}: give a finite number from 0')

    def charged(self, price: Price) -> Price:
        """The price with the money for its seconds added to what it has of its own."""
        seconds = price.gpu_s * self.gpu_s + price.cpu_s * self.cpu_s
        return replace(price, money=price.money + seconds)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The sum of all attempts."""

    spent: Price
    """By attempts that have ended, whatever came of them."""
    reserved: Price
    """What those that run are expected to cost."""
    candidates: int
    running: int

    def stopped_by(self, budget: Budget, next_one: Price) -> str | None:
        """The limit that one more attempt would break, in words; None if it may begin."""
        for name, used, more, limit in self._uses(budget, next_one):
            if limit is not None and (used >= limit or used + more > limit):
                return (
                    f'the budget of {name} is {limit:g}: {used:g} are spent or reserved, and '
                    f'the next attempt wants {more:g}; raise it with: flywheel queue budget'
                )
        return None

    def _uses(
        self, budget: Budget, more: Price
    ) -> Iterator[tuple[str, float, float, float | None]]:
        used = self.spent + self.reserved
        yield 'gpu_s', used.gpu_s, more.gpu_s, budget.gpu_s
        yield 'money', used.money, more.money, budget.money
        yield 'candidates', self.candidates + self.running, 1, budget.candidates
        yield 'disk_bytes', used.size_bytes, more.size_bytes, budget.disk_bytes

# SPDX-License-Identifier: Apache-2.0
"""What generation may cost, in words too, what it has cost, and which limit stops it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.job import Price
from cosmos_flywheel.core.settings import nearest

UNITS: Mapping[str, float] = {
    '': 1, 'B': 1, 'kB': 1e3, 'MB': 1e6, 'GB': 1e9, 'TB': 1e12
}  # fmt: skip
LIMITS: Mapping[str, tuple[str, float]] = {
    'gpu_s': ('gpu_s', 1),
    'gpu_hours': ('gpu_s', 3600),
    'money': ('money', 1),
    'candidates': ('candidates', 1),
    'disk': ('disk_bytes', 1),
}
"""The limit and its unit, by how it is written."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits on what a queue, or one run over it, spends; None is no limit."""

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
class Run:
    """The jobs of a queue that one run is for, and what it may spend on them."""

    jobs: frozenset[str] | None = None
    """Their ids; None for all."""
    backends: frozenset[str] | None = None
    """Generators that it has; None for all."""
    budget: Budget = Budget()
    """Beside that of the whole queue."""
    since: int = 0
    """The last claim before the run: later ones count for its budget."""


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
                    f'the next attempt wants {more:g}'
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


def changed(budget: Budget, text: str) -> Budget:
    """A budget with the limits of words such as `gpu_s=600,candidates=40,disk=2GB` instead.

    Words are those of `LIMITS`; `disk` takes a unit, and `none` is no limit.

    Raises:
        ConfigError: a word is not known or comes twice, or its value is none.

    """
    found: dict[str, Any] = {}
    for part in filter(None, text.split(',')):
        word, _, value = part.partition('=')
        if word not in LIMITS:
            raise ConfigError(f'budget {part!r}: no limit {word!r}; {nearest(word, LIMITS)}')
        name, unit = LIMITS[word]
        if name in found:
            raise ConfigError(f'budget {text!r}: limits {name} twice; give one of them')
        found[name] = None if value == 'none' else _number(part, word, value) * unit
    return replace(budget, **found)


def require_rates(budget: Budget, rates: Rates, out: Path) -> None:
    """Raise ConfigError where money is limited and nobody said what anything costs."""
    if budget.money is not None and rates == Rates():
        raise ConfigError(
            'a budget of money needs to know what seconds cost: flywheel queue budget '
            f'{out} --money-per-gpu-hour X'
        )


def _number(part: str, word: str, value: str) -> float:
    number = re.fullmatch(r'([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([kMGT]?B)?', value)
    if number is None or (number[2] and word != 'disk'):
        wanted = 'a number with B, kB, MB, GB or TB' if word == 'disk' else 'a number from 0'
        raise ConfigError(f'budget {part!r}: give {wanted}, or none')
    return float(number[1]) * UNITS[number[2] or '']

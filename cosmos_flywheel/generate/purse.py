# SPDX-License-Identifier: Apache-2.0
"""Seconds of graphics cards and processors that one run may take, asked before each piece."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.job import Price


@dataclass(slots=True)
class Spent:
    """What one piece of work takes."""

    gpu_s: float = 0.0
    cpu_s: float = 0.0


@dataclass(slots=True)
class Purse:
    """A budget and what has been taken from it.

    Raises:
        ConfigError: a limit is not a finite number from 0.

    """

    gpu_s: float
    cpu_s: float
    spent: Spent = field(default_factory=Spent)
    _dearest: dict[str, Spent] = field(default_factory=dict)
    """By kind of piece, the most that one took so far."""

    _expected: dict[str, Price] = field(default_factory=dict)
    """By kind of which none was done yet."""

    def __post_init__(self) -> None:
        for name in ('gpu_s', 'cpu_s'):
            if not 0 <= getattr(self, name) < float('inf'):
                raise ConfigError(f'budget of {name}: give a finite number from 0')

    def lacks(self, kind: str, *, gpu: bool = True) -> str:
        """What one more piece of this kind would exceed, in words; '' if it may begin.

        A piece is expected to take what the dearest of its kind took; the first of a kind what
        was said of it, and where nothing was, it may begin while anything is left. `gpu` is
        whether it may need a graphics card at all.
        """
        more = self._dearest.get(kind) or self._expected.get(kind, Price())
        limits = [('gpu_s', 'GPU')] * gpu + [('cpu_s', 'CPU')]
        for name, unit in limits:
            used, limit, wants = (getattr(one, name) for one in (self.spent, self, more))
            if used >= limit and (used > 0 or name == 'cpu_s'):
                return f'the budget of {limit:g} {unit} seconds is spent'
            if used + wants > limit:
                return (
                    f'of {limit:g} {unit} seconds {limit - used:.3g} are left, and a {kind} takes '
                    f'{wants:.3g}'
                )
        return ''

    def expect(self, kind: str, price: Price) -> None:
        """Say what a piece of this kind is going to take, before one was done."""
        self._expected[kind] = price

    @contextmanager
    def pay(self, kind: str) -> Iterator[Spent]:
        """Take what is done within from the budget; seconds of cards are told by the caller."""
        piece = Spent()
        began_s = time.process_time()
        try:
            yield piece
        finally:
            piece.cpu_s += time.process_time() - began_s
            self.spent.gpu_s += piece.gpu_s
            self.spent.cpu_s += piece.cpu_s
            most = self._dearest.setdefault(kind, Spent())
            most.gpu_s = max(most.gpu_s, piece.gpu_s)
            most.cpu_s = max(most.cpu_s, piece.cpu_s)

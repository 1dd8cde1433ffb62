# SPDX-License-Identifier: Apache-2.0
"""Instants of ticks → those from which a model predicts that does not predict from every one.

A model that foretells a whole chunk at once is asked once per stride. Which tick begins a stride
is read from the stamps alone, so that whoever begins to watch, whenever, begins the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stride:
    """So many ticks of a clock."""

    ticks: int
    period_ns: int

    @property
    def seconds(self) -> float:
        """How long one lasts."""
        return self.ticks * self.period_ns / 1e9

    def begins(self, stamp_ns: int, before_ns: int | None) -> bool:
        """Whether the tick at `stamp_ns` is the first of a stride.

        Time is cut into strides from zero on. Of a first tick nobody knows whether another one
        of its stride came before: it begins none, unless every tick does.

        Args:
            stamp_ns: of the tick.
            before_ns: of the tick before; None for the first.

        """
        if self.ticks == 1:
            return True
        length_ns = self.ticks * self.period_ns
        return before_ns is not None and stamp_ns // length_ns != before_ns // length_ns

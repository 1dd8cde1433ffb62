# SPDX-License-Identifier: Apache-2.0
"""What a calibration promises: asked, proved, and what is missing between the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cosmos_flywheel.core.conformal import upper_chance

BLOCK_S = 10.0
"""Scores of a robot in motion are correlated over a second or two: blocks of ten are nearly
exchangeable, and an incident rarely lasts longer. Shorter recordings are a block each."""
CONFIDENCE = 0.95
BUDGET_PER_HOUR = 1.0
"""False alarms an hour, all channels together, that are asked for by default."""


@dataclass(frozen=True, slots=True)
class Promise:
    """False alarms an hour of nominal operation; a block with alarms in it counts as one."""

    budget_per_hour: float
    confidence: float
    block_s: float
    """Mean length of a block."""
    tested_blocks: int
    """Blocks that decided nothing, neither normal sizes nor thresholds …"""
    tested_alarms: int
    """… and how many of them alarmed, thresholds being made from the other recordings only."""
    guaranteed: bool
    """Whether every channel's threshold keeps the budget, proved with the confidence."""
    missing_hours: float
    """Nominal hours still missing for such a proof; 0 where it is there."""

    @property
    def proved_per_hour(self) -> float:
        """The rate that is proved with the confidence: the budget, or what the test leaves."""
        if self.guaranteed:
            return self.budget_per_hour
        chance = upper_chance(self.tested_alarms, self.tested_blocks, self.confidence)
        return chance * 3600 / self.block_s

    def to_mapping(self) -> dict[str, Any]:
        """As the calibration file holds it."""
        return {
            'budget_per_hour': self.budget_per_hour,
            'confidence': self.confidence,
            'block_s': round(self.block_s, 3),
            'tested_blocks': self.tested_blocks,
            'tested_alarms': self.tested_alarms,
            'guaranteed': self.guaranteed,
            'missing_hours': round(self.missing_hours, 2),
            'proved_per_hour': round(self.proved_per_hour, 3),
        }

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Promise:
        """Read back what `to_mapping` wrote."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})

    def in_words(self) -> str:
        """One sentence for people."""
        asked = f'{self.budget_per_hour:g} an hour'
        sure = f'{100 * self.confidence:.0f} % confidence'
        if self.guaranteed:
            return f'at most {asked} false alarms, with {sure}'
        if not self.tested_blocks:
            return (
                f'not guaranteed: nothing is proved from so few recordings; a proof of {asked} '
                f'takes {self.missing_hours:.0f} h of nominal recordings more'
            )
        return (
            f'not guaranteed: {self.tested_alarms} of {self.tested_blocks} held-out blocks of '
            f'{self.block_s:.0f} s alarmed, which proves at most {self.proved_per_hour:.0f} false '
            f'alarms an hour ({sure}); a proof of {asked} takes {self.missing_hours:.0f} h of '
            f'nominal recordings more'
        )

# SPDX-License-Identifier: Apache-2.0
"""What a calibration promises: asked, proved, and what is missing between the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cosmos_flywheel.core.proof import proved_chance

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
    """… and how many alarmed under thresholds that the other recordings alone made, or, where
    nothing is guaranteed, under such that lie nowhere above the chosen ones."""
    guaranteed: bool
    """Whether the thresholds together keep the budget, proved with the confidence."""
    missing_hours: float
    """Nominal hours still missing for such a proof; 0 where it is there."""

    @property
    def proved_per_hour(self) -> float:
        """The rate that is proved with the confidence: the budget, or what the test leaves."""
        if self.guaranteed:
            return self.budget_per_hour
        chance = proved_chance(self.tested_alarms, self.tested_blocks, self.confidence)
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
        held_out = f'{self.tested_blocks} held-out blocks of {self.block_s:.0f} s'
        missing = f'{self.missing_hours:.{0 if self.missing_hours >= 10 else 1}f}'
        if self.guaranteed:
            return f'at most {asked} false alarms, with {sure}, from {held_out}'
        if not self.tested_blocks:
            return (
                f'not guaranteed: nothing is proved from so few recordings; a proof of {asked} '
                f'takes {missing} h of nominal recordings more'
            )
        return (
            f'not guaranteed: {self.tested_alarms} of {held_out} alarmed under somewhat lower '
            f'thresholds made without them, which proves at most {self.proved_per_hour:.0f} false '
            f'alarms an hour ({sure}); a proof of {asked} takes {missing} h of nominal recordings '
            f'more'
        )

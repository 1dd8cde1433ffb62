# SPDX-License-Identifier: Apache-2.0
"""How long a server is waited for, and how often it is asked again."""

from __future__ import annotations

from dataclasses import dataclass

from cosmos_flywheel.core.errors import EngineError

BUSY = (408, 429, 502, 503, 504)
"""Statuses of a server or of what stands before it that pass."""


@dataclass(frozen=True, slots=True)
class Patience:
    """The defaults are for a film that takes minutes."""

    answer_s: float = 30.0
    """Longest that the server may be silent in one request."""
    whole_s: float = 7200.0
    """Longest from asking to having."""
    tries: int = 6
    """Of one request that may be repeated."""
    pause_s: float = 1.0
    """Before the second try; it doubles with every further one."""
    longest_pause_s: float = 30.0
    poll_s: float = 0.5
    """Between the first two looks at a job; later ones come more slowly."""
    slowest_poll_s: float = 5.0
    remakes: int = 1
    """How often a job is made anew that the server lost or gave up."""
    passing: tuple[int, ...] = (500, *BUSY)
    """Statuses after which the same is asked again."""
    remedy: str = 'take fewer steps or frames, or raise whole_s'
    """What to do when it takes too long."""

    def __post_init__(self) -> None:
        for name in ('answer_s', 'whole_s', 'tries', 'pause_s', 'poll_s'):
            if not getattr(self, name) > 0:
                raise EngineError(f'{name} is {getattr(self, name)}; give more than 0')
        if self.remakes < 0:
            raise EngineError(f'remakes is {self.remakes}; give 0 or more')

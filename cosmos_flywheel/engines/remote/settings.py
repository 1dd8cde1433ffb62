# SPDX-License-Identifier: Apache-2.0
"""How a server is asked: every number that a user may choose, with its range."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cosmos_flywheel.engines.cosmos.settings import (
    RANGES,
    TIERS,
    check_ranges,
    check_whole_groups,
    parse_words,
)
from cosmos_flywheel.engines.remote.patience import BUSY, Patience

OURS: Mapping[str, tuple[float, float]] = {
    **{name: RANGES[name] for name in ('steps', 'shift', 'guidance', 'seed', 'seeds')},
    **{name: RANGES[name] for name in ('chunk', 'stride')},
    'crf': (0, 51),
    'answer_s': (0.05, 600),
    'chunk_s': (0.1, 3600),
    'tries': (1, 20),
    'pause_s': (0.001, 60),
    'poll_s': (0.001, 10),
}
"""Least and most."""
SLOWEST_POLL_S = 0.5
OF_THE_LINK = ('answer_s', 'chunk_s', 'tries', 'pause_s', 'poll_s')
"""They decide how long is waited, not what is answered."""


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """What is trained is what `CosmosSettings` says; precision is the server's own affair."""

    tier: int = 480
    steps: int = 30
    shift: float = 10.0
    guidance: float = 1.0
    seed: int = 0
    seeds: int = 1
    chunk: int = 16
    stride: int = 8
    crf: int = 10
    """Of the film that the answer comes as (x264, 0 is without loss); the server's own is 18."""
    answer_s: float = 10.0
    """Longest that the server may be silent in one request."""
    chunk_s: float = 120.0
    """Longest that a chunk may take from asking to having it."""
    tries: int = 4
    """Of one request that may be repeated, and of a job that the server lost."""
    pause_s: float = 0.2
    """Before the second try; it doubles with every further one."""
    poll_s: float = 0.02
    """Between the first two looks at a job; later ones come more slowly, to half a second."""

    def __post_init__(self) -> None:
        check_ranges(self, {'tier': TIERS}, OURS)
        check_whole_groups(self.chunk)

    @property
    def level(self) -> str:
        """Name of the rung of the deadline ladder."""
        return f'remote-{self.tier}'

    @property
    def patience(self) -> Patience:
        """What is waited for while a robot waits: an error of the server is one at once."""
        return Patience(
            answer_s=self.answer_s,
            whole_s=self.chunk_s,
            tries=self.tries,
            pause_s=self.pause_s,
            poll_s=self.poll_s,
            slowest_poll_s=SLOWEST_POLL_S,
            passing=BUSY,
            remedy='take fewer steps or tier 256, or raise chunk_s',
        )

    @property
    def residual(self) -> str:
        """Pictures are all that a server gives."""
        return 'frames'

    def deciding(self) -> dict[str, Any]:
        """Those on which answers depend."""
        return {k: v for k, v in asdict(self).items() if k not in OF_THE_LINK}

    @classmethod
    def parse(cls, words: Iterable[str], **given: Any) -> RemoteSettings:
        """Settings of `name=value` words, over those given.

        Raises:
            EngineError: an unknown name, or a value out of its range.

        """
        return cls(**parse_words(cls, words, given))

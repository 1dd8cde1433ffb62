# SPDX-License-Identifier: Apache-2.0
"""Nominal recordings → those that look as if something went wrong in them after all.

Up to a fifth of the recordings, and at least one of `FEWEST`, may hold a failure: each is held
against what four fifths of the recordings agree is normal, so that it cannot make itself normal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cosmos_flywheel.core.channels import Channel
from cosmos_flywheel.core.scoring import element_quantile, largest
from cosmos_flywheel.core.types import Vector

FEWEST = 5
"""With fewer recordings nothing can be told from their number."""
SHARE = 0.2
"""So large a share of the recordings may be wrong."""
TIMES = 3.0
"""A suspect's largest score is so many times that of four fifths of the recordings."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """One recording that should not be taken for nominal, and why."""

    recording: int
    channel: str
    element: str
    times: float
    """Its largest score, in multiples of the largest of the trusted four fifths."""


def find_suspects(
    channels: Sequence[Channel], recordings: Sequence[Mapping[str, Vector]]
) -> list[Suspect]:
    """At most one suspicion a recording, the strongest; the strongest first.

    Args:
        channels: whose evidence it is.
        recordings: (T, n) evidence by channel name.

    """
    if len(recordings) < FEWEST:
        return []
    found = [s for c in channels for s in _of_channel(c, [r[c.name] for r in recordings])]
    found.sort(key=lambda s: (-s.times, s.recording))
    strongest: dict[int, Suspect] = {}
    for suspect in found:
        strongest.setdefault(suspect.recording, suspect)
    most = max(1, int(SHARE * len(recordings)))
    return list(strongest.values())[:most]


def _of_channel(channel: Channel, evidence: Sequence[Vector]) -> list[Suspect]:
    peaks = np.stack([np.fmax.reduce(rows, axis=0) for rows in evidence])
    agreed = element_quantile(peaks, 1 - SHARE)
    scale = channel.settle(agreed) if channel.adaptive else channel.floors
    scored = [largest(rows, scale) for rows in peaks]
    known = sorted(score for score, _ in scored if not np.isnan(score))
    if not known:
        return []
    trusted = max(1.0, known[max(0, int(np.ceil((1 - SHARE) * len(known))) - 1)])
    return [
        Suspect(i, channel.name, channel.elements[element], float(score / trusted))
        for i, (score, element) in enumerate(scored)
        if score > TIMES * trusted
    ]

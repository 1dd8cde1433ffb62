# SPDX-License-Identifier: Apache-2.0
"""A bag's scores and episodes by the screen → its windows, each of one kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cosmos_flywheel.capture.report.result import BagTrace, EpisodeView
from cosmos_flywheel.capture.rescoring.request import ASKED
from cosmos_flywheel.core.screening import Window

DIGITS = 6


@dataclass(frozen=True, slots=True)
class Screened:
    """One bag after the screen."""

    path: Path
    name: str
    bag_id: str
    config_hash: str
    """Of what screened it."""
    trace: BagTrace
    episodes: tuple[EpisodeView, ...]


def windows_of(bag: Screened, window_s: float) -> Iterator[Window]:
    """All windows in which the screen said anything, in the order of time."""
    trace = bag.trace
    numbers = np.floor(trace.times_s / window_s).astype(int)
    asked = [c for c in trace.channels if c.name in ASKED]
    heard = np.zeros(len(numbers), bool)
    shares = np.zeros(len(numbers))
    for channel in asked:
        heard |= np.isfinite(channel.scores)
        # A channel without a threshold was muted: it ranks nothing.
        known = np.isfinite(channel.scores) & (channel.thresholds > 0)
        found = channel.scores[known] / channel.thresholds[known]
        shares[known] = np.maximum(shares[known], found)
    for number in np.unique(numbers).tolist():
        within = numbers == number
        share = round(float(shares[within].max()), DIGITS)
        is_kept = any(True for _ in overlapping(bag.episodes, number, window_s))
        if not heard[within].any():
            kind = 'blind'
        elif shares[within].max() > 1:
            kind = 'alarmed'
        else:
            kind = 'kept' if is_kept else 'quiet'
        yield Window(bag.bag_id, number, kind, share)


def overlapping(
    episodes: Iterable[EpisodeView], number: int, window_s: float
) -> Iterator[EpisodeView]:
    """The episodes that a window has a part of."""
    begin_s, end_s = number * window_s, (number + 1) * window_s
    return (e for e in episodes if e.start_s < end_s and begin_s <= e.end_s)

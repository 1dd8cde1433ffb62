# SPDX-License-Identifier: Apache-2.0
"""One recording as preflight looks at it: every message of every source, on its own clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Stamps = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Track:
    """The numbers of one source."""

    stamps_ns: Stamps
    """(N,), ascending."""
    values: Floats
    """(N, n), NaN where a message had none."""

    def between(self, times_ns: Floats | Stamps) -> Floats:
        """(T, n) interpolated at instants; NaN before the first and after the last message."""
        found = np.full((len(times_ns), self.values.shape[1]), np.nan)
        if len(self.stamps_ns) < 2:
            return found
        # Nanoseconds since 1970 are more than a float holds.
        times = (np.asarray(times_ns) - self.stamps_ns[0]).astype(np.float64)
        stamps = (self.stamps_ns - self.stamps_ns[0]).astype(np.float64)
        for column in range(found.shape[1]):
            found[:, column] = np.interp(
                times, stamps, self.values[:, column], left=np.nan, right=np.nan
            )
        return found

    def nearest(self, times_ns: Stamps) -> Floats:
        """(T, n) of the message nearest to each instant; NaN beyond the first and the last."""
        place = np.searchsorted(self.stamps_ns, times_ns)
        left, right = np.maximum(place - 1, 0), np.minimum(place, len(self.stamps_ns) - 1)
        is_left = times_ns - self.stamps_ns[left] < self.stamps_ns[right] - times_ns
        found = self.values[np.where(is_left, left, right)]
        step_ns = np.median(np.diff(self.stamps_ns)) if len(self.stamps_ns) > 1 else 0
        outside = (times_ns < self.stamps_ns[0] - step_ns / 2) | (
            times_ns > self.stamps_ns[-1] + step_ns / 2
        )
        found[outside] = np.nan
        return found

    def held(self, times_ns: Stamps) -> Floats:
        """(T, n) of the newest message at or before each instant; NaN before the first."""
        found = np.full((len(times_ns), self.values.shape[1]), np.nan)
        place = np.searchsorted(self.stamps_ns, times_ns, side='right') - 1
        found[place >= 0] = self.values[place[place >= 0]]
        return found


@dataclass(frozen=True, slots=True)
class Sight:
    """How much the pictures of the primary camera change."""

    stamps_ns: Stamps
    """(N,), ascending."""
    step: Floats
    """(N,) mean grey levels of change since the picture before."""
    span: Floats
    """(N,) the same since the picture about `SPAN_S` before; NaN at the beginning."""


@dataclass(frozen=True, slots=True)
class Log:
    """One recording, or one stretch of it between two beginnings of its clock."""

    name: str
    tracks: Mapping[str, Track]
    """By the key of the source; those that have no message are absent."""
    sight: Sight | None = None


SPAN_S = 0.4

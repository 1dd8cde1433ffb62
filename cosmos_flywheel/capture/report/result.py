# SPDX-License-Identifier: Apache-2.0
"""What one harvest found, as values to draw: traces of the bags, views of the episodes.

All times are seconds from the bag's first message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite, nan

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.store.records import Cluster

Span = tuple[float, float]
"""Half-open stretch of time: start and end in seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class ChannelTrace:
    """One channel's scores along a whole bag."""

    name: str
    scores: NDArray[np.float32]
    """(N,), NaN while the channel is silent."""
    thresholds: NDArray[np.float32]
    """(N,), NaN while warming up."""
    guaranteed: bool = False
    """Whether a false-alarm rate is proved for these thresholds."""
    alarms: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class BagTrace:
    """One bag as it was watched, from its first to its last message."""

    bag: str
    """The name to show, unique within the harvest; never trusted."""
    duration_s: float
    times_s: NDArray[np.float64]
    """(N,), non-decreasing: the instants at which channels spoke."""
    channels: tuple[ChannelTrace, ...]
    notes: tuple[str, ...] = ()
    """What the reader must know: damage, skipped pictures, warm-up, clock offsets, no camera."""
    level: str = ''
    calibration_id: str = ''
    grounding: str = ''
    """In words, how far predictions rest on actions; empty where nobody said."""
    action_grounding: float | None = None
    """The same as a number, 0 … 1; None where it is unknown."""
    pictures: int = 0
    predictions: int = 0
    brightness: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    """(N,) of the primary camera, 0 … 1, NaN where there is no picture; or empty."""


@dataclass(frozen=True, slots=True, eq=False)
class StripColumn:
    """One instant of the strip: what came, what was expected, and where they part."""

    time_s: float
    actual: Picture
    predicted: Picture | None = None
    residual: NDArray[np.float32] | None = None
    """(H, W), zero where prediction and reality agree; its size may differ from the pictures'."""


@dataclass(frozen=True, slots=True)
class ClipFrame:
    """One picture of an episode's video, kept as JPEG so that many episodes fit in memory."""

    time_s: float
    jpeg: bytes
    """See `evidence.pack_frame`."""
    alarm: bool = False


@dataclass(frozen=True, slots=True)
class ChannelPeak:
    """A channel at its highest within one episode."""

    score: float
    threshold: float
    detail: str = ''

    @property
    def ratio(self) -> float:
        """Score in multiples of the threshold; NaN where either is unknown."""
        return self.score / self.threshold if self.threshold > 0 else nan


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeView:
    """One captured failure episode with the evidence that a person wants to see."""

    id: str
    bag: str
    """As in `BagTrace.bag`."""
    onset_s: float
    """When the alarm was raised."""
    start_s: float
    end_s: float
    causes: tuple[str, ...]
    words: str
    """The cause in plain words."""
    peaks: Mapping[str, ChannelPeak] = field(default_factory=dict)
    """By channel name."""
    strip: tuple[StripColumn, ...] = ()
    """About five instants around the onset, pictures at most 320 px wide."""
    clip: tuple[ClipFrame, ...] = ()
    """The whole window, in time order."""
    folder: str = ''
    """Where the episode lies, relative to the report."""
    cluster: Cluster | None = None
    """The kind of episodes that it is one of."""
    screened_by: str = ''
    """The engine that had let it pass before a second one looked again; empty for all others."""

    @property
    def severity(self) -> float:
        """The highest multiple of a threshold among the causes: the order in which to look."""
        ratios = [self.peaks[c].ratio for c in self.causes if c in self.peaks]
        return max((r for r in ratios if isfinite(r)), default=0.0)

    def without_pictures(self) -> EpisodeView:
        """The same episode in words and numbers only, for harvests with very many of them."""
        return replace(self, strip=(), clip=())


@dataclass(frozen=True, slots=True, eq=False)
class HarvestResult:
    """Everything that one harvest found."""

    robot: str
    engine: str
    config_hash: str
    calibrated: bool
    """Whether thresholds come from nominal recordings instead of each bag's own past."""
    bags: tuple[BagTrace, ...]
    episodes: tuple[EpisodeView, ...]
    unread: Mapping[str, str] = field(default_factory=dict)
    """Bags that could not be harvested, by name, and why."""
    versions: Mapping[str, str] = field(default_factory=dict)
    rescored: tuple[str, ...] = ()
    """What a second look came to, in sentences."""

    @property
    def hours(self) -> float:
        """Operating hours watched."""
        return sum(bag.duration_s for bag in self.bags) / 3600

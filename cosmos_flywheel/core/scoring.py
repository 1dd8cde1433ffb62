# SPDX-License-Identifier: Apache-2.0
"""Evidence → one score a channel: how many times its normal size the largest element is.

What is normal comes from a calibration, or, without one, from the past of this very stream.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cosmos_flywheel.core.channels import Channel, Moment
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import AnomalyScore, ChannelScore, Vector

SCORING_REVISION = 2
"""Counts up whenever equal input gets other scores: thresholds and episode ids hang on it."""
WARM_UP_S = 3.0
"""Uncalibrated: so long a stream is only watched before its scores may alarm."""
MEMORY_S = 60.0
"""Uncalibrated: how much of the past decides what is normal."""
RELEARN_S = 0.5
"""Uncalibrated: how often what is normal is worked out anew."""
NORMAL_QUANTILE = 0.95
"""Uncalibrated: this quantile of an element's past is its normal size."""


@dataclass(frozen=True, slots=True)
class Cautious:
    """How a channel is judged without a calibration."""

    threshold: float
    """An alarm asks for a score above this."""
    floor_factor: float
    """The channel's floors times this are the least that is taken for normal: a robot that has
    stood still so far will move."""


UNCALIBRATED = {
    'picture': Cautious(8.0, 5.0),
    'state': Cautious(8.0, 5.0),
    'tracking_error': Cautious(8.0, 5.0),
    'stream_health': Cautious(2.0, 1.0),
    'clock_health': Cautious(1.0, 1.0),
    'outcome': Cautious(1.0, 1.0),
    'action_surprise': Cautious(2.0, 1.0),
}
"""By channel. Chosen so that the nominal bags of the project's data sets are (almost) silent;
`bench/first_harvest.py` prints what is still let through."""


@dataclass(frozen=True, slots=True)
class Normal:
    """What is normal for one channel at one instant."""

    scale: Vector
    """(n,), the normal size of every element, never zero."""
    threshold: float
    """NaN while warming up."""
    guaranteed: bool


class Norm(Protocol):
    """Knows what is normal for one channel."""

    def normal(self, stamp_ns: int) -> Normal:
        """As known before the evidence of this instant is learnt."""

    def learn(self, stamp_ns: int, evidence: Vector, *, alarm: bool) -> None:
        """Take the instant's evidence into account, if this norm learns."""


class FixedNorm:
    """What a calibration measured on nominal bags; learns nothing more."""

    def __init__(self, scale: Vector, threshold: float, *, guaranteed: bool) -> None:
        self._normal = Normal(scale, threshold, guaranteed)

    def normal(self, stamp_ns: int) -> Normal:
        """Always the same."""
        return self._normal

    def learn(self, stamp_ns: int, evidence: Vector, *, alarm: bool) -> None:
        """Nothing."""


class RunningNorm:
    """Robust statistics of the stream's own past: a high quantile of every element.

    Evidence in alarm is not learnt, so that a fault does not become normal while it lasts.
    """

    def __init__(self, channel: Channel, caution: Cautious, clock_hz: float) -> None:
        self._channel = channel
        self._threshold = caution.threshold
        self._floors = caution.floor_factor * channel.floors
        self._past: deque[Vector] = deque(maxlen=round(MEMORY_S * clock_hz))
        self._first_ns: int | None = None
        self._learnt_ns = 0
        self._scale = self._floors

    def normal(self, stamp_ns: int) -> Normal:
        """Of the past only; no threshold before the warm-up is over."""
        warm = self._first_ns is not None and stamp_ns - self._first_ns >= WARM_UP_S * NS
        return Normal(self._scale, self._threshold if warm else math.nan, guaranteed=False)

    def learn(self, stamp_ns: int, evidence: Vector, *, alarm: bool) -> None:
        """Remember the evidence unless it is alarming."""
        if alarm or np.isnan(evidence).all():
            return
        if self._first_ns is None or stamp_ns < self._first_ns:
            self._first_ns = stamp_ns
        self._past.append(evidence)
        if stamp_ns - self._learnt_ns >= RELEARN_S * NS or stamp_ns < self._learnt_ns:
            self._learnt_ns = stamp_ns
            sizes = element_quantile(np.stack(self._past), NORMAL_QUANTILE)
            self._scale = np.fmax(self._channel.settle(sizes), self._floors)


class Scorer:
    """All channels of one robot; give it moments in order, take scores.

    Args:
        channels: each is asked for its evidence once a moment.
        norms: by channel name.
        calibration_id: published with every score; empty without a calibration.
        level: the engine's level, published with every score.
        action_grounding: 0 … 1, published with every score; NaN where it is unknown.

    """

    def __init__(
        self,
        channels: Sequence[Channel],
        norms: Mapping[str, Norm],
        *,
        calibration_id: str,
        level: str,
        action_grounding: float = math.nan,
    ) -> None:
        self.channels = tuple(channels)
        self._norms = {c.name: norms[c.name] for c in self.channels}
        self._calibration_id = calibration_id
        self._level = level
        self._action_grounding = action_grounding

    def score(self, moment: Moment) -> AnomalyScore:
        """What each channel says of this moment."""
        scores = tuple(self._score_channel(channel, moment) for channel in self.channels)
        return AnomalyScore(
            moment.tick.stamp_ns,
            scores,
            self._calibration_id,
            self._level,
            self._action_grounding,
        )

    def reset(self) -> None:
        """Let every channel forget the past; what is normal stays known."""
        for channel in self.channels:
            channel.reset()

    def _score_channel(self, channel: Channel, moment: Moment) -> ChannelScore:
        stamp_ns = moment.tick.stamp_ns
        evidence = channel.evidence(moment)
        norm = self._norms[channel.name]
        normal = norm.normal(stamp_ns)
        value, element = largest(evidence, normal.scale)
        alarm = value > normal.threshold
        norm.learn(stamp_ns, evidence, alarm=alarm)
        detail = channel.elements[element] if element >= 0 else ''
        return ChannelScore(
            channel.name, value, normal.threshold, alarm, normal.guaranteed, detail
        )


def running_norms(channels: Sequence[Channel], clock_hz: float) -> dict[str, Norm]:
    """What is normal, learnt on the way: for a robot without a calibration."""
    return {c.name: _cautious_norm(c, UNCALIBRATED[c.name], clock_hz) for c in channels}


def _cautious_norm(channel: Channel, caution: Cautious, clock_hz: float) -> Norm:
    if channel.adaptive:
        return RunningNorm(channel, caution, clock_hz)
    return FixedNorm(channel.floors, caution.threshold, guaranteed=False)


def largest(evidence: Vector, scale: Vector) -> tuple[float, int]:
    """The largest multiple of normal among the elements, and which; (NaN, -1) if blind."""
    ratios = evidence / scale
    known = np.where(np.isnan(ratios), -1.0, ratios)
    element = int(known.argmax()) if len(known) else -1
    if element < 0 or known[element] < 0:
        return math.nan, -1
    return float(known[element]), element


def element_quantile(evidence: Vector, quantile: float) -> Vector:
    """The quantile over time of every element of (T, n) evidence, NaN ignored; (n,)."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)  # an element that was always blind
        if not np.isnan(evidence).any():
            index = min(len(evidence) - 1, math.ceil(quantile * len(evidence)) - 1)
            return np.asarray(np.partition(evidence, index, axis=0)[index])
        return np.nanquantile(evidence, quantile, axis=0, method='inverted_cdf').astype(np.float32)

# SPDX-License-Identifier: Apache-2.0
"""A bag into what a look over it shows: topics, rates, gaps, clocks, picture sizes, names.

No picture is decoded. Stamps are read from the bytes of every message, and a few messages of each
topic are deserialised; memory does not grow with the bag.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import nan
from statistics import median
from typing import Any

import numpy as np

from cosmos_flywheel.bags.picture import peek_size
from cosmos_flywheel.bags.source import BagSource, RawMessage, Topic
from cosmos_flywheel.core.errors import BagError, PictureError

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
SAMPLES = 16
"""Messages of each topic that are deserialised, spread evenly over the bag."""
KEPT = 32_768
"""Steps and delays of each topic that are kept; beyond this they are thinned evenly."""
DISAGREE_S = 0.2
"""Two clocks further apart than this are called different; transport alone takes less."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How regularly one topic's messages came; seconds of its own clock."""

    by: str
    """`header` where the type has a stamp that was set, else `arrival`."""
    rate_hz: float
    """Mean; NaN with fewer than two instants."""
    step_s: float
    """Median step; unlike the mean rate it does not mind gaps. NaN as above."""
    largest_gap_s: float
    jitter_s: float
    """95 % of the steps are no further than this from the median step."""
    delay_s: float
    """Median of arrival minus header stamp; NaN without header stamps."""
    backwards: int
    """Steps that went back in time."""
    zero_stamps: int
    """Messages whose header stamp was never set."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the pictures of one topic are like."""

    sizes: tuple[tuple[int, int], ...]
    """Every (H, W) in pixels that was met, the most frequent first."""
    encoding: str
    problem: str = ''
    """The first that was wrong with a picture."""


@dataclass(frozen=True, slots=True)
class TopicSurvey:
    """One topic."""

    name: str
    msgtype: str
    count: int
    readable: bool
    latched: bool
    pace: Pace
    sight: Sight | None
    """Of picture topics only."""
    sample: Any = None
    """Its first whole message; None where none could be deserialised."""
    problem: str = ''
    """The first message that could not be deserialised."""


@dataclass(frozen=True, slots=True)
class BagSurvey:
    """One bag."""

    name: str
    bag_id: str
    storage: str
    duration_s: float
    message_count: int
    damage: str
    """What is missing; '' for a sound bag."""
    topics: tuple[TopicSurvey, ...]
    """By name."""

    @property
    def clock_offsets(self) -> dict[str, float]:
        """Seconds by which a topic's header clock is behind those of the others, where it is."""
        delays = {t.name: t.pace.delay_s for t in self.topics if t.pace.by == 'header'}
        if not delays:
            return {}
        # The low median: of two clocks that disagree, the one with the smaller delay is right.
        usual = sorted(delays.values())[(len(delays) - 1) // 2]
        late = {name: delay - usual for name, delay in delays.items()}
        return {name: by_s for name, by_s in late.items() if abs(by_s) > DISAGREE_S}


def survey_bag(bag: BagSource) -> BagSurvey:
    """Look over a whole bag once."""
    meters = {name: _Meter(topic) for name, topic in bag.topics.items()}
    for raw in bag.messages():
        meters[raw.topic].take(raw, bag)
    damage = bag.damage
    return BagSurvey(
        name=bag.path.name,
        bag_id=bag.bag_id,
        storage=bag.storage,
        duration_s=bag.duration_s,
        message_count=bag.message_count,
        damage=damage.what if damage else '',
        topics=tuple(meters[name].result() for name in sorted(meters)),
    )


@dataclass(slots=True)
class _Thinned:
    """An even selection of a stream of integers that never grows beyond `KEPT`."""

    values: array[int] = field(default_factory=lambda: array('q'))
    every: int = 1
    seen: int = 0

    def add(self, value: int) -> None:
        if self.seen % self.every == 0:
            self.values.append(value)
            if len(self.values) > KEPT:
                self.values = self.values[::2]
                self.every *= 2
        self.seen += 1


@dataclass(slots=True)
class _Steps:
    """The steps between the instants of one stream."""

    last_ns: int | None = None
    largest_ns: int = 0
    forward_ns: int = 0
    """Sum of the steps that went forward: a clock may begin anew."""
    backwards: int = 0
    steps: _Thinned = field(default_factory=_Thinned)

    def add(self, instant_ns: int) -> None:
        if self.last_ns is not None:
            step_ns = instant_ns - self.last_ns
            self.backwards += step_ns < 0
            self.largest_ns = max(self.largest_ns, step_ns)
            self.forward_ns += max(0, step_ns)
            self.steps.add(step_ns)
        self.last_ns = instant_ns


class _Meter:
    """Gathers what is to be known of one topic."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self._every = max(1, topic.count // SAMPLES)
        self._count = self._stamped = 0
        self._arrivals, self._stamps, self._delays = _Steps(), _Steps(), _Thinned()
        self._sample: Any = None
        self._problem = ''
        self._sizes: Counter[tuple[int, int]] = Counter()
        self._encoding = self._picture_problem = ''

    def take(self, raw: RawMessage, bag: BagSource) -> None:
        stamp_ns = bag.stamp_ns(raw)
        self._arrivals.add(raw.log_ns)
        if stamp_ns is not None:
            self._stamped += 1
            self._stamps.add(stamp_ns)
            self._delays.add(raw.log_ns - stamp_ns)
        if self.topic.readable and (self._sample is None or self._count % self._every == 0):
            self._look(raw, bag)
        self._count += 1

    def _look(self, raw: RawMessage, bag: BagSource) -> None:
        if self._sample is not None and not self._is_picture:
            return
        try:
            message = bag.deserialize(raw)
        except BagError as error:
            self._problem = self._problem or str(error)
            return
        if self._sample is None:
            self._sample = message
        if self._is_picture:
            self._peek(message)

    def _peek(self, message: Any) -> None:
        self._encoding = str(getattr(message, 'encoding', '') or getattr(message, 'format', ''))
        try:
            self._sizes[peek_size(message)] += 1
        except PictureError as error:
            self._picture_problem = self._picture_problem or str(error)

    @property
    def _is_picture(self) -> bool:
        return self.topic.msgtype in (IMAGE, COMPRESSED)

    def result(self) -> TopicSurvey:
        sizes = tuple(size for size, _ in self._sizes.most_common())
        sight = Sight(sizes, self._encoding, self._picture_problem) if self._is_picture else None
        topic = self.topic
        return TopicSurvey(
            name=topic.name,
            msgtype=topic.msgtype,
            count=self._count,
            readable=topic.readable,
            latched=topic.latched,
            pace=self._pace(),
            sight=sight,
            sample=self._sample,
            problem=self._problem,
        )

    def _pace(self) -> Pace:
        steps = self._stamps if self._stamped else self._arrivals
        has_header = hasattr(self._sample, 'header')
        usual_ns = median(steps.steps.values) if steps.steps.values else nan
        deviations = np.abs(np.asarray(steps.steps.values, np.float64) - usual_ns)
        return Pace(
            by='header' if self._stamped else 'arrival',
            rate_hz=steps.steps.seen * 1e9 / steps.forward_ns if steps.forward_ns else nan,
            step_s=usual_ns / 1e9,
            largest_gap_s=steps.largest_ns / 1e9 if deviations.size else nan,
            jitter_s=float(np.quantile(deviations, 0.95)) / 1e9 if deviations.size else nan,
            delay_s=median(self._delays.values) / 1e9 if self._stamped else nan,
            backwards=steps.backwards,
            zero_stamps=self._count - self._stamped if has_header else 0,
        )


def describe_clock(topic: TopicSurvey, offsets: Mapping[str, float]) -> Iterator[str]:
    """What is wrong with a topic's clock, in words; nothing for a healthy one."""
    pace = topic.pace
    if topic.name in offsets:
        late_s = offsets[topic.name]
        side = 'behind' if late_s > 0 else 'ahead of'
        yield f'header clock {abs(late_s):.3g} s {side} the others'
    if pace.backwards:
        yield f'{pace.backwards} steps back in time'
    if pace.zero_stamps:
        yield f'{pace.zero_stamps} of {topic.count} header stamps never set'

# SPDX-License-Identifier: Apache-2.0
"""Stream health: whether the sensors still deliver, and whether they deliver anything new."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.channels.base import Elementwise, Moment
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import Picture, Vector

TOPIC_CHECKS = {'gap': 0.25, 'rate': 1.5}
"""Per topic, with floors. gap: seconds without a message. rate: how many times fewer messages
came in the last two seconds than in the best two seconds so far (dropouts, a slower driver)."""
CAMERA_CHECKS = {'freeze': 0.5, 'blank': 0.1, 'saturated': 0.25}
"""Per camera, with floors. freeze: seconds of the robot's usual motion that an unchanged picture
did not show. blank: 1 / contrast, contrast being the standard deviation in grey levels.
saturated: share of pixels at either end of the range."""
WINDOW_NS = 2 * NS
UNIT_MEMORY = 200
"""Motions remembered to know what the robot's usual motion is."""
DARK, BRIGHT = 4, 251
"""Grey levels from which a pixel counts as black or burnt out."""


@dataclass(slots=True)
class _Topic:
    """When the messages of one topic were stamped."""

    stamps_ns: deque[int] = field(default_factory=deque)
    first_ns: int | None = None
    best: int = 0

    def take(self, stamps_ns: list[int]) -> None:
        """Late and repeated stamps are left out: the clock channel tells of them."""
        if self.first_ns is None:
            self.first_ns = stamps_ns[0]
        for stamp_ns in stamps_ns:
            if not self.stamps_ns or stamp_ns > self.stamps_ns[-1]:
                self.stamps_ns.append(stamp_ns)


@dataclass(slots=True)
class _Camera:
    """The last picture of one camera and how long it has stood."""

    picture: Picture | None = None
    changed: bool = False
    unseen: float = 0.0
    """Motion since the picture last changed, in seconds of usual motion."""
    contrast: float = float('nan')
    saturated: float = float('nan')

    def see(self, picture: Picture) -> None:
        if self.picture is None or not np.array_equal(picture, self.picture):
            self.changed = True
        self.picture = picture
        # Green stands for brightness, every fourth pixel for all: this runs at the camera's rate.
        levels = picture[::4, ::4, 1].astype(np.float32)
        extreme = np.count_nonzero(levels <= DARK) + np.count_nonzero(levels >= BRIGHT)
        self.contrast = math.sqrt(max(0.0, _mean_square(levels) - float(levels.mean()) ** 2))
        self.saturated = extreme / levels.size


class StreamChannel(Elementwise):
    """Gap and rate of every topic; freeze, blank and saturation of every camera.

    A repeated picture is no freeze by itself: many drivers repeat. What counts is motion that
    states or commands report while the picture stands still; for a robot that has not reported
    any yet, the seconds for which it stands.
    """

    name = 'stream_health'
    adaptive = True

    def __init__(self, topics: Sequence[str], cameras: Sequence[str]) -> None:
        self._topics = {name: _Topic() for name in topics}
        self._cameras = {name: _Camera() for name in cameras}
        self.elements = (
            *(f'{check} of {name}' for name in topics for check in TOPIC_CHECKS),
            *(f'{check} of camera {name}' for name in cameras for check in CAMERA_CHECKS),
        )
        self.floors = np.array(
            [*TOPIC_CHECKS.values()] * len(topics) + [*CAMERA_CHECKS.values()] * len(cameras),
            np.float32,
        )
        self._motions: deque[float] = deque(maxlen=UNIT_MEMORY)
        self._before: Moment | None = None

    def evidence(self, moment: Moment) -> Vector:
        """All checks as of this tick."""
        for topic, stamps_ns in moment.tick.arrived.items():
            if topic in self._topics:
                self._topics[topic].take(stamps_ns)
        for camera, pictures in moment.tick.seen.items():
            for picture in pictures:
                self._cameras[camera].see(picture)
        moved_s = self._usual_seconds(moment)
        values = [v for t in self._topics.values() for v in _topic_checks(t, moment.tick.stamp_ns)]
        values += [v for c in self._cameras.values() for v in _camera_checks(c, moved_s)]
        self._before = moment
        return np.array(values, np.float32)

    def reset(self) -> None:
        """Forget the past."""
        self._before = None
        for name in self._topics:
            self._topics[name] = _Topic()
        for name in self._cameras:
            self._cameras[name] = _Camera()

    def _usual_seconds(self, moment: Moment) -> float:
        """Motion since the last tick, in seconds of usual motion; plain seconds without any."""
        before = self._before
        if before is None:
            return 0.0
        seconds = (moment.tick.stamp_ns - before.tick.stamp_ns) / NS
        steps = np.abs(
            np.concatenate(
                [moment.tick.state - before.tick.state, moment.tick.action - before.tick.action]
            )
        )
        if np.isnan(steps).all() and not self._motions:
            return seconds
        motion = float(np.nansum(steps)) / seconds
        self._motions.append(motion)
        usual = float(np.median(self._motions))
        peak = max(self._motions)
        if peak == 0:
            return 0.0
        return seconds * min(motion / max(usual, 0.2 * peak), 3.0)


def _topic_checks(topic: _Topic, now_ns: int) -> tuple[float, float]:
    """Seconds since the newest message, and how many times fewer come than at best."""
    stamps = topic.stamps_ns
    while stamps and stamps[0] <= now_ns - WINDOW_NS:
        last_ns = stamps.popleft()
        if not stamps:
            stamps.append(last_ns)
            break
    if topic.first_ns is None or not stamps:
        return float('nan'), float('nan')
    gap_s = max(0, now_ns - stamps[-1]) / NS
    if now_ns - topic.first_ns < WINDOW_NS:
        return gap_s, float('nan')
    count = sum(1 for s in stamps if now_ns - WINDOW_NS < s <= now_ns)
    topic.best = max(topic.best, count)
    return gap_s, topic.best / max(count, 0.5)


def _camera_checks(camera: _Camera, moved_s: float) -> tuple[float, float, float]:
    """Unseen motion, blankness and saturation."""
    camera.unseen = 0.0 if camera.changed else camera.unseen + moved_s
    camera.changed = False
    if camera.picture is None:
        return float('nan'), float('nan'), float('nan')
    return camera.unseen, 1 / max(camera.contrast, 1e-3), camera.saturated


def _mean_square(levels: NDArray[np.float32]) -> float:
    flat = levels.ravel()
    return float(flat @ flat) / flat.size

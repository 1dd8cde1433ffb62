# SPDX-License-Identifier: Apache-2.0
"""Bags and a robot file → whether the file tells the truth about them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.bags.picture import decode_picture
from cosmos_flywheel.bags.source import BagSource, open_bag
from cosmos_flywheel.bags.stamp import header_stamp_ns
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import BagError, ConfigError, PictureError
from cosmos_flywheel.core.preflight import Log, Report, Sight, Track, preflight
from cosmos_flywheel.core.preflight.log import SPAN_S
from cosmos_flywheel.core.source import SourceReader
from cosmos_flywheel.core.timeline import NS, RESET_NS

MOST_S = 600.0
"""So much of each bag is looked at, from its beginning."""
THUMB = (48, 64)
"""(H, W) px at which pictures are compared."""
HEADERLESS_OFFSET_NS = NS
TOO_LARGE = 1e18


def preflight_bags(paths: Sequence[Path], robot: Robot) -> Report:
    """Check a robot file against bags.

    Raises:
        BagError: a bag cannot be read, or is empty.
        ConfigError: the bags hold no commands of the robot, or a topic has no such field.

    """
    cv2.setNumThreads(1)
    if not robot.action_sources:
        raise ConfigError(f'robot {robot.name!r}: no action; name its topics in action.sources')
    return preflight(robot, [log for path in paths for log in read_logs(path, robot)])


def read_logs(path: Path, robot: Robot) -> list[Log]:
    """One bag, cut where its clock began anew."""
    with open_bag(path) as source:
        if not source.message_count:
            raise BagError(f'{path}: holds no messages; leave it out')
        return [rows.log(path.name) for rows in _Reading(source, robot).stretches() if rows]


class _Rows:
    """The messages of one stretch."""

    def __init__(self) -> None:
        self.stamps: dict[str, list[int]] = {}
        self.values: dict[str, list[NDArray[np.float64]]] = {}
        self.changes: list[tuple[int, float, float]] = []
        self.newest_ns: dict[str, int] = {}
        self._thumbs: deque[tuple[int, NDArray[np.float32]]] = deque()

    def __bool__(self) -> bool:
        return bool(self.stamps)

    def see(self, stamp_ns: int, thumb: NDArray[np.float32]) -> None:
        while len(self._thumbs) > 1 and self._thumbs[1][0] <= stamp_ns - SPAN_S * NS:
            self._thumbs.popleft()
        step = span = float('nan')
        if self._thumbs:
            step = float(np.abs(thumb - self._thumbs[-1][1]).mean())
            begin_ns, before = self._thumbs[0]
            if stamp_ns - begin_ns >= SPAN_S * NS / 2:
                span = float(np.abs(thumb - before).mean())
        self._thumbs.append((stamp_ns, thumb))
        self.changes.append((stamp_ns, step, span))

    def log(self, name: str) -> Log:
        tracks = {
            key: Track(np.array(stamps, np.int64), np.array(self.values[key], np.float64))
            for key, stamps in self.stamps.items()
        }
        return Log(name, tracks, self._sight())

    def _sight(self) -> Sight | None:
        if not self.changes:
            return None
        stamps, step, span = zip(*self.changes, strict=True)
        return Sight(np.array(stamps, np.int64), np.array(step), np.array(span))


class _Reading:
    """Reads the sources and the primary camera of one bag."""

    def __init__(self, source: BagSource, robot: Robot) -> None:
        self._source, self._robot = source, robot
        self._readers = [
            (s, SourceReader(s)) for s in (*robot.state_sources, *robot.action_sources)
        ]
        camera = robot.primary_camera
        self._camera = '' if camera is None else camera.topic
        self._offset_ns = 0

    def stretches(self) -> Iterator[_Rows]:
        """What was read, stretch by stretch."""
        rows = _Rows()
        for raw in self._source.messages(
            set(self._robot.topics), stop_ns=self._source.start_ns + round(MOST_S * NS)
        ):
            if not self._source.topics[raw.topic].readable:
                continue
            try:
                message = self._source.deserialize(raw)
            except BagError:
                continue
            stamp_ns = self._stamp_ns(raw.topic, raw.log_ns, message)
            newest_ns = rows.newest_ns.get(raw.topic)
            if newest_ns is not None and stamp_ns < newest_ns - RESET_NS:
                yield rows
                rows = _Rows()
            elif newest_ns is not None and stamp_ns <= newest_ns:
                continue
            rows.newest_ns[raw.topic] = stamp_ns
            self._take(rows, raw.topic, stamp_ns, message)
        yield rows

    def _stamp_ns(self, topic: str, log_ns: int, message: Any) -> int:
        """As `Watcher.stamp_ns`: the header's, or the recorder's on the clock of the headers."""
        stamp_ns = header_stamp_ns(message)
        mended_ns = self._robot.clock.offset_ns(topic)
        if stamp_ns is None:
            return log_ns + self._offset_ns + mended_ns
        apart_ns = stamp_ns + mended_ns - log_ns
        self._offset_ns = apart_ns if abs(apart_ns) > HEADERLESS_OFFSET_NS else 0
        return stamp_ns + mended_ns

    def _take(self, rows: _Rows, topic: str, stamp_ns: int, message: Any) -> None:
        if topic == self._camera:
            self._look(rows, stamp_ns, message)
        for source, reader in self._readers:
            if topic in source.context_topics:
                reader.learn(message)
            if topic != source.topic:
                continue
            values = reader.read(message)
            if values is not None:
                sound = np.abs(values) < TOO_LARGE
                rows.stamps.setdefault(source.key, []).append(stamp_ns)
                rows.values.setdefault(source.key, []).append(np.where(sound, values, np.nan))

    def _look(self, rows: _Rows, stamp_ns: int, message: Any) -> None:
        try:
            picture = decode_picture(message, shrink_to=THUMB)
        except PictureError:
            return
        small = cv2.resize(picture, THUMB[::-1], interpolation=cv2.INTER_AREA)
        rows.see(stamp_ns, small.astype(np.float32).mean(axis=2))

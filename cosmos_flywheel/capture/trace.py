# SPDX-License-Identifier: Apache-2.0
"""Scores of a recording, tick by tick → arrays to draw and to ask, and their file."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from cosmos_flywheel.capture.report.result import BagTrace, ChannelTrace, Span
from cosmos_flywheel.core.errors import StoreError
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import AnomalyScore, ChannelScore
from cosmos_flywheel.store.files import storing

REPORT = 'report.html'
TRACES = 'traces'
RESCORE = 'rescore.json'
"""What lies beside the episodes: the page, all scores, and what a second look came to."""
DAMAGED = (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error)


@dataclass(slots=True)
class ScoreLog:
    """Every score of one recording so far."""

    stamps_ns: list[int] = field(default_factory=list)
    log_ns: list[int] = field(default_factory=list)
    """The same instants on the recorder's clock."""
    scores: list[AnomalyScore] = field(default_factory=list)
    brightness: list[float] = field(default_factory=list)
    """Of the primary camera's pictures; NaN where there is none."""
    alarms: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """By channel: intervals in alarm on the recorder's clock."""

    def add(self, score: AnomalyScore, log_ns: int, brightness: float = math.nan) -> None:
        """Take the scores of one tick."""
        self.stamps_ns.append(score.stamp_ns)
        self.log_ns.append(log_ns)
        self.scores.append(score)
        self.brightness.append(brightness)

    def mark(self, channel: str, intervals_ns: Iterable[tuple[int, int]]) -> None:
        """The channel was in alarm."""
        self.alarms.setdefault(channel, []).extend(intervals_ns)

    def peaks(self, begin_ns: int) -> dict[str, ChannelScore]:
        """Each channel's highest score since a stamp; silent channels are left out."""
        peaks: dict[str, ChannelScore] = {}
        for stamp_ns, score in zip(reversed(self.stamps_ns), reversed(self.scores), strict=True):
            if stamp_ns < begin_ns:
                break
            for channel in score.channels:
                known = peaks.get(channel.name)
                if channel.score >= (known.score if known else 0.0):
                    peaks[channel.name] = channel
        return peaks

    @property
    def watched_s(self) -> float:
        """Seconds between the first and the last score."""
        return (self.log_ns[-1] - self.log_ns[0]) / NS if self.log_ns else 0.0

    def channels(self, start_ns: int) -> tuple[ChannelTrace, ...]:
        """Arrays by channel; alarms in seconds from an instant of the recorder's clock."""
        if not self.scores:
            return ()
        table = np.array(
            [[(c.score, c.threshold) for c in score.channels] for score in self.scores],
            np.float32,
        )
        return tuple(
            ChannelTrace(
                channel.name,
                table[:, index, 0],
                table[:, index, 1],
                channel.guaranteed,
                tuple(self._spans(channel.name, start_ns)),
            )
            for index, channel in enumerate(self.scores[-1].channels)
        )

    def times_s(self, start_ns: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Seconds of every tick from an instant of the recorder's clock."""
        return (np.array(self.log_ns, np.int64) - start_ns) / NS

    def _spans(self, channel: str, start_ns: int) -> Iterable[Span]:
        for begin_ns, end_ns in self.alarms.get(channel, ()):
            yield (begin_ns - start_ns) / NS, (end_ns - start_ns) / NS


def save_trace(path: Path, trace: BagTrace) -> None:
    """Keep a bag's scores beside the catalogue: whole or not at all."""
    said = {
        'bag': trace.bag,
        'duration_s': trace.duration_s,
        'notes': list(trace.notes),
        'level': trace.level,
        'calibration_id': trace.calibration_id,
        'grounding': trace.grounding,
        'action_grounding': trace.action_grounding,
        'pictures': trace.pictures,
        'predictions': trace.predictions,
        'channels': [
            {'name': c.name, 'guaranteed': c.guaranteed, 'alarms': [list(a) for a in c.alarms]}
            for c in trace.channels
        ],
    }
    arrays: dict[str, Any] = {f'scores_{i}': c.scores for i, c in enumerate(trace.channels)}
    arrays |= {f'thresholds_{i}': c.thresholds for i, c in enumerate(trace.channels)}
    arrays['brightness'] = trace.brightness
    partial = path.with_name(f'.{path.name}')
    with storing(path):
        path.parent.mkdir(exist_ok=True)
        with partial.open('wb') as file:
            np.savez_compressed(
                file, said=np.array(json.dumps(said)), times_s=trace.times_s, **arrays
            )
        partial.replace(path)


def load_trace(path: Path) -> BagTrace:
    """Read back what `save_trace` wrote.

    Raises:
        StoreError: the file is damaged.

    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            said = json.loads(str(arrays['said']))
            channels = tuple(
                ChannelTrace(
                    c['name'],
                    arrays[f'scores_{i}'],
                    arrays[f'thresholds_{i}'],
                    c['guaranteed'],
                    tuple((a, b) for a, b in c['alarms']),
                )
                for i, c in enumerate(said.pop('channels'))
            )
            known = {'times_s': arrays['times_s'], 'brightness': arrays['brightness']}
            trace = BagTrace(channels=channels, **known, **said)
    except DAMAGED as error:
        raise StoreError(f'{path}: damaged ({error}); delete it and harvest again') from error
    return replace(trace, notes=tuple(trace.notes))

# SPDX-License-Identifier: Apache-2.0
"""A capture and its bag → an episode folder: the clip, the evidence, the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

import cosmos_flywheel
from cosmos_flywheel.bags.clip import ClipSource, latched_before, write_clip
from cosmos_flywheel.bags.records import Damage
from cosmos_flywheel.capture.analysis import Capture
from cosmos_flywheel.capture.incident import Cause
from cosmos_flywheel.capture.report.evidence import draw_scores_svg, draw_strip, make_thumbnail
from cosmos_flywheel.capture.report.result import BagTrace, StripColumn
from cosmos_flywheel.capture.strip import save_strip
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.lineage import episode_id
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import ChannelScore
from cosmos_flywheel.store.episodes import CLIP, EVIDENCE, STRIP_NUMBERS, THUMBNAIL, EpisodeWriter

STRIP_PICTURE = f'{EVIDENCE}/strip.png'
SCORES_PICTURE = f'{EVIDENCE}/scores.svg'


class EpisodeSource(ClipSource, Protocol):
    """A recording that says who it is."""

    @property
    def bag_id(self) -> str:
        """Its identity."""
        ...

    @property
    def format(self) -> str:
        """ros1, ros2 or live."""
        ...

    @property
    def storage(self) -> str:
        """As bags are stored: mcap, sqlite3."""
        ...

    @property
    def damage(self) -> Damage | None:
        """What is missing of it."""
        ...

    @property
    def start_ns(self) -> int:
        """Log time of its first message."""
        ...


@dataclass(frozen=True, slots=True)
class Subject:
    """What was watched, and by whom."""

    source: EpisodeSource
    trace: BagTrace
    """Its name, its scores, the engine's level and the calibration."""
    robot: Robot
    engine_sha256: str
    screened_by: Mapping[str, Any] | None = None
    """Of what was found by looking again: the model that had let it pass, and how near it was."""
    licence: str | None = None
    """Of the recording, where it is known."""


def write_episode(
    out: Path, subject: Subject, capture: Capture, *, config_hash: str, run: Mapping[str, Any]
) -> str:
    """Write one episode and return its id; one that is there already stays as it is.

    Raises:
        StoreError: the folder cannot be written; nothing incomplete is left.

    """
    source, trace, robot = subject.source, subject.trace, subject.robot
    window = _window(source, capture)
    identity = episode_id(source.bag_id, window['start_ns'], window['end_ns'], config_hash)
    with EpisodeWriter(out, identity) as writer:
        clip = _write_clip(writer.path / CLIP, source, capture)
        evidence = _write_evidence(writer.path, trace, window, capture.strip)
        thumbnail = _write_thumbnail(writer.path, capture.strip)
        manifest = {
            'schema': 'episode-v1',
            'id': identity,
            'robot': robot.name,
            'task': robot.task or None,
            'state': 'untriaged',
            'source': _source(source, trace.bag),
            'window': window,
            'causes': [c.name for c in capture.incident.causes],
            'channels': _channels(capture),
            'firings': _firings(capture),
            'calibration_id': trace.calibration_id or None,
            'action_grounding': trace.action_grounding,
            'engine': {'level': trace.level, 'sha256': subject.engine_sha256 or None},
            **({} if subject.screened_by is None else {'screened_by': dict(subject.screened_by)}),
            'config_hash': config_hash,
            'clip': {'file': CLIP, **clip},
            'thumbnail': thumbnail,
            'evidence': evidence,
            'losses': _losses(capture),
            'notes': _notes(capture),
            'provenance': {
                'parents': [source.bag_id],
                'version': cosmos_flywheel.__version__,
                'seed': None,
                'licence': subject.licence,
            },
        }
        writer.finish(manifest, run)
    return identity


def _window(source: EpisodeSource, capture: Capture) -> dict[str, Any]:
    """The window on the header's clock, and in seconds from the bag's first message."""
    incident = capture.incident
    stamps = {'start': incident.start_ns, 'onset': incident.onset_ns, 'end': incident.end_ns}
    seconds = {
        f'{name}_s': (stamp_ns - capture.log_offset_ns - source.start_ns) / NS
        for name, stamp_ns in stamps.items()
    }
    return {
        **{f'{name}_ns': stamp_ns for name, stamp_ns in stamps.items()},
        **{name: round(value, 6) for name, value in seconds.items()},
    }


def _write_clip(path: Path, source: EpisodeSource, capture: Capture) -> dict[str, Any]:
    """The window's messages, preceded by what late joiners of latched topics would have got."""
    start_ns = capture.incident.start_ns - capture.log_offset_ns
    end_ns = capture.incident.end_ns - capture.log_offset_ns
    summary = write_clip(
        path, source, start_ns=start_ns, end_ns=end_ns, latched=latched_before(source, start_ns)
    )
    return {'messages': dict(sorted(summary.messages.items()))}


def _write_evidence(
    folder: Path, trace: BagTrace, window: Mapping[str, Any], strip: Sequence[StripColumn]
) -> list[dict[str, str]]:
    svg = draw_scores_svg(trace, window['start_s'], window['end_s'], window['onset_s'])
    (folder / SCORES_PICTURE).write_text(svg, encoding='utf-8')
    entries = [{'file': SCORES_PICTURE, 'kind': 'scores'}]
    if strip:
        (folder / STRIP_PICTURE).write_bytes(draw_strip(strip, 0.0))
        save_strip(folder / STRIP_NUMBERS, strip)
        entries += [
            {'file': STRIP_PICTURE, 'kind': 'strip'},
            {'file': STRIP_NUMBERS, 'kind': 'strip_arrays'},
        ]
    return entries


def _write_thumbnail(folder: Path, strip: Sequence[StripColumn]) -> dict[str, str] | None:
    """The picture at the onset, or the nearest to it."""
    if not strip:
        return None
    nearest = min(strip, key=lambda c: abs(c.time_s))
    (folder / THUMBNAIL).write_bytes(make_thumbnail(nearest.actual))
    return {'file': THUMBNAIL}


def _source(source: EpisodeSource, bag_name: str) -> dict[str, Any]:
    damage = source.damage
    return {
        'bag_id': source.bag_id,
        'name': bag_name,
        'format': source.format,
        'storage': source.storage,
        'damage': damage.what if damage else None,
    }


def _channels(capture: Capture) -> dict[str, Any]:
    """Every channel that had something to say within the window."""
    causes = {c.name: c for c in capture.incident.causes}
    quiet = {name: _quiet(peak) for name, peak in capture.peaks.items() if name not in causes}
    loud = {name: _loud(c) for name, c in causes.items() if not name.startswith('trigger:')}
    return {**quiet, **loud}


def _quiet(peak: ChannelScore) -> dict[str, Any]:
    return {
        'peak': _finite(peak.score),
        'threshold': _finite(peak.threshold),
        'guaranteed': peak.guaranteed,
        'onset_ns': None,
        'alarms': [],
        'detail': peak.detail,
    }


def _loud(cause: Cause) -> dict[str, Any]:
    return {
        'peak': _finite(cause.peak),
        'threshold': _finite(cause.threshold),
        'guaranteed': cause.guaranteed,
        'onset_ns': cause.onset_ns,
        'alarms': [list(interval) for interval in cause.alarms],
        'detail': cause.detail,
    }


def _finite(value: float) -> float | None:
    return round(value, 6) if isfinite(value) else None


def _firings(capture: Capture) -> list[dict[str, Any]]:
    return [
        {'name': f.name, 'stamp_ns': f.stamp_ns, 'ends_ns': f.ends_ns, 'detail': f.detail}
        for f in capture.firings
    ]


def _losses(capture: Capture) -> dict[str, dict[str, int]]:
    losses: dict[str, Counter[str]] = {}
    for loss in capture.losses:
        losses.setdefault(loss.topic, Counter())[loss.reason] += 1
    return {topic: dict(sorted(counts.items())) for topic, counts in sorted(losses.items())}


def _notes(capture: Capture) -> list[str]:
    return ['closed by its greatest length; the alarm went on'] if capture.incident.cut else []

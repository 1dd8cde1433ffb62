# SPDX-License-Identifier: Apache-2.0
"""Evidence of nominal recordings → what is normal for one robot with one engine.

One rule for all robots. Where the recordings are many, thresholds are split-conformal: normal
sizes come from one part of them, and the threshold of a channel is that block score of the other
part which keeps the budget of false alarms with the stated confidence (`conformal`), the budget
being shared evenly by the channels (union bound). Where they are too few, as minutes always are,
the threshold is the largest score of any recording, each scored with what the others call normal,
times a stated margin; then nothing is guaranteed, and the promise says what a held-out part did
prove.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cosmos_flywheel.core.channels import Channel
from cosmos_flywheel.core.conformal import blocks_needed, most_above
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.lineage import canonical_json, sha256_hex
from cosmos_flywheel.core.promise import BLOCK_S, BUDGET_PER_HOUR, CONFIDENCE, Promise
from cosmos_flywheel.core.scoring import FixedNorm, Norm, element_quantile
from cosmos_flywheel.core.types import Vector

SCHEMA = 'calibration-v1'
MARGIN = 1.3
"""How far above the largest nominal score a threshold lies."""
ROUNDING = 1 + 1e-5
"""Keeps a threshold without margin above the nominal score that it was rounded from."""
NORMAL_QUANTILE = 0.999
"""This quantile of an element's nominal evidence is its normal size: with minutes the largest."""
MOST_REFERENCES = 500
"""Block scores that are kept to notice later that the promise no longer holds."""


@dataclass(frozen=True, slots=True)
class ChannelCalibration:
    """One channel's normal sizes and threshold."""

    elements: tuple[str, ...]
    scale: tuple[float, ...]
    threshold: float
    nominal_max: float
    """The largest leave-one-out score of any nominal recording."""
    margin: float = MARGIN
    guaranteed: bool = False
    reference: tuple[float, ...] = ()
    """Median scores of nominal blocks, sorted: what later ones are compared with."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is normal for one robot, engine, picture size and clock."""

    robot: str
    engine: dict[str, str]
    """Level and sha256 of the engine."""
    size: tuple[int, int]
    clock_hz: float
    settings_hash: str
    """Of everything else that changes scores; a score may be held against it only if equal."""
    nominal: dict[str, Any]
    """Ids and count of the recordings, their hours, and those that were suspect."""
    channels: dict[str, ChannelCalibration]
    promise: Promise | None = None
    recalibrated: tuple[str, ...] = ()
    """Episodes that people called false alarms and that raised thresholds."""

    @property
    def id(self) -> str:
        """16 hex digits of the content."""
        return sha256_hex(canonical_json(self._content()))[:16]

    def to_mapping(self) -> dict[str, Any]:
        """As written to a file of schema calibration-v1."""
        return {'schema': SCHEMA, 'id': self.id, **self._content()}

    @classmethod
    def from_mapping(cls, document: Mapping[str, Any]) -> Calibration:
        """Read back what `to_mapping` wrote.

        Raises:
            ConfigError: the content does not belong to the id that it names.

        """
        channels = {
            name: ChannelCalibration(
                tuple(c['elements']),
                tuple(c['scale']),
                c['threshold'],
                c['nominal_max'],
                c['margin'],
                c['guaranteed'],
                tuple(c.get('reference', ())),
            )
            for name, c in document['channels'].items()
        }
        calibration = cls(
            document['robot'],
            dict(document['engine']),
            tuple(document['size']),
            document['clock_hz'],
            document['settings_hash'],
            dict(document['nominal']),
            channels,
            Promise.from_mapping(document['promise']) if document.get('promise') else None,
            tuple(document.get('recalibrated', ())),
        )
        if calibration.id != document['id']:
            raise ConfigError(
                f'calibration {document["id"]} was edited: its content has id '
                f'{calibration.id}; fit it again with `flywheel fit`'
            )
        return calibration

    def norms(self, channels: Sequence[Channel]) -> dict[str, Norm]:
        """What is normal for these channels.

        Raises:
            ConfigError: a channel was not calibrated, or looks at other things than it did then.

        """
        return {c.name: self._norm(c) for c in channels}

    def _norm(self, channel: Channel) -> Norm:
        known = self.channels.get(channel.name)
        if known is None or known.elements != channel.elements:
            raise ConfigError(
                f'calibration {self.id} of robot {self.robot!r} does not fit this recording: '
                f'channel {channel.name} watches other things than at fit time '
                f'({_difference(known, channel)}); fit again with `flywheel fit` on nominal bags '
                f'of this kind'
            )
        return FixedNorm(
            np.array(known.scale, np.float32), known.threshold, guaranteed=known.guaranteed
        )

    def _content(self) -> dict[str, Any]:
        return {
            'robot': self.robot,
            'engine': self.engine,
            'size': list(self.size),
            'clock_hz': self.clock_hz,
            'settings_hash': self.settings_hash,
            'nominal': self.nominal,
            'channels': {name: asdict(c) for name, c in self.channels.items()},
            'promise': self.promise.to_mapping() if self.promise else None,
            'recalibrated': list(self.recalibrated),
        }


@dataclass(frozen=True, slots=True)
class Recording:
    """One nominal recording, or a part of one."""

    evidence: Mapping[str, Vector]
    """(T, n) by channel name."""
    seen: bool = False
    """Whether the engine was fitted on it: its evidence is optimistic, and proves nothing."""


def calibrate(
    channels: Sequence[Channel],
    recordings: Sequence[Recording],
    clock_hz: float,
    budget_per_hour: float = BUDGET_PER_HOUR,
) -> tuple[dict[str, ChannelCalibration], Promise]:
    """Learn what is normal for every channel, and what may be promised.

    Args:
        channels: whose evidence it is.
        recordings: at least one; suspects are left out by the caller.
        clock_hz: ticks a second.
        budget_per_hour: false alarms an hour, all channels together.

    """
    sizing, testing = _split(recordings)
    block_ticks = max(1, round(BLOCK_S * clock_hz))
    blocks = [b for r in testing for b in _borders(_ticks(r), block_ticks)]
    block_s = sum(e - b for b, e in blocks) / len(blocks) / clock_hz if blocks else BLOCK_S
    chance = budget_per_hour * block_s / 3600 / len(channels)
    sure = 1 - (1 - CONFIDENCE) / len(channels)
    above = most_above(len(blocks), chance, sure) if sizing else None
    every = {
        c.name: calibrate_channel(
            c, [r.evidence[c.name] for r in recordings], block_ticks=block_ticks
        )
        for c in channels
    }
    if above is not None:
        every = {
            c.name: _conformal(c, every[c.name], sizing, testing, block_ticks, above)
            for c in channels
        }
    tested = _test(channels, sizing, testing, block_ticks) if sizing else (0, 0)
    needed = blocks_needed(chance, sure)
    missing_s = 0.0 if above is not None else max(0, 2 * needed - len(blocks)) * block_s
    return every, Promise(
        budget_per_hour,
        CONFIDENCE,
        round(block_s, 3),
        *tested,
        above is not None,
        round(missing_s / 3600, 2),
    )


def calibrate_channel(
    channel: Channel, recordings: Sequence[Vector], *, block_ticks: int = 100
) -> ChannelCalibration:
    """Learn one channel's normal sizes and threshold, guaranteeing nothing.

    Args:
        channel: whose evidence it is.
        recordings: (T, n) evidence, one array per nominal recording, at least one.
        block_ticks: length of the blocks whose medians are kept.

    """
    scale = _normal_size(channel, np.concatenate(recordings))
    peaks, medians = [], []
    for i, recording in enumerate(recordings):
        scores = _scores(recording, _normal_size(channel, np.concatenate(_others(recordings, i))))
        peaks.append(float(np.fmax.reduce(scores)) if len(scores) else np.nan)
        medians += _block_medians(scores, block_ticks)
    heard = [p for p in peaks if not np.isnan(p)]
    nominal_max = max(heard, default=0.0)
    margin = MARGIN if channel.adaptive else 1.0
    return ChannelCalibration(
        channel.elements,
        tuple(_plain(scale)),
        threshold_of(nominal_max, margin),
        _round(nominal_max),
        margin,
        reference=_thinned(medians),
    )


def threshold_of(nominal_max: float, margin: float) -> float:
    """Where a threshold lies that promises nothing."""
    return _round(max(1.0, nominal_max * ROUNDING) * margin)


def _conformal(
    channel: Channel,
    known: ChannelCalibration,
    sizing: Sequence[Recording],
    testing: Sequence[Recording],
    block_ticks: int,
    above: int,
) -> ChannelCalibration:
    """Normal sizes from one part, the threshold from the blocks of the other."""
    scale = _normal_size(channel, np.concatenate([r.evidence[channel.name] for r in sizing]))
    maxima = sorted(_block_maxima(channel.name, testing, scale, block_ticks))
    heard = maxima[len(maxima) - 1 - above] if maxima else 0.0
    return ChannelCalibration(
        channel.elements,
        tuple(_plain(scale)),
        threshold_of(heard, 1.0),
        _round(maxima[-1] if maxima else 0.0),
        1.0,
        guaranteed=True,
        reference=known.reference,
    )


def _test(
    channels: Sequence[Channel],
    sizing: Sequence[Recording],
    testing: Sequence[Recording],
    block_ticks: int,
) -> tuple[int, int]:
    """Blocks of one part, and how many alarm by what the other part alone calls normal."""
    count = sum(len(_borders(_ticks(r), block_ticks)) for r in testing)
    alarms = np.zeros(count, bool)
    for channel in channels:
        known = calibrate_channel(channel, [r.evidence[channel.name] for r in sizing])
        scale = np.array(known.scale, np.float32)
        maxima = _block_maxima(channel.name, testing, scale, block_ticks)
        alarms |= np.array(maxima) > known.threshold
    return count, int(alarms.sum())


def _split(recordings: Sequence[Recording]) -> tuple[list[Recording], list[Recording]]:
    """What decides sizes, and what may prove something: of no recording both."""
    seen = [r for r in recordings if r.seen]
    unseen = [r for r in recordings if not r.seen]
    return (seen, unseen) if seen else (unseen[::2], unseen[1::2])


def _ticks(recording: Recording) -> int:
    return len(next(iter(recording.evidence.values())))


def _borders(ticks: int, block_ticks: int) -> list[tuple[int, int]]:
    """Whole blocks; a rest joins the last one."""
    count = max(1, ticks // block_ticks)
    return [
        (i * block_ticks, ticks if i == count - 1 else (i + 1) * block_ticks) for i in range(count)
    ]


def _block_maxima(
    name: str, recordings: Sequence[Recording], scale: Vector, block_ticks: int
) -> list[float]:
    """Largest score of every block; 0 where the channel was blind."""
    maxima = []
    for recording in recordings:
        scores = _scores(recording.evidence[name], scale)
        for begin, end in _borders(len(scores), block_ticks):
            maxima.append(float(np.nan_to_num(np.fmax.reduce(scores[begin:end]))))
    return maxima


def _block_medians(scores: Vector, block_ticks: int) -> list[float]:
    """Median score of every block in which the channel was heard."""
    parts = [scores[begin:end] for begin, end in _borders(len(scores), block_ticks)]
    return [float(np.nanmedian(p)) for p in parts if np.isfinite(p).any()]


def _scores(evidence: Vector, scale: Vector) -> Vector:
    """(T,), the largest multiple of normal at every tick; NaN where blind."""
    scores: Vector = np.fmax.reduce(evidence / scale, axis=1)
    return scores


def _thinned(values: Sequence[float]) -> tuple[float, ...]:
    """Sorted, and evenly thinned where there are very many."""
    ordered = sorted(values)
    if len(ordered) > MOST_REFERENCES:
        kept = np.linspace(0, len(ordered) - 1, MOST_REFERENCES).round().astype(int)
        ordered = [ordered[i] for i in kept]
    return tuple(_round(v) for v in ordered)


def _normal_size(channel: Channel, evidence: Vector) -> Vector:
    if not channel.adaptive:
        return channel.floors
    return channel.settle(element_quantile(evidence, NORMAL_QUANTILE))


def _others(recordings: Sequence[Vector], left_out: int) -> list[Vector]:
    """All recordings but one; the only one, if it is alone."""
    return [r for i, r in enumerate(recordings) if i != left_out] or list(recordings)


def _plain(values: Vector) -> list[float]:
    return [_round(v) for v in values.tolist()]


def _round(value: float) -> float:
    """Six significant digits: enough for a threshold, and the same in every file."""
    return float(f'{value:.6g}')


def _difference(known: ChannelCalibration | None, channel: Channel) -> str:
    if known is None:
        return 'it was not there'
    then, now = set(known.elements), set(channel.elements)
    added, gone = sorted(now - then)[:3], sorted(then - now)[:3]
    parts = ([f'new: {", ".join(added)}'] if added else []) + (
        [f'missing: {", ".join(gone)}'] if gone else []
    )
    return '; '.join(parts) or f'{len(known.elements)} elements then, {len(channel.elements)} now'

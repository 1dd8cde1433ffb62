# SPDX-License-Identifier: Apache-2.0
"""Evidence of nominal recordings → what is normal for one robot with one engine.

The threshold of a channel is the largest score of any nominal recording, each scored with what
the others call normal, times a stated margin. A few minutes of nominal recordings prove no
false-alarm rate, so nothing here is flagged as guaranteed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cosmos_flywheel.core.channels import Channel
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.lineage import canonical_json, sha256_hex
from cosmos_flywheel.core.scoring import FixedNorm, Norm, element_quantile, largest
from cosmos_flywheel.core.types import Vector

SCHEMA = 'calibration-v1'
MARGIN = 1.3
"""How far above the largest nominal score a threshold lies."""
ROUNDING = 1 + 1e-5
"""Keeps a threshold without margin above the nominal score that it was rounded from."""
NORMAL_QUANTILE = 0.99
"""This quantile of an element's nominal evidence is its normal size."""


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
    """Ids and count of the recordings, and their hours."""
    channels: dict[str, ChannelCalibration]

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
        }


def calibrate_channel(
    channel: Channel, recordings: Sequence[Vector], seen: Sequence[Vector] = ()
) -> ChannelCalibration:
    """Learn one channel's normal sizes and threshold.

    Args:
        channel: whose evidence it is.
        recordings: (T, n) evidence, one array per nominal recording, at least one.
        seen: recordings that the engine was fitted on. Their evidence is optimistic: it decides
            no normal size, and may only raise the threshold.

    """
    scale = _normal_size(channel, np.concatenate(recordings))
    peaks = [
        _peak(recording, _normal_size(channel, np.concatenate(_others(recordings, i))))
        for i, recording in enumerate(recordings)
    ]
    peaks += [_peak(recording, scale) for recording in seen]
    heard = [p for p in peaks if not np.isnan(p)]
    nominal_max = max(heard, default=0.0)
    margin = MARGIN if channel.adaptive else 1.0
    threshold = max(1.0, nominal_max * ROUNDING) * margin
    return ChannelCalibration(
        channel.elements,
        tuple(_plain(scale)),
        _round(threshold),
        _round(nominal_max),
        margin,
    )


def _normal_size(channel: Channel, evidence: Vector) -> Vector:
    if not channel.adaptive:
        return channel.floors
    return channel.settle(element_quantile(evidence, NORMAL_QUANTILE))


def _peak(evidence: Vector, scale: Vector) -> float:
    peaks = np.fmax.reduce(evidence, axis=0)
    return largest(peaks, scale)[0]


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

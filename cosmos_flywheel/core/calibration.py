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

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from cosmos_flywheel.core.appearance import APPEARANCE
from cosmos_flywheel.core.blocks import (
    BLOCK_S,
    block_medians,
    borders,
    rounded,
    scores_of,
    thinned,
)
from cosmos_flywheel.core.channels import Channel
from cosmos_flywheel.core.conformal import blocks_needed
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.grounding import Grounding
from cosmos_flywheel.core.lineage import canonical_json, sha256_hex
from cosmos_flywheel.core.promise import BUDGET_PER_HOUR, CONFIDENCE, Promise
from cosmos_flywheel.core.proof import alarms_at_most, block_shares, factor_keeping
from cosmos_flywheel.core.scoring import FixedNorm, Norm
from cosmos_flywheel.core.sizes import normal_size, sizes_without_each
from cosmos_flywheel.core.trust import Trust
from cosmos_flywheel.core.types import Vector

SCHEMA = 'calibration-v1'
MARGIN = 1.3
"""How far above the largest nominal score a threshold lies."""
ROUNDING = 1 + 1e-5
"""Keeps a threshold without margin above the nominal score that it was rounded from."""
TESTED_PART = 0.5
"""So much of what the engine was not fitted on tests what the rest calls normal."""
PART_S = 60.0
"""A recording that is alone is cut into parts of this length."""
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
    appearance: tuple[float, ...] = ()
    """Median brightness of nominal blocks, sorted; empty where it was not noted."""
    recalibrated: tuple[str, ...] = ()
    """Episodes that people called false alarms and that raised thresholds."""
    grounding: Grounding | None = None
    """How far predictions rest on actions; None where it was not measured."""
    trust: Trust | None = None
    """Whether a generative engine may alarm; None for engines that paint nothing."""

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
            tuple(document.get('appearance', ())),
            tuple(document.get('recalibrated', ())),
            Grounding.from_mapping(document['grounding']) if 'grounding' in document else None,
            Trust.from_mapping(document['trust']) if 'trust' in document else None,
        )
        if calibration.id != document['id']:
            raise ConfigError(
                f'calibration {document["id"]} was edited: its content has id '
                f'{calibration.id}; fit it again with `flywheel fit`'
            )
        return calibration

    def norms(self, channels: Sequence[Channel]) -> dict[str, Norm]:
        """What is normal for these channels; one that is muted has no threshold.

        Raises:
            ConfigError: a channel was not calibrated, or looks at other things than it did then.

        """
        return {c.name: self._norm(c) for c in channels}

    def muted(self, channel: str) -> str:
        """Why a channel may not alarm, whatever its score; empty if it may."""
        known = (self.trust, self.grounding)
        return next((why for one in known if one and (why := one.muted(channel))), '')

    def _norm(self, channel: Channel) -> Norm:
        if channel.name == 'outcome':
            # Rules are limits by themselves: neither a nominal bag nor a new rule moves them.
            return FixedNorm(channel.floors, 1.0, guaranteed=False)
        known = self.channels.get(channel.name)
        if known is None or known.elements != channel.elements:
            raise ConfigError(
                f'calibration {self.id} of robot {self.robot!r} does not fit this recording: '
                f'channel {channel.name} watches other things than at fit time '
                f'({_difference(known, channel)}); fit again with `flywheel fit` on nominal bags '
                f'of this kind'
            )
        scale = np.array(known.scale, np.float32)
        if self.muted(channel.name):
            return FixedNorm(scale, math.nan, guaranteed=False)
        return FixedNorm(scale, known.threshold, guaranteed=known.guaranteed)

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
            **({'appearance': list(self.appearance)} if self.appearance else {}),
            **({'grounding': self.grounding.to_mapping()} if self.grounding else {}),
            **({'trust': self.trust.to_mapping()} if self.trust else {}),
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
    parts = _parts(recordings, clock_hz)
    every = _calibrate_all(channels, parts, clock_hz)
    sizing, testing = _split(parts)
    if not testing:
        needed_s = blocks_needed(budget_per_hour * BLOCK_S / 3600, CONFIDENCE) * BLOCK_S
        hours = round(needed_s / TESTED_PART / 3600, 2)
        return every, Promise(budget_per_hour, CONFIDENCE, BLOCK_S, 0, 0, False, hours)
    tested = _calibrate_all(channels, sizing, clock_hz)
    block_ticks = _block_ticks(clock_hz)
    shares = block_shares(_limits(tested), [r.evidence for r in testing], block_ticks)
    count = len(next(iter(shares.values())))
    block_s = sum(map(_ticks, testing)) / clock_hz / count
    chance = budget_per_hour * block_s / 3600
    factor = factor_keeping(shares, chance, CONFIDENCE)
    if factor is None:
        fixed = {c.name for c in channels if not c.adaptive}
        alarms = alarms_at_most(shares, _limits(tested), _limits(every), fixed)
        missing = blocks_needed(chance, CONFIDENCE) - count
    else:
        every = {n: _scaled(n, known, factor, testing, block_ticks) for n, known in tested.items()}
        alarms = int(np.any([s > factor for s in shares.values()], axis=0).sum())
        missing = 0
    part = sum(map(_ticks, testing)) / sum(map(_ticks, parts))
    return every, Promise(
        budget_per_hour,
        CONFIDENCE,
        round(block_s, 3),
        0 if alarms is None else count,
        alarms or 0,
        factor is not None,
        round(missing * block_s / part / 3600, 2),
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
    scale = normal_size(channel, np.concatenate(recordings))
    sizes = sizes_without_each(channel, recordings)
    scores = [scores_of(r, size) for r, size in zip(recordings, sizes, strict=True)]
    nominal_max = max(float(np.fmax.reduce(one, initial=0.0)) for one in scores)
    medians = [m for one in scores for m in block_medians(one, block_ticks)]
    margin = MARGIN if channel.adaptive else 1.0
    return ChannelCalibration(
        channel.elements,
        tuple(_plain(scale)),
        threshold_of(nominal_max, margin),
        rounded(nominal_max),
        margin,
        reference=_reference(medians),
    )


def appearance_of(recordings: Sequence[Recording], clock_hz: float) -> tuple[float, ...]:
    """Median brightness of nominal blocks, sorted; empty where evidence does not tell it."""
    medians = [
        median
        for recording in recordings
        if APPEARANCE in recording.evidence
        for median in block_medians(
            recording.evidence[APPEARANCE][:, 0].astype(np.float64), _block_ticks(clock_hz)
        )
    ]
    return _reference(medians)


def threshold_of(nominal_max: float, margin: float) -> float:
    """Where a threshold lies that promises nothing."""
    return rounded(max(1.0, nominal_max * ROUNDING) * margin)


def _calibrate_all(
    channels: Sequence[Channel], parts: Sequence[Recording], clock_hz: float
) -> dict[str, ChannelCalibration]:
    block_ticks = _block_ticks(clock_hz)
    return {
        c.name: calibrate_channel(c, [p.evidence[c.name] for p in parts], block_ticks=block_ticks)
        for c in channels
    }


def _scaled(
    name: str,
    known: ChannelCalibration,
    factor: float,
    testing: Sequence[Recording],
    block_ticks: int,
) -> ChannelCalibration:
    """The part's own sizes, and its threshold moved to where it keeps the budget."""
    scale = np.array(known.scale, np.float32)
    medians = [
        m for r in testing for m in block_medians(scores_of(r.evidence[name], scale), block_ticks)
    ]
    threshold = threshold_of(factor * known.threshold, 1.0)
    return replace(
        known,
        threshold=threshold,
        margin=rounded(threshold / max(1.0, known.nominal_max)),
        guaranteed=True,
        reference=_reference(medians),
    )


def _limits(known: Mapping[str, ChannelCalibration]) -> dict[str, Vector]:
    return {n: np.array(c.scale, np.float32) * np.float32(c.threshold) for n, c in known.items()}


def _parts(recordings: Sequence[Recording], clock_hz: float) -> list[Recording]:
    """A recording that is alone and long is cut, so that its parts can be held against others."""
    if len(recordings) > 1:
        return list(recordings)
    return [
        Recording({name: rows[begin:end] for name, rows in r.evidence.items()}, r.seen)
        for r in recordings
        for begin, end in borders(_ticks(r), max(1, round(PART_S * clock_hz)))
    ]


def _split(parts: Sequence[Recording]) -> tuple[list[Recording], list[Recording]]:
    """What decides sizes, and what may prove something: of no recording both.

    Which are taken depends on their content only, not on their order.
    """
    seen = [r for r in parts if r.seen]
    unseen = sorted((r for r in parts if not r.seen), key=_digest)
    count = len(unseen) - int(TESTED_PART * len(unseen))
    return [*seen, *unseen[:count]], unseen[count:]


def _digest(recording: Recording) -> str:
    sums = [np.nansum(rows, axis=0, dtype=float) for _, rows in sorted(recording.evidence.items())]
    return sha256_hex(np.concatenate(sums).tobytes())


def _ticks(recording: Recording) -> int:
    return len(next(iter(recording.evidence.values())))


def _block_ticks(clock_hz: float) -> int:
    return max(1, round(BLOCK_S * clock_hz))


def _reference(medians: Sequence[float]) -> tuple[float, ...]:
    return tuple(rounded(m) for m in thinned(medians, MOST_REFERENCES))


def _plain(values: Vector) -> list[float]:
    return [rounded(v) for v in values.tolist()]


def _difference(known: ChannelCalibration | None, channel: Channel) -> str:
    if known is None:
        return 'it was not there'
    then, now = set(known.elements), set(channel.elements)
    added, gone = sorted(now - then)[:3], sorted(then - now)[:3]
    parts = ([f'new: {", ".join(added)}'] if added else []) + (
        [f'missing: {", ".join(gone)}'] if gone else []
    )
    return '; '.join(parts) or f'{len(known.elements)} elements then, {len(channel.elements)} now'

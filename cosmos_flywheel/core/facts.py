# SPDX-License-Identifier: Apache-2.0
"""What is known of a failure before anyone interprets it: its manifest, task, motion, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.timeline import NS

RATE_S = 0.3
"""Rates are taken over so long before the onset."""


@dataclass(frozen=True, slots=True)
class Motion:
    """The robot at the onset; by element, those that are unknown left out."""

    state: Mapping[str, float] = field(default_factory=dict)
    state_rate: Mapping[str, float] = field(default_factory=dict)
    """Units a second."""
    command: Mapping[str, float] = field(default_factory=dict)
    command_rate: Mapping[str, float] = field(default_factory=dict)
    command_most: Mapping[str, float] = field(default_factory=dict)
    """The largest size of the whole clip."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that rules of a pack may ask about."""

    task: str
    causes: tuple[str, ...]
    """Channels and triggers that spoke, the first first."""
    details: Mapping[str, str]
    """What each channel named: a joint, a region, a check of a topic."""
    ratios: Mapping[str, float]
    """Peak over threshold by channel."""
    lasts_s: Mapping[str, float]
    """Seconds of alarm by channel."""
    firings: tuple[str, ...]
    """Details of the triggers that fired."""
    motion: Motion = Motion()
    sight: Mapping[str, float] = field(default_factory=dict)
    """What the pictures around the onset show (`core/sight.py`), by sign."""
    reason: str = ''
    """What a person gave as the reason of the label."""


def facts_of(
    manifest: Mapping[str, Any],
    motion: Motion = Motion(),
    sight: Mapping[str, float] | None = None,
    reason: str = '',
) -> Facts:
    """Read a manifest (`episode-v1`); nothing else is looked at."""
    channels = manifest['channels']
    return Facts(
        task=manifest['task'] or '',
        causes=tuple(manifest['causes']),
        details={name: channel['detail'] for name, channel in channels.items()},
        ratios={name: _ratio(channel) for name, channel in channels.items()},
        lasts_s={
            name: sum(end - start for start, end in channel['alarms']) / NS
            for name, channel in channels.items()
        },
        firings=tuple(firing.get('detail', '') for firing in manifest.get('firings', ())),
        motion=motion,
        sight=sight or {},
        reason=reason,
    )


def motion_at(
    onset_ns: int,
    stamps_ns: NDArray[np.int64],
    states: tuple[Sequence[str], NDArray[Any]],
    commands: tuple[Sequence[str], NDArray[Any]],
) -> Motion:
    """The robot at an instant.

    Args:
        onset_ns: the instant.
        stamps_ns: (T,) of the ticks, ascending, at least one.
        states: the S names, and (T, S) values with NaN where unknown.
        commands: the A names, and (T, A) values.

    """
    at = max(0, int(np.searchsorted(stamps_ns, onset_ns, 'right')) - 1)
    before = int(np.searchsorted(stamps_ns, stamps_ns[at] - round(RATE_S * NS)))
    span_s = float(stamps_ns[at] - stamps_ns[before]) / NS
    return Motion(
        state=_known(states[0], states[1][at]),
        state_rate=_rates(states, before, at, span_s),
        command=_known(commands[0], commands[1][at]),
        command_rate=_rates(commands, before, at, span_s),
        command_most=_known(commands[0], np.fmax.reduce(np.abs(commands[1]), axis=0)),
    )


def _rates(
    values: tuple[Sequence[str], NDArray[Any]], before: int, at: int, span_s: float
) -> dict[str, float]:
    names, path = values
    if span_s <= 0:
        return {}
    return _known(names, (path[at].astype(np.float64) - path[before]) / span_s)


def _known(names: Sequence[str], values: NDArray[Any]) -> dict[str, float]:
    return {n: float(v) for n, v in zip(names, values, strict=True) if np.isfinite(v)}


def _ratio(channel: Mapping[str, Any]) -> float:
    """0 where the channel had nothing to say."""
    peak, limit = channel['peak'], channel['threshold']
    return float(peak / limit) if peak and limit and limit > 0 else 0.0

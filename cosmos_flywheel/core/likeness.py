# SPDX-License-Identifier: Apache-2.0
"""An episode's manifest → its marks, how alike two episodes are, and what to call their kind.

A mark says one thing about an episode, with a weight: a channel that alarmed, an element that it
named, a trigger, how long the alarms stood. Two episodes are as alike as their marks overlap.
Nothing enters but the manifest: no clock, no label, no other episode.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from math import fsum, log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.timeline import NS

Marks = Mapping[str, float]
"""Weights above 0 by mark."""

CAUSE_WEIGHT = 2.0
"""A channel or trigger says most about what happened, …"""
ELEMENT_WEIGHT = 1.0
"""… the joints, topics or parts of the picture together half as much, …"""
SHAPE_WEIGHT = 0.5
"""… and what came first, how long alarms stood, and whether they came again, a quarter each."""
FAINT, CLEAR = 0.5, 2.0
"""Multiples of its threshold at which a channel begins to count, and counts in full: a fault that
grows does not change its kind when one more channel just crosses its threshold."""
BRIEF_S, LASTING_S = 0.25, 4.0
"""Seconds of alarm that are all brief, and all lasting."""
NAMED = 2
"""Causes that a name spells out."""
_DIGITS = 4
"""Kept of a weight: far fewer than a machine's arithmetic may disturb."""
_AHEAD = re.compile(r' [0-9.e+-]+ s ahead$')


def marks_of(manifest: Mapping[str, Any]) -> dict[str, float]:
    """What an episode is marked by; never empty."""
    found: dict[str, float] = {}
    for mark, weight in _marks(manifest):
        if rounded := round(weight, _DIGITS):
            found[mark] = found.get(mark, 0.0) + rounded
    return found


def kind_words(manifest: Mapping[str, Any]) -> str:
    """A short name for what an episode is like: its loudest causes, and where they were."""
    causes = sorted(manifest['causes'], key=lambda cause: (-_ratio(manifest, cause), cause))
    words = [_words(manifest, cause) for cause in causes[:NAMED]]
    more = len(causes) - NAMED
    return ', '.join([*words, f'{more} more'] if more > 0 else words)


class Likeness:
    """Compares one episode with many: as alike as the weight that they share (Ružička's index).

    The sum of the smaller weights of each mark over the sum of the larger ones: 1 for equal
    marks, 0 where nothing is shared.
    """

    def __init__(self) -> None:
        self._holders: dict[str, tuple[array[int], array[float]]] = {}
        """By mark: which of those added carry it, and with what weight."""
        self._totals = array('d')

    def __len__(self) -> int:
        return len(self._totals)

    def add(self, marks: Marks) -> None:
        """Take in one more episode to compare with."""
        for mark, weight in marks.items():
            places, weights = self._holders.setdefault(mark, (array('q'), array('d')))
            places.append(len(self))
            weights.append(weight)
        self._totals.append(_total(marks))

    def compare(self, marks: Marks) -> NDArray[np.float64]:
        """(N,) in 0 to 1: how alike the episode is to each that was added, in that order."""
        shared = np.zeros(len(self))
        for mark in sorted(marks.keys() & self._holders.keys()):
            places, weights = self._holders[mark]
            at = np.frombuffer(places, np.int64)
            shared[at] += np.minimum(np.frombuffer(weights, np.float64), marks[mark])
        either = np.array(self._totals) + _total(marks) - shared
        # Rounded, so that the last digit of a sum never decides between two equally alike.
        return np.round(shared / np.maximum(either, 1e-12), 9)


def _marks(manifest: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for cause in manifest['causes']:
        yield f'cause {cause}', CAUSE_WEIGHT * _loudness(manifest, cause)
        comes = 'comes again' if _comings(manifest, cause) > 1 else 'comes once'
        yield f'{cause} {comes}', SHAPE_WEIGHT * _loudness(manifest, cause)
        elements = _elements(manifest, cause)
        for element in elements:
            share = ELEMENT_WEIGHT / len(elements)
            yield f'{cause}: {element}', share * _loudness(manifest, cause)
    for name in sorted(manifest['channels'].keys() - set(manifest['causes'])):
        yield f'cause {name}', CAUSE_WEIGHT * _loudness(manifest, name)
    lasting = _lasting(manifest)
    yield 'alarms last', SHAPE_WEIGHT * lasting
    yield 'alarms are brief', SHAPE_WEIGHT * (1 - lasting)
    yield f'first {manifest["causes"][0]}', SHAPE_WEIGHT


def _total(marks: Marks) -> float:
    return fsum(marks.values())


def _loudness(manifest: Mapping[str, Any], name: str) -> float:
    """0 to 1 by how far a channel went, on a scale of octaves; 1 for a trigger."""
    ratio = _ratio(manifest, name)
    return log2(min(ratio, CLEAR) / FAINT) / log2(CLEAR / FAINT) if ratio > FAINT else 0.0


def _ratio(manifest: Mapping[str, Any], name: str) -> float:
    """Multiples of the threshold; an alarm whose numbers are unknown, as a trigger's, is clear."""
    channel = manifest['channels'].get(name, {})
    peak, limit = channel.get('peak'), channel.get('threshold')
    if peak and limit and limit > 0:
        return float(peak / limit)
    return CLEAR if name in manifest['causes'] else 0.0


def _comings(manifest: Mapping[str, Any], cause: str) -> int:
    channel = manifest['channels'].get(cause)
    if channel is not None:
        return len(channel['alarms'])
    return sum(f'trigger:{firing["name"]}' == cause for firing in manifest.get('firings', ()))


def _elements(manifest: Mapping[str, Any], cause: str) -> Sequence[str]:
    """What was most surprising: a joint, a check and its topic, a row and a column."""
    where = _where(manifest, cause)
    if cause == 'picture':
        return where.split()
    return [part for part in where.split(' of ', 1) if part]


def _where(manifest: Mapping[str, Any], cause: str) -> str:
    channel = manifest['channels'].get(cause)
    return _AHEAD.sub('', channel['detail']) if channel else ''


def _lasting(manifest: Mapping[str, Any]) -> float:
    """0 for a moment of alarm, 1 for seconds of it, on a scale of octaves."""
    channels = manifest['channels'].values()
    lengths = (sum(end - start for start, end in channel['alarms']) for channel in channels)
    length_s = max(lengths, default=0) / NS
    share = log2(max(length_s, BRIEF_S) / BRIEF_S) / log2(LASTING_S / BRIEF_S)
    return min(1.0, share)


def _words(manifest: Mapping[str, Any], cause: str) -> str:
    plain = cause.removeprefix('trigger:').replace('_', ' ') or cause
    where = _where(manifest, cause)
    return f'{plain} ({where})' if where else plain

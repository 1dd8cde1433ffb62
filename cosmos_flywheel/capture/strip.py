# SPDX-License-Identifier: Apache-2.0
"""Moments → the few pictures around an onset that show what went wrong, kept as arrays."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_flywheel.capture.report.result import StripColumn
from cosmos_flywheel.core.channels import Moment
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import Picture

OFFSETS_S = (-0.4, 0.0, 0.3, 0.8, 1.5)
"""Instants of a strip, from the onset."""
MEMORY_S = 0.7
"""How far back the picture before the onset may lie."""
Show = Callable[[], Picture | None]
SAME_S = 1e-3
"""Offsets nearer than this are equal."""


class StripMaker:
    """Chooses pictures while a recording is watched; at most a handful are held."""

    def __init__(self) -> None:
        self._recent: deque[Moment] = deque()
        self._chosen: list[Moment] = []
        self._targets_s: list[float] = []
        self._onset_ns: int | None = None

    def see(self, moment: Moment, *, capturing: bool, show: Show | None = None) -> None:
        """Take one tick in; `capturing` while a capture is open.

        `show` gives a moment's expected picture as people should see it; it is asked only for
        pictures that are kept.
        """
        if capturing and self._onset_ns is None:
            self._open(moment.tick.stamp_ns)
        if moment.tick.picture is not None:
            self._choose(moment, show)
            self._recent.append(moment)
        while self._recent and _apart_s(moment, self._recent[0]) > MEMORY_S:
            self._recent.popleft()

    def take(self, onset_ns: int) -> tuple[StripColumn, ...]:
        """The pictures of the capture that closes now; times are seconds from its onset."""
        chosen, self._chosen = self._chosen, []
        self._targets_s, self._onset_ns = [], None
        return tuple(
            StripColumn(_offset_s(m, onset_ns), m.tick.picture, m.predicted, m.residual)
            for m in chosen
            if m.tick.picture is not None
        )

    def _open(self, onset_ns: int) -> None:
        self._onset_ns = onset_ns
        self._targets_s = list(OFFSETS_S[1:])
        before = [m for m in self._recent if _offset_s(m, onset_ns) <= OFFSETS_S[0]]
        self._chosen = before[-1:]

    def _choose(self, moment: Moment, show: Show | None) -> None:
        if self._onset_ns is None or not self._targets_s:
            return
        offset_s = _offset_s(moment, self._onset_ns)
        if offset_s >= self._targets_s[0] - SAME_S:
            shown = None if show is None else show()
            self._chosen.append(moment if shown is None else replace(moment, predicted=shown))
            self._targets_s = [t for t in self._targets_s if t > offset_s + SAME_S]


def save_strip(path: Path, strip: Sequence[StripColumn]) -> None:
    """Keep a strip as arrays, so that later stages need not predict again."""
    arrays: dict[str, Any] = {'times_s': np.array([c.time_s for c in strip])}
    for index, column in enumerate(strip):
        arrays[f'actual_{index}'] = column.actual
        if column.predicted is not None:
            arrays[f'predicted_{index}'] = column.predicted
        if column.residual is not None:
            arrays[f'residual_{index}'] = column.residual.astype(np.float16)
    np.savez_compressed(path, **arrays)


def load_strip(path: Path, onset_s: float) -> tuple[StripColumn, ...]:
    """Read back what `save_strip` wrote; times become seconds from the bag's first message."""
    with np.load(path, allow_pickle=False) as arrays:
        return tuple(
            StripColumn(
                onset_s + float(time_s),
                arrays[f'actual_{index}'],
                arrays.get(f'predicted_{index}'),
                _float(arrays.get(f'residual_{index}')),
            )
            for index, time_s in enumerate(arrays['times_s'])
        )


def _float(values: Any) -> Any:
    return None if values is None else values.astype(np.float32)


def _offset_s(moment: Moment, onset_ns: int) -> float:
    return (moment.tick.stamp_ns - onset_ns) / NS


def _apart_s(now: Moment, then: Moment) -> float:
    return abs(now.tick.stamp_ns - then.tick.stamp_ns) / NS

# SPDX-License-Identifier: Apache-2.0
"""Nominal recordings as one table of ticks, from which a fit draws its examples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.timeline import NS, Tick
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.engines.local.fields import SMALL, Eye, Floats, Sight
from cosmos_flywheel.engines.local.motion import Situation


@dataclass(frozen=True, slots=True)
class Clip:
    """One nominal recording, or a stretch of it: T ticks in a row."""

    size: tuple[int, int]
    stamps_ns: NDArray[np.int64]
    large: NDArray[np.uint8]
    """(T, H, W, 3)."""
    state: Floats
    command: Floats

    def part(self, begin: int, end: int) -> Clip:
        """The ticks from `begin` up to, not with, `end`."""
        kept = slice(begin, end)
        return Clip(
            self.size,
            self.stamps_ns[kept],
            self.large[kept],
            self.state[kept],
            self.command[kept],
        )


@dataclass(frozen=True, slots=True)
class Table:
    """All clips' ticks, one after the other, with what their pictures are beside the past."""

    large: NDArray[np.uint8]
    large_mean: NDArray[np.uint8]
    small: NDArray[np.uint8]
    small_mean: NDArray[np.uint8]
    small_flow: NDArray[np.float16]
    flow: NDArray[np.float16]
    state: Floats
    command: Floats
    clip: NDArray[np.intp]
    """(T,) which clip a tick is of."""
    sound: NDArray[np.bool_]
    """(T,) whether the tick has a past near enough."""

    def __len__(self) -> int:
        return len(self.clip)

    def starts(self, steps: int, clips: Iterable[int] | None = None) -> NDArray[np.intp]:
        """Ticks with a sound past from which so many ticks follow in the same clip."""
        ticks = np.arange(1, max(1, len(self) - steps))
        fits = (self.clip[ticks] == self.clip[ticks + steps]) & self.sound[ticks]
        fits &= self.clip[ticks] == self.clip[ticks - 1]
        if clips is not None:
            fits &= np.isin(self.clip[ticks], list(clips))
        starts: NDArray[np.intp] = ticks[fits]
        return starts

    def situation(self, ticks: NDArray[np.intp], steps: int) -> Situation:
        """What is known at these ticks, with the commands of so many more."""
        return Situation(
            self.state[ticks],
            self.state[ticks - 1],
            self.command[ticks - 1],
            self.command[ticks + steps - 1],
        )


def make_clips(ticks: Iterable[Tick], size: tuple[int, int]) -> list[Clip]:
    """Cut a recording where its clock begins anew or a picture is missing."""
    runs: list[list[Tick]] = [[]]
    for tick in ticks:
        run = runs[-1]
        if run and (tick.segment != run[-1].segment or tick.picture is None):
            runs.append([])
        if tick.picture is not None:
            runs[-1].append(tick)
    return [_clip(run, size) for run in runs if len(run) > 2]


def _clip(run: list[Tick], size: tuple[int, int]) -> Clip:
    return Clip(
        size,
        np.array([t.stamp_ns for t in run], np.int64),
        np.stack([t.picture for t in run if t.picture is not None]),
        np.stack([t.state for t in run]),
        np.stack([t.action for t in run]),
    )


def tabulate(clips: list[Clip], clock_hz: float) -> Table:
    """Lay clips one after the other, each picture beside its own clip's past."""
    rows = []
    for clip in clips:
        eye = Eye(clip.size)
        before_ns = 0
        for stamp_ns, picture in zip(clip.stamps_ns.tolist(), clip.large, strict=True):
            sight = eye.see(picture, (stamp_ns - before_ns) / NS * clock_hz)
            before_ns = stamp_ns
            rows.append(_row(eye, sight))
    large_mean, small, small_mean, small_flow, flow, sound = zip(*rows, strict=True)
    return Table(
        np.concatenate([c.large for c in clips]),
        np.stack(large_mean),
        np.stack(small),
        np.stack(small_mean),
        np.stack(small_flow),
        np.stack(flow),
        np.concatenate([c.state for c in clips]),
        np.concatenate([c.command for c in clips]),
        np.repeat(np.arange(len(clips)), [len(c.large) for c in clips]),
        np.array(sound, bool),
    )


def _row(
    eye: Eye, sight: Sight | None
) -> tuple[Picture, Picture, Picture, NDArray[np.float16], NDArray[np.float16], bool]:
    small_flow = np.zeros((*SMALL, 2)) if sight is None else sight.small_flow
    flow = np.zeros((*eye.size, 2)) if sight is None else sight.flow
    return (
        np.rint(eye.large_mean).astype(np.uint8),
        eye.small.astype(np.uint8),
        np.rint(eye.small_mean).astype(np.uint8),
        small_flow.astype(np.float16),
        flow.astype(np.float16),
        sight is not None,
    )


def sight_of(table: Table, tick: int) -> Sight:
    """What a session would have seen at this tick of a table."""
    return Sight(
        table.large[tick],
        table.small[tick].astype(np.float32),
        table.small[tick - 1].astype(np.float32),
        table.small_mean[tick].astype(np.float32),
        table.large_mean[tick],
        table.flow[tick].astype(np.float32),
        table.small_flow[tick].astype(np.float32),
    )

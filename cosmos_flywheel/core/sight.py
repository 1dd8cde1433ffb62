# SPDX-License-Identifier: Apache-2.0
"""Pictures around an onset → signs of what happened to the camera rather than before it.

A channel says how surprising a picture is, in multiples of its threshold. How large a cover is,
or whether the picture fell behind, the pictures alone tell, whatever engine foretold them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.timeline import NS

SIGNS: Mapping[str, str] = {
    'covered': 'share of the picture that something hid at once',
    'stood_s': 'seconds for which the picture stood amid motion',
    'plain': 'share of the picture that lost its detail for good',
    'frozen_s': 'seconds for which the same picture came again and again',
    'missing': 'share of the pictures that did not come',
    'filled': 'share of the contrast of the whole picture that was gone at worst',
}
"""What rules may ask of pictures, in words."""
CELLS = 24
"""Across the picture; cells are square, and what is left over at the edges is not looked at."""
COVER_S = 0.2
"""A cover comes within so long, and stays at least as long."""
AROUND_S = 0.6
"""From the onset, to either side: an alarm is raised when a cover begins or has come."""
DETAIL = 4.0
"""Grey levels; a cell that varies less than so has no detail to lose, beside noise."""
LOST = 0.5
"""Of the detail: what is left of it under a cover is less than that."""
SHADE, STEADY = 8.0, 5.0
"""Grey levels by which a cover differs at least, and then varies at most."""
BEHIND_S, AHEAD_S = 1.0, 0.5
"""Before and after the onset: how long a picture that falls behind is looked for."""
USUAL_S = 1.5
"""To either side of the onset: motion of the picture that is usual there."""
STANDS = 0.35
"""Of the usual change between two ticks: below it a picture stands."""
LEAST_CHANGE = 0.6
"""Grey levels a tick: where pictures usually change less, standing cannot be told from moving."""
GAPS_S = (-0.6, 1.0)
"""From the onset: where missing pictures are counted."""
FOR_GOOD_S = (0.6, 2.6)
"""Before and after the onset: between which detail is looked for that came to stay away."""


def sight_at(
    onset: int, stamps_ns: NDArray[np.int64], pictures: NDArray[np.uint8]
) -> dict[str, float]:
    """The signs by name; those that cannot be told are left out.

    Args:
        onset: the tick at which the alarm was raised.
        stamps_ns: (T,) of the ticks, ascending.
        pictures: (T, H, W, 3) RGB.

    """
    times_s = (stamps_ns - stamps_ns[onset]) / NS
    near = slice(*np.searchsorted(times_s, (-FOR_GOOD_S[1], FOR_GOOD_S[1]), 'left'))
    times_s = times_s[near]
    if len(times_s) < 3:
        return {}
    shade, detail = _cells(pictures[near])
    signs = {
        'covered': _covered(times_s, shade, detail),
        'stood_s': _stood_s(times_s, shade),
        'plain': _plain(times_s, detail),
        'frozen_s': _frozen_s(times_s, pictures[near]),
        'missing': _missing(times_s),
        'filled': _filled(times_s, shade),
    }
    return {name: value for name, value in signs.items() if value is not None}


def _cells(pictures: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of grey in each cell, (T, rows, columns) both."""
    side = max(1, pictures.shape[2] // CELLS)
    rows, columns = pictures.shape[1] // side, pictures.shape[2] // side
    means, spreads = [], []
    for picture in pictures:
        grey = picture[: rows * side, : columns * side].mean(2, dtype=np.float32)
        cells = grey.reshape(rows, side, columns, side)
        means.append(cells.mean((1, 3)))
        spreads.append(cells.std((1, 3)))
    return np.stack(means), np.stack(spreads)


def _covered(
    times_s: NDArray[np.float64], shade: NDArray[np.float32], detail: NDArray[np.float32]
) -> float | None:
    """The largest share of cells that lost their detail at once and took another, steady shade.

    A thing that moves uncovers as much as it hides, and has detail of its own; a camera that turns
    changes all shades again at the next tick.
    """
    lag = max(1, round(COVER_S / float(np.median(np.diff(times_s)))))
    at = np.arange(lag, len(times_s) - lag)
    at = at[np.abs(times_s[at]) <= AROUND_S]
    if not len(at):
        return None
    before, after = at - lag, at + lag
    lost = (
        (detail[before] > DETAIL)
        & (detail[at] < LOST * detail[before])
        & (detail[after] < LOST * detail[before])
        & (np.abs(shade[at] - shade[before]) > SHADE)
        & (np.abs(shade[after] - shade[at]) < STEADY)
    )
    return float(lost.mean((1, 2)).max())


def _stood_s(times_s: NDArray[np.float64], shade: NDArray[np.float32]) -> float | None:
    """How long the picture stood after it had moved and before it moved on."""
    near = np.abs(times_s) <= USUAL_S
    times_s, shade = times_s[near], shade[near]
    changes = np.abs(np.diff(shade, axis=0)).mean((1, 2))
    usual = float(np.median(changes)) if len(changes) else 0.0
    if usual < LEAST_CHANGE:
        return None
    asked = (times_s[1:] >= -BEHIND_S) & (times_s[1:] <= AHEAD_S)
    moves = np.flatnonzero(changes >= STANDS * usual)
    amid = np.zeros_like(asked)
    amid[moves[0] : moves[-1]] = True
    return float(np.diff(times_s)[asked & amid & (changes < STANDS * usual)].sum())


def _plain(times_s: NDArray[np.float64], detail: NDArray[np.float32]) -> float | None:
    """The share of cells whose detail after the onset is less than half of that before."""
    from_s = FOR_GOOD_S[0]
    before, after = detail[times_s < -from_s], detail[times_s > from_s]
    if not len(before) or not len(after):
        return None
    usual = np.median(before, 0)
    return float(((usual > DETAIL) & (np.median(after, 0) < LOST * usual)).mean())


def _filled(times_s: NDArray[np.float64], shade: NDArray[np.float32]) -> float | None:
    """How much of the spread of shades over the picture goes when one thing fills it all."""
    spread = shade.std((1, 2))
    before, after = spread[times_s < 0], spread[times_s >= 0]
    if not len(before) or not len(after):
        return None
    usual = float(np.median(before))
    return max(0.0, 1 - float(after.min()) / usual) if usual > DETAIL else None


def _frozen_s(times_s: NDArray[np.float64], pictures: NDArray[np.uint8]) -> float:
    """The longest run of one picture, bit by bit; the noise of a sensor repeats no picture."""
    longest_s = since_s = 0.0
    for step_s, last, one in zip(np.diff(times_s), pictures, pictures[1:], strict=False):
        since_s = since_s + float(step_s) if np.array_equal(last, one) else 0.0
        longest_s = max(longest_s, since_s)
    return longest_s


def _missing(times_s: NDArray[np.float64]) -> float | None:
    """How many pictures short of one every usual step there are around the onset."""
    steps_s = np.diff(times_s)
    near = (times_s[1:] > GAPS_S[0]) & (times_s[:-1] < GAPS_S[1])
    wanted = float(np.maximum(1, np.round(steps_s[near] / np.median(steps_s))).sum())
    return 1 - float(near.sum()) / wanted if wanted else None

# SPDX-License-Identifier: Apache-2.0
"""What is known of a live graph → the lines of one status screen."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

from cosmos_flywheel.cli.supervisor import Child
from cosmos_flywheel.cli.table import printable, table

BAR = 30
FULL = 1.5
"""A bar's right end, in multiples of the threshold."""
SILENT_S = 5.0
"""A node that has said nothing for so long is shown as silent."""
SHOWN = {
    'sim': ('episode', 'fault', 'real_time_factor'),
    'player': ('bag', 'position_s', 'rate'),
    'predictor': ('level', 'real_time_factor', 'coverage', 'compute_ms', 'skipped_ticks'),
    'monitor': ('score_hz', 'worst_channel', 'calibration_stale', 'predictions_missed'),
    'recorder': ('captures', 'pending', 'ring_s', 'ring_mb', 'lost', 'disk_free_mb'),
}
"""What is shown of each node's figures, where it tells them."""
LAST_EPISODES = 5


def screen(board: Any, children: Sequence[Child], now_s: float | None = None) -> list[str]:
    """The lines: a row for each node, a bar for each channel, the newest captures."""
    now_s = time.monotonic() if now_s is None else now_s
    lines = table([('node', 'state', 'figures'), *_nodes(board, children, now_s)])
    lines += ['', *_channels(board)]
    lines += ['', f'{len(board.episodes)} captured']
    for kept in list(board.episodes.values())[-LAST_EPISODES:]:
        lines.append(f'  {kept.id}  {", ".join(kept.causes)}')
    return [printable(line) for line in lines]


def summary(board: Any, children: Sequence[Child]) -> str:
    """One line, for a log."""
    running = sum(child.runs for child in children)
    loudest = max(
        (c.score / c.threshold for c in (board.score.channels if board.score else ())
         if c.threshold > 0 and not math.isnan(c.score)),
        default=math.nan,
    )  # fmt: skip
    predictor = board.nodes.get('predictor')
    level = predictor.values.get('level', '?') if predictor else '?'
    return (
        f'{running} of {len(children)} nodes run, level {level}, {board.scores} scores, loudest '
        f'channel at {loudest:.2f} of its threshold, {len(board.episodes)} captured'
    )


def _nodes(board: Any, children: Sequence[Child], now_s: float) -> Iterator[tuple[str, str, str]]:
    for child in children:
        told = board.nodes.get(child.name)
        if child.is_done:
            state = 'done'
        elif not child.runs:
            state = f'starts anew in {max(0.0, child.again_s - now_s):.0f} s'
        elif told is None:
            state = 'starting'
        elif now_s - told.at_s > SILENT_S:
            state = 'silent'
        else:
            state = told.level
        restarts = f' ({child.restarts} restarts)' if child.restarts else ''
        yield child.name, state + restarts, '' if told is None else _figures(child.name, told)


def _figures(name: str, told: Any) -> str:
    figures = [f'{k} {told.values[k]}' for k in SHOWN.get(name, ()) if told.values.get(k)]
    words = [] if told.level == 'ok' else [told.message]
    return '; '.join([*words, ', '.join(figures)])


def _channels(board: Any) -> Iterator[str]:
    """A bar for each channel; the line in it is the threshold."""
    if board.score is None:
        yield 'no score yet'
        return
    at = round(BAR / FULL)
    for channel in board.score.channels:
        share = channel.score / channel.threshold if channel.threshold > 0 else math.nan
        if math.isnan(share):
            yield f'{channel.name:<16} {"·" * BAR}  nothing to say'
            continue
        full = round(BAR * min(share, FULL) / FULL)
        bar = ''.join('█' if i < full else '│' if i == at else '·' for i in range(BAR))
        alarm = f'  ALARM {channel.detail}' if channel.alarm else ''
        yield f'{channel.name:<16} {bar}  {share:.2f}{alarm}'

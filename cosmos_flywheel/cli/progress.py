# SPDX-License-Identifier: Apache-2.0
"""Seconds of bags done → one line on the terminal: share, speed, time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TextIO

BAR = 24
LINE_S = 0.2
"""A terminal's line is redrawn so often …"""
LOG_S = 10.0
"""… and a log file gets a line so often."""


class ProgressLine:
    """Shows how far a long job is; a context manager.

    Args:
        unit: what the parts are called, or, where they are not bags, what is being done.
        bags: whether the parts are seconds of bags, so that a speed can be told.
        stream: where the line is shown; by default what standard error is at this moment.

    """

    def __init__(self, unit: str, stream: TextIO | None = None, *, bags: bool = True) -> None:
        self._sizes: dict[str, float] = {}
        self._done: dict[str, float] = {}
        self._unit = unit
        self._bags = bags
        self._stream = stream or sys.stderr
        self._began_s = self._shown_s = time.monotonic()
        self._live = self._stream.isatty()

    def expect(self, seconds: Mapping[str, float]) -> None:
        """All parts by name, and how many seconds each has; the time counts from now."""
        self._sizes = dict(seconds)
        self._began_s = time.monotonic()

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._stream.write('\r\x1b[K')
            self._stream.flush()

    def __call__(self, name: str, done_s: float) -> None:
        """So many seconds of the named part are done."""
        self._done[name] = min(done_s, self._sizes.get(name, done_s))
        now_s = time.monotonic()
        if now_s - self._shown_s >= (LINE_S if self._live else LOG_S):
            self._shown_s = now_s
            self._stream.write(
                f'\r\x1b[K{self.line(now_s)}' if self._live else f'{self.line(now_s)}\n'
            )
            self._stream.flush()

    def line(self, now_s: float) -> str:
        """The whole line as of an instant of the monotonic clock."""
        whole_s, done_s = sum(self._sizes.values()), sum(self._done.values())
        share = done_s / whole_s if whole_s else 1.0
        finished = sum(d >= self._sizes.get(n, 0) for n, d in self._done.items())
        elapsed_s = max(now_s - self._began_s, 1e-3)
        left = f'  {clock(elapsed_s * (1 - share) / share)} left' if share > 0 else ''
        bar = '█' * round(BAR * share) + '░' * (BAR - round(BAR * share))
        if not self._bags:
            return f'{bar} {share:4.0%}  {self._unit}{left}'
        return (
            f'{bar} {share:4.0%}  {finished}/{len(self._sizes)} {self._unit}  '
            f'{done_s / elapsed_s:.1f}× real time{left}'
        )


def clock(seconds: float) -> str:
    """Minutes and seconds, hours if there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{rest:02d}' if hours else f'{minutes}:{rest:02d}'

# SPDX-License-Identifier: Apache-2.0
"""One window of a bag → what the dear model says of it, and its captures if it is alarmed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_flywheel.bags.source import BagSource
from cosmos_flywheel.capture.analysis import Analysis, Capture, first_size
from cosmos_flywheel.capture.episode import Subject, write_episode
from cosmos_flywheel.capture.focus import Focus
from cosmos_flywheel.capture.importing.shelf import licence_of_bag
from cosmos_flywheel.capture.rescoring.meter import Meter, Metered
from cosmos_flywheel.capture.rescoring.request import ASKED, Rescoring, share_of
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import AnomalyScore


@dataclass(frozen=True, slots=True)
class Look:
    """What came of one window."""

    above: bool | None
    """Whether a channel that asks the model alarmed; None if none had anything to say."""
    share: float | None
    """The highest score in multiples of its threshold; None as above, or without a threshold."""
    analysis: Analysis
    captures: tuple[Capture, ...]


class Looker:
    """Looks at windows through one model; keeps its engines from bag to bag."""

    def __init__(self, request: Rescoring, meter: Meter) -> None:
        self._request = request
        self._meter = meter
        self._engines: dict[tuple[int, int] | None, Metered] = {}

    def look(self, source: BagSource, number: int, window_s: float) -> Look:
        """Watch one window.

        Raises:
            ConfigError: the model was not fitted to such recordings.
            EngineError: the model cannot answer.
            OverBudgetError: the meter's limit was reached.

        """
        request = self._request
        settings = request.settings
        begin_ns = source.start_ns + round(number * window_s * NS)
        end_ns = source.start_ns + round((number + 1) * window_s * NS)
        analysis = Analysis(
            source,
            request.robot,
            request.judge,
            settings,
            engine=self._engine(source),
            focus=Focus.on(begin_ns, end_ns, settings.pre_roll_s, settings.post_roll_s),
            only=ASKED,
        )
        captures = tuple(analysis.run())
        scores = analysis.scores.scores
        shares = [s for s in map(share_of_all, scores) if not np.isnan(s)]
        spoke = any(c.score >= 0 for score in scores for c in score.channels)
        above = any(score.alarms for score in scores) if spoke else None
        return Look(above, max(shares, default=None), analysis, captures)

    def close(self) -> None:
        """Give back what the engines hold."""
        for engine in self._engines.values():
            engine.close()

    def _engine(self, source: BagSource) -> Metered:
        size = first_size(source, self._request.robot)
        if size not in self._engines:
            self._engines[size] = Metered(self._request.judge.make_engine(size), self._meter)
        return self._engines[size]


def share_of_all(score: AnomalyScore) -> float:
    """The highest of one tick; NaN if no channel has both a score and a threshold."""
    shares = [share_of(c.score, c.threshold) for c in score.channels]
    return max((s for s in shares if not np.isnan(s)), default=np.nan)


def write_found(
    out: Path,
    name: str,
    look: Look,
    capture: Capture,
    *,
    config_hash: str,
    screened_by: Mapping[str, Any],
    run: Mapping[str, Any],
) -> str:
    """Keep what the screen had let pass; returns the episode's id."""
    analysis = look.analysis
    subject = Subject(
        analysis.source,
        analysis.trace(name),
        analysis.robot,
        analysis.engine.spec.sha256,
        screened_by,
        licence_of_bag(analysis.source.path),
    )
    return write_episode(out, subject, capture, config_hash=config_hash, run=run)

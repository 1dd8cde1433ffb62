# SPDX-License-Identifier: Apache-2.0
"""Messages here and predictions from elsewhere → scores, by the objects that a harvest uses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cosmos_flywheel.bags.wire import WireTypes
from cosmos_flywheel.capture.live.feed import Feed, Heard
from cosmos_flywheel.capture.live.matching import Matcher
from cosmos_flywheel.capture.loss import Loss
from cosmos_flywheel.capture.model import Judge
from cosmos_flywheel.core.appearance import brightness
from cosmos_flywheel.core.channels import Channel, Moment
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.grounding import NOISE
from cosmos_flywheel.core.scoring import Norm, Scorer, running_norms
from cosmos_flywheel.core.staleness import StaleTest
from cosmos_flywheel.core.timeline import NS, Tick
from cosmos_flywheel.core.trust import CHANNEL
from cosmos_flywheel.core.types import AnomalyScore, ChannelScore, Prediction

PATIENCE_NS = NS // 2
"""So long a tick waits for its predictions."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One tick, judged."""

    score: AnomalyScore
    moment: Moment


class Comparing:
    """Feed it messages and predictions; take scores.

    The level is that of the predictions that come. Only a level with a calibration may alarm.

    Args:
        robot: which topics mean what.
        judges: by level, the one to begin with first.
        types: what deserializes.
        patience_ns: how long a tick waits for its predictions, by the clock of `now_ns`; never
            shorter than the engine's stride, which is what a prediction may take.
        alarm_uncalibrated: let levels without a calibration alarm too, by what is normal for the
            stream itself, as a harvest without a model does.
        refused: by level, why channels that rest on its predictions may not alarm.
        arm_despite_preflight: let models alarm whose action contract was found wrong.

    Raises:
        ConfigError: a model is of another robot.

    """

    def __init__(
        self,
        robot: Robot,
        judges: Mapping[str, Judge],
        types: WireTypes,
        *,
        patience_ns: int = PATIENCE_NS,
        alarm_uncalibrated: bool = False,
        refused: Mapping[str, str] | None = None,
        arm_despite_preflight: bool = False,
    ) -> None:
        for judge in judges.values():
            judge.check_robot(robot)
        self._judges = dict(judges)
        self._patience_ns = patience_ns
        self._alarm_uncalibrated = alarm_uncalibrated
        self._refused = dict(refused or {})
        self._arm_despite_preflight = arm_despite_preflight
        self.feed = Feed(robot, next(iter(judges.values())), types)
        self.unknown_levels: set[str] = set()
        """Levels of predictions that no judge knows; those predictions are left out."""
        self.foreign = ''
        """Why the last prediction was left out; empty if it was not."""
        self.unseen = 0
        """Predictions that ticks waited for in vain."""
        self.misfit = ''
        """Why the calibration of the level in force cannot be used with what came; a topic that
        comes later may mend it."""
        self._beginnings = 0
        self._segment = 0
        self._matcher: Matcher | None = None
        self._scorer: Scorer | None = None
        self._stale: dict[str, StaleTest] = {}

    @property
    def level(self) -> str:
        """The one in force."""
        return self.feed.judge.level

    @property
    def is_calibrated(self) -> bool:
        """Whether the level in force has thresholds, and they fit what came."""
        return self.feed.judge.calibration is not None and not self.misfit

    @property
    def disarmed(self) -> str:
        """Why the level in force must not alarm, and the remedy; empty if it may."""
        return '' if self._arm_despite_preflight else self.feed.judge.disarmed

    @property
    def calibration_id(self) -> str:
        """Of the calibration that is used; empty without one."""
        return self.feed.judge.calibration_id if self.is_calibrated else ''

    @property
    def untrusted(self) -> str:
        """Why the level in force may only show pictures; empty if it may alarm by them."""
        known = self.feed.judge.calibration
        return '' if known is None or known.trust is None else known.trust.muted(CHANNEL)

    @property
    def refused(self) -> str:
        """Why predictions of the level in force may not alarm; empty if they may."""
        return self._refused.get(self.level, '')

    @property
    def stale_channel(self) -> str:
        """The channel that says that the calibration in force is stale; empty if it is not."""
        test = self._stale.get(self.calibration_id)
        return test.channel if test is not None and test.stale else ''

    def take(self, heard: Heard, now_ns: int) -> None:
        """One message of the robot; raises ConfigError as `Feed.take` does."""
        ticks = self.feed.take(heard)
        self._begin_if_due()
        self._expect(ticks, now_ns)

    def give(self, prediction: Prediction, engine_sha256: str = '') -> None:
        """One prediction, in the order in which the predictor sent them.

        One that this side's engine would not have made is left out, see `foreign`.
        """
        if prediction.level != self.level:
            if prediction.level not in self._judges:
                self.unknown_levels.add(prediction.level)
                return
            self._change_level(self._judges[prediction.level])
        self.foreign = self._strangeness(prediction, engine_sha256)
        if self._matcher is not None and not self.foreign:
            self._matcher.give(prediction)

    def _strangeness(self, prediction: Prediction, engine_sha256: str) -> str:
        """Why a prediction cannot be compared here; empty if it can."""
        if self.feed.watcher is None:
            return ''
        spec, frames = self.feed.engine.spec, prediction.frames
        if frames is not None and frames.shape[1:3] != spec.residual_size:
            now, then = (f'{w}x{h}' for h, w in (frames.shape[1:3], spec.residual_size))
            return (
                f'predictions are {now} px and not {then} px: the camera is not what it was; '
                f'start predictor and monitor anew'
            )
        if engine_sha256 and engine_sha256 != spec.sha256:
            return (
                f'predictions of level {prediction.level} are of another model; give predictor '
                f'and monitor the same'
            )
        return ''

    def begin_anew(self) -> None:
        """Let go of the past: the scene was changed by hand."""
        self.feed.begin_anew()
        self._begin_if_due()
        for test in self._stale.values():
            test.end_block()

    def settled(self, now_ns: int) -> Iterator[Compared]:
        """The ticks that can be judged by now, oldest first."""
        if self._matcher is None or self._scorer is None:
            return
        watcher = self.feed.watcher
        assert watcher is not None
        for tick, predictions in self._matcher.settled(now_ns):
            if tick.segment != self._segment:
                self._segment = tick.segment
                self._scorer.reset()
            if watcher.engine.spec.compares_past:
                watcher.hindsight.observe(tick)
            moment = watcher.hindsight.compare(tick, predictions)
            score = self._allowed(self._scorer.score(moment))
            self._test(score, moment)
            yield Compared(score, moment)
        self.unseen += self._matcher.missed
        self._matcher.missed = 0

    @property
    def watched(self) -> tuple[str, ...]:
        """Topics that should not fall silent."""
        watcher = self.feed.watcher
        return () if watcher is None else watcher.watched

    def take_losses(self) -> list[Loss]:
        """What was lost since the last call."""
        return self.feed.take_losses()

    def _change_level(self, judge: Judge) -> None:
        """Ticks that wait are judged by the new level, without the predictions of the old."""
        watcher, segment, older = self.feed.watcher, self._segment, self._matcher
        self.feed.change_level(judge)
        self._begin_if_due()
        if watcher is None or self.feed.watcher is not watcher:
            return
        self._segment = segment
        if older is not None and self._matcher is not None:
            self._matcher.take_over(older)

    def _expect(self, ticks: list[Tick], now_ns: int) -> None:
        for tick in ticks:
            assert self._matcher is not None
            self._matcher.expect(tick, now_ns)

    def _begin_if_due(self) -> None:
        if self.feed.beginnings == self._beginnings:
            return
        self._beginnings = self.feed.beginnings
        self._segment = 0
        robot, judge, watcher = self.feed.robot, self.feed.judge, self.feed.watcher
        assert watcher is not None
        channels = watcher.channels
        norms = self._norms(channels)
        self._scorer = Scorer(
            channels,
            norms,
            calibration_id=self.calibration_id,
            level=judge.level,
            action_grounding=self.feed.grounding.value,
        )
        stride, period_ns = watcher.engine.spec.stride, round(NS / robot.clock.hz)
        patience_ns = max(self._patience_ns, stride * period_ns)
        self._matcher = Matcher(watcher.hindsight.horizons, period_ns, patience_ns, stride)
        if judge.calibration is not None and self.is_calibrated:
            self._stale.setdefault(judge.calibration_id, StaleTest(judge.calibration))

    def _norms(self, channels: Sequence[Channel]) -> Mapping[str, Norm]:
        """Those of the calibration; where a topic of then is missing, those of a stream."""
        self.misfit = ''
        known = self.feed.judge.calibration
        if known is not None:
            try:
                return known.norms(channels)
            except ConfigError as error:
                self.misfit = str(error)
        return running_norms(channels, self.feed.robot.clock.hz)

    def _allowed(self, score: AnomalyScore) -> AnomalyScore:
        """Without thresholds where the level may not alarm."""
        may = not self.disarmed and (self.is_calibrated or self._alarm_uncalibrated)
        if may and not self.refused:
            return score
        channels = [c if may and c.name not in NOISE else _silenced(c) for c in score.channels]
        return replace(score, channels=tuple(channels))

    def _test(self, score: AnomalyScore, moment: Moment) -> None:
        test = self._stale.get(score.calibration_id)
        if test is not None:
            test.observe(score, brightness(moment.tick.picture))


def _silenced(channel: ChannelScore) -> ChannelScore:
    return replace(channel, threshold=math.nan, alarm=False, guaranteed=False)

# SPDX-License-Identifier: Apache-2.0
"""Predictions and what really came in, scores out: `flywheel node monitor`.

Publishes an AnomalyScore for every tick, and, while somebody looks, an overlay: actual, predicted,
residual, and how far each channel is from its threshold.
"""

from __future__ import annotations

import array
import math
import sys
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

import cv2
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Bool, Header

from cosmos_flywheel.bags.wire import WireTypes
from cosmos_flywheel.capture.live.comparing import Compared, Comparing
from cosmos_flywheel.capture.live.feed import Heard
from cosmos_flywheel.capture.live.overlay import CELL_PX, draw_overlay
from cosmos_flywheel.capture.report.evidence import encode_jpeg
from cosmos_flywheel.core.errors import PictureError
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.msg import AnomalyScore, Prediction
from cosmos_flywheel.nodes.convert import from_prediction, to_score, to_time, worst
from cosmos_flywheel.nodes.diagnostics import Diagnostics, Status, grounding_values
from cosmos_flywheel.nodes.models import (
    MODELS,
    ROBOT,
    load_given_robot,
    load_models,
    refusals,
)
from cosmos_flywheel.nodes.names import file_name, graph_name
from cosmos_flywheel.nodes.parameters import Parameter, Parameters
from cosmos_flywheel.nodes.predictor import PREDICTION, PREDICTION_QOS
from cosmos_flywheel.nodes.publish import WATCH, WATCH_QOS, Publisher
from cosmos_flywheel.nodes.run import run_node
from cosmos_flywheel.nodes.streams import Received, Streams, misfits

SCORE, OVERLAY = 'flywheel/score', 'flywheel/overlay/compressed'
SCORE_QOS = QoSProfile(depth=1000)
OVERLAY_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
SETTLE_S = 0.02
"""Ticks whose patience is over are looked for so often; all others leave at once."""
RATE_S = 5.0
PARAMETERS = (
    ROBOT,
    MODELS,
    Parameter(
        'patience_s',
        0.5,
        'how long a tick waits for its predictions before it is judged without',
        's',
        0.01,
        60.0,
    ),
    Parameter(
        'alarm_uncalibrated',
        False,
        'let levels without a calibration alarm, by what is normal for the stream itself',
    ),
    Parameter(
        'arm_unaccepted',
        False,
        'let levels alarm by their predictions that `flywheel engine accept` did not accept here',
    ),
    Parameter(
        'arm_despite_preflight',
        False,
        'let a model alarm although its preflight found the action contract wrong',
    ),
    Parameter(
        'overlay_hz', 10.0, 'the overlay is drawn no more often', 'Hz', 0.1, 60.0, live=True
    ),
    Parameter(
        'overlay_width_px',
        CELL_PX,
        'width of each of the three pictures of the overlay',
        'px',
        80,
        1920,
        live=True,
    ),
)


class Monitor(Node):
    """See the module."""

    def __init__(self, **options: Any) -> None:
        super().__init__('monitor', **options)
        self._given = Parameters(self, PARAMETERS)
        self._robot = load_given_robot(self._given['robot'])
        judges = load_models(self._given['models'], self._robot)
        self._refused = refusals(judges)
        self._comparing = Comparing(
            self._robot,
            judges,
            WireTypes(),
            patience_ns=round(self._given['patience_s'] * NS),
            alarm_uncalibrated=self._given['alarm_uncalibrated'],
            refused={} if self._given['arm_unaccepted'] else self._refused,
            arm_despite_preflight=self._given['arm_despite_preflight'],
        )
        self._is_watching = True
        self._newest: Compared | None = None
        self._scored: deque[int] = deque()
        self._alarms: Counter[str] = Counter()
        self._spoilt = 0
        self._losses: Counter[str] = Counter()
        self._recent: dict[str, tuple[int, str]] = {}
        """By topic and reason, when something was lost last, and why."""
        self._predicted_ns = 0
        self._drawn_ns = 0
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._scores = Publisher(self, AnomalyScore, SCORE, SCORE_QOS)
        self._overlays = Publisher(self, CompressedImage, OVERLAY, OVERLAY_QOS)
        self.create_subscription(Bool, WATCH, self._take_watch, WATCH_QOS)
        self.create_subscription(Prediction, PREDICTION, self._take_prediction, PREDICTION_QOS)
        self._streams = Streams(self, self._take)
        for topic in self._robot.topics:
            self._streams.want(graph_name(topic, self.get_namespace()))
        self.create_timer(SETTLE_S, self._settle, clock=self._steady)
        self._diagnostics = Diagnostics(self, self._robot.name, self._status)

    def close(self) -> None:
        """Nothing is left to finish."""

    def _take(self, received: Received) -> None:
        if not self._is_watching:
            return
        topic = file_name(received.topic, self.get_namespace())
        heard = Heard(topic, received.type_name, received.received_ns, received.data)
        self._comparing.take(heard, self._now_ns())
        for loss in self._comparing.take_losses():
            what = f'{loss.topic}: {loss.reason}'
            self._losses[what] += 1
            self._recent[what] = self._now_ns(), loss.detail
        self._settle()

    def _take_prediction(self, message: Prediction) -> None:
        if not self._is_watching:
            return
        try:
            self._comparing.give(from_prediction(message), message.engine_sha256)
        except PictureError:
            self._spoilt += 1
            return
        self._predicted_ns = self._now_ns()
        self._settle()

    def _take_watch(self, message: Bool) -> None:
        if message.data and not self._is_watching:
            self._comparing.begin_anew()
        self._is_watching = message.data

    def _settle(self) -> None:
        now_ns = self._now_ns()
        for compared in self._comparing.settled(now_ns):
            self._scores.publish(to_score(compared.score))
            self._newest = compared
            self._scored.append(now_ns)
            self._alarms.update(compared.score.alarms)
            self._draw(compared, now_ns)

    def _draw(self, compared: Compared, now_ns: int) -> None:
        """The overlay, if somebody looks and it is time."""
        if not self._overlays.subscribers:
            return
        if now_ns - self._drawn_ns < NS / self._given['overlay_hz']:
            return
        self._drawn_ns = now_ns
        picture = draw_overlay(compared, self._given['overlay_width_px'])
        self._overlays.publish(
            CompressedImage(
                header=Header(stamp=to_time(compared.score.stamp_ns)),
                format='jpeg',
                data=array.array('B', encode_jpeg(picture)),
            )
        )

    def _now_ns(self) -> int:
        """Patience is not that of /clock, which may stand still."""
        return int(self._steady.now().nanoseconds)

    def _troubles(self, now_ns: int) -> Iterator[str]:
        """What goes wrong at present between the robot and the scores."""
        namespace = self.get_namespace()
        for topic, qos in ((WATCH, WATCH_QOS), (PREDICTION, PREDICTION_QOS)):
            yield from misfits(self, graph_name(topic, namespace), qos)
        yield from self._streams.silences(
            graph_name(topic, namespace) for topic in self._comparing.watched
        )
        if self._comparing.foreign:
            yield self._comparing.foreign
        for what, (at_ns, detail) in self._recent.items():
            if now_ns - at_ns <= RATE_S * NS:
                yield f'{what} ({detail})' if detail else what
        if self._scored and now_ns - self._predicted_ns > RATE_S * NS:
            yield f'no prediction for {RATE_S:g} s; see whether the predictor runs and is active'

    def _status(self) -> Status:
        comparing = self._comparing
        now_ns = self._now_ns()
        while self._scored and now_ns - self._scored[0] > RATE_S * NS:
            self._scored.popleft()
        problems = [*self._streams.problems(), *self._troubles(now_ns)]
        grounding = comparing.feed.grounding
        missing = [t for t in self._robot.topics if t not in comparing.feed.present]
        if missing:
            problems.append(f'nothing has come yet on {", ".join(missing)}')
        elif not self._scored and self._is_watching:
            problems.append(f'no tick for {RATE_S:g} s')
        if comparing.stale_channel:
            problems.append(
                f'calibration_stale: {comparing.stale_channel} is not what it was; fit again on '
                f'nominal bags of now'
            )
        problems += [grounding.muted(channel) for channel in grounding.muted_channels]
        if comparing.untrusted:
            problems.append(comparing.untrusted)
        refused = self._refused.get(comparing.level, '')
        if refused:
            how = 'its predictions may not' if comparing.refused else 'arm_unaccepted lets them'
            problems.append(f'{refused}: {how} alarm')
        if not comparing.is_calibrated and not self._given['alarm_uncalibrated']:
            why = comparing.misfit or f'level {comparing.level} is not calibrated'
            problems.append(f'{why}: it may not alarm')
        if comparing.disarmed:
            problems.append(
                f'not armed: {comparing.disarmed}; or set arm_despite_preflight to take the risk'
            )
        if comparing.unknown_levels:
            unknown = ', '.join(sorted(comparing.unknown_levels))
            problems.append(f'predictions of levels that are not in models: {unknown}')
        channel, share = ('', math.nan) if self._newest is None else worst(self._newest.score)
        values = {
            'level': comparing.level,
            'calibration_id': comparing.calibration_id,
            'armed': not comparing.disarmed,
            'calibration_stale': bool(comparing.stale_channel),
            'accepted': not refused,
            **grounding_values(grounding),
            'score_hz': len(self._scored) / RATE_S,
            'worst_channel': channel,
            'worst_share_of_threshold': share,
            'alarm': '' if self._newest is None else ', '.join(self._newest.score.alarms),
            'ticks_in_alarm': sum(self._alarms.values()),
            'predictions_missed': comparing.unseen,
            'predictions_spoilt': self._spoilt,
            'watching': self._is_watching,
            'refused': self._scores.refused,
            **{f'lost on {what}': count for what, count in sorted(self._losses.items())},
        }
        return Status('warn' if problems else 'ok', '; '.join(problems) or 'comparing', values)


def make_node(**options: Any) -> Monitor:
    """The node, as `flywheel node monitor` runs it."""
    cv2.setNumThreads(1)
    return Monitor(**options)


if __name__ == '__main__':
    sys.exit(run_node(make_node))

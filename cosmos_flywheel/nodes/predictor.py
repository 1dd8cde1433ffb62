# SPDX-License-Identifier: Apache-2.0
"""The robot's pictures, states and commands in, predictions out: `flywheel node predictor`.

A lifecycle node: configured it holds its models, active it predicts. The engine runs on a thread
of its own and is left for a lower level of the ladder when it cannot keep up.
"""

from __future__ import annotations

import sys
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile
from std_msgs.msg import Bool

from cosmos_flywheel.bags.wire import WireTypes
from cosmos_flywheel.capture.live.feed import Heard
from cosmos_flywheel.capture.live.plan import read_plan
from cosmos_flywheel.capture.live.predicting import (
    HINDSIGHT,
    HUNG_S,
    LOOKAHEAD,
    MODES,
    Foretold,
    Predicting,
)
from cosmos_flywheel.core.errors import BagError, ConfigError, EngineError
from cosmos_flywheel.msg import Prediction
from cosmos_flywheel.nodes.convert import to_prediction
from cosmos_flywheel.nodes.diagnostics import Diagnostics, Status, grounding_values
from cosmos_flywheel.nodes.models import (
    GPU_DUTY,
    GPU_MEMORY_GB,
    MODELS,
    ROBOT,
    load_given_robot,
    load_models,
    prepare,
)
from cosmos_flywheel.nodes.names import file_name, graph_name
from cosmos_flywheel.nodes.parameters import Parameter, Parameters
from cosmos_flywheel.nodes.publish import WATCH, WATCH_QOS, Publisher
from cosmos_flywheel.nodes.run import run_node
from cosmos_flywheel.nodes.streams import Received, Streams, misfits

PREDICTION = 'flywheel/prediction'
PREDICTION_QOS = QoSProfile(depth=30)
LOOK_S = 0.1
PARAMETERS = (
    ROBOT,
    MODELS,
    Parameter(
        'mode',
        HINDSIGHT,
        'hindsight: from the commands as they were executed; lookahead: from the plan on '
        'plan_topic, before it is executed',
        choices=MODES,
    ),
    Parameter('plan_topic', '', 'where plans come: a trajectory, a chunk of commands, or a path'),
    GPU_DUTY,
    GPU_MEMORY_GB,
    Parameter('hung_s', HUNG_S, 'an engine that takes longer is taken for hung', 's', 0.1, 600.0),
    Parameter('autostart', True, 'configure and activate at once'),
)


class Predictor(LifecycleNode):
    """See the module."""

    def __init__(self, **options: Any) -> None:
        super().__init__('predictor', **options)
        self._given = Parameters(self, PARAMETERS)
        self._predicting: Predicting | None = None
        self._streams: Streams | None = None
        self._types = WireTypes()
        self._is_watching = True
        self._plan_problem = ''
        self._left_out: dict[str, str] = {}
        """Why a level of the ladder cannot run here."""
        self._compute_s = float('nan')
        self._robot = load_given_robot(self._given['robot'])
        self._judges = load_models(self._given['models'], self._robot)
        self._plan_topic = graph_name(self._given['plan_topic'], self.get_namespace())
        if self._given['mode'] == LOOKAHEAD and not self._given['plan_topic']:
            raise ConfigError('mode lookahead needs plan_topic; name it, or use mode hindsight')
        self._publisher = Publisher(self, Prediction, PREDICTION, PREDICTION_QOS)
        self.create_subscription(Bool, WATCH, self._take_watch, WATCH_QOS)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(LOOK_S, self._look, clock=steady)
        self._diagnostics = Diagnostics(self, self._robot.name, self._status)
        if self._given['autostart']:
            self.trigger_configure()
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make the engine ready."""
        try:
            ready, self._left_out = prepare(
                self._judges, self._given['gpu_duty'], self._given['gpu_memory_gb']
            )
        except EngineError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        for level, why in self._left_out.items():
            self.get_logger().warning(f'level {level} is left out: {why}')
        self._predicting = Predicting(
            self._robot,
            ready,
            self._types,
            self._publish,
            mode=self._given['mode'],
            hung_s=self._given['hung_s'],
        )
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to listen."""
        self._streams = Streams(self, self._take)
        for topic in self._robot.topics:
            self._streams.want(graph_name(topic, self.get_namespace()))
        if self._given['plan_topic']:
            self._streams.want(self._plan_topic)
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen no more; what the engine knew of the past is let go."""
        self._end_streams()
        if self._predicting is not None:
            self._predicting.begin_anew()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the engine back."""
        self._end_predicting()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen no more and give the engine back, whatever the state was."""
        self._end_streams()
        self._end_predicting()
        return super().on_shutdown(state)

    def close(self) -> None:
        """End the worker."""
        self._end_predicting()

    def _end_streams(self) -> None:
        if self._streams is not None:
            self._streams.close()
            self._streams = None

    def _end_predicting(self) -> None:
        if self._predicting is not None:
            self._predicting.close()
            self._predicting = None

    def _take(self, received: Received) -> None:
        if self._predicting is None or self._streams is None or not self._is_watching:
            return
        topic = file_name(received.topic, self.get_namespace())
        if received.topic == self._plan_topic:
            self._take_plan(received)
            if topic not in self._robot.topics:
                return
        self._predicting.take(
            Heard(topic, received.type_name, received.received_ns, received.data)
        )

    def _take_plan(self, received: Received) -> None:
        assert self._predicting is not None
        told = received.topic, received.type_name, received.received_ns, received.data
        try:
            message = self._types.deserialize(*told)
            plan = read_plan(message, received.type_name, self._robot, received.received_ns)
        except (BagError, ConfigError) as error:
            self._plan_problem = str(error)
            return
        self._plan_problem = ''
        self._predicting.plan(plan)

    def _take_watch(self, message: Bool) -> None:
        if message.data and not self._is_watching and self._predicting is not None:
            self._predicting.begin_anew()
        self._is_watching = message.data

    def _look(self) -> None:
        if self._predicting is not None:
            self._predicting.look()

    def _publish(self, foretold: Foretold) -> None:
        """Called from the engine's thread."""
        self._compute_s = foretold.seconds
        for prediction in foretold.predictions:
            self._publisher.publish(
                to_prediction(
                    prediction,
                    engine_sha256=foretold.engine_sha256,
                    is_lookahead=self._given['mode'] == LOOKAHEAD,
                    stride=foretold.stride,
                    state_names=self._robot.state_names,
                    seconds=foretold.seconds,
                )
            )

    def _status(self) -> Status:
        predicting = self._predicting
        if predicting is None or self._streams is None:
            return Status('warn', 'not active; activate it, or start with autostart')
        ladder, feed = predicting.ladder, predicting.feed
        missing = [t for t in self._robot.topics if t not in feed.present]
        watch = graph_name(WATCH, self.get_namespace())
        problems = [*self._streams.problems(), *misfits(self, watch, WATCH_QOS)]
        if missing:
            problems.append(f'nothing has come yet on {", ".join(missing)}')
        if ladder.level != ladder.levels[0]:
            problems.append(f'on level {ladder.level}: {predicting.changed}')
        problems += [f'level {level} is left out: {w}' for level, w in self._left_out.items()]
        if self._plan_problem:
            problems.append(self._plan_problem)
        values = {
            'level': ladder.level,
            'ladder': ' > '.join(ladder.levels),
            'level_changes': ladder.changes,
            'mode': predicting.mode,
            **grounding_values(feed.grounding),
            'action_grounding_of_late': ', '.join(
                f'{channel} {index.in_words()}' for channel, index in predicting.grounding.items()
            ),
            'real_time_factor': ladder.real_time_factor,
            'coverage': predicting.coverage,
            'compute_ms': 1e3 * self._compute_s,
            'skipped_ticks': predicting.skipped,
            'predictions': self._publisher.sent,
            'refused': self._publisher.refused,
            'watching': self._is_watching,
            'last_problem': predicting.problem,
        }
        return Status('warn' if problems else 'ok', '; '.join(problems) or 'predicting', values)


def make_node(**options: Any) -> Predictor:
    """The node, as `flywheel node predictor` runs it."""
    return Predictor(**options)


if __name__ == '__main__':
    sys.exit(run_node(make_node))

# SPDX-License-Identifier: Apache-2.0
"""Failures of an output folder in, candidates out: `flywheel node generator`.

Runs offline, on the machine that may work through the night. It looks into the folder when an
episode is told and every few seconds, since what counts is what people say of episodes, which
nobody publishes. Jobs lie in the folder's queue, and so does which candidates were told of:
whoever kills this node loses nothing, and several of them tell of each candidate once.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node

from cosmos_flywheel.bags.source import find_bags
from cosmos_flywheel.core.errors import FlywheelError
from cosmos_flywheel.core.job import CLAIMED, DEAD, DONE, WAITING, Job
from cosmos_flywheel.engines.remote.server import SERVED
from cosmos_flywheel.generate.backends import BACKENDS, Means, able
from cosmos_flywheel.generate.budget import Run, changed, require_rates
from cosmos_flywheel.generate.desk import Desk, Wanted
from cosmos_flywheel.generate.film_settings import FilmSettings
from cosmos_flywheel.generate.news import News
from cosmos_flywheel.generate.order_work import OrderWork
from cosmos_flywheel.generate.queue import Queue
from cosmos_flywheel.generate.worker import Worker
from cosmos_flywheel.msg import Candidate, FailureEpisode
from cosmos_flywheel.nodes.board import CANDIDATE, EPISODE, EPISODE_QOS
from cosmos_flywheel.nodes.convert import to_candidate
from cosmos_flywheel.nodes.diagnostics import Diagnostics, Status
from cosmos_flywheel.nodes.parameters import Parameter, Parameters
from cosmos_flywheel.nodes.publish import Publisher
from cosmos_flywheel.nodes.run import run_node
from cosmos_flywheel.store.candidates import candidate_folder, read_candidate
from cosmos_flywheel.store.files import storing

USUAL = Wanted()
HOUR_S = 3600.0
END_S = 60.0
"""The job that runs is given so long to end; a job that is left is done by the next worker."""
HEARD_S = 1.0
"""Listeners are given so long to take a batch of candidates; what is not taken then is looked at
again a look later."""
PARAMETERS = (
    Parameter('out', 'flywheel-out', 'folder of the episodes, and of briefs and candidates'),
    Parameter(
        'backend',
        (),
        'who makes them, the first one first; empty: sim or augment',
        choices=tuple(BACKENDS),
    ),
    Parameter('model', '', 'a folder of flywheel fit, for backend local'),
    Parameter('checkpoint', '', 'Cosmos 3 on this disk, for backend cosmos'),
    Parameter('server', '', 'address of a vLLM-Omni server, for backend remote'),
    Parameter('served', SERVED, 'what that server calls its model'),
    Parameter('commit', '', 'of the checkpoint that it serves, if known'),
    Parameter('allow_remote', False, 'pictures may go to a server on another machine'),
    Parameter('guardrails', True, 'whether that server is asked to let its guardrails look'),
    Parameter('settings', (), 'NAME=VALUE of flywheel generate --set, for remote and cosmos'),
    Parameter('robot', '', "a robot or a robot file; empty: the episode's"),
    Parameter('pack', '', "domain pack or pack file; empty: the robot's"),
    Parameter('nominal', (), 'bags, or folders of them, in which nothing went wrong'),
    Parameter('count', USUAL.count, 'candidates of each failure', '', 1, 100_000),
    Parameter('seed', USUAL.seed, 'of the first', '', 0, 2**32 - 1),
    Parameter('untriaged', False, 'also of episodes that nobody has judged'),
    Parameter('look_s', 5.0, 'between two looks into the folder', 's', 0.1, 3600.0),
    Parameter('budget', '', 'of the whole queue, as in flywheel queue budget; empty: as it is'),
    Parameter('money_per_gpu_hour', 0.0, '0: as it is', '', 0.0, 1e9),
    Parameter('money_per_cpu_hour', 0.0, '0: as it is', '', 0.0, 1e9),
)


class Generator(Node):
    """See the module."""

    def __init__(self, **options: Any) -> None:
        super().__init__('generator', **options)
        given = self._given = Parameters(self, PARAMETERS)
        self._out = Path(given['out'])
        with storing(self._out):
            self._out.mkdir(parents=True, exist_ok=True)
        with Queue.open(self._out) as queue:
            _limit(queue, given)
        wanted = _wanted(given)
        self._desk = Desk(self._out, wanted)
        self._news = News(self._out)
        self._sent: list[str] = []
        """Jobs that were published, and not by all who listen heard as far as is known."""
        self._untold: dict[str, str] = {}
        """Why a candidate cannot be told of, by its id; the next node tries again."""
        self._worker_trouble = self._desk_trouble = ''
        self._candidates = Publisher(self, Candidate, CANDIDATE, EPISODE_QOS)
        self.create_subscription(FailureEpisode, EPISODE, self._take, EPISODE_QOS)
        only = Run(backends=able(wanted.means))
        work = OrderWork(wanted.nominal, wanted.means)
        self._worker = Worker(self._out, work, stay=True, only=only)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(given['look_s'], self._look, clock=steady)
        self._diagnostics = Diagnostics(self, '', self._status)

    def close(self) -> None:
        """Let the job that runs end, or leave it to the next worker."""
        self._worker.stop()
        self._thread.join(END_S)
        with suppress(FlywheelError):
            self._tell()

    def _work(self) -> None:
        try:
            self._worker.run()
        except FlywheelError as error:
            self._worker_trouble = f'the worker ended: {error}; start the node anew'

    def _take(self, _: FailureEpisode) -> None:
        """An episode is there: its label is what counts, and that is looked for."""
        self._timer.reset()
        self._look()

    def _look(self) -> None:
        troubles = []
        for do in (self._desk.look, self._tell):
            try:
                do()
            except FlywheelError as error:
                troubles.append(str(error))
        self._desk_trouble = '; '.join(troubles)

    def _tell(self) -> None:
        """Of what nobody has told yet, a batch at a time, each when the one before was heard."""
        while self._is_heard() and (jobs := self._news.claim(EPISODE_QOS.depth)):
            refused = [job.id for job in jobs if not self._publish(job)]
            if refused:
                self._news.give_back(refused)
                break

    def _is_heard(self) -> bool:
        """Whether everybody who listens has what was published; if so, it is told for good."""
        if self._sent and not self._candidates.flush(HEARD_S):
            return False
        self._news.confirm(self._sent)
        self._sent.clear()
        return True

    def _publish(self, job: Job) -> bool:
        """False if the middleware did not take it."""
        folder = candidate_folder(self._out, job.candidate_id or '')
        now_ns = self.get_clock().now().nanoseconds
        try:
            message = to_candidate(read_candidate(folder), folder, job.price, now_ns)
        except FlywheelError as error:
            self._untold[folder.name] = str(error)
            return True
        if not self._candidates.publish(message):
            return False
        self._sent.append(job.id)
        return True

    def _status(self) -> Status:
        with Queue.open(self._out) as queue:
            counts, ledger = queue.counts(), queue.ledger()
            problems = [*queue.away().values(), *self._desk.away]
            if queue.is_paused:
                problems.append('the queue is paused; run: flywheel queue resume')
        problems += filter(None, (self._worker_trouble, self._desk_trouble))
        for told in (self._desk.refused, self._untold):
            problems += [f'{name}: {why}' for name, why in sorted(told.items())]
        if counts.get(DEAD):
            problems.append(f'{counts[DEAD]} jobs came to nothing; see flywheel queue list')
        wait = f'{self._desk.waiting} episodes wait to be judged' if self._desk.waiting else ''
        values = {
            'waiting': counts.get(WAITING, 0),
            'running': counts.get(CLAIMED, 0),
            'done': counts.get(DONE, 0),
            'dead': counts.get(DEAD, 0),
            'episodes_untriaged': self._desk.waiting,
            'published': self._candidates.sent,
            'gpu_s': ledger.spent.gpu_s,
            'cpu_s': ledger.spent.cpu_s,
            'money': ledger.spent.money,
        }
        words = '; '.join(problems) or wait or 'generating'
        return Status('warn' if problems else 'ok', words, values)


def _wanted(given: Parameters) -> Wanted:
    FilmSettings.parse(given['settings'])
    alike = (
        'checkpoint', 'server', 'served', 'commit', 'allow_remote', 'guardrails', 'settings',
        'robot',
    )  # fmt: skip
    means = Means(
        model=Path(given['model']) if given['model'] else None,
        **{name: given[name] for name in alike},
    )
    return Wanted(
        backends=given['backend'],
        nominal=tuple(find_bags([Path(bag) for bag in given['nominal']])),
        means=means,
        **{name: given[name] for name in ('count', 'pack', 'untriaged', 'seed')},
    )


def _limit(queue: Queue, given: Parameters) -> None:
    """Set what was given; limits and rates that `flywheel queue budget` set stay beside it."""
    rates = {
        name: given[f'money_per_{unit}_hour'] / HOUR_S
        for name, unit in (('gpu_s', 'gpu'), ('cpu_s', 'cpu'))
        if given[f'money_per_{unit}_hour']
    }
    if rates:
        queue.set_rates(replace(queue.rates(), **rates))
    if given['budget']:
        budget = changed(queue.budget(), given['budget'])
        require_rates(budget, queue.rates(), queue.out)
        queue.set_budget(budget)


def make_node(**options: Any) -> Generator:
    """The node, as `flywheel node generator` runs it."""
    return Generator(**options)


if __name__ == '__main__':
    sys.exit(run_node(make_node))

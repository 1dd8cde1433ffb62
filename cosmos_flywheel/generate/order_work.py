# SPDX-License-Identifier: Apache-2.0
"""Orders of a brief → jobs of the queue, and such a job → its candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import (
    ConfigError,
    FlywheelError,
    NotHereError,
    NotNowError,
    OrderError,
    costing,
    seedless,
)
from cosmos_flywheel.core.job import Job, JobOrder, Outcome, Price
from cosmos_flywheel.core.licence import forbids_derivatives
from cosmos_flywheel.core.lineage import canonical_json
from cosmos_flywheel.core.variation import Variation, variation_from
from cosmos_flywheel.generate.backends import Means, find_backend
from cosmos_flywheel.generate.base import Generator, Order, Priced
from cosmos_flywheel.generate.make import ROBOT, make_candidate, request_of
from cosmos_flywheel.store.briefs import BRIEFS, read_brief
from cosmos_flywheel.store.candidates import read_run
from cosmos_flywheel.store.episodes import read_episode
from cosmos_flywheel.store.robots import load_robot

GUESSED_GPU_S = 60.0
"""What the budget reserves for a candidate of a world model that names no price, until one was
made."""


@dataclass(frozen=True, slots=True)
class OrderWork:
    """Does the jobs of `job_order`; goes to other processes.

    Args:
        nominal: bags in which nothing went wrong.
        means: what the generators need, and a robot that goes before the brief's.

    """

    nominal: tuple[Path, ...] = ()
    means: Means = field(default_factory=Means)

    def __call__(self, job: Job, out: Path) -> Outcome:
        """Make the job's candidate below the output folder, or find it there.

        Raises:
            OrderError: the brief or the episode is gone, damaged or another one.
            NotHereError: the generator is not the one that was asked.
            FlywheelError: the order is refused with this seed, or something is missing. All of
                them tell the seconds of graphics cards that were measured until then.

        """
        with costing(lambda: 0.0):
            with seedless():
                order = self._order(job, out)
            generator = self._generator(job)
            _require_same(job, generator, order)
            found = make_candidate(out, order, generator)
        run = read_run(found.folder)
        size_bytes = sum(path.stat().st_size for path in found.folder.iterdir())
        price = Price(run['gpu_s'], run['cpu_s'], 0.0, size_bytes)
        return Outcome(price, found.id, found=not found.is_new)

    def _generator(self, job: Job) -> Generator:
        try:
            return find_backend(job.order.backend, self.means)
        except NotNowError:
            raise
        except FlywheelError as error:
            raise NotHereError(str(error)) from error

    def _order(self, job: Job, out: Path) -> Order:
        brief = read_brief(out / BRIEFS / job.order.brief_id)
        if brief.sha256 != job.order.brief_sha256:
            raise ConfigError(
                f'brief {job.order.brief_id}: was edited after it was ordered; take it in with: '
                f'flywheel brief {out / BRIEFS / job.order.brief_id}, and order that one'
            )
        episode = out / brief.origin.id
        read_episode(episode)
        robot = load_robot(self.means.robot or brief.origin.robot)
        variation = variation_from(job.order.variation)
        return Order(brief, episode, robot, variation, job.seed, self.nominal)


def job_order(
    brief: Brief,
    generator: Generator,
    variation: Variation,
    seed: int,
    priority: int = 0,
    nominal: Sequence[Path] = (),
    robot: Robot | None = None,
) -> JobOrder:
    """What to put into the queue for one candidate.

    Args:
        brief: what it answers to.
        generator: who makes it.
        variation: the cell.
        seed: of the first attempt.
        priority: the higher, the sooner.
        nominal: bags to take commands from.
        robot: by whose file clip and commands are read; None for the brief's.

    Raises:
        OrderError: the licence of the recording forbids to make any.
        ConfigError: there is no such robot.

    """
    require_derivable(brief)
    return JobOrder(
        brief_id=brief.id,
        brief_sha256=brief.sha256,
        backend=generator.name,
        variation=asdict(variation),
        seed=seed,
        request=request_of(generator, robot or load_robot(brief.origin.robot), variation, nominal),
        priority=priority,
        estimate=estimate_of(brief, generator, variation),
    )


def require_derivable(brief: Brief) -> None:
    """Raise OrderError where the licence of the recording allows no candidates."""
    if forbids_derivatives(brief.licence):
        raise OrderError(
            f'brief {brief.id}: its recording is licensed {brief.licence}, which forbids '
            'derivatives, and a candidate is one; if its owner allows you more, write what holds '
            "into the brief's `licence`"
        )


def estimate_of(brief: Brief, generator: Generator, variation: Variation) -> Price:
    """What a candidate is expected to cost, as its generator says or else as is guessed."""
    if isinstance(generator, Priced):
        return generator.estimate(brief, variation)
    return Price(gpu_s=GUESSED_GPU_S if generator.kind == 'generated' else 0.0)


def _require_same(job: Job, generator: Generator, order: Order) -> None:
    asked = dict(job.order.request)
    if ROBOT not in asked:
        raise OrderError(
            f'job {job.id}: was ordered by a version that did not note the robot file; order it '
            'anew with: flywheel generate'
        )
    here = request_of(generator, order.robot, order.variation, order.nominal)
    apart = [
        f'{key} {asked.get(key)}, here {here.get(key)}'
        for key in sorted({*asked, *here})
        if canonical_json(asked.get(key)) != canonical_json(here.get(key))
    ]
    if apart:
        raise NotHereError(
            f'job {job.id}: was ordered of {generator.name} with {"; ".join(apart)}: give the '
            'robot file, model, options and nominal bags of then, or order anew'
        )

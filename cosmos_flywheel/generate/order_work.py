# SPDX-License-Identifier: Apache-2.0
"""Orders of a brief → jobs of the queue, and such a job → its candidate."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from cosmos_flywheel.core.job import Job, JobOrder, Outcome, Price
from cosmos_flywheel.core.lineage import sha256_file
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.generate.backends import Means, find_backend
from cosmos_flywheel.generate.base import Generator, Order
from cosmos_flywheel.generate.make import make_candidate
from cosmos_flywheel.generate.plan import make_plan
from cosmos_flywheel.store.briefs import BRIEFS, DOCUMENT, read_brief
from cosmos_flywheel.store.candidates import read_run
from cosmos_flywheel.store.robots import load_robot


@dataclass(frozen=True, slots=True)
class OrderWork:
    """Does the jobs of `job_orders`; goes to other processes.

    Args:
        robot: a robot or a robot file; None for the brief's.
        nominal: bags in which nothing went wrong.
        means: what the generators need.

    """

    robot: str | None = None
    nominal: tuple[Path, ...] = ()
    means: Means = field(default_factory=Means)

    def __call__(self, job: Job, out: Path) -> Outcome:
        """Make the job's candidate below the output folder, or find it there.

        Raises:
            FlywheelError: the order is refused with this seed, or something is missing.

        """
        brief = read_brief(out / BRIEFS / job.order.brief_id)
        asked = job.order.variation
        order = Order(
            brief,
            out / brief.origin.id,
            load_robot(self.robot or brief.origin.robot),
            Variation(asked['family'], asked['actions'], dict(asked['cell'])),
            job.seed,
            self.nominal,
        )
        found = make_candidate(out, order, find_backend(job.order.backend, self.means))
        run = read_run(found.folder)
        size_bytes = sum(path.stat().st_size for path in found.folder.iterdir())
        price = Price(run['gpu_s'], run['cpu_s'], 0.0, size_bytes)
        return Outcome(price, found.id, found=not found.is_new)


def job_orders(
    brief: Path, generator: Generator, count: int, seed: int = 0, priority: int = 0
) -> list[JobOrder]:
    """What to put into the queue for so many candidates of the brief in this folder."""
    read = read_brief(brief)
    name, revision = generator.model
    request = {**generator.parameters, 'model': [name, revision]}
    sha256 = sha256_file(brief / DOCUMENT)
    return [
        JobOrder(
            brief_id=read.id,
            brief_sha256=sha256,
            backend=generator.name,
            variation=asdict(variation),
            seed=at,
            request=request,
            priority=priority,
        )
        for variation, at in make_plan(read, generator, count, seed).orders
    ]

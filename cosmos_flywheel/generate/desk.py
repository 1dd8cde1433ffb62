# SPDX-License-Identifier: Apache-2.0
"""An output folder's failures → briefs → jobs, as people judge them.

Nothing is spent on what nobody has called a failure, unless that was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.envelope import Actions
from cosmos_flywheel.core.errors import ConfigError, FlywheelError
from cosmos_flywheel.generate.backends import Means, first_maker, ready, usual_backend
from cosmos_flywheel.generate.base import Generator
from cosmos_flywheel.generate.brief import compile_brief
from cosmos_flywheel.generate.commands import nominal_paths
from cosmos_flywheel.generate.failure import read_failure
from cosmos_flywheel.generate.grid import current
from cosmos_flywheel.generate.order_work import job_order
from cosmos_flywheel.generate.plan import make_plan
from cosmos_flywheel.generate.queue import Queue
from cosmos_flywheel.generate.worth import Worth, deserves, in_order
from cosmos_flywheel.store.briefs import BRIEFS, adopt, iter_briefs, read_brief, save_brief
from cosmos_flywheel.store.catalogue import Catalogue
from cosmos_flywheel.store.labels import UNTRIAGED
from cosmos_flywheel.store.packs import load_pack, pack_for
from cosmos_flywheel.store.records import EpisodeRow
from cosmos_flywheel.store.robots import load_robot


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is ordered for each failure."""

    count: int = 8
    """Candidates."""
    backends: tuple[str, ...] = ()
    """A failure goes to the first that can be asked here and makes anything of it; none: to the
    simulator for simulated robots, else the recorded clip in other looks."""
    pack: str = ''
    """Empty: the robot's."""
    untriaged: bool = False
    """Also for episodes that nobody has judged."""
    seed: int = 0
    nominal: tuple[Path, ...] = ()
    """Bags in which nothing went wrong: they bound commands, and commands are taken from them."""
    means: Means = field(default_factory=Means)


class Desk:
    """Looks again and again, and orders each failure once; use it in one thread."""

    def __init__(self, out: Path, wanted: Wanted) -> None:
        self._out, self._wanted = out, wanted
        self.waiting = 0
        """Episodes that nobody has judged yet."""
        self.refused: dict[str, str] = {}
        """Why a failure has no brief or no candidates, by episode."""
        self.away: list[str] = []
        """Why some of the generators that are wanted cannot be asked."""
        self._paths: dict[str, list[Actions]] = {}
        """Commands of the nominal bags, by the robot file that they were read by."""

    def look(self) -> int:
        """Make briefs of new failures, the worthiest first, and order their candidates.

        Returns:
            How many jobs are new.

        """
        with Catalogue.open(self._out) as catalogue:
            rows = catalogue.episodes()
        self.waiting = sum(row.label == UNTRIAGED for row in rows)
        briefs = {brief.origin.id: brief for brief in current(self._briefs())}
        due = [r for r in rows if deserves(r.label, untriaged=self._wanted.untriaged)]
        new = [r for r in due if r.id not in briefs and r.id not in self.refused]
        for row in new:
            try:
                briefs[row.id] = self._brief(row)
            except FlywheelError as error:
                self.refused[row.id] = str(error)
        worths = [
            Worth(r.id, r.cluster, self._cost(briefs[r.id]), r.severity)
            for r in due
            if r.id in briefs
        ]
        weighed = [(briefs[w.episode], weight) for w, weight in in_order(worths)]
        named, self.away = ready(self._wanted.backends, self._wanted.means)
        with Queue.open(self._out) as queue:
            return sum(self._order(queue, brief, weight, named) for brief, weight in weighed)

    def _briefs(self) -> Iterator[Brief]:
        for folder in iter_briefs(self._out / BRIEFS):
            try:
                brief = read_brief(folder, verify=False)
                if not (folder.parent / brief.id).is_dir():
                    adopt(folder)
                yield brief
            except FlywheelError as error:
                self.refused[folder.name] = str(error)

    def _brief(self, row: EpisodeRow) -> Brief:
        robot = load_robot(self._wanted.means.robot or row.robot or '')
        pack, sha256 = load_pack(self._wanted.pack or pack_for(robot.name))
        known = read_failure(self._out / row.id, pack, robot)
        made = compile_brief(known, pack, sha256, robot, self._nominal(robot))
        return read_brief(save_brief(self._out / BRIEFS, made.brief, made.files))

    def _nominal(self, robot: Robot) -> list[Actions]:
        key = robot.config_hash()
        if key not in self._paths:
            self._paths[key] = nominal_paths(self._wanted.nominal, robot)
        return self._paths[key]

    def _cost(self, brief: Brief) -> float:
        pack, _ = load_pack(self._wanted.pack or brief.pack)
        return pack.cause(brief.failure.cause).cost

    def _order(self, queue: Queue, brief: Brief, weight: float, named: Sequence[Generator]) -> int:
        wanted = self._wanted
        generator = first_maker(named, brief) if named else usual_backend(brief)
        plan = make_plan(brief, generator, wanted.count, wanted.seed)
        try:
            robot = load_robot(wanted.means.robot or brief.origin.robot)
            orders = [
                job_order(brief, generator, variation, seed, round(weight), wanted.nominal, robot)
                for variation, seed in plan.orders
            ]
        except ConfigError as error:
            self.refused[brief.origin.id] = str(error)
            return 0
        return queue.add(orders)

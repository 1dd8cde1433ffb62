# SPDX-License-Identifier: Apache-2.0
"""Many recorded bags → episodes, a catalogue, a report: the live path in a plain loop.

A bag that was finished before under the same configuration is not watched again, so a harvest
that was cut off goes on where it stopped. One bag that cannot be read does not stop the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from pathlib import Path
from socket import gethostname
from typing import Any

import cv2
import numpy as np

import cosmos_flywheel
from cosmos_flywheel import schemas
from cosmos_flywheel.bags.source import BagSource, open_bag
from cosmos_flywheel.capture.analysis import Analysis
from cosmos_flywheel.capture.episode import Subject, write_episode
from cosmos_flywheel.capture.importing.shelf import licence_of_bag
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.model import Judge
from cosmos_flywheel.capture.report.page import write_report
from cosmos_flywheel.capture.report.result import BagTrace, EpisodeView, HarvestResult
from cosmos_flywheel.capture.report.view import illustrated, view_episode
from cosmos_flywheel.capture.rescoring.request import Rescoring
from cosmos_flywheel.capture.rescoring.rescore import Tell as Spent
from cosmos_flywheel.capture.rescoring.rescore import rescore
from cosmos_flywheel.capture.rescoring.result import Rescored
from cosmos_flywheel.capture.rescoring.windows import Screened
from cosmos_flywheel.capture.trace import REPORT, TRACES, load_trace, save_trace
from cosmos_flywheel.capture.triggers.trigger import Triggers
from cosmos_flywheel.capture.workers import Progress, work_all
from cosmos_flywheel.core.appearance import APPEARANCE
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import BagError, FlywheelError, SchemaError, StoreError
from cosmos_flywheel.core.lineage import canonical_json, config_hash, sha256_hex
from cosmos_flywheel.core.scoring import SCORING_REVISION
from cosmos_flywheel.core.staleness import StaleTest
from cosmos_flywheel.executors.base import Executor, Tell
from cosmos_flywheel.store.catalogue import BAGS, Catalogue
from cosmos_flywheel.store.connection import CATALOGUE
from cosmos_flywheel.store.episodes import iter_episodes
from cosmos_flywheel.store.folders import sweep
from cosmos_flywheel.store.records import Cluster, WatchedBag

PlanOf = Callable[[BagSource], 'Plan']


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides what a harvest finds."""

    robot: Robot
    judge: Judge
    settings: CaptureSettings = field(default_factory=CaptureSettings)
    triggers_path: Path | None = None

    def hash(self) -> str:
        """64 hex digits: equal plans find equal episodes."""
        triggers = self.triggers_path.read_text('utf-8') if self.triggers_path else None
        return config_hash(
            {
                'robot': self.robot.config_hash(),
                'engine': self.judge.engine_sha256,
                'size': self.judge.size,
                'calibration': self.judge.calibration_id,
                'capture': asdict(self.settings),
                'triggers': triggers,
                'scoring_revision': SCORING_REVISION,
            }
        )


@dataclass(frozen=True, slots=True)
class Job:
    """One bag to watch."""

    path: Path
    out: Path
    plan: Plan
    config_hash: str
    bag_id: str
    duration_s: float

    @property
    def name(self) -> str:
        """What the bag is called in manifests: never its whole path."""
        return self.path.resolve().name or 'bag'

    @property
    def trace_path(self) -> Path:
        """Where its scores are kept."""
        name = sha256_hex(canonical_json([self.bag_id, self.config_hash]))[:16]
        return self.out / TRACES / f'{name}.npz'


@dataclass(frozen=True, slots=True)
class Watched:
    """What came of one bag."""

    bag: WatchedBag
    trace: BagTrace
    views: tuple[EpisodeView, ...]
    found: tuple[EpisodeView, ...] = ()
    """What the screen had let pass, and a second model found."""

    @property
    def all_views(self) -> tuple[EpisodeView, ...]:
        """Of all episodes, in the order of time."""
        return tuple(sorted((*self.views, *self.found), key=lambda view: view.onset_s))


def harvest(
    paths: Sequence[Path],
    plan_of: PlanOf,
    out: Path,
    *,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Progress | None = None,
    again: Rescoring | None = None,
    spent: Spent | None = None,
) -> tuple[dict[str, Any], HarvestResult]:
    """Watch every bag, capture what is surprising, and write the report.

    Args:
        paths: one bag each, as `find_bags` gives them.
        plan_of: says by which plan an open bag is watched.
        out: where episodes, catalogue and report go; a harvest of before is continued.
        workers: so many bags at once; the result does not depend on their number.
        executor: where they are watched; None for processes of this machine.
        progress: told how far each bag is.
        again: a second model that looks again within a budget.
        spent: told how much of that budget is used up.

    Returns:
        The document of schema harvest-v1, and what the report shows.

    Raises:
        StoreError: `out` cannot be written, or holds something else.

    """
    _claim(out)
    cv2.setNumThreads(1)
    jobs, unread = _open_all(paths, plan_of, out)
    done: dict[Path, Watched] = {}
    with Catalogue.open(out) as catalogue:
        for job in jobs:
            if catalogue.bag_done(job.bag_id, job.config_hash):
                with suppress(StoreError, SchemaError):  # damaged since: it is watched again
                    done[job.path] = _reload(job)
        left = sorted((j for j in jobs if j.path not in done), key=lambda j: -j.duration_s)
        if progress is not None:
            progress.expect({str(job.path): job.duration_s for job in left})
        for job, found in work_all(_try_watch, left, workers, progress, executor):
            if isinstance(found, FlywheelError):
                unread[job.path] = str(found)
                continue
            for episode in found.bag.episodes:
                catalogue.add_episode(episode)
            catalogue.add_bag(found.bag)
            done[job.path] = found
        rescored = None
        if again is not None:
            screened = [_screened(job, done[job.path]) for job in jobs if job.path in done]
            rescored = rescore(screened, again, out, catalogue, spent)
            done = {path: _with_found(out, w, rescored) for path, w in done.items()}
        # All at once: the order in which workers finish must not decide what is alike.
        clusters = catalogue.assign_clusters(v.id for w in done.values() for v in w.all_views)
    for path, watched in noted_stale([j for j in jobs if j.path in done], done).items():
        done[path] = watched
    found_in = [(job, done[job.path]) for job in jobs if job.path in done]
    result = _result(out, shown_names(paths), found_in, unread, clusters)
    document = _document(paths, done, unread)
    if rescored is not None:
        result = replace(result, rescored=tuple(rescored.in_words()))
        document['rescore'] = rescored.document()
    write_report(result, out / REPORT)
    return document, result


def _screened(job: Job, watched: Watched) -> Screened:
    return Screened(job.path, job.name, job.bag_id, job.config_hash, watched.trace, watched.views)


def _with_found(out: Path, watched: Watched, rescored: Rescored) -> Watched:
    found = rescored.found.get(watched.bag.bag_id, ())
    return replace(watched, found=tuple(view_episode(out, one) for one in found))


def noted_stale(jobs: Sequence[Job], done: Mapping[Path, Watched]) -> dict[Path, Watched]:
    """The bags in which a calibration turns out to be stale, with a note that says so.

    Bags count in the order in which they were recorded, whoever watched them when.
    """
    noted: dict[Path, Watched] = {}
    tests: dict[str, StaleTest] = {}
    for job in sorted(jobs, key=lambda j: (done[j.path].bag.start_ns or 0, j.bag_id)):
        calibration = job.plan.judge.calibration
        if calibration is None:
            continue
        test = tests.setdefault(calibration.id, StaleTest(calibration))
        before, watched = test.stale, done[job.path]
        _feed(test, watched)
        if test.stale and not before:
            note = (
                f'calibration {calibration.id} is stale from this bag on ({test.channel} is not '
                f'what it was): fit again on nominal bags of now'
            )
            trace = replace(watched.trace, notes=(*watched.trace.notes, note))
            noted[job.path] = replace(watched, trace=trace)
    return noted


def _feed(test: StaleTest, watched: Watched) -> None:
    channels = watched.trace.channels
    light = watched.trace.brightness
    alarms: np.ndarray = np.any([c.scores > c.thresholds for c in channels], axis=0)
    stamps_ns = (watched.bag.start_ns or 0) + np.rint(watched.trace.times_s * 1e9).astype(np.int64)
    for index, stamp_ns in enumerate(stamps_ns.tolist()):
        scores = {c.name: float(c.scores[index]) for c in channels}
        if len(light):
            scores[APPEARANCE] = float(light[index])
        test.take(stamp_ns, scores, alarm=bool(alarms[index]))
    test.end_block()


def _claim(out: Path) -> None:
    """Make the output folder ours, or continue in it; anything else is left alone."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        names = {p.name for p in out.iterdir() if not p.name.startswith('.')}
    except OSError as error:
        raise StoreError(
            f'{out}: cannot be used ({error.strerror}); give another --out'
        ) from error
    if names and CATALOGUE not in names and not any(iter_episodes(out)):
        raise StoreError(
            f'{out}: exists and holds something else ({min(names)}, …); give another --out, '
            f'or an empty folder'
        )
    sweep(out)


def _open_all(
    paths: Sequence[Path], plan_of: PlanOf, out: Path
) -> tuple[list[Job], dict[Path, str]]:
    """A job for every bag that opens; the same recording given twice is watched once."""
    jobs: list[Job] = []
    unread: dict[Path, str] = {}
    known: dict[str, Path] = {}
    for path in paths:
        try:
            with open_bag(path) as source:
                if not source.message_count:
                    raise BagError(f'{path}: holds no messages')
                if source.bag_id in known:
                    raise BagError(f'{path}: the same recording as {known[source.bag_id]}')
                plan = plan_of(source)
                jobs.append(Job(path, out, plan, plan.hash(), source.bag_id, source.duration_s))
                known[source.bag_id] = path
        except FlywheelError as error:
            unread[path] = str(error)
    return jobs, unread


def _try_watch(job: Job, tell: Tell | None) -> Watched | FlywheelError:
    """Watch one bag; a bag that cannot be watched is a result too, a full disk is not."""
    try:
        return watch(job, tell)
    except StoreError:
        raise
    except FlywheelError as error:
        return error


def watch(job: Job, tell: Tell | None = None) -> Watched:
    """Watch one bag to its end and write its episodes."""
    plan, path = job.plan, str(job.path)
    triggers = Triggers.load(plan.triggers_path) if plan.triggers_path else None
    episodes: list[str] = []
    run = {'schema': 'run-v1', 'bag_path': str(job.path.resolve()), 'host': gethostname()}
    licence = licence_of_bag(job.path)
    with open_bag(job.path) as source:
        analysis = Analysis(source, plan.robot, plan.judge, plan.settings, triggers)
        for capture in analysis.run(tell and (lambda done_s: tell(path, done_s))):
            episodes.append(
                write_episode(
                    job.out,
                    Subject(
                        source,
                        analysis.trace(job.name),
                        plan.robot,
                        analysis.engine.spec.sha256,
                        licence=licence,
                    ),
                    capture,
                    config_hash=job.config_hash,
                    run=run,
                )
            )
        trace = analysis.trace(job.name)
        bag = WatchedBag(
            bag_id=source.bag_id,
            name=job.name,
            config_hash=job.config_hash,
            duration_s=source.duration_s,
            watched_s=analysis.scores.watched_s,
            robot=plan.robot.name,
            start_ns=source.start_ns,
            damage=source.damage.what if source.damage else None,
            episodes=tuple(sorted(set(episodes))),
        )
    save_trace(job.trace_path, trace)
    if tell is not None:
        tell(path, job.duration_s)
    return Watched(bag, trace, _views(job, bag))


def _reload(job: Job) -> Watched:
    """What an earlier run found in this bag."""
    trace = load_trace(job.trace_path)
    record = dict(schemas.load(job.out / BAGS / f'{job.trace_path.stem}.json', 'bag-v1'))
    del record['schema']
    bag = WatchedBag(**{**record, 'episodes': tuple(record['episodes'])})
    return Watched(bag, trace, _views(job, bag))


def _views(job: Job, bag: WatchedBag) -> tuple[EpisodeView, ...]:
    views = [view_episode(job.out, one) for one in bag.episodes]
    return tuple(sorted(views, key=lambda view: view.onset_s))


def _film_topic(job: Job) -> str | None:
    camera = job.plan.robot.primary_camera
    return None if camera is None else camera.topic


def _result(
    out: Path,
    shown: Mapping[Path, str],
    found: Sequence[tuple[Job, Watched]],
    unread: Mapping[Path, str],
    clusters: Mapping[str, Cluster],
) -> HarvestResult:
    views = [
        (j, replace(v, bag=shown[j.path], cluster=clusters.get(v.id)))
        for j, w in found
        for v in w.all_views
    ]
    cameras = {view.id: _film_topic(job) for job, view in views}
    hashes = sorted({job.config_hash for job, _ in found})
    return HarvestResult(
        robot=', '.join(sorted({job.plan.robot.name for job, _ in found})),
        engine=', '.join(sorted({job.plan.judge.level for job, _ in found})),
        config_hash=hashes[0] if len(hashes) == 1 else config_hash(hashes),
        calibrated=bool(found) and all(job.plan.judge.calibration for job, _ in found),
        bags=tuple(replace(w.trace, bag=shown[job.path]) for job, w in found),
        episodes=tuple(illustrated(out, [v for _, v in views], lambda v: cameras[v.id])),
        unread={shown[path]: why for path, why in unread.items()},
        versions={'cosmos_flywheel': cosmos_flywheel.__version__},
    )


def shown_names(paths: Iterable[Path]) -> dict[Path, str]:
    """What people read of each path: as many of its last parts as tell it from the others."""
    parts = {path: path.resolve().parts for path in paths}
    shown: dict[Path, str] = {}
    for length in range(1, 1 + max(map(len, parts.values()), default=0)):
        tails = Counter(p[-length:] for p in parts.values())
        unique = {path: p[-length:] for path, p in parts.items() if tails[p[-length:]] == 1}
        shown = {path: '/'.join(tail) for path, tail in unique.items()} | shown
    return shown


def _document(
    paths: Sequence[Path], done: dict[Path, Watched], unread: dict[Path, str]
) -> dict[str, Any]:
    """What `--json` writes: seconds count from each bag's first message."""
    bags: list[dict[str, Any]] = []
    for path in paths:
        if path in unread:
            bags.append(
                {'bag': str(path), 'duration_s': None, 'error': unread[path], 'episodes': []}
            )
            continue
        bags.append(
            {
                'bag': str(path),
                'duration_s': round(done[path].bag.duration_s, 6),
                'notes': list(done[path].trace.notes),
                'episodes': [_entry(view) for view in done[path].all_views],
            }
        )
    return {'schema': 'harvest-v1', 'bags': bags}


def _entry(view: EpisodeView) -> dict[str, Any]:
    scores = {name: p.score if isfinite(p.score) else None for name, p in view.peaks.items()}
    return {
        'id': view.id,
        'onset_s': view.onset_s,
        'start_s': view.start_s,
        'end_s': view.end_s,
        'causes': list(view.causes),
        'scores': scores,
        'words': view.words,
        'screened_by': view.screened_by or None,
    }

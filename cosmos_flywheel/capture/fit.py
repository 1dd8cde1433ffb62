# SPDX-License-Identifier: Apache-2.0
"""Nominal bags → a calibration: what is normal for this robot with this engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cosmos_flywheel.bags.source import BagSource, open_bag
from cosmos_flywheel.capture.analysis import Analysis, collect_evidence, first_size
from cosmos_flywheel.capture.generative import (
    CosmosChoice,
    RemoteChoice,
    session_of,
)
from cosmos_flywheel.capture.grounding import Probing, every_ticks
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.learn import Learnt, learn
from cosmos_flywheel.capture.model import Judge, prior_bytes, settings_hash, working_size
from cosmos_flywheel.capture.reseeding import MOST_CHUNKS, Reseeding
from cosmos_flywheel.capture.workers import Progress, work_all
from cosmos_flywheel.core.calibration import (
    Calibration,
    ChannelCalibration,
    Recording,
    appearance_of,
    calibrate,
)
from cosmos_flywheel.core.channels import ActionChannel, Channel, PictureChannel
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import BagError, ConfigError
from cosmos_flywheel.core.grounding import Grounding, Probed, measure
from cosmos_flywheel.core.lineage import sha256_hex
from cosmos_flywheel.core.prior import Prior, fit_prior, held_out_evidence
from cosmos_flywheel.core.prior import Recording as Ticks
from cosmos_flywheel.core.promise import BUDGET_PER_HOUR
from cosmos_flywheel.core.suspects import Suspect, find_suspects
from cosmos_flywheel.core.trust import CHANNEL, SEEDS, Reseeded, Trust, trust_of
from cosmos_flywheel.core.types import Vector
from cosmos_flywheel.engines import COSMOS_LEVELS, REMOTE_LEVELS, Local
from cosmos_flywheel.executors.base import Tell


@dataclass(frozen=True, slots=True)
class Job:
    """One nominal bag to watch."""

    path: Path
    bag_id: str
    duration_s: float
    robot: Robot
    judge: Judge
    probes: bool
    """Whether to ask what wrong actions would have foretold."""


Evidence = Mapping[str, Vector]
"""(T, n) by channel name."""


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """What came of one nominal bag."""

    evidence: Evidence
    ticks: Ticks
    probed: Probed | None
    reseeded: Reseeded | None = None


def fit(
    paths: Sequence[Path],
    robot: Robot,
    level: str,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> Calibration:
    """Learn what is normal from recordings in which nothing went wrong.

    Raises:
        BagError: a bag cannot be read, or is given twice.
        ConfigError: the bags do not show the same topics, or none of the robot's.

    """
    judge = fit_judge(paths, robot, level, workers=workers, progress=progress)
    assert judge.calibration is not None
    return judge.calibration


def fit_judge(
    paths: Sequence[Path],
    robot: Robot,
    level: str,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    learning: Progress | None = None,
    budget_per_hour: float = BUDGET_PER_HOUR,
    cosmos: CosmosChoice | RemoteChoice | None = None,
) -> Judge:
    """Fit the engine, if it learns, and then what is normal for it.

    `learning` is told how far the engine is, `progress` afterwards how far each bag is; `cosmos`
    is what a level of Cosmos asks for.

    Raises:
        BagError, ConfigError: as `fit`; also if what engine local needs is not installed.
        EngineError: a checkpoint cannot be used.

    """
    cv2.setNumThreads(1)
    _require_one_robot(paths, robot)
    learnt = learn(paths, robot, learning) if level == Local.level else None
    jobs = _open_all(paths, robot, _judge(paths[0], robot, level, learnt, cosmos), learnt)
    if progress is not None:
        progress.expect({str(job.path): job.duration_s for job in jobs})
    found = {job.bag_id: one for job, one in work_all(_watch, jobs, workers, progress)}
    nominal: list[Evidence] = [found[job.bag_id].evidence for job in jobs]
    ticks = [found[job.bag_id].ticks for job in jobs]
    _require_alike(paths, nominal)
    judge = jobs[0].judge
    watched: tuple[Channel, ...] = _channels(jobs[0])
    suspects = find_suspects(watched, nominal)
    kept = sorted(set(range(len(jobs))) - {s.recording for s in suspects})
    prior, unusual, why_not = _fit_prior([ticks[i] for i in kept], robot)
    if prior is not None:
        channel = ActionChannel(robot.action_names, prior)
        watched = (*watched, channel)
        for i, evidence in zip(kept, unusual, strict=True):
            nominal[i] = {**nominal[i], channel.name: evidence}
    recordings = [r for i in kept for r in _recordings(nominal[i], i, learnt)]
    channels, promise = calibrate(watched, recordings, robot.clock.hz, budget_per_hour)
    trust = _trust([found[jobs[i].bag_id] for i in kept], channels) if judge.cosmos else None
    if trust is not None:
        known = channels[CHANNEL]
        channels[CHANNEL] = replace(known, threshold=known.threshold * trust.factor)
    calibration = Calibration(
        robot=robot.name,
        engine={'level': judge.level, 'sha256': judge.engine_sha256},
        size=judge.make_engine(None).spec.size,
        clock_hz=robot.clock.hz,
        settings_hash=settings_hash(robot),
        nominal={
            'bags': sorted(job.bag_id for job in jobs),
            'bag_count': len(jobs),
            'hours': round(sum(job.duration_s for job in jobs) / 3600, 6),
            'suspects': [_suspect(jobs[s.recording], s) for s in suspects],
            'prior_sha256': None if prior is None else sha256_hex(prior_bytes(prior)),
            'no_prior': why_not,
        },
        channels=channels,
        promise=promise,
        appearance=appearance_of(recordings, robot.clock.hz),
        grounding=_grounding([found[jobs[i].bag_id] for i in kept], robot, learnt),
        trust=trust,
    )
    return replace(judge, calibration=calibration, prior=prior)


def _fit_prior(
    ticks: Sequence[Ticks], robot: Robot
) -> tuple[Prior | None, Sequence[Vector], str | None]:
    """The prior, each recording's evidence by a prior of the others, or why there is none."""
    try:
        unusual = held_out_evidence(ticks, robot.clock.hz)
        return fit_prior(ticks, robot.clock.hz), unusual, None
    except ConfigError as error:
        return None, (), str(error)


def _recordings(evidence: Evidence, index: int, learnt: Learnt | None) -> list[Recording]:
    """A bag's evidence, apart what the engine was fitted on."""
    if learnt is None or learnt.seen:
        return [Recording(evidence, learnt is not None and index in learnt.seen)]
    border = _border(evidence, learnt)
    return [
        Recording({name: rows[:border] for name, rows in evidence.items()}, seen=True),
        Recording({name: rows[border:] for name, rows in evidence.items()}),
    ]


def _grounding(
    watched: Sequence[Watched], robot: Robot, learnt: Learnt | None
) -> Grounding | None:
    """How far predictions rest on actions, where they may, by what the engine never saw."""
    probed = [w.probed.since(_border(w.evidence, learnt)) for w in watched if w.probed is not None]
    if not probed:
        return None
    # The order in which bags are given must not decide which of them a resample holds.
    in_order = sorted(probed, key=lambda p: [e.tobytes() for e in p.errors.values()])
    return Grounding(True, measure(in_order, robot.clock.hz))


def _trust(watched: Sequence[Watched], channels: Mapping[str, ChannelCalibration]) -> Trust | None:
    """Whether a generative engine may alarm."""
    if CHANNEL not in channels:
        return None
    sampled = [w.reseeded for w in watched if w.reseeded is not None]
    return trust_of(sampled, channels[CHANNEL].scale)


def _border(evidence: Evidence, learnt: Learnt | None) -> int:
    """The first tick of a bag that the engine was not fitted on, if not fitted on all of it."""
    share = 0.0 if learnt is None else learnt.seen_share
    return round(share * min(len(rows) for rows in evidence.values()))


def _suspect(job: Job, suspect: Suspect) -> dict[str, Any]:
    return {
        'bag': job.bag_id,
        'name': job.path.name,
        'channel': suspect.channel,
        'element': suspect.element,
        'times': round(suspect.times, 2),
    }


def _require_one_robot(paths: Sequence[Path], robot: Robot) -> None:
    """All bags must hold the same of the robot's topics; asked before the work of a fit."""
    held: list[set[str]] = []
    for path in paths:
        with open_bag(path) as source:
            some = {t for t in robot.topics if t in source.topics and source.topics[t].count}
        if not some:
            continue  # refused for what it is, once it is opened to be fitted on
        held.append(some)
        if held[-1] != held[0]:
            apart = ', '.join(sorted(held[-1] ^ held[0]))
            raise ConfigError(
                f'{path}: of robot {robot.name!r} it does not hold the same topics as {paths[0]} '
                f'({apart}); fit on bags with the same topics, of one robot'
            )


def _judge(
    path: Path,
    robot: Robot,
    level: str,
    learnt: Learnt | None,
    cosmos: CosmosChoice | RemoteChoice | None,
) -> Judge:
    """Who watches the nominal bags; the first of them says how large pictures are."""
    if learnt is not None:
        return Judge(level, size=learnt.model.size, local=learnt.model)
    with open_bag(path) as source:
        size = first_size(source, robot)
    if level not in {**COSMOS_LEVELS, **REMOTE_LEVELS}:
        return Judge(level, size=working_size(size))
    if cosmos is None:
        needed = 'an --endpoint URL' if level in REMOTE_LEVELS else 'a --checkpoint DIR'
        raise ConfigError(f'engine {level} needs {needed}; give it')
    if size is None:
        raise ConfigError(f'{path}: no picture of robot {robot.name!r}; engine {level} needs one')
    model = cosmos.model(robot, size)
    return Judge(level, size=model.view.size, cosmos=model)


def _open_all(
    paths: Sequence[Path], robot: Robot, judge: Judge, learnt: Learnt | None
) -> list[Job]:
    """A job for every bag; leave-one-out needs different recordings."""
    follows = judge.make_engine(None).spec.follows_actions
    seen = frozenset[int]() if learnt is None else learnt.seen
    jobs: list[Job] = []
    known: dict[str, Path] = {}
    for index, path in enumerate(paths):
        with open_bag(path) as source:
            if not source.message_count:
                raise BagError(f'{path}: holds no messages; leave it out')
            if source.bag_id in known:
                twin = known[source.bag_id]
                raise BagError(f'{path}: the same recording as {twin}; give it once')
            known[source.bag_id] = path
            probes = follows and index not in seen
            jobs.append(Job(path, source.bag_id, source.duration_s, robot, judge, probes))
    return jobs


def _analysis(source: BagSource, job: Job) -> Analysis:
    return Analysis(source, job.robot, job.judge, CaptureSettings())


def _channels(job: Job) -> tuple[Channel, ...]:
    with open_bag(job.path) as source:
        return _analysis(source, job).scorer.channels


def _watch(job: Job, tell: Tell | None) -> Watched:
    path, probing = job.path, None
    with open_bag(path) as source:
        try:
            analysis = _analysis(source, job)
        except ConfigError as error:
            raise ConfigError(f'{path}: {error}') from error
        if job.probes:
            probing = _probing(job, analysis)
            analysis.watcher.hindsight = probing
        evidence, ticks = collect_evidence(analysis)
    if not all(len(rows) for rows in evidence.values()):
        raise BagError(f'{path}: nothing of robot {job.robot.name!r} was readable; leave it out')
    if tell is not None:
        tell(str(path), job.duration_s)
    return Watched(
        evidence,
        ticks,
        None if probing is None else probing.probed,
        probing.reseeded if isinstance(probing, Reseeding) else None,
    )


def _probing(job: Job, analysis: Analysis) -> Probing:
    """Hindsight that also asks with wrong actions, and a generative engine with other seeds."""
    robot, model = job.robot, job.judge.cosmos
    every = every_ticks(robot.clock.hz, job.duration_s, analysis.engine.spec.stride)
    painted = [c for c in analysis.scorer.channels if isinstance(c, PictureChannel)]
    if model is None or not painted:
        return Probing(robot, analysis.engine, every)
    own = model.settings.seed
    others = [session_of(model.with_settings(seed=own + i)) for i in range(1, SEEDS)]
    sampled_s = job.duration_s / MOST_CHUNKS
    return Reseeding(robot, analysis.engine, every, others, painted[0], sampled_s)


def _require_alike(paths: Sequence[Path], nominal: Sequence[Evidence]) -> None:
    """All bags must show the same things."""
    for path, evidence in zip(paths, nominal, strict=True):
        for name, rows in nominal[0].items():
            mine = evidence.get(name, np.empty((0, 0)))
            if mine.shape[1] != rows.shape[1]:
                raise ConfigError(
                    f'{path}: channel {name} watches {mine.shape[1]} things, but '
                    f'{rows.shape[1]} in {paths[0]}; fit on bags with the same topics'
                )

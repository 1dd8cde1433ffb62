# SPDX-License-Identifier: Apache-2.0
"""A trial of a level on this machine → the report by which it may alarm here, or may not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_flywheel.capture.injecting import FAULTS, SUDDEN
from cosmos_flywheel.capture.model import ACCEPTANCE, Judge
from cosmos_flywheel.capture.trial import PERSISTENCE, Hit, Trial, held_out, try_level
from cosmos_flywheel.capture.workers import Progress
from cosmos_flywheel.core.acceptance import SCHEMA, Acceptance, Card, Line, line
from cosmos_flywheel.core.conformal import upper_chance
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.grounding import Grounding, measure
from cosmos_flywheel.core.ladder import LIMIT
from cosmos_flywheel.core.promise import BUDGET_PER_HOUR, CONFIDENCE
from cosmos_flywheel.core.skill import skill_of
from cosmos_flywheel.engines import CosmosModel
from cosmos_flywheel.engines.card import cards_here, torch_card
from cosmos_flywheel.engines.cosmos.parity import parity_of
from cosmos_flywheel.store.files import storing, write_bytes, write_document

PAGE = 'accept.txt'
FEWEST_CHUNKS = 20
"""With fewer no percentile is told."""
FOUND = 0.9
"""Least share of the injected faults that any channel must find …"""
FOUND_SUDDEN = 0.9
"""… and of those that change the picture at once, that predictions must find."""


def accept(
    paths: Sequence[Path],
    robot: Robot,
    judge: Judge,
    *,
    local: Judge | None = None,
    progress: Progress | None = None,
) -> Acceptance:
    """Measure everything that is asked of a level.

    Args:
        paths: nominal bags; those of which the calibration was made are left out.
        robot: whose they are.
        judge: a fitted model.
        local: a fitted engine local to hold it against.
        progress: told how many seconds of bags are done.

    Raises:
        BagError, ConfigError, EngineError: as a harvest; or every bag was fitted on.

    """
    judge.check_robot(robot)
    kept = held_out(paths, judge)
    judge.prepare()
    trial = try_level(kept, robot, judge, local=local, progress=progress)
    return Acceptance(
        robot.name,
        judge.level,
        judge.engine_sha256,
        judge.calibration_id,
        card_of(judge),
        tuple(_lines(trial, robot, judge)),
        tuple(sorted(one.bag_id for one in trial.calm)),
        {fault: _outcome([h for h in trial.hits if h.fault == fault]) for fault in FAULTS},
        _settings(judge),
    )


def save_acceptance(report: Acceptance, folder: Path, page: str) -> Path:
    """Write the report and its page beside the model; StoreError if it cannot be."""
    path = folder / ACCEPTANCE
    with storing(path):
        write_bytes(folder / PAGE, page.encode())
        write_document(path, report.to_mapping(), SCHEMA)
    return path


def card_of(judge: Judge) -> Card:
    """What the level's predictions are computed on; of one at a server, what asks it."""
    return torch_card() if isinstance(judge.cosmos, CosmosModel) else cards_here()[-1]


def _lines(trial: Trial, robot: Robot, judge: Judge) -> Iterator[Line]:
    if isinstance(judge.cosmos, CosmosModel):
        yield _parity(trial, judge.cosmos)
    yield real_time(trial)
    for peer in trial.calm[0].errors:
        yield _skill(trial, peer)
    yield _grounding(trial, robot, judge)
    yield _false_alarms(trial, judge)
    yield _found(
        'faults found', trial.hits, [bool(h.lags_s) for h in trial.hits], FOUND, 'any channel'
    )
    sudden = [h for h in trial.hits if h.fault in SUDDEN]
    yield _found(
        'faults seen', sudden, [h.by_prediction for h in sudden], FOUND_SUDDEN, 'predictions'
    )
    yield _lag(trial)


def _parity(trial: Trial, model: CosmosModel) -> Line:
    """Back end against plain steps."""
    asked = [chunk for one in trial.calm for chunk in one.asked]
    if not asked:
        return line('parity', None, None, '', 'no chunk could be asked')
    try:
        found = parity_of(model, asked)
    except EngineError as error:
        return line('parity', None, None, '', str(error))
    settings = model.settings
    words = (
        f'{found.error:.2g} from plain steps in {found.reference} on the same noise, '
        f'{settings.back_end} in {settings.precision}, {found.chunks} chunks'
    )
    return line('parity', _number(found.error), found.holds, f'at most {found.limit:g}', words)


def real_time(trial: Trial) -> Line:
    """Seconds of a stride's predictions over the seconds of a stride."""
    factors = [f for one in trial.calm for f in one.factors]
    limit = f'p99 below {LIMIT:g}'
    if len(factors) < FEWEST_CHUNKS:
        words = f'{len(factors)} chunks; give bags for {FEWEST_CHUNKS}'
        return line('real-time factor', None, None, limit, words)
    half, most, all_but = np.quantile(factors, (0.5, 0.95, 0.99))
    words = f'p50 {half:.3f}, p95 {most:.3f}, p99 {all_but:.3f} over {len(factors)} chunks'
    return line('real-time factor', _number(all_but), bool(all_but < LIMIT), limit, words)


def _skill(trial: Trial, peer: str) -> Line:
    """Better than standing still for certain; not worse than a simpler engine."""
    found = skill_of([one.errors[peer] for one in trial.calm])
    is_first = peer == PERSISTENCE
    limit = 'interval above 0' if is_first else 'not below 0'
    name = f'skill against {peer}'
    if found is None:
        return line(name, None, None, limit, 'too few chunks in which something moves')
    holds = found.is_proved if is_first else found.value >= 0
    words = f'{found.in_words()}, {found.chunks} chunks'
    return line(name, found.value, holds, limit, words)


def _grounding(trial: Trial, robot: Robot, judge: Judge) -> Line:
    """Whether predictions rest on the actions, of a level that says so."""
    follows = judge.make_engine(None).spec.follows_actions
    limit = 'interval above 0' if follows else ''
    found = Grounding(follows, measure([one.probed for one in trial.calm], robot.clock.hz))
    if not follows:
        return line('action grounding', 0.0, True, limit, found.in_words())
    if not found.channels:
        return line('action grounding', None, None, limit, 'too few chunks')
    holds = not any(one.holds_zero for one in found.channels.values())
    return line('action grounding', _number(found.value), holds, limit, found.in_words())


def _false_alarms(trial: Trial, judge: Judge) -> Line:
    """Of the bags as they are: no more than the promise leaves for their length."""
    assert judge.calibration is not None
    promise = judge.calibration.promise
    budget = BUDGET_PER_HOUR if promise is None else promise.budget_per_hour
    hours = sum(one.seconds for one in trial.calm) / 3600
    alarms = [name for one in trial.calm for name in one.alarms]
    most = math.floor(budget * hours)
    names = f' ({", ".join(sorted(set(alarms)))})' if alarms else ''
    words = f'{len(alarms)} in {60 * hours:.1f} minutes{names}'
    return line('false alarms', float(len(alarms)), len(alarms) <= most, f'at most {most}', words)


def _found(name: str, hits: Sequence[Hit], found: Sequence[bool], least: float, by: str) -> Line:
    """A share of faults, and what it proves at least."""
    limit = f'at least {least:.0%}'
    if not hits:
        return line(name, None, None, limit, 'the bags are too short to lay faults into')
    count, whole = sum(found), len(found)
    proved = 1 - upper_chance(whole - count, whole, CONFIDENCE)
    words = f'{count} of {whole} by {by}, at least {proved:.0%} with {CONFIDENCE:.0%} confidence'
    return line(name, _number(count / whole), count / whole >= least, limit, words)


def _lag(trial: Trial) -> Line:
    """From the onset of a fault to the first alarm."""
    lags_s = [h.lag_s for h in trial.hits if h.lag_s is not None]
    limit = f'p95 at most {trial.within_s:.2g} s'
    if not lags_s:
        return line('lag', None, None, limit, 'nothing was found')
    half, most = np.quantile(lags_s, (0.5, 0.95))
    words = f'p50 {half:.2f} s, p95 {most:.2f} s over {len(lags_s)} faults'
    return line('lag', _number(most), bool(most <= trial.within_s), limit, words)


def _settings(judge: Judge) -> dict[str, Any]:
    """Those of Cosmos with its back end, which decides how fast an answer comes."""
    if judge.cosmos is not None:
        return asdict(judge.cosmos.settings)
    return dict(judge.make_engine(None).spec.settings)


def _outcome(hits: Sequence[Hit]) -> dict[str, Any]:
    """What became of one fault, over all bags."""
    lags_s = [h.lag_s for h in hits if h.lag_s is not None]
    channels = sorted({name for h in hits for name in h.lags_s})
    return {
        'injected': len(hits),
        'found': len(lags_s),
        'seen': sum(h.by_prediction for h in hits),
        'lag_p50_s': round(float(np.median(lags_s)), 3) if lags_s else None,
        'channels': {name: sum(name in h.lags_s for h in hits) for name in channels},
    }


def _number(value: float) -> float | None:
    """Rounded; None where it is not finite, which JSON cannot say."""
    return float(f'{value:.4g}') if math.isfinite(value) else None

# SPDX-License-Identifier: Apache-2.0
"""Episodes, a generator and rules → go or no-go: the three questions, within a budget of seconds.

Can it generate the scenarios that are missing, do actions steer it, do the rules reject what is
wrong. What does not fit into the budget is told and leaves its question undecided.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cosmos_flywheel.generate.base import Generator
from cosmos_flywheel.generate.purse import Purse
from cosmos_flywheel.generate.rules import Rule
from cosmos_flywheel.generate.trial_answer import Answer, Verdict, overall
from cosmos_flywheel.generate.trial_rules import Caught, Judged, ask_rules
from cosmos_flywheel.generate.trial_scenarios import Scenarios, Subject, ask_scenarios
from cosmos_flywheel.generate.trial_steering import Axis, Steered, ask_steering
from cosmos_flywheel.generate.wrong import WAYS

SCHEMA = 'trial-v1'
QUESTIONS = ('scenarios', 'steering', 'rules')

Progress = Callable[[str, float], None]
"""Told a question and which share of it is done."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it."""

    subjects: tuple[Subject, ...]
    generator: Generator
    count: int
    purse: Purse
    scenarios: Scenarios
    steering: Steered
    rules: Judged

    @property
    def answers(self) -> tuple[Answer, ...]:
        """In the order of `QUESTIONS`."""
        return self.scenarios.answer, self.steering.answer, self.rules.answer

    @property
    def verdict(self) -> Verdict:
        """Of all questions together."""
        return overall(self.answers)


def run_trial(
    out: Path,
    subjects: Sequence[Subject],
    generator: Generator,
    rules: Sequence[Rule],
    purse: Purse,
    *,
    count: int,
    seed: int,
    progress: Progress,
) -> Trial:
    """Ask all three questions.

    Args:
        out: where `candidates/` lies; what is made stays there.
        subjects: episodes with briefs, at least one; commands are changed around the first.
        generator: who is on trial.
        rules: who is to reject.
        purse: what may be spent.
        count: candidates of each episode.
        seed: the first.
        progress: told as it goes.

    Raises:
        FlywheelError: the clip, the disk, the engine, the simulator.

    """
    scenarios = ask_scenarios(
        out,
        subjects,
        generator,
        purse,
        count=count,
        seed=seed,
        progress=partial(progress, 'scenarios'),
    )
    steered = ask_steering(
        subjects[0], generator, purse, seed=seed, progress=partial(progress, 'steering')
    )
    with tempfile.TemporaryDirectory(prefix='flywheel-trial-') as aside:
        folders = [one.folder for one in scenarios.made]
        judged = ask_rules(folders, rules, Path(aside), purse, partial(progress, 'rules'))
    return Trial(tuple(subjects), generator, count, purse, scenarios, steered, judged)


def trial_document(trial: Trial) -> dict[str, Any]:
    """As `trial-v1` has it; it tells prices, so two runs may differ."""
    model, revision = trial.generator.model
    purse = trial.purse
    return {
        'schema': SCHEMA,
        'verdict': trial.verdict,
        'episodes': [_subject(one) for one in trial.subjects],
        'backend': trial.generator.name,
        'model': {'name': model, 'revision': revision},
        'budget': {'gpu_s': purse.gpu_s, 'cpu_s': purse.cpu_s},
        'spent': {'gpu_s': round(purse.spent.gpu_s, 3), 'cpu_s': round(purse.spent.cpu_s, 3)},
        'scenarios': _scenarios(trial),
        'steering': _steering(trial.steering),
        'rules': _rules(trial.rules),
    }


def _subject(one: Subject) -> dict[str, str]:
    failure = one.brief.failure
    return {
        'id': one.brief.origin.id,
        'brief': one.brief.id,
        'robot': one.robot.name,
        'cause': failure.cause,
        'object': failure.object,
        'task': one.brief.origin.task,
    }


def _answer(answer: Answer) -> dict[str, str]:
    return {'verdict': answer.verdict, 'reason': answer.reason}


def _scenarios(trial: Trial) -> dict[str, Any]:
    found = trial.scenarios
    return {
        **_answer(found.answer),
        'share': round(found.share, 4),
        'asked': trial.count * len(trial.subjects),
        'wanted': [
            {'cell': one.cell, 'share': round(one.share, 4), 'refusal': one.refusal}
            for one in found.wanted
        ],
        'made': [
            {
                'id': one.id,
                'episode': one.episode,
                'variation': str(one.variation),
                'seed': one.seed,
                'cpu_s': round(one.cpu_s, 3),
                'gpu_s': round(one.gpu_s, 3),
            }
            for one in found.made
        ],
        'refused': list(found.refused),
    }


def _steering(found: Steered) -> dict[str, Any]:
    return {
        **_answer(found.answer),
        'reference': found.reference,
        'instants': found.instants,
        'agreement': None if found.agreement is None else round(found.agreement, 4),
        'axes': [_axis(one) for one in found.axes],
    }


def _axis(one: Axis) -> dict[str, Any]:
    told = one.steering
    return {
        'name': one.name,
        'unit': one.unit,
        'amount': float(f'{one.amount:.6g}'),
        'state': one.state,
        'slope_px': None if told is None else round(told.slope, 4),
        'share': None if told is None else round(told.share, 4),
        'leakage': None if told is None else round(told.leakage, 4),
        'sign_right': None if told is None else round(told.sign_right, 4),
        'points': [[round(number, 6) for number in point] for point in one.points],
    }


def _rules(found: Judged) -> dict[str, Any]:
    return {
        **_answer(found.answer),
        'rules': [
            {'name': r.name, 'what': r.what, 'catches': list(r.catches)} for r in found.rules
        ],
        'good': _caught(found.good),
        'ways': [
            {
                **_caught(one),
                'way': one.way,
                'what': WAYS[one.way].what,
                'claimed_by': list(found.claimed(one.way)),
            }
            for one in found.ways
        ],
    }


def _caught(one: Caught) -> dict[str, Any]:
    by = dict(sorted(one.by.items()))
    return {'tried': one.tried, 'caught': one.caught, 'by': by, 'reason': one.reason}

# SPDX-License-Identifier: Apache-2.0
"""What was measured of a level on one card → whether it may alarm there.

A report holds one line for each question. Only if every line is ok is the level accepted, and only
for the model, the calibration, the card and the driver that it was measured with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

OK, NOT_OK, NOT_MEASURED = 'ok', 'not ok', 'not measured'
SCHEMA = 'accept-v1'
ASKING = ('cosmos-', 'remote-')
"""Levels whose name begins so may alarm only when accepted."""


@dataclass(frozen=True, slots=True)
class Card:
    """What predictions are computed on."""

    name: str
    """Of the graphics card, or of the processor where there is none."""
    driver: str = ''
    """Version of the graphics driver; empty for a processor."""

    def in_words(self) -> str:
        """For people."""
        return f'{self.name}, driver {self.driver}' if self.driver else self.name


@dataclass(frozen=True, slots=True)
class Line:
    """One question, its answer and what the answer must be."""

    name: str
    state: str
    """OK, NOT_OK or NOT_MEASURED."""
    value: float | None
    limit: str
    """In words."""
    words: str
    """The answer for people, or why there is none."""


def line(name: str, value: float | None, holds: bool | None, limit: str, words: str) -> Line:
    """A line by whether its limit holds; None stands for not measured."""
    state = NOT_MEASURED if holds is None else OK if holds else NOT_OK
    return Line(name, state, value, limit, words)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The report."""

    robot: str
    level: str
    engine_sha256: str
    calibration_id: str
    card: Card
    lines: tuple[Line, ...]
    bags: tuple[str, ...]
    """Ids of the recordings that were watched, none of which the calibration was made of."""
    faults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By name of an injected fault, what became of it."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the engine."""

    @property
    def accepted(self) -> bool:
        """Whether all lines are ok."""
        return bool(self.lines) and all(one.state == OK for one in self.lines)

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the lines that are not ok."""
        return tuple(one.name for one in self.lines if one.state != OK)

    def to_mapping(self) -> dict[str, Any]:
        """As written to a file of schema accept-v1."""
        return {
            'schema': SCHEMA,
            'accepted': self.accepted,
            'robot': self.robot,
            'level': self.level,
            'engine_sha256': self.engine_sha256,
            'calibration_id': self.calibration_id,
            'card': asdict(self.card),
            'lines': [asdict(one) for one in self.lines],
            'bags': list(self.bags),
            'faults': {name: dict(one) for name, one in self.faults.items()},
            'settings': dict(self.settings),
        }

    @classmethod
    def from_mapping(cls, document: Mapping[str, Any]) -> Acceptance:
        """Read back what `to_mapping` wrote."""
        return cls(
            document['robot'],
            document['level'],
            document['engine_sha256'],
            document['calibration_id'],
            Card(document['card']['name'], document['card']['driver']),
            tuple(
                Line(one['name'], one['state'], one['value'], one['limit'], one['words'])
                for one in document['lines']
            ),
            tuple(document['bags']),
            dict(document['faults']),
            dict(document['settings']),
        )


def asks_for_acceptance(level: str) -> bool:
    """Whether a level may alarm only when accepted."""
    return level.startswith(ASKING)


def refusal(
    level: str,
    engine_sha256: str,
    calibration_id: str,
    report: Acceptance | None,
    cards: Sequence[Card],
    back_end: str = '',
) -> str:
    """Why a level may not alarm; empty if it may.

    Args:
        level: of the model in force.
        engine_sha256: of what decides its predictions.
        calibration_id: of its thresholds.
        report: what lies beside the model; None for nothing.
        cards: that are here; a level that is computed elsewhere is not held against them.
        back_end: that computes the steps; empty where there is no choice.

    """
    if not asks_for_acceptance(level):
        return ''
    remedy = 'run `flywheel engine accept --robot R --model DIR NOMINAL_BAGS` here'
    if report is None:
        return f'{level} is not accepted; {remedy}'
    if report.engine_sha256 != engine_sha256 or report.level != level:
        return f'another model was accepted, not this {level}; {remedy}'
    if report.calibration_id != calibration_id:
        return (
            f'{level} was accepted with calibration {report.calibration_id} and not with '
            f'{calibration_id}; {remedy}'
        )
    measured = report.settings.get('back_end', '')
    if measured != back_end:
        return f'{level} was accepted with back end {measured} and not with {back_end}; {remedy}'
    if not report.accepted:
        return f'{level} was refused ({", ".join(report.failed)}); see accept.txt beside the model'
    if level.startswith('cosmos-') and report.card not in cards:
        here = ' and '.join(c.in_words() for c in cards)
        return (
            f'{level} was accepted on another card ({report.card.in_words()}, here is {here}); '
            f'{remedy}'
        )
    return ''

# SPDX-License-Identifier: Apache-2.0
"""What a check found, and all findings on one robot file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any, Literal

SCHEMA = 'preflight-v1'
Verdict = Literal['ok', 'wrong', 'cannot tell']
DIGITS = 6


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's answer."""

    check: str
    verdict: Verdict
    why: str
    """One sentence with the numbers that it rests on."""
    elements: tuple[str, ...] = ()
    """What it is about: elements of the action, topics or cameras."""
    fix: str = ''
    """What is likely to mend it, as the robot file spells it; empty unless it is wrong."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """The evidence by name."""


@dataclass(frozen=True, slots=True)
class Report:
    """All findings on one robot file."""

    robot: str
    contract_hash: str
    """64 hex digits of the robot file that was checked."""
    bags: int
    findings: tuple[Finding, ...]

    @property
    def wrong(self) -> tuple[Finding, ...]:
        """The findings that say wrong, the likeliest cause first."""
        return tuple(finding for finding in self.findings if finding.verdict == 'wrong')

    @property
    def verdict(self) -> Verdict:
        """Wrong if any finding is; `cannot tell` only if all are."""
        said = {finding.verdict for finding in self.findings}
        if 'wrong' in said:
            return 'wrong'
        return 'ok' if 'ok' in said else 'cannot tell'

    def to_mapping(self) -> dict[str, Any]:
        """As `preflight.json` holds it; a number that is not finite is null."""
        return {
            'schema': SCHEMA,
            'robot': self.robot,
            'contract_hash': self.contract_hash,
            'bags': self.bags,
            'verdict': self.verdict,
            'findings': [_plain(finding) for finding in self.findings],
        }

    @classmethod
    def from_mapping(cls, document: Mapping[str, Any]) -> Report:
        """Inverse of `to_mapping`, of a document that its schema has passed."""
        findings = [
            Finding(
                check=one['check'],
                verdict=one['verdict'],
                why=one['why'],
                elements=tuple(one['elements']),
                fix=one['fix'],
                numbers={k: float('nan') if v is None else v for k, v in one['numbers'].items()},
            )
            for one in document['findings']
        ]
        bags, contract_hash = document['bags'], document['contract_hash']
        return cls(document['robot'], contract_hash, bags, tuple(findings))


def cannot_tell(
    check: str,
    why: str,
    elements: Sequence[str] = (),
    numbers: Mapping[str, float] | None = None,
) -> Finding:
    """A finding that decides nothing."""
    return Finding(check, 'cannot tell', why, tuple(elements), '', dict(numbers or {}))


def listed(names: Sequence[str], most: int = 4) -> str:
    """The first few of several names, and how many more there are."""
    rest = len(names) - most
    return ', '.join(names[:most]) + (f' and {rest} more' if rest > 0 else '')


def _plain(finding: Finding) -> dict[str, Any]:
    numbers = {
        name: round(float(value), DIGITS) if isfinite(value) else None
        for name, value in finding.numbers.items()
    }
    return {**asdict(finding), 'elements': list(finding.elements), 'numbers': numbers}

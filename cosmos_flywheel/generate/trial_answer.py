# SPDX-License-Identifier: Apache-2.0
"""What a trial says to each of its questions: go, no-go or undecided, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal['go', 'no-go', 'undecided']


@dataclass(frozen=True, slots=True)
class Answer:
    """To one question."""

    verdict: Verdict
    reason: str
    """In a sentence."""


def answered(against: Iterable[str], missing: Iterable[str], else_: str) -> Answer:
    """No-go by what speaks against it, else undecided by what is missing, else go."""
    bad, open_ = list(against), list(missing)
    if bad:
        return Answer('no-go', '; '.join([*bad, *open_]))
    if open_:
        return Answer('undecided', '; '.join(open_))
    return Answer('go', else_)


def overall(answers: Iterable[Answer]) -> Verdict:
    """Go where all say go; no-go where one does."""
    said = {one.verdict for one in answers}
    if 'no-go' in said:
        return 'no-go'
    return 'undecided' if 'undecided' in said else 'go'

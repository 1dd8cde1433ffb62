# SPDX-License-Identifier: Apache-2.0
"""The third question of a trial: do the rules reject what is wrong, and only that?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cosmos_flywheel.generate.purse import Purse
from cosmos_flywheel.generate.rules import Rule, rejected_by
from cosmos_flywheel.generate.trial_answer import Answer, answered
from cosmos_flywheel.generate.trial_scenarios import Progress
from cosmos_flywheel.generate.wrong import WAYS, make_wrong, read_shown, write_wrong
from cosmos_flywheel.store.candidates import VIDEO

MOST_GOOD = 4
"""So many candidates are made wrong in every way."""
MOST_WRONGLY = 0.1
"""Share of good candidates that may be rejected …"""
LEAST_CAUGHT = 0.9
"""… and of wrong ones that must be."""
PIECE = 'judgement'
GOOD = 'good'


@dataclass(slots=True)
class Caught:
    """One way to be wrong, and who noticed."""

    way: str
    tried: int = 0
    caught: int = 0
    by: Counter[str] = field(default_factory=Counter)
    """Rejections by rule; one that rejects the good candidate too does not count."""
    reason: str = ''
    """The first."""
    film: bytes = b''
    """The first wrong candidate's."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of the question."""

    answer: Answer
    rules: tuple[Rule, ...]
    good: Caught
    """Candidates as they were made, written out once more as the wrong ones are: none of them
    should be caught."""
    ways: tuple[Caught, ...]
    """In the order of `WAYS`; none tried where none could be wrong in this way."""

    def claimed(self, way: str) -> tuple[str, ...]:
        """Rules that are meant for it."""
        return tuple(rule.name for rule in self.rules if way in rule.catches)


def ask_rules(
    good: Sequence[Path], rules: Sequence[Rule], aside: Path, purse: Purse, progress: Progress
) -> Judged:
    """Make good candidates wrong in every way, and count who rejects them.

    Args:
        good: folders of candidates.
        rules: who judges.
        aside: an empty folder for the wrong ones.
        purse: what may be spent.
        progress: told as it goes.

    Raises:
        StoreError, SchemaError, PictureError: a candidate cannot be read, or nothing be written.

    """
    told = {name: Caught(name) for name in (GOOD, *WAYS)}
    wrongly: dict[int, Mapping[str, str]] = {}
    pieces = [(way, number) for number in range(min(len(good), MOST_GOOD)) for way in told]
    lacking = ''
    for done, (way, number) in enumerate(pieces):
        lacking = purse.lacks(PIECE, gpu=False)
        if lacking:
            break
        progress(done / len(pieces))
        with purse.pay(PIECE):
            folder = _write(aside, good, number, way)
            if folder is None:
                continue
            found = rejected_by(rules, folder)
        if way == GOOD:
            wrongly[number] = found
        else:  # who rejects the good one too has not noticed anything
            found = {name: why for name, why in found.items() if name not in wrongly[number]}
        _note(told[way], folder, found)
    judged = Judged(Answer('undecided', ''), tuple(rules), told.pop(GOOD), tuple(told.values()))
    missing = list(_missing(judged, lacking, len(pieces)))
    whole = (
        f'each of {sum(one.tried > 0 for one in judged.ways)} ways to be wrong is caught, and '
        f'{judged.good.caught} of {judged.good.tried} good candidates are rejected'
    )
    return replace(judged, answer=answered(_against(judged), missing, whole))


def _write(aside: Path, good: Sequence[Path], number: int, way: str) -> Path | None:
    """One candidate, wrong in one way or as it was; None where it cannot be wrong so."""
    if way == GOOD:
        return write_wrong(aside, good[number], way, read_shown(good[number]))
    return make_wrong(aside, good, number, way)


def _note(told: Caught, folder: Path, found: Mapping[str, str]) -> None:
    told.tried += 1
    told.caught += bool(found)
    told.by.update(found.keys())
    told.reason = told.reason or next((f'{name}: {why}' for name, why in found.items()), '')
    told.film = told.film or (folder / VIDEO).read_bytes()


def _against(found: Judged) -> Iterator[str]:
    good = found.good
    if good.caught > MOST_WRONGLY * good.tried:
        yield f'the rules reject {good.caught} of {good.tried} good candidates ({good.reason})'
    for one in found.ways:
        if found.claimed(one.way) and one.caught < LEAST_CAUGHT * one.tried:
            names = ', '.join(found.claimed(one.way))
            yield f'{one.way}: {one.caught} of {one.tried} are caught, which {names} should'


def _missing(found: Judged, lacking: str, pieces: int) -> Iterator[str]:
    if not pieces:
        yield 'there is no candidate to make wrong'
    done = found.good.tried + sum(one.tried for one in found.ways)
    if lacking:
        yield f'{done} of {pieces} were judged, then {lacking}'
    loose = [
        one.way
        for one in found.ways
        if not found.claimed(one.way) and one.caught < LEAST_CAUGHT * one.tried
    ]
    if loose:
        yield f'no rule yet for what is {" or ".join(loose)}'

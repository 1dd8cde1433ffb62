# SPDX-License-Identifier: Apache-2.0
"""All windows that were looked at → what that says of the screen, as a document and in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cosmos_flywheel.capture.rescoring.journal import Seen
from cosmos_flywheel.capture.rescoring.request import ASKED, Rescoring
from cosmos_flywheel.capture.rescoring.windows import Screened, overlapping
from cosmos_flywheel.core.screening import LOT_SHARE, Estimate, Key, Turn, Window, estimate

SCHEMA = 'rescore-v1'
KINDS = ('alarmed', 'kept', 'quiet', 'blind')


@dataclass(frozen=True, slots=True)
class Rescored:
    """What looking again came to."""

    request: Rescoring
    config_hash: str
    window_s: float
    screens: tuple[Screened, ...]
    windows: tuple[Window, ...]
    turns: tuple[Turn, ...]
    """That were taken, in their order."""
    seen: Mapping[Key, Seen]
    """Of every turn taken."""
    engine_s: float
    """Of all these windows, whenever they were looked at."""
    refused: Mapping[str, str]
    """Bags that the model cannot look at, by id, and why."""
    stopped: str = ''
    """What ended it before its budget did; empty if nothing."""

    @property
    def found(self) -> dict[str, tuple[str, ...]]:
        """Episodes that the screen had let pass, by bag id."""
        by_bag: dict[str, list[str]] = {}
        for turn in self.turns:
            if turn.window.kind == 'quiet':
                by_bag.setdefault(turn.window.bag_id, []).extend(
                    self.seen[turn.window.key].episodes
                )
        return {bag: tuple(sorted(set(ids))) for bag, ids in by_bag.items() if ids}

    @property
    def estimate(self) -> Estimate:
        """What is still missed."""
        above = {key: seen.above for key, seen in self.seen.items()}
        return estimate(self.windows, self.turns, above)

    @property
    def captures(self) -> dict[str, list[str]]:
        """The screen's episodes by what became of them."""
        sorted_in: dict[str, list[str]] = {
            'confirmed': [], 'not_confirmed': [], 'not_looked_at': [], 'not_asked': []
        }  # fmt: skip
        for bag in self.screens:
            for episode in bag.episodes:
                sorted_in[self._fate(bag, episode.id)].append(episode.id)
        return {fate: sorted(ids) for fate, ids in sorted_in.items()}

    def _fate(self, bag: Screened, episode_id: str) -> str:
        (episode,) = (e for e in bag.episodes if e.id == episode_id)
        if not set(episode.causes) & set(ASKED):
            return 'not_asked'
        looked = [
            self.seen[t.window.key].above
            for t in self.turns
            if t.window.bag_id == bag.bag_id
            and t.window.kind == 'alarmed'
            and any(True for _ in overlapping([episode], t.window.number, self.window_s))
        ]
        if not looked:
            return 'not_looked_at'
        return 'confirmed' if True in looked else 'not_confirmed'

    def count(self, *, by_lot: bool) -> tuple[int, int]:
        """Windows looked at for this reason; and how many that the screen let pass are above."""
        turns = [t for t in self.turns if t.by_lot is by_lot]
        above = [
            t for t in turns if t.window.kind == 'quiet' and self.seen[t.window.key].above is True
        ]
        return len(turns), len(above)

    def document(self) -> dict[str, Any]:
        """Of schema rescore-v1. Equal bags, models, seed and windows give an equal one."""
        calibration = self.request.judge.calibration
        assert calibration is not None
        top, by_lot = self.count(by_lot=False), self.count(by_lot=True)
        kinds = [w.kind for w in self.windows]
        return {
            'schema': SCHEMA,
            'config_hash': self.config_hash,
            'screened_by': [
                {'level': level, 'calibration_id': identity or None}
                for level, identity in sorted(
                    {(b.trace.level, b.trace.calibration_id) for b in self.screens}
                )
            ],
            'model': {
                'level': self.request.judge.level,
                'sha256': self.request.judge.engine_sha256,
                'calibration_id': calibration.id,
            },
            'channels': list(ASKED),
            'window_s': self.window_s,
            'budget': dict(self.request.budget.to_mapping()),
            'repeatable': self.request.budget.windows is not None and not self.stopped,
            'seed': self.request.seed,
            'lot_share': LOT_SHARE,
            'windows': {kind: kinds.count(kind) for kind in KINDS},
            'looked': {
                'highest': top[0],
                'by_lot': by_lot[0],
                'silent': sum(self.seen[t.window.key].above is None for t in self.turns),
            },
            'let_pass_and_above': {'highest': top[1], 'by_lot': by_lot[1]},
            'captures': self.captures,
            'found': sorted(e for ids in self.found.values() for e in ids),
            'estimate': self.estimate.to_mapping(),
            'refused': [
                {'bag': b.name, 'why': self.refused[b.bag_id]}
                for b in self.screens
                if b.bag_id in self.refused
            ],
            'stopped': self.stopped,
        }

    def in_words(self) -> Iterator[str]:
        """Sentences for the terminal and the report."""
        level = self.request.judge.level
        top, lots = self.count(by_lot=False), self.count(by_lot=True)
        screens = ', '.join(sorted({b.trace.level for b in self.screens}))
        yield (
            f'{level} looked again at {_count(len(self.turns), "window")} of {self.window_s:g} s '
            f'of {len(self.windows)}: {top[0]} that {screens} scored highest and {lots[0]} drawn '
            f'by lot (seed {self.request.seed}); budget {self.request.budget.in_words()}'
        )
        if self.stopped:
            yield self.stopped
        yield _say_captures(self.captures)
        found = sum(map(len, self.found.values()))
        yield (
            f'newly found: {_count(top[1] + lots[1], "window")} that {screens} let pass, '
            f'{top[1]} among the highest and {lots[1]} by lot; {_count(found, "episode")} kept'
        )
        yield self.estimate.in_words()
        for bag in self.screens:
            if bag.bag_id in self.refused:
                yield f'not looked at again: {bag.name}: {self.refused[bag.bag_id]}'


def _say_captures(captures: Mapping[str, Sequence[str]]) -> str:
    words = {
        'confirmed': 'confirmed',
        'not_confirmed': 'not confirmed',
        'not_looked_at': 'not looked at',
        'not_asked': 'that rest on other channels',
    }
    parts = [f'{len(captures[fate])} {said}' for fate, said in words.items()]
    return f'captures of the screen: {", ".join(parts)}'


def _count(number: int, noun: str) -> str:
    return f'{number} {noun}{"s" * (number != 1)}'

# SPDX-License-Identifier: Apache-2.0
"""One message → what each kind of rule says of it: holds, ends, happened, or begins anew."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cosmos_flywheel.capture.triggers.stretch import Judgement, Timing, Word
from cosmos_flywheel.core.comparison import COMPARISONS, compare
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.field_path import FieldPath, Plain, field_names

DIAGNOSTICS = '/diagnostics'
DIAGNOSTICS_HOLD_S = 3.0
"""Diagnostics are repeated once a second by custom; an error that is repeated is one error."""
HOLD_S = 1.0
LONGEST_TEXT = 200

_LEVELS = {'WARN': (1, 2), 'ERROR': (2,), 'STALE': (3,)}
"""Levels of diagnostic_msgs/DiagnosticStatus that a word stands for; WARN includes ERROR."""
_LEVEL_WORDS = {1: 'WARN', 2: 'ERROR', 3: 'STALE'}
_LIMITS = ('equals', 'not_equals', 'above', 'below')
"""Those of `COMPARISONS` that a trigger may name."""


class Rule(Protocol):
    """One entry of a trigger file."""

    @property
    def topic(self) -> str:
        """Whose messages it judges."""

    @property
    def timing(self) -> Timing:
        """See Timing."""

    @property
    def counts(self) -> Counter[str]:
        """Messages that said nothing, by reason."""

    def judge(self, message: Any) -> Iterator[Judgement]:
        """What a message says; ConfigError if it is not of the kind that the rule expects."""


@dataclass(slots=True)
class FieldRule:
    """Conditions on one field; all of them must hold at once."""

    topic: str
    timing: Timing
    path: FieldPath
    limits: Mapping[str, Plain]
    """By the comparison's name."""
    changes: bool
    counts: Counter[str] = field(default_factory=Counter)
    _last: Plain | None = None

    def judge(self, message: Any) -> Iterator[Judgement]:
        """A value that is not a number, or a list that is too short, ends it and is counted."""
        value = self.path.read(message)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            self.counts['absent' if value is None else 'not_a_number'] += 1
            yield Judgement(Word.ENDS)
            return
        changed, self._last = self._last is not None and value != self._last, value
        holds = all(self._compare(value, name) for name in self.limits)
        if not holds or (self.changes and not changed):
            yield Judgement(Word.ENDS)
        else:
            yield Judgement(Word.HAPPENED if self.changes else Word.HOLDS, self._say(value))

    def _compare(self, value: Plain, name: str) -> bool:
        try:
            return compare(value, name, self.limits[name])
        except ConfigError as error:
            raise ConfigError(f'field {self.path.text!r} is {error}') from error

    def _say(self, value: Plain) -> str:
        wanted = [f'{COMPARISONS[name].words} {limit}' for name, limit in self.limits.items()]
        said = f'{self.path.text} = {value}'[:LONGEST_TEXT]
        if self.changes:
            wanted.append('changed')
        return said if [*self.limits] == ['equals'] else f'{said} ({", ".join(wanted)})'


@dataclass(slots=True)
class DiagnosticsRule:
    """Statuses at some levels; each status is a thing of its own."""

    topic: str
    timing: Timing
    levels: frozenset[int]
    status_name: re.Pattern[str]
    counts: Counter[str] = field(default_factory=Counter)

    def judge(self, message: Any) -> Iterator[Judgement]:
        """One judgement for each status at one of the levels."""
        if 'status' not in field_names(message):
            raise ConfigError(
                f'{type(message).__name__} is no diagnostic_msgs/DiagnosticArray; '
                'give a topic of diagnostics, or kind: field'
            )
        for status in message.status:
            level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
            if level in self.levels and self.status_name.search(status.name):
                said = f'{_LEVEL_WORDS[level]} {status.name}: {status.message}'
                subject = ', '.join(filter(None, (status.name, status.hardware_id)))
                yield Judgement(Word.HAPPENED, said[:LONGEST_TEXT], subject)


@dataclass(slots=True)
class SilenceRule:
    """A topic without messages for too long."""

    topic: str
    timing: Timing
    """`for_ns` is the longest silence."""
    from_start: bool
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def detail(self) -> str:
        """What it says when it fires."""
        return f'no message on {self.topic} for {self.timing.for_ns / 1e9:g} s'

    def judge(self, message: Any) -> Iterator[Judgement]:
        """Silence begins anew with every message."""
        yield Judgement(Word.ANEW, self.detail)


@dataclass(slots=True)
class MarkRule:
    """An operator's mark: any message."""

    topic: str
    timing: Timing
    text: FieldPath | None
    counts: Counter[str] = field(default_factory=Counter)

    def judge(self, message: Any) -> Iterator[Judgement]:
        """Each message is a mark, with its text if it has one."""
        text = None if self.text is None else self.text.read(message)
        yield Judgement(Word.HAPPENED, 'marked' if text is None else str(text)[:LONGEST_TEXT])


def make_rule(entry: Mapping[str, Any]) -> Rule:
    """A rule of a checked entry of a trigger file."""
    return _MAKERS[entry['kind']](entry)


def _field_rule(entry: Mapping[str, Any]) -> FieldRule:
    changes = entry.get('changes', False)
    if changes and entry.get('for_s'):
        raise ConfigError('changes happens at an instant; leave out for_s')
    limits = {name: entry[name] for name in _LIMITS if name in entry}
    path = FieldPath.parse(entry['field'])
    return FieldRule(entry['topic'], _timing(entry, entry.get('for_s', 0)), path, limits, changes)


def _diagnostics_rule(entry: Mapping[str, Any]) -> DiagnosticsRule:
    asked = entry.get('level', 'ERROR')
    words = [asked] if isinstance(asked, str) else asked
    levels = frozenset(level for word in words for level in _LEVELS[word])
    try:
        pattern = re.compile(entry.get('status_name', ''))
    except re.error as error:
        raise ConfigError(f'status_name is no regular expression ({error}); correct it') from error
    timing = _timing(entry, 0, DIAGNOSTICS_HOLD_S)
    return DiagnosticsRule(entry.get('topic', DIAGNOSTICS), timing, levels, pattern)


def _silence_rule(entry: Mapping[str, Any]) -> SilenceRule:
    timing = _timing(entry, entry['longer_than_s'])
    return SilenceRule(entry['topic'], timing, entry.get('armed') == 'start')


def _mark_rule(entry: Mapping[str, Any]) -> MarkRule:
    text = FieldPath.parse(entry['text']) if 'text' in entry else None
    return MarkRule(entry['topic'], _timing(entry, 0, 0.0), text)


def _timing(entry: Mapping[str, Any], for_s: float, hold_s: float = HOLD_S) -> Timing:
    return Timing(round(for_s * 1e9), round(entry.get('hold_s', hold_s) * 1e9))


_MAKERS: dict[str, Callable[[Mapping[str, Any]], Rule]] = {
    'field': _field_rule,
    'diagnostics': _diagnostics_rule,
    'silence': _silence_rule,
    'mark': _mark_rule,
}
KINDS: dict[str, tuple[str, ...]] = {
    'field': ('topic', 'field', *_LIMITS, 'changes', 'for_s', 'hold_s'),
    'diagnostics': ('topic', 'level', 'status_name', 'hold_s'),
    'silence': ('topic', 'longer_than_s', 'armed', 'hold_s'),
    'mark': ('topic', 'text', 'hold_s'),
}
"""Keys by kind, besides `name` and `kind`."""

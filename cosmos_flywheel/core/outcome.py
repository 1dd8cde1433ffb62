# SPDX-License-Identifier: Apache-2.0
"""`outcome` of a robot file → rules that say from its topics whether the task goes well.

```yaml
outcome:
  - name: task failed
    topic: /task_result
    field: data
    bad: {starts_with: failed}
  - name: empty grasp
    topic: /joint_states
    field: 'position[gripper]'
    bad: {below: 0.002, for_s: 0.3}
    while: {topic: /joint_commands, field: 'position[gripper]', below: 0.004}
```
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from cosmos_flywheel.core.comparison import COMPARISONS, Limit, compare
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.field_path import FieldPath, Plain
from cosmos_flywheel.core.settings import Section

KEYS = ('name', 'topic', 'field', 'bad', 'good', 'while', 'rule')
TERMS = (*COMPARISONS, 'changes', 'stays')
"""What a condition may ask of a value; all that it asks must hold at once."""
WHILE_KEYS = ('topic', 'field', *TERMS)
LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class Condition:
    """What one field of a topic's messages must be like."""

    topic: str
    path: FieldPath
    limits: Mapping[str, Limit]
    """By the comparison's name."""
    moves: bool | None = None
    """True: only at the instant at which the value changes; False: at all others; None: always."""

    def holds(self, value: Plain, *, changed: bool) -> bool:
        """Whether it holds for a value that has, or has not, just changed.

        Raises:
            ConfigError: the value is text and a limit is not, or the other way round.

        """
        try:
            within = all(compare(value, name, limit) for name, limit in self.limits.items())
        except ConfigError as error:
            raise ConfigError(f'field {self.path.text!r} is {error}') from error
        return within and self.moves in (None, changed)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One rule; without a condition, a topic that is only kept beside the others."""

    name: str
    topic: str
    field: str
    condition: Condition | None
    is_good: bool
    """Whether the condition says what is good, and its absence is bad."""
    patience_ns: int
    """It counts only after having been bad for so long without a break."""
    whiles: tuple[Condition, ...]
    """The rule is asked only while all of these hold."""

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """All that must be watched, the rule's own first; none for a topic that is only kept."""
        return () if self.condition is None else (self.condition, *self.whiles)

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic that the rule needs."""
        return tuple(dict.fromkeys((self.topic, *(c.topic for c in self.whiles))))


def outcomes_from(section: Section) -> tuple[Outcome, ...]:
    """Read `outcome` of a whole robot file.

    Raises:
        ConfigError: naming the file, the key, the value and the remedy.

    """
    outcomes: list[Outcome] = []
    for part in section.listed_sections('outcome', KEYS):
        outcome = _outcome(part)
        if outcome.name in {o.name for o in outcomes}:
            raise part.error('name', f'{outcome.name!r} is taken; give each rule one of its own')
        outcomes.append(outcome)
    return tuple(outcomes)


def blind_rules(outcomes: Collection[Outcome], topics: Collection[str]) -> Iterator[str]:
    """Sentences on the rules that these topics cannot feed."""
    for outcome in outcomes:
        if outcome.condition is None:
            yield (
                f'outcome {outcome.name!r} is kept but not judged: it has neither "bad" nor "good"'
            )
            continue
        missing = [topic for topic in outcome.topics if topic not in topics]
        if missing:
            yield f'outcome {outcome.name!r} is blind without {", ".join(missing)}'


def _outcome(section: Section) -> Outcome:
    topic, field = section.text('topic'), section.text('field')
    name = section.text('name', f'{topic} {field}')
    if not name or len(name) > LONGEST_NAME:
        raise section.error('name', f'is {name[:20]!r}…; write 1 to {LONGEST_NAME} characters')
    path = _path(section, field)
    if 'bad' in section and 'good' in section:
        raise section.error('good', 'is beside "bad"; keep the one that is easier to say')
    kind = next((key for key in ('bad', 'good') if key in section), None)
    if kind is None:
        if 'while' in section:
            raise section.error('while', 'has nothing to guard; add "bad" or "good"')
        return Outcome(name, topic, field, None, False, 0, ())
    duration = {'bad': 'for_s', 'good': 'within_s'}[kind]
    rule = section.section(kind, (*TERMS, duration))
    patience_s = rule.number(duration, above=0) if duration in rule else 0.0
    condition = Condition(topic, path, *_terms(rule))
    if condition.moves is (kind == 'good') and not patience_s:
        word = 'changes' if condition.moves else 'stays'
        raise rule.error(word, f'is never over; say for how long, such as "{duration}: 2.0"')
    whiles = tuple(_guard(part, topic, field) for part in _guards(section))
    return Outcome(name, topic, field, condition, kind == 'good', round(patience_s * 1e9), whiles)


def _guards(section: Section) -> Iterator[Section]:
    """`while`: one mapping, or a list of them."""
    if isinstance(section.raw('while'), list):
        yield from section.listed_sections('while', WHILE_KEYS)
    elif 'while' in section:
        yield section.section('while', WHILE_KEYS)


def _guard(section: Section, topic: str, field: str) -> Condition:
    path = _path(section, section.text('field', field))
    return Condition(section.text('topic', topic), path, *_terms(section))


def _terms(section: Section) -> tuple[dict[str, Limit], bool | None]:
    """What a condition asks for: limits by comparison, and whether the value moves."""
    limits = {name: _limit(section, name) for name in COMPARISONS if name in section}
    moves = None
    for name, meaning in (('changes', True), ('stays', False)):
        if name in section:
            if section.raw(name) is not True or moves is not None:
                raise section.error(
                    name, f'is {section.raw(name)!r}; write true for one of changes and stays'
                )
            moves = meaning
    if not limits and moves is None:
        raise ConfigError(f'{section.place} asks for nothing; write one of {", ".join(TERMS)}')
    return limits, moves


def _limit(section: Section, name: str) -> Limit:
    if name in ('above', 'below'):
        return section.number(name)
    if name == 'starts_with':
        return section.text(name)
    value = section.raw(name)
    if name != 'one_of':
        return _plain(section, name, value)
    if not isinstance(value, list) or not value:
        raise section.error(name, f'is {value!r}; write a list such as [failed, aborted]')
    limits = tuple(_plain(section, name, item) for item in value)
    if len({isinstance(limit, str) for limit in limits}) > 1:
        raise section.error(name, f'holds text and numbers: {value!r}; write one kind')
    return limits


def _plain(section: Section, name: str, value: Any) -> Plain:
    if not isinstance(value, bool | int | float | str):
        raise section.error(name, f'is {value!r}; write text, a number, true or false')
    if isinstance(value, float) and not isfinite(value):
        raise section.error(name, f'is {value!r}; write a number such as 10 or 0.5')
    return value


def _path(section: Section, text: str) -> FieldPath:
    try:
        return FieldPath.parse(text)
    except ConfigError as error:
        raise section.error('field', f'is wrong: {error}') from error

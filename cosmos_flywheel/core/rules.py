# SPDX-License-Identifier: Apache-2.0
"""Rules of a pack: conditions on the facts of a failure that must all hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.facts import Facts
from cosmos_flywheel.core.settings import Section, nearest
from cosmos_flywheel.core.sight import SIGNS

INF = float('inf')
LISTS = ('alarmed', 'one_of', 'quiet', 'first', 'task', 'triggers')
BOUNDS = ('ratio', 'lasts_s')
MOTIONS = ('state', 'state_rate', 'command', 'command_rate', 'command_most')
BOUNDED = (*BOUNDS, *MOTIONS, 'sight')
KEYS = (*LISTS, 'detail', *BOUNDED)


@dataclass(frozen=True, slots=True)
class Bound:
    """A number is to lie above one limit and below another."""

    above: float = -INF
    below: float = INF
    size: bool = False
    """Whether the sign does not matter."""

    def holds(self, value: float | None) -> bool:
        """Never for a number that is not known."""
        if value is None:
            return False
        return self.above < (abs(value) if self.size else value) < self.below


@dataclass(frozen=True, slots=True)
class Rule:
    """Conditions, all of which must hold; an empty one always does."""

    alarmed: tuple[str, ...] = ()
    """Channels or triggers that all spoke."""
    one_of: tuple[str, ...] = ()
    """At least one of these spoke."""
    quiet: tuple[str, ...] = ()
    """None of these spoke."""
    first: tuple[str, ...] = ()
    """One of these spoke first."""
    task: tuple[str, ...] = ()
    """The task holds one of these words."""
    triggers: tuple[str, ...] = ()
    """The detail of a trigger that fired holds one of these words."""
    detail: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By channel that spoke, words of which one stands in what it named."""
    ratio: Mapping[str, Bound] = field(default_factory=dict)
    """By channel, how many times its threshold it went."""
    lasts_s: Mapping[str, Bound] = field(default_factory=dict)
    state: Mapping[str, Bound] = field(default_factory=dict)
    """By element at the onset; the same for the four that follow."""
    state_rate: Mapping[str, Bound] = field(default_factory=dict)
    command: Mapping[str, Bound] = field(default_factory=dict)
    command_rate: Mapping[str, Bound] = field(default_factory=dict)
    command_most: Mapping[str, Bound] = field(default_factory=dict)
    sight: Mapping[str, Bound] = field(default_factory=dict)
    """By sign of the pictures around the onset."""

    @classmethod
    def of(cls, section: Section) -> Rule:
        """Read one from a pack.

        Raises:
            ConfigError: a condition is of another form.

        """
        lists = {key: section.words(key) for key in LISTS if key in section}
        bounds = {key: _bounds(section, key) for key in BOUNDED if key in section}
        detail = section.section('detail', section.mapping('detail'))
        for sign in bounds.get('sight', {}):
            if sign not in SIGNS:
                raise section.error('sight', f'asks for {sign!r}; {nearest(sign, SIGNS)}')
        details = {name: detail.words(name) for name in section.mapping('detail')}
        made: dict[str, Any] = {**lists, **bounds, 'detail': details}
        return cls(**made)

    def holds(self, facts: Facts) -> bool:
        """Whether all conditions hold."""
        spoke = set(facts.causes)
        motion = facts.motion
        return (
            spoke.issuperset(self.alarmed)
            and (not self.one_of or not spoke.isdisjoint(self.one_of))
            and spoke.isdisjoint(self.quiet)
            and (not self.first or facts.causes[0] in self.first)
            and (not self.task or has_word(facts.task, self.task))
            and (not self.triggers or any(_has(text, self.triggers) for text in facts.firings))
            and all(
                c in spoke and _has(facts.details[c], words) for c, words in self.detail.items()
            )
            and all(bound.holds(facts.ratios.get(c)) for c, bound in self.ratio.items())
            and all(bound.holds(facts.lasts_s.get(c)) for c, bound in self.lasts_s.items())
            and all(bound.holds(facts.sight.get(sign)) for sign, bound in self.sight.items())
            and all(
                bound.holds(getattr(motion, kind).get(name))
                for kind in MOTIONS
                for name, bound in getattr(self, kind).items()
            )
        )

    def told(self, facts: Facts) -> tuple[str, ...]:
        """What spoke for it, a sentence each: channels that alarmed, by what they named."""
        return tuple(_sentences(self, facts))


def has_word(text: str, words: tuple[str, ...]) -> bool:
    """Whether one of the words stands in a text, as a word or the beginning of one."""
    found = ''.join(c if c.isalnum() else ' ' for c in text.lower()).split()
    return any(
        any(' '.join(found[i:]).startswith(word.lower()) for i in range(len(found)))
        for word in words
    )


def _sentences(rule: Rule, facts: Facts) -> Iterator[str]:
    named = {*rule.alarmed, *rule.one_of, *rule.first, *rule.detail, *rule.ratio, *rule.lasts_s}
    for cause in facts.causes:
        if cause not in named:
            continue
        where = facts.details.get(cause, '')
        much = facts.ratios.get(cause, 0.0)
        yield f'{cause}{f": {where}" if where else ""}' + (
            f' ({much:.1f} times its threshold)' if much else ''
        )
    for sign in rule.sight:
        yield f'{SIGNS[sign]}: {facts.sight[sign]:.2f}'
    for cause in rule.quiet:
        yield f'{cause} was silent'


def _has(text: str, words: tuple[str, ...]) -> bool:
    return any(word.lower() in text.lower() for word in words)


def _bounds(section: Section, key: str) -> dict[str, Bound]:
    found = {}
    for name, part in section.named_sections(key, ('above', 'below', 'size')):
        above = part.number('above') if 'above' in part else -INF
        below = part.number('below') if 'below' in part else INF
        if not above < below or (above, below) == (-INF, INF):
            raise ConfigError(f'{part.place}: give above or below, above being the smaller')
        found[name] = Bound(above, below, part.truth('size', False))
    return found

# SPDX-License-Identifier: Apache-2.0
"""A domain pack: how failures of one kind of robot are named, told, and varied.

A pack is data (`pack-v1`); `config/packs/embodied_robot.yaml` explains each key where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cosmos_flywheel.core.brief import ACTION_SOURCES, EFFECTS, FAMILIES, Family, Normality
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.facts import Facts
from cosmos_flywheel.core.rules import KEYS as RULE_KEYS
from cosmos_flywheel.core.rules import Rule, has_word
from cosmos_flywheel.core.said import slots
from cosmos_flywheel.core.settings import Section, nearest
from cosmos_flywheel.core.task_text import alternatives, named

SCHEMA = 'pack-v1'
DATA_DOMAINS = (
    'embodied robot', 'warehouse', 'physical interaction', 'spatial reasoning', 'digital human',
    'driving',
)  # fmt: skip
"""The kinds of data that Cosmos names, of which each pack answers for one."""
DEPTHS = ('proved', 'template')
"""Whether causes were held against known failures (`bench/briefs.py`), or nothing was."""
UNKNOWN = 'unknown'
REGIONS = ('whole', 'named')
"""The picture; or the part that channel `picture` named, with a margin: the whole if none is."""
SLOTS = ('task', 'object', 'phase', 'part', 'robot', 'reason')
"""What templates may name; all but the pack's own words are quoted."""
THIRDS = {'top': 0, 'middle': 1, 'bottom': 2, 'left': 0, 'centre': 1, 'right': 2}
MARGIN = 1 / 6
"""Of the picture, on each side of a third that was named."""
WHOLE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Clue:
    """By which one of several tasks in one text is known to be under way."""

    words: tuple[str, ...]
    """Of the text of that task."""
    rule: Rule


@dataclass(frozen=True, slots=True)
class Phase:
    """One part of what is done."""

    name: str
    rule: Rule


@dataclass(frozen=True, slots=True)
class Suspension:
    """What a cause does to a check."""

    check: str
    effect: str
    before_s: float
    """From so long before the onset …"""
    after_s: float
    """… to so long after it; 0 for the clip's end."""
    region: str
    """One of `REGIONS`."""
    because: str

    def at(self, onset_s: float, end_s: float, region: tuple[float, ...]) -> Normality:
        """On the clock of one clip."""
        stop_s = end_s if self.after_s == 0 else min(end_s, onset_s + self.after_s)
        x0, y0, x1, y1 = region if self.region == 'named' else WHOLE
        return Normality(
            self.check,
            self.effect,
            round(max(0.0, onset_s - self.before_s), 6),
            round(stop_s, 6),
            (x0, y0, x1, y1),
            self.because,
        )


@dataclass(frozen=True, slots=True)
class Cause:
    """One word of the taxonomy."""

    name: str
    cost: float
    """What such a failure costs, against the others of the pack."""
    object: str
    """What it happens to, in words; `task` for what the task text names."""
    words: tuple[str, ...]
    """By which people name it in the reason of a label."""
    rules: tuple[Rule, ...]
    """Any of them speaks for it."""
    happens: str
    """Template of what happens from the onset on."""
    normal: tuple[Suspension, ...]
    families: tuple[Family, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a pack makes of the facts."""

    cause: Cause
    object: str
    thing: str
    """What the task is about, whatever it happened to; '' where that is not known."""
    task: str
    """The text of it, or of the one that is under way where there are several."""
    phase: str
    evidence: tuple[str, ...]
    said_by: str
    """`person` where the reason of a label names the cause, else `channels`."""


@dataclass(frozen=True, slots=True)
class Pack:
    """The whole pack."""

    name: str
    title: str
    data_domain: str
    depth: str
    robots: tuple[str, ...]
    """For which robots it is taken without being asked for."""
    robot: str
    """What the robot is called in a prompt."""
    objects: Mapping[str, str]
    """By a word of the task, what it is called."""
    tasks: tuple[Clue, ...]
    phases: tuple[Phase, ...]
    causes: tuple[Cause, ...]
    """The first that holds counts; the last one is `unknown` and always holds."""
    checks: Mapping[str, str]
    """Checks that apply, and what each asks."""
    framing: Mapping[str, str]
    """By view point."""
    scene: str
    before: str
    """Templates of what is to be seen, and of what is done until the onset."""
    negative: str

    @classmethod
    def from_mapping(cls, document: Mapping[str, Any], *, place: str = 'pack') -> Pack:
        """Check a pack's content.

        Raises:
            ConfigError: naming the file, the key, the value and the remedy.

        """
        return _pack(Section(document, place, _KEYS))

    def cause(self, name: str) -> Cause:
        """By its name.

        Raises:
            ConfigError: the taxonomy has no such word.

        """
        for cause in self.causes:
            if cause.name == name:
                return cause
        known = [cause.name for cause in self.causes]
        raise ConfigError(f'pack {self.name}: no cause {name!r}; {nearest(name, known)}')

    def read(self, facts: Facts) -> Reading:
        """Name the cause, what it happened to, and what was being done."""
        facts = replace(facts, task=self.task_of(facts))
        told = next((c for c in self.causes if has_word(facts.reason, c.words)), None)
        if told is not None:
            return self._reading(told, facts, ('the reason of the label names it',), 'person')
        for cause in self.causes:
            rule = next((rule for rule in cause.rules if rule.holds(facts)), None)
            if rule is not None:
                return self._reading(cause, facts, rule.told(facts), 'channels')
        raise ConfigError(f'pack {self.name}: no cause holds; end with {UNKNOWN}')

    def task_of(self, facts: Facts) -> str:
        """Of several tasks in one text the one that is under way; all where nothing tells."""
        parts = alternatives(facts.task)
        for clue in self.tasks if len(parts) > 1 else ():
            meant = [part for part in parts if has_word(part, clue.words)]
            if len(meant) == 1 and clue.rule.holds(facts):
                return meant[0]
        return facts.task

    def object_of(self, task: str) -> str:
        """What a task handles, in the pack's own words, never where it is put or what with.

        Several with `or` between them where the task handles several; '' where it handles
        something that the pack has no word for.
        """
        found = named(task, tuple(self.objects))
        words = found.handled
        if not words and not found.is_other and len(found.placed) == 1:
            words = found.placed  # push against the box
        return ' or '.join(dict.fromkeys(self.objects[word] for word in words))

    def _reading(
        self, cause: Cause, facts: Facts, evidence: tuple[str, ...], said_by: str
    ) -> Reading:
        thing = self.object_of(facts.task)
        return Reading(
            cause=cause,
            object=thing if cause.object == 'task' else cause.object,
            thing=thing,
            task=facts.task,
            phase=next((p.name for p in self.phases if p.rule.holds(facts)), ''),
            evidence=evidence,
            said_by=said_by,
        )


def region_of(detail: str) -> tuple[float, float, float, float]:
    """The third of a picture that channel `picture` named, with a margin; else the whole."""
    words = detail.split()[:2]
    if len(words) < 2 or any(word not in THIRDS for word in words):
        return WHOLE
    down, across = (THIRDS[word] for word in words)
    return (
        round(max(0.0, across / 3 - MARGIN), 6),
        round(max(0.0, down / 3 - MARGIN), 6),
        round(min(1.0, (across + 1) / 3 + MARGIN), 6),
        round(min(1.0, (down + 1) / 3 + MARGIN), 6),
    )


_KEYS = (
    'schema', 'name', 'title', 'data_domain', 'depth', 'robots', 'robot', 'objects', 'tasks',
    'phases', 'causes', 'checks', 'prompt',
)  # fmt: skip
_CAUSE_KEYS = ('name', 'cost', 'object', 'words', 'when', 'happens', 'normal', 'families')
_NORMAL_KEYS = ('check', 'effect', 'before_s', 'after_s', 'region', 'because')


def _pack(section: Section) -> Pack:
    section.choice('schema', (SCHEMA,))
    prompt = section.section('prompt', ('framing', 'scene', 'before', 'negative'))
    checks = {str(k): str(v) for k, v in section.mapping('checks').items()}
    causes = tuple(_cause(part, checks) for part in section.listed_sections('causes', _CAUSE_KEYS))
    if not causes or causes[-1].name != UNKNOWN or causes[-1].rules != (Rule(),):
        raise section.error('causes', f'should end with {UNKNOWN}, when: [{{}}]; add it')
    names = [cause.name for cause in causes]
    if len(set(names)) < len(names):
        raise section.error('causes', 'name one twice; name each once')
    return Pack(
        name=section.text('name'),
        title=section.text('title'),
        data_domain=section.choice('data_domain', DATA_DOMAINS),
        depth=section.choice('depth', DEPTHS),
        robots=section.words('robots') if 'robots' in section else (),
        robot=section.text('robot'),
        objects={str(k).lower(): str(v) for k, v in section.mapping('objects').items()},
        tasks=tuple(
            Clue(part.words('words'), Rule.of(part.section('when', RULE_KEYS)))
            for part in section.listed_sections('tasks', ('words', 'when'))
        ),
        phases=tuple(
            Phase(part.text('name'), Rule.of(part.section('when', RULE_KEYS)))
            for part in section.listed_sections('phases', ('name', 'when'))
        ),
        causes=causes,
        checks=checks,
        framing={str(k): str(v) for k, v in prompt.mapping('framing').items()},
        scene=_template(prompt, 'scene'),
        before=_template(prompt, 'before'),
        negative=prompt.text('negative', ''),
    )


def _cause(section: Section, checks: Mapping[str, str]) -> Cause:
    normal = tuple(
        _suspension(part, checks) for part in section.listed_sections('normal', _NORMAL_KEYS)
    )
    return Cause(
        name=section.text('name'),
        cost=section.number('cost', 1.0, above=0),
        object=section.text('object', ''),
        words=section.words('words') if 'words' in section else (),
        rules=tuple(Rule.of(part) for part in section.listed_sections('when', RULE_KEYS)),
        happens=_template(section, 'happens'),
        normal=normal,
        families=tuple(
            _family(part)
            for part in section.listed_sections('families', ('name', 'actions', 'axes'))
        ),
    )


def _suspension(section: Section, checks: Mapping[str, str]) -> Suspension:
    return Suspension(
        section.choice('check', tuple(checks)),
        section.choice('effect', EFFECTS),
        section.number('before_s', 0.0, above=-1e-9),
        section.number('after_s', 0.0, above=-1e-9),
        section.choice('region', REGIONS, 'whole'),
        section.text('because'),
    )


def _family(section: Section) -> Family:
    axes = section.section('axes', section.mapping('axes'))
    name = section.choice('name', FAMILIES)
    actions = section.choice('actions', ACTION_SOURCES)
    if (name, actions) == ('recovery', 'perturbed'):
        raise section.error('actions', 'recover by luck alone; take policy, nominal or expert')
    return Family(name, actions, {axis: axes.words(axis) for axis in section.mapping('axes')})


def _template(section: Section, key: str) -> str:
    text = section.text(key)
    for slot in sorted(slots(text)):
        if slot not in SLOTS:
            raise section.error(key, f'has a slot {slot!r}; {nearest(slot, SLOTS)}')
    return text

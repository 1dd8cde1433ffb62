# SPDX-License-Identifier: Apache-2.0
"""A trigger file and messages of any kind → firings: reasons to capture besides the alarms.

The same object serves a recorded bag and the live recorder: it knows stamps and messages only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cosmos_flywheel import schemas
from cosmos_flywheel.capture.triggers.rules import KINDS, Rule, SilenceRule, make_rule
from cosmos_flywheel.capture.triggers.stretch import Firing, Stretch
from cosmos_flywheel.core.errors import ConfigError, SchemaError
from cosmos_flywheel.core.settings import Section

__all__ = ['Firing', 'Triggers']

SCHEMA = 'triggers-v1'
CLOCK_JUMP_NS = 10**9
"""A stamp that lies further back than this means that the clock began anew, not disorder."""


class Triggers:
    """All rules of a trigger file, and what they remember; one per recording or live session.

    A firing is handed out twice, with the same name, subject and stamp: when it begins (`ends_ns`
    None) and when it is over. A rule that stays true, or pauses for no more than `hold_s`, is one.
    Stamps come from the messages and the rules, not from when `tick` is called.
    """

    def __init__(self, document: Mapping[str, Any], where: str = 'triggers') -> None:
        self.document = document
        """As it was read: part of what a configuration hash covers."""
        self._watches = [_Watch(entry, place) for entry, place in _entries(document, where)]
        self._by_topic: dict[str, list[_Watch]] = defaultdict(list)
        for watch in self._watches:
            self._by_topic[watch.rule.topic].append(watch)
        self._ticked_ns: int | None = None
        self._waiting: list[Firing] = []

    @classmethod
    def load(cls, path: Path) -> Triggers:
        """Read a trigger file; ConfigError names the file, the trigger, the key and the remedy."""
        with _as_config_error():
            return cls(schemas.read_document(path), str(path))

    @property
    def topics(self) -> frozenset[str]:
        """Whose messages `observe` wants."""
        return frozenset(self._by_topic)

    @property
    def open(self) -> tuple[Firing, ...]:
        """Firings that are not over; `ends_ns` is set while one merely pauses."""
        return tuple(f for watch in self._watches for f in watch.open())

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """By trigger, then by reason: messages that said nothing (absent, not_a_number, wrong)."""
        return {w.name: dict(w.rule.counts) for w in self._watches if w.rule.counts}

    def observe(self, topic: str, stamp_ns: int, message: object) -> list[Firing]:
        """Take one message; returns what began or was over by it.

        Raises ConfigError, once per trigger, if the message has no such field as the trigger
        names; the trigger then counts instead of firing, and all others go on.
        """
        faults: list[str] = []
        for watch in self._by_topic.get(topic, ()):
            try:
                self._waiting += watch.observe(stamp_ns, message)
            except ConfigError as error:
                faults.append(f'{watch.place}: topic {topic}: {error}')
        if faults:
            raise ConfigError('; '.join(faults))
        return self._take()

    def tick(self, stamp_ns: int) -> list[Firing]:
        """Let time pass up to this stamp; returns what began or was over by it."""
        jumped = self._ticked_ns is not None and stamp_ns < self._ticked_ns - CLOCK_JUMP_NS
        self._ticked_ns = stamp_ns
        for watch in self._watches:
            if jumped and watch.is_ahead(stamp_ns):
                self._waiting += watch.begin_anew()
            self._waiting += watch.advance(stamp_ns)
        return self._take()

    def finish(self, stamp_ns: int) -> list[Firing]:
        """The recording ends here: everything that is open is over, and all is forgotten."""
        firings = self.tick(stamp_ns)
        for watch in self._watches:
            firings += watch.begin_anew()
        self._ticked_ns = None
        return firings

    def _take(self) -> list[Firing]:
        taken, self._waiting = self._waiting, []
        return sorted(taken, key=lambda firing: (firing.stamp_ns, firing.name))


class _Watch:
    """One trigger: its rule and a stretch of time for each thing that the rule watches."""

    def __init__(self, entry: Mapping[str, Any], place: str) -> None:
        self.name = str(entry['name'])
        self.place = f'{place} ({self.name})'
        try:
            self.rule: Rule = make_rule(entry)
        except ConfigError as error:
            raise ConfigError(f'{self.place}: {error}') from error
        self._stretches: dict[str, Stretch] = {}
        self._seen_ns: int | None = None
        self._wrong = False

    def observe(self, stamp_ns: int, message: object) -> list[Firing]:
        """What the message begins and ends; ConfigError if it is not what the rule expects."""
        if self._wrong:
            self.rule.counts['wrong'] += 1
            return []
        firings = self.begin_anew() if self.is_ahead(stamp_ns) else []
        self._seen_ns = stamp_ns
        try:
            for judgement in self.rule.judge(message):
                firings += self._stretch(judgement.subject).take(judgement, stamp_ns)
        except ConfigError:
            self._wrong = True
            self.rule.counts['wrong'] += 1
            raise
        return firings

    def advance(self, stamp_ns: int) -> list[Firing]:
        """What the passing of time begins and ends."""
        if self._seen_ns is None and isinstance(self.rule, SilenceRule) and self.rule.from_start:
            self.observe(stamp_ns, None)  # silence counts from here
        firings = [f for s in self._stretches.values() for f in s.advance(stamp_ns)]
        self._stretches = {k: s for k, s in self._stretches.items() if not s.is_idle}
        return firings

    def is_ahead(self, stamp_ns: int) -> bool:
        """Whether what was seen lies so far ahead of a stamp that the clock must have jumped."""
        return self._seen_ns is not None and stamp_ns < self._seen_ns - CLOCK_JUMP_NS

    def begin_anew(self) -> list[Firing]:
        """Close what is open and forget the time."""
        firings = [f for s in self._stretches.values() for f in s.close()]
        self._stretches.clear()
        self._seen_ns = None
        return firings

    def open(self) -> list[Firing]:
        """What is not over."""
        return [f for s in self._stretches.values() for f in s.open()]

    def _stretch(self, subject: str) -> Stretch:
        fresh = Stretch(self.name, self.rule.timing, subject)
        return self._stretches.setdefault(subject, fresh)


def _entries(document: Mapping[str, Any], where: str) -> list[tuple[Mapping[str, Any], str]]:
    """The entries of a trigger file with their places, checked."""
    Section(document, where, ('schema', 'triggers'))
    listed = document.get('triggers')
    found = listed if isinstance(listed, list) else []
    entries = [(entry, f'{where}: triggers[{index}]') for index, entry in enumerate(found)]
    for entry, place in entries:
        _check_keys(entry, place)
    with _as_config_error():
        schemas.check(document, SCHEMA, where=where)
    first: dict[str, str] = {}
    for entry, place in entries:
        if first.setdefault(entry['name'], place) != place:
            raise ConfigError(f'{place}: name {entry["name"]!r} is taken; give another')
    return entries


def _check_keys(entry: object, place: str) -> None:
    """Refuse a key that is not known for its kind, with the nearest that is."""
    every = {key: None for keys in KINDS.values() for key in keys}
    kind = Section(entry, place, ('name', 'kind', *every)).choice('kind', tuple(KINDS))
    Section(entry, place, ('name', 'kind', *KINDS[kind]))


@contextmanager
def _as_config_error() -> Iterator[None]:
    """A trigger file is written by hand: what is wrong with it is wrong with the configuration."""
    try:
        yield
    except SchemaError as error:
        raise ConfigError(str(error)) from error

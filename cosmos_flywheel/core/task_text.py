# SPDX-License-Identifier: Apache-2.0
"""The words of a task → what it says to handle, told from where to put it and what with.

A small grammar of English orders, without a dictionary of verbs: what stands behind a preposition
is a place or a tool, what stands before one is what the verb is about.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


PREPOSITIONS = _set(
    'about above across against along among around at before behind below beneath beside besides '
    'between beyond by from in inside into near next of on onto opposite outside past through to '
    'toward towards under underneath until upon using via with within'
)
PARTICLES = _set('away back down off out over up')
"""Part of a verb behind it or at an end; prepositions between two nouns."""
DETERMINERS = _set(
    'a an the this that these those its his her their your my each every another one both'
)
ADVERBS = _set(
    'again ahead backward backwards first forward forwards gently left never not now once only '
    'please right slightly slowly straight then together twice'
)
AGENTS = _set('arm car gripper hand robot vehicle you')
BE = _set('are be been being is was were')
JOINTS = _set('and or then')
STOPS = frozenset(',;:.!?')
IDLE = ADVERBS | AGENTS | BE | PARTICLES
"""Words that say nothing of what is handled."""
ENDS = PREPOSITIONS | PARTICLES | ADVERBS | DETERMINERS | BE | JOINTS | {''}
"""Words before which a noun phrase has ended."""
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[,;:.!?]")


@dataclass(frozen=True, slots=True)
class Named:
    """What one text names."""

    handled: tuple[str, ...]
    """The words that are objects of a verb, in the order of the text, each once."""
    placed: tuple[str, ...]
    """Those that only stand behind a preposition."""
    is_other: bool
    """Whether a verb is about something that none of the words means."""


def alternatives(task: str) -> tuple[str, ...]:
    """The tasks of a text that says `do this, or do that`; a text without any is one of its own.

    `or` before an article joins two things and no two tasks.
    """
    parts, begin = [], 0
    for match in re.finditer(r'[,;.]?\s+or\s+(?=(\w+))', task, re.IGNORECASE):
        if match[1].lower() not in DETERMINERS:
            parts.append(task[begin : match.start()])
            begin = match.end()
    return tuple(part.strip() for part in (*parts, task[begin:]) if part.strip())


def named(task: str, words: Sequence[str]) -> Named:
    """Which of the words a task is about.

    Args:
        task: one order, such as `Put the red cube into the blue bowl`.
        words: in lower case; several words as `parking space`. Plurals in -s and -es count.

    """
    handled: dict[str, None] = {}
    placed: dict[str, None] = {}
    is_other = False
    for clause in _clauses(_tokens(task, words)):
        reader = _Reader(frozenset(words))
        for token, following in zip(clause, (*clause[1:], ''), strict=True):
            reader.read(token, following)
        handled.update(dict.fromkeys(reader.about))
        placed.update(dict.fromkeys(reader.behind))
        is_other = is_other or reader.is_other
    only = tuple(word for word in placed if word not in handled)
    return Named(tuple(handled), only, is_other)


def _tokens(task: str, words: Sequence[str]) -> list[str]:
    """Words and stops in lower case; a word that is looked for stands as it was given."""
    found = _WORD.findall(task.lower())
    tokens, at = [], 0
    by_length = sorted(words, key=lambda word: -word.count(' '))
    while at < len(found):
        known = next((w for w in by_length if _stands(found, at, w.split())), None)
        tokens.append(found[at] if known is None else known)
        at += 1 if known is None else len(known.split())
    return tokens


def _stands(found: Sequence[str], at: int, words: Sequence[str]) -> bool:
    """Whether the words stand there, the last one also as a plural."""
    here = found[at : at + len(words)]
    last = words[-1]
    return here[:-1] == list(words[:-1]) and here[-1:] in ([last], [f'{last}s'], [f'{last}es'])


def _clauses(tokens: Sequence[str]) -> list[list[str]]:
    """Parts with a verb of their own; `and the …` goes on with the verb before it."""
    clauses: list[list[str]] = [[]]
    for at, token in enumerate(tokens):
        following = tokens[at + 1] if at + 1 < len(tokens) else ''
        if token in STOPS or (token in JOINTS and following not in DETERMINERS):
            clauses.append([])
        else:
            clauses[-1].append(token)
    return [clause for clause in clauses if clause]


@dataclass(slots=True)
class _Reader:
    """Reads one clause word by word."""

    words: frozenset[str]
    about: list[str] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)
    is_other: bool = False
    has_verb: bool = False
    in_place: bool = False
    """Behind a preposition."""
    has_article: bool = False
    has_noun: bool = False
    """The noun phrase that is being read has its noun."""

    def read(self, token: str, following: str) -> None:
        """Take the next word and the one behind it, '' at the end."""
        if token in JOINTS:
            self.has_noun = False
        elif token in PREPOSITIONS or (token in PARTICLES and self.has_noun and following):
            self.in_place, self.has_article, self.has_noun = True, False, False
        elif token in DETERMINERS and following not in PREPOSITIONS:
            self.in_place = self.in_place and not self.has_noun
            self.has_article, self.has_noun = True, False
        elif token in self.words and not self._is_part_of(following):
            (self.behind if self.in_place else self.about).append(token)
            self.has_noun = True
        elif not token.endswith('ly') and token not in IDLE:
            self._read_other(following)

    def _is_part_of(self, following: str) -> bool:
        """Whether the next word is what the phrase is about: the cup holder is no cup."""
        if not self.has_verb or not self.has_article or following in self.words:
            return following in self.words
        return not (following in ENDS or following.endswith(('ly', 'ing', 'ed')))

    def _read_other(self, following: str) -> None:
        """A verb, an adjective, or a noun that none of the words means."""
        if self.in_place and self.has_noun and not self.has_verb:
            self.in_place, self.has_verb, self.has_noun = False, True, False
        elif not self.has_verb and not self.in_place and not self.has_article:
            self.has_verb = True
        elif not self.has_noun and following in ENDS:
            self.is_other = self.is_other or not self.in_place
            self.has_noun = True

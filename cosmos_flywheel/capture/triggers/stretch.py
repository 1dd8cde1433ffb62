# SPDX-License-Identifier: Apache-2.0
"""What messages say of one thing, one after another → the firings that this makes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

MOST_DETAILS = 8


@dataclass(frozen=True, slots=True)
class Firing:
    """A rule that became true; name, subject and stamp tell one firing from another."""

    name: str
    stamp_ns: int
    """When it became true and had been for as long as it must."""
    detail: str
    ends_ns: int | None
    """When it was last true; None while it still is."""
    subject: str = ''
    """Which of several things that the rule watches: the name of a diagnostic status."""


class Word(Enum):
    """What one message says of a rule."""

    HOLDS = auto()
    ENDS = auto()
    HAPPENED = auto()
    """True at this instant only."""
    ANEW = auto()
    """The time that it must hold for begins anew."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one message says of one thing that a rule watches."""

    word: Word
    detail: str = ''
    subject: str = ''
    """Which of several things: the name of a diagnostic status."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a rule must hold, and which pauses do not count."""

    for_ns: int = 0
    hold_ns: int = 0


class Stretch:
    """The time during which one thing is true, with its pauses.

    Time that runs a little backwards stands still.
    """

    def __init__(self, name: str, timing: Timing, subject: str = '') -> None:
        self._name = name
        self._subject = subject
        self._timing = timing
        self._now_ns: int | None = None
        self._said_ns: int | None = None
        """The latest instant of which something is known."""
        self._since_ns: int | None = None
        """Since when it is true; None while it is not."""
        self._fired_ns: int | None = None
        """When the firing that is not over yet began."""
        self._fell_ns: int | None = None
        """When that was last true; None while it is."""
        self._detail = ''
        self._details: list[str] = []

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to remember."""
        return self._since_ns is None and self._fired_ns is None

    def take(self, judgement: Judgement, stamp_ns: int) -> list[Firing]:
        """What begins or is over by one judgement."""
        said_ns = stamp_ns if self._said_ns is None else max(stamp_ns, self._said_ns)
        firings = self.advance(said_ns)
        self._said_ns = said_ns
        if judgement.word in (Word.ENDS, Word.ANEW):
            self._fall(said_ns)
        if judgement.word is not Word.ENDS:
            self._rise(said_ns, judgement.detail)
            firings += self.advance(said_ns)
        if judgement.word is Word.HAPPENED:
            self._fall(said_ns)
        return firings

    def advance(self, stamp_ns: int) -> list[Firing]:
        """What begins or is over by the passing of time."""
        self._now_ns = stamp_ns if self._now_ns is None else max(stamp_ns, self._now_ns)
        due_ns = self._due_ns(stamp_ns)
        firings = []
        pause_ends_ns = stamp_ns if due_ns is None else due_ns
        if self._fell_ns is not None and pause_ends_ns - self._fell_ns > self._timing.hold_ns:
            firings += self._over(self._fell_ns)
        if due_ns is not None:
            self._fell_ns = None
            if self._fired_ns is None:
                self._fired_ns = due_ns
                self._said_ns = max(due_ns, self._said_ns or due_ns)
                firings += self.open()
        return firings

    def open(self) -> list[Firing]:
        """The firing that is not over, if there is one."""
        if self._fired_ns is None:
            return []
        detail = '; '.join(self._details)
        return [Firing(self._name, self._fired_ns, detail, self._fell_ns, self._subject)]

    def close(self) -> list[Firing]:
        """It is over, whatever may come."""
        if self._fired_ns is None or self._now_ns is None:
            return []
        return self._over(self._now_ns if self._fell_ns is None else self._fell_ns)

    def _due_ns(self, stamp_ns: int) -> int | None:
        """When it had been true for long enough, if that is not in the future."""
        if self._since_ns is None or self._since_ns + self._timing.for_ns > stamp_ns:
            return None
        return self._since_ns + self._timing.for_ns

    def _rise(self, stamp_ns: int, detail: str) -> None:
        if self._since_ns is not None:
            return
        self._since_ns = stamp_ns
        self._detail = detail
        if detail not in self._details and len(self._details) <= MOST_DETAILS:
            self._details.append(detail if len(self._details) < MOST_DETAILS else '…')

    def _fall(self, stamp_ns: int) -> None:
        if self._fired_ns is None:
            self._details.clear()
        elif self._since_ns is not None and self._fell_ns is None:
            self._fell_ns = stamp_ns
        self._since_ns = None

    def _over(self, ends_ns: int) -> list[Firing]:
        self._fell_ns = ends_ns
        firings = self.open()
        self._fired_ns = self._fell_ns = None
        self._details = [] if self._since_ns is None else [self._detail]
        return firings

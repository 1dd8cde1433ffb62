# SPDX-License-Identifier: Apache-2.0
"""Triggers beside the alarms: what they say goes to the incident tracker, and is remembered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from cosmos_flywheel.capture.incident import IncidentTracker
from cosmos_flywheel.capture.triggers.trigger import Firing, Triggers
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.timeline import NS


class TriggerWatch:
    """Feeds one recording's or session's messages to its triggers.

    Args:
        triggers: the rules; None watches nothing.
        tracker: told of every firing, and again at each tick while it lasts.
        memory_s: how long a capture may be.

    """

    def __init__(
        self, triggers: Triggers | None, tracker: IncidentTracker, memory_s: float
    ) -> None:
        self.topics: frozenset[str] = triggers.topics if triggers else frozenset()
        self.faults: list[str] = []
        """Rules that name a field which messages do not have."""
        self._triggers = triggers
        self._tracker = tracker
        self._memory_ns = round(memory_s * NS)
        self._firings: dict[tuple[str, str, int], Firing] = {}

    def observe(self, topic: str, stamp_ns: int, message: Any) -> None:
        """A message of any topic came."""
        if self._triggers is None:
            return
        try:
            self._fire(self._triggers.observe(topic, stamp_ns, message))
        except ConfigError as error:
            self.faults.append(str(error))

    def tick(self, stamp_ns: int) -> None:
        """Let time pass; a trigger that still holds keeps the capture open."""
        if self._triggers is None:
            return
        self._fire(self._triggers.tick(stamp_ns))
        for firing in self._triggers.open:
            if firing.ends_ns is None:  # one that pauses may be in a closed capture already
                self._tracker.fire(firing.name, stamp_ns, firing.detail)
        self._firings = {
            key: f for key, f in self._firings.items() if stamp_ns - f.stamp_ns <= self._memory_ns
        }

    def finish(self, stamp_ns: int) -> None:
        """The recording ends here: whatever still holds is over."""
        if self._triggers is not None:
            self._fire(self._triggers.finish(stamp_ns))

    def notes(self) -> Iterator[str]:
        """What the rules could not be asked of, one sentence for each reason."""
        yield from self.faults
        if self._triggers is None:
            return
        for name, reasons in sorted(self._triggers.counts.items()):
            for reason, count in sorted(reasons.items()):
                yield f'trigger {name}: {count} messages said nothing ({reason})'

    def within(self, begin_ns: int, end_ns: int) -> tuple[Firing, ...]:
        """Firings that began in [begin_ns, end_ns)."""
        return tuple(f for f in self._firings.values() if begin_ns <= f.stamp_ns < end_ns)

    def _fire(self, firings: Iterable[Firing]) -> None:
        """A firing comes twice: when it begins, and with its end when it is over."""
        for firing in firings:
            if firing.ends_ns is None:
                self._tracker.fire(firing.name, firing.stamp_ns, firing.detail)
            self._firings[firing.name, firing.subject, firing.stamp_ns] = firing

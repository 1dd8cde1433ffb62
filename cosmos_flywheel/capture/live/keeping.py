# SPDX-License-Identifier: Apache-2.0
"""Captures → episode folders and the catalogue, on a thread of its own.

A disk that is full or cannot be written delays an episode, it does not lose it: the capture stays
in memory and is tried again, after the others, until so many wait that the oldest must go, which
is counted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from socket import gethostname
from typing import Any

from cosmos_flywheel.capture.episode import write_episode
from cosmos_flywheel.capture.live.recording import Captured
from cosmos_flywheel.core.errors import FlywheelError, SchemaError
from cosmos_flywheel.store.budget import make_room
from cosmos_flywheel.store.catalogue import Catalogue, rebuild
from cosmos_flywheel.store.episodes import read_episode
from cosmos_flywheel.store.folders import sweep
from cosmos_flywheel.store.records import WatchedBag

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
"""Before an episode that could not be written is tried again."""
MOST_WAITING = 16
"""Captures that are held in memory while the disk cannot be written."""
Tell = Callable[[Path, Mapping[str, Any]], None]
"""Told the folder and the manifest of each episode that is whole and on disk."""


class Keeping:
    """Hand it captures; episodes appear.

    Args:
        out: where episodes, catalogue and labels lie.
        tell: called from the thread.
        most_bytes: of all episodes together; None for no limit. See `store/budget.py` for what
            goes first.

    """

    def __init__(self, out: Path, tell: Tell, most_bytes: int | None = None) -> None:
        self.written = 0
        self.given_up = 0
        """Captures that were never written: too many waited, or no manifest can tell of one."""
        self.removed = 0
        """Episodes that were removed to keep within the budget."""
        self.problem = ''
        """Why the last attempt failed; empty once one has succeeded."""
        self.seconds = 0.0
        """How long the last episode took to write."""
        self._out, self._tell, self._most_bytes = out, tell, most_bytes
        self._waiting: deque[Captured] = deque()
        self._sessions: dict[str, WatchedBag] = {}
        """By id, sessions whose operating hours are not written yet."""
        self._found: dict[str, list[str]] = {}
        """By session, its episodes."""
        self._lock = threading.Condition()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Captures that are not written yet."""
        return len(self._waiting)

    def put(self, captured: Captured) -> None:
        """Write this one as soon as may be."""
        with self._lock:
            if len(self._waiting) >= MOST_WAITING:
                self._waiting.popleft()
                self.given_up += 1
            self._waiting.append(captured)
            self._lock.notify_all()

    def note(self, session: WatchedBag) -> None:
        """Write so far how long a session watched; a later word on it replaces this one."""
        with self._lock:
            self._sessions[session.bag_id] = session
            self._lock.notify_all()

    def close(self, patience_s: float = 20.0) -> None:
        """Write what waits, once more if it failed before, and end."""
        with self._lock:
            self._is_over = True
            self._lock.notify_all()
        self._thread.join(patience_s)

    def _run(self) -> None:
        wait_s, failures = FIRST_WAIT_S, 0
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._is_over or self._waiting or self._sessions)
                if not self._waiting and not self._sessions:
                    return
                captured = self._waiting[0] if self._waiting else None
                session = next(iter(self._sessions.values()), None)
            if self._write(captured) if captured is not None else self._write_hours(session):
                wait_s, failures = FIRST_WAIT_S, 0
                self._let_go(captured, session)
                continue
            failures += 1
            with self._lock:
                if captured is not None and self._waiting and self._waiting[0] is captured:
                    self._waiting.rotate(-1)  # whatever is wrong with it, the others go on
                if self._is_over and failures >= len(self._waiting):
                    return
                if failures < len(self._waiting):
                    continue
                self._lock.wait_for(lambda: self._is_over, wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _let_go(self, captured: Captured | None, session: WatchedBag | None) -> None:
        """It is written; of sessions, only where no newer word has come, and after captures."""
        with self._lock:
            if captured is not None:
                if self._waiting and self._waiting[0] is captured:
                    self._waiting.popleft()
            elif session is not None and self._sessions.get(session.bag_id) is session:
                del self._sessions[session.bag_id]

    def _write_hours(self, session: WatchedBag | None) -> bool:
        if session is None:
            return True
        episodes = tuple(sorted(set(self._found.get(session.bag_id, ()))))
        try:
            with Catalogue.open(self._out) as catalogue:
                catalogue.add_bag(replace(session, episodes=episodes))
        except (FlywheelError, OSError) as error:
            self.problem = str(error)
            return False
        self.problem = ''
        return True

    def _write(self, captured: Captured) -> bool:
        begun_s = time.monotonic()
        run = {'schema': 'run-v1', 'bag_path': captured.subject.trace.bag, 'host': gethostname()}
        try:
            self._out.mkdir(parents=True, exist_ok=True)
            sweep(self._out)
            removed = make_room(self._out, self._most_bytes)
            if removed:
                self.removed += len(removed)
                rebuild(self._out)
            try:
                identity = write_episode(
                    self._out,
                    captured.subject,
                    captured.capture,
                    config_hash=captured.config_hash,
                    run=run,
                )
            except SchemaError as error:  # trying again would not help
                self.problem = str(error)
                self.given_up += 1
                return True
            with Catalogue.open(self._out) as catalogue:
                catalogue.add_episode(identity)
                catalogue.assign_clusters([identity])
            manifest = read_episode(self._out / identity)
        except (FlywheelError, OSError) as error:
            self.problem = str(error)
            return False
        self.problem = ''
        self._found.setdefault(captured.subject.source.bag_id, []).append(identity)
        self.written += 1
        self.seconds = time.monotonic() - begun_s
        self._tell(self._out / identity, manifest)
        return True

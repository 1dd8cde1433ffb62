# SPDX-License-Identifier: Apache-2.0
"""Which candidates of a queue were told of to others, so that several tellers tell each once.

Telling is claimed, done, and confirmed, each of the outer two in one transaction. So none goes
untold: what a teller left unconfirmed when it ended, the next one tells. It is told twice only if
the teller was killed between the two, after it had told.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cosmos_flywheel.core.job import DONE, Job
from cosmos_flywheel.core.processes import ProcessId, is_gone, this_process
from cosmos_flywheel.generate.claims import LEASE_S
from cosmos_flywheel.generate.queue import Clock, Queue
from cosmos_flywheel.generate.queue_tables import among

_UNTOLD = """SELECT jobs.id, home, pid, started FROM jobs LEFT JOIN tellings ON job = jobs.id
    WHERE state = ? AND is_told IS NOT 1
    ORDER BY (SELECT MAX(claim) FROM attempts WHERE job = jobs.id)"""


class News:
    """One process's hand on what is to be told; use it in one thread.

    Args:
        out: folder of the queue.
        lease_s: what somebody on another boot or in another container claimed is taken over when
            it was not confirmed for so long.
        me: who tells; by default this process.
        clock: by which the lease runs.

    """

    def __init__(
        self,
        out: Path,
        lease_s: float = LEASE_S,
        me: ProcessId | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._out, self._lease_s = out, lease_s
        self._me = me or this_process()
        self._clock = clock or Clock()
        self._watched: dict[tuple[str, ProcessId], float] = {}
        """By job and teller elsewhere: since when it is seen to be unconfirmed."""

    def claim(self, most: int) -> list[Job]:
        """At most so many jobs that are done and nobody else tells of, the oldest first.

        They are this process's to tell until it confirms them, gives them back, or ends. What it
        has claimed already does not come again.
        """
        with Queue.open(self._out) as queue:
            with queue.database.writing():
                rows = queue.database.ask(_UNTOLD, (DONE,))
                free = [job for job, *owner in rows if self._is_free(job, *owner)][:most]
                for job in free:
                    queue.database.change(
                        'INSERT OR REPLACE INTO tellings VALUES (?, 0, ?, ?, ?)',
                        (job, self._me.home, self._me.pid, self._me.started),
                    )
            return [queue.known(job) for job in free]

    def confirm(self, jobs: Iterable[str]) -> None:
        """They were told: nobody tells of them again."""
        self._change('UPDATE tellings SET is_told = 1', jobs)

    def give_back(self, jobs: Iterable[str]) -> None:
        """They were not told: whoever claims next may."""
        self._change('DELETE FROM tellings', jobs)

    def _change(self, statement: str, jobs: Iterable[str]) -> None:
        named = list(jobs)
        if not named:
            return
        mine, ids = among('job', named)
        with Queue.open(self._out) as queue, queue.database.writing():
            queue.database.change(
                f'{statement} WHERE {mine} AND home = ? AND pid = ? AND started = ?',
                (*ids, self._me.home, self._me.pid, self._me.started),
            )

    def _is_free(self, job: str, home: str | None, pid: int, started: int) -> bool:
        if home is None:
            return True
        owner = ProcessId(home, pid, started)
        if owner == self._me:
            return False
        if home == self._me.home:
            return is_gone(owner)
        now_s = self._clock.monotonic_s()
        return now_s - self._watched.setdefault((job, owner), now_s) > self._lease_s

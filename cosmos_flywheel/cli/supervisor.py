# SPDX-License-Identifier: Apache-2.0
"""Commands → processes that are kept running: started anew when they crash, ended together.

One that refuses its start (exit code 2: a wrong parameter, a missing file) is not started anew:
it would only refuse again. Restarts wait longer each time, until a process has held for a while.
Should we be killed, nodes end by themselves: they are told whose children they are.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cosmos_flywheel.core.errors import FlywheelError
from cosmos_flywheel.nodes.run import PARENT

REFUSED = 2
"""Exit code of a node whose start was refused."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
"""Before a crashed process is started anew; doubled with every crash."""
HELD_S = 60.0
"""A process that has held so long begins with the first wait again."""
PATIENCE_S = 25.0
"""So long a process may take to end before it is killed: a recorder writes what is open first."""
TAIL_BYTES = 4096


class SupervisorError(FlywheelError):
    """A process cannot be started, or refused its start."""


@dataclass(slots=True)
class Child:
    """One command and its present process."""

    name: str
    command: Sequence[str]
    log: Path
    is_vital: bool = True
    """Whether it is started anew when it ends; otherwise its end with code 0 is the end."""
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    again_s: float = 0.0
    """When it is started anew, while there is no process."""
    wait_s: float = FIRST_WAIT_S
    restarts: int = 0
    is_done: bool = False
    """It ended by itself and is not missed."""

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    def last_words(self) -> str:
        """The last line that it wrote."""
        try:
            with self.log.open('rb') as file:
                file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
                lines = file.read().decode('utf-8', 'replace').strip().splitlines()
        except OSError:
            return ''
        return lines[-1] if lines else ''


@dataclass(slots=True)
class Supervisor:
    """Runs children; call `look` a few times a second, and `stop` at the end, always.

    Args:
        folder: where their output goes, a file each.
        environment: of the processes.

    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    children: list[Child] = field(default_factory=list)

    def start(self, name: str, command: Sequence[str], *, is_vital: bool = True) -> Child:
        """Start a command and keep it running.

        Raises:
            SupervisorError: there is no such program, or no place for its output.

        """
        child = Child(name, command, self.folder / f'{name}.log', is_vital)
        self.children.append(child)
        self._launch(child)
        return child

    def look(self, now_s: float | None = None) -> None:
        """Start anew what has crashed and waited.

        Raises:
            SupervisorError: a process refused its start; says why.

        """
        now_s = time.monotonic() if now_s is None else now_s
        for child in self.children:
            if child.is_done or child.runs:
                continue
            if child.process is not None:
                self._ended(child, now_s)
            elif now_s >= child.again_s:
                child.restarts += 1
                self._launch(child)

    def stop(self) -> None:
        """Ask all to end, in the order opposite to their start, and kill who does not."""
        running = [child for child in reversed(self.children) if child.runs]
        for child in running:
            _send(child, signal.SIGINT)
        end_s = time.monotonic() + PATIENCE_S
        for child in running:
            assert child.process is not None
            try:
                child.process.wait(max(0.1, end_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                _send(child, signal.SIGKILL)
                child.process.wait()

    def _ended(self, child: Child, now_s: float) -> None:
        """Its process is gone: what now?"""
        assert child.process is not None
        code = child.process.returncode
        if code == REFUSED:
            child.is_done = True
            words = child.last_words().removeprefix('flywheel: error: ')
            raise SupervisorError(f'{child.name}: {words or "refused its start"}; see {child.log}')
        if code == 0 and not child.is_vital:
            child.is_done = True
            return
        if now_s - child.started_s >= HELD_S:
            child.wait_s = FIRST_WAIT_S
        child.process, child.again_s = None, now_s + child.wait_s
        child.wait_s = min(2 * child.wait_s, LONGEST_WAIT_S)

    def _launch(self, child: Child) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with child.log.open('ab') as out:
                # In a session of its own, so that Ctrl-C reaches it through us, once.
                child.process = subprocess.Popen(
                    child.command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env={**self.environment, PARENT: str(os.getpid())},
                    start_new_session=True,
                )
        except OSError as error:
            raise SupervisorError(f'{child.name} cannot be started: {error}') from error
        child.started_s = time.monotonic()


def _send(child: Child, number: signal.Signals) -> None:
    assert child.process is not None
    if child.process.poll() is None:
        child.process.send_signal(number)

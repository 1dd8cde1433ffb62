# SPDX-License-Identifier: Apache-2.0
"""Processes are kept running, and all are gone at the end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cosmos_flywheel.cli import supervisor as module
from cosmos_flywheel.cli.supervisor import Supervisor, SupervisorError

WAITS = 'import time; print("here", flush=True); time.sleep(100)'
STUBBORN = (
    'import signal, time\n'
    'signal.signal(signal.SIGINT, signal.SIG_IGN)\n'
    'print("here", flush=True)\n'
    'time.sleep(100)'
)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path / 'log')
    yield made
    made.stop()


def python(text: str) -> list[str]:
    return [sys.executable, '-c', text]


def wait_for(true: Callable[[], object]) -> None:
    end_s = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def test_a_process_that_was_killed_is_started_anew(supervisor):
    child = supervisor.start('node', python(WAITS))
    first = child.process.pid
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: not child.runs)
    supervisor.look(10.0)
    supervisor.look(10.4)
    assert not child.runs, 'it waits a little'
    supervisor.look(10.6)
    assert child.runs
    assert child.process.pid != first
    assert child.restarts == 1


def test_it_waits_longer_each_time_it_crashes(supervisor):
    child = supervisor.start('node', python('raise SystemExit(1)'))
    waits, now_s = [], 100.0
    for _ in range(4):
        wait_for(lambda: not child.runs)
        supervisor.look(now_s)
        waits.append(child.again_s - now_s)
        now_s = child.again_s
        supervisor.look(now_s)
    assert waits == [0.5, 1.0, 2.0, 4.0]


def test_one_that_refuses_its_start_is_told_and_left(supervisor):
    words = "import sys; sys.exit(print('flywheel: error: robot is not set') or 2)"
    child = supervisor.start('monitor', python(words))
    wait_for(lambda: not child.runs)
    with pytest.raises(SupervisorError, match='monitor: robot is not set'):
        supervisor.look()
    supervisor.look()
    assert child.restarts == 0


def test_one_whose_work_is_done_is_not_missed(supervisor):
    child = supervisor.start('player', python('pass'), is_vital=False)
    wait_for(lambda: not child.runs)
    supervisor.look()
    assert child.is_done


def test_all_end_together_also_who_does_not_listen(supervisor, monkeypatch):
    monkeypatch.setattr(module, 'PATIENCE_S', 1.0)
    children = [supervisor.start(n, python(t)) for n, t in (('a', WAITS), ('b', STUBBORN))]
    wait_for(lambda: all(c.last_words() == 'here' for c in children))
    supervisor.stop()
    assert not any(c.runs for c in children)
    assert children[1].process.returncode == -signal.SIGKILL


def test_a_program_that_is_not_there_is_named(supervisor):
    with pytest.raises(SupervisorError, match=r'node cannot be started.*no_such_program'):
        supervisor.start('node', ['/no_such_program'])

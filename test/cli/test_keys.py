# SPDX-License-Identifier: Apache-2.0
"""In a real terminal one key is one label, and the terminal is given back as it was."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from episode_maker import harvest, make_manifest

from cosmos_flywheel.store.labels import read_labels

WAIT_S = 30.0
MANIFESTS = [make_manifest(2.0, 'bag_a'), make_manifest(10.0, 'bag_a')]
PROMPT = 'c r ? q]'


class Terminal:
    """A pseudo-terminal with `flywheel episodes label` in it."""

    def __init__(self, out: Path) -> None:
        self.master, self.slave = os.openpty()
        self.found = termios.tcgetattr(self.slave)
        self.said = ''
        words = ['-m', 'cosmos_flywheel.cli.main', 'episodes', 'label', '--reviewer', 'ann']
        self.process = subprocess.Popen(
            [sys.executable, *words, '--out', str(out)],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def wait_for(self, words: str) -> str:
        """All that was said up to these words, taken away."""
        end_s = time.monotonic() + WAIT_S
        while words not in self.said:
            assert time.monotonic() < end_s, f'{words!r} never came: {self.said!r}'
            if select.select([self.master], [], [], 0.1)[0]:
                self.said += os.read(self.master, 4096).decode()
        before, _, self.said = self.said.partition(words)
        return before

    def end(self) -> int:
        """Its exit code, once it has ended by itself."""
        end_s = time.monotonic() + WAIT_S
        while (code := self.process.poll()) is None:
            assert time.monotonic() < end_s, f'it did not end: {self.said!r}'
            if select.select([self.master], [], [], 0.05)[0]:
                self.said += os.read(self.master, 4096).decode()
        return code

    def mode(self) -> list[Any]:
        return termios.tcgetattr(self.slave)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    harvest(tmp_path / 'out', *MANIFESTS)
    return tmp_path / 'out'


@pytest.fixture
def terminal(out: Path) -> Iterator[Terminal]:
    opened = Terminal(out)
    yield opened
    opened.process.kill()
    opened.process.wait()
    os.close(opened.master)
    os.close(opened.slave)


def said(out: Path) -> list[tuple[str, str]]:
    """Labels with their reasons, of all episodes."""
    ids = sorted(str(manifest['id']) for manifest in MANIFESTS)
    return sorted((one.label, one.reason) for i in ids for one in read_labels(out / i))


def test_a_key_without_enter_is_on_disk_before_the_next_is_asked(
    out: Path, terminal: Terminal
) -> None:
    terminal.wait_for(PROMPT)
    assert terminal.mode() != terminal.found
    terminal.press(b'f')
    assert 'failure' in terminal.wait_for(PROMPT)
    terminal.process.kill()
    assert said(out) == [('failure', '')]


def test_a_reason_is_typed_as_a_line_and_corrected_as_usual(out: Path, terminal: Terminal) -> None:
    terminal.wait_for(PROMPT)
    terminal.press(b'r')
    terminal.wait_for('reason: ')
    terminal.press('slipx\x7f ✓\n'.encode())
    terminal.wait_for('the next label says: slip ✓')
    terminal.wait_for(PROMPT)
    terminal.press(b'x')
    terminal.wait_for(PROMPT)
    assert said(out) == [('false_alarm', 'slip ✓')]


def test_an_arrow_is_one_key_that_does_nothing(out: Path, terminal: Terminal) -> None:
    terminal.wait_for(PROMPT)
    terminal.press(b'\x1b[A')
    assert r'\x1b[A' in terminal.wait_for(PROMPT)
    assert said(out) == []


def test_after_a_stop_single_keys_work_again(out: Path, terminal: Terminal) -> None:
    terminal.wait_for(PROMPT)
    terminal.process.send_signal(signal.SIGSTOP)
    termios.tcsetattr(terminal.slave, termios.TCSANOW, terminal.found)  # as a shell would
    terminal.process.send_signal(signal.SIGCONT)
    end_s = time.monotonic() + WAIT_S
    while terminal.mode() == terminal.found:
        assert time.monotonic() < end_s
        time.sleep(0.01)
    terminal.press(b's')
    terminal.wait_for(PROMPT)
    assert said(out) == [('sensor_fault', '')]


@pytest.mark.parametrize(
    ('how', 'code'),
    [
        (b'q', 0),
        (b'\x04', 0),
        (b'\x03', 130),
        (b'rhalf a reason\x03', 130),
        (signal.SIGTERM, 143),
        (signal.SIGHUP, 129),
        (b'f', 2),
    ],
)
def test_the_terminal_is_given_back_however_it_ends(
    out: Path, terminal: Terminal, how: bytes | signal.Signals, code: int
) -> None:
    terminal.wait_for(PROMPT)
    if isinstance(how, signal.Signals):
        terminal.process.send_signal(how)
    elif how == b'f':  # an error: the label cannot be written
        for manifest in MANIFESTS:
            (out / manifest['id'] / 'labels.jsonl').mkdir()
        terminal.press(how)
    else:
        terminal.press(how[:1])
        if len(how) > 1:
            terminal.wait_for('reason: ')
            terminal.press(how[1:])
    assert terminal.end() == code
    assert terminal.mode() == terminal.found

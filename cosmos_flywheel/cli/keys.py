# SPDX-License-Identifier: Apache-2.0
"""Standard input → single keys: pressed in a terminal without Enter, or read as lines of a script.

The terminal is given back as it was found however the reading ends: by its end, an error, Ctrl-C,
or a signal to end. While it is suspended (Ctrl-Z) the shell has its own ways.
"""

from __future__ import annotations

import os
import select
import signal
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol, TextIO

END = ''
"""Instead of a key: no more will come."""
ENDING = (signal.SIGTERM, signal.SIGHUP)
REST_S = 0.02
"""The rest of what one key sends, such as an arrow's, follows within this time."""
_LOCAL_FLAGS, _SPECIAL = 3, 6
"""Places in what termios.tcgetattr gives."""


class Keys(Protocol):
    """Where keys come from."""

    def key(self) -> str:
        """The next key, or END."""

    def line(self, prompt: str) -> str:
        """The next line without its end, asked for by a prompt; empty if there is none."""


class LineKeys:
    """Keys of a script, one on each line; empty lines are passed over."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def key(self) -> str:
        """What stands on the next line; a space for a line of spaces."""
        for line in self._stream:
            if key := line.rstrip('\r\n'):
                return key.strip() or ' '
        return END

    def line(self, prompt: str) -> str:
        """The next line."""
        print(prompt, end='', flush=True)
        return self._stream.readline().strip()


class TerminalKeys:
    """Keys of a terminal that is in single-key mode."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._found = termios.tcgetattr(descriptor)

    def single(self) -> None:
        """Give every key at once, unseen; Ctrl-C and Ctrl-Z go on to do what they do."""
        mode: list[Any] = termios.tcgetattr(self._descriptor)
        mode[_LOCAL_FLAGS] &= ~(termios.ICANON | termios.ECHO)
        mode[_SPECIAL][termios.VMIN] = 1
        mode[_SPECIAL][termios.VTIME] = 0
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, mode)

    def restore(self) -> None:
        """The terminal as it was found."""
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._found)

    def key(self) -> str:
        """The next key; what an arrow or a letter beyond ASCII sends stays together."""
        data = self._read(1)
        if data and (data == b'\x1b' or data >= b'\x80'):
            while select.select([self._descriptor], [], [], REST_S)[0]:
                if not (more := self._read(1)):
                    break
                data += more
        return END if data in (b'', b'\x04') else data.decode('utf-8', 'replace')

    def line(self, prompt: str) -> str:
        """A line typed with Enter, seen and corrected as usual.

        The prompt comes when that is so: whoever answers it at once is understood.
        """
        self.restore()
        try:
            print(prompt, end='', flush=True)
            return self._read(4096).decode('utf-8', 'replace').strip()
        finally:
            self.single()

    def _read(self, size: int) -> bytes:
        try:
            return os.read(self._descriptor, size)
        except OSError:  # the terminal was closed
            return b''


@contextmanager
def open_keys(stream: TextIO) -> Iterator[Keys]:
    """Keys of a terminal, or lines of anything else."""
    if not stream.isatty():
        yield LineKeys(stream)
        return
    keys = TerminalKeys(stream.fileno())
    before = {number: signal.signal(number, _end) for number in ENDING}
    before[signal.SIGCONT] = signal.signal(signal.SIGCONT, lambda *_: keys.single())
    try:
        keys.single()
        yield keys
    finally:
        # Another signal must not come between: it waits until the terminal is as it was.
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *ENDING})
        try:
            keys.restore()
        except termios.error:  # the terminal was closed
            pass
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _end(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)

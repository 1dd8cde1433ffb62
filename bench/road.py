# SPDX-License-Identifier: Apache-2.0
"""A road between two machines: network namespaces joined by a veth pair, or loopback.

`apart` starts the program anew in network, mount and process namespaces of its own, which the
kernel clears away with its last process, however that ends. That is the robot; the desk is one
more network namespace. No interface of the machine itself can be seen from there.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import ROOT

from cosmos_flywheel.travel.limit import Limit

sys.path[:0] = [str(ROOT / 'test'), str(ROOT / 'test/travel')]
from travelling import Link  # noqa: E402

ROBOT, DESK = '10.77.0.1', '10.77.0.2'
_APART = 'FLYWHEEL_BENCH_APART'
_UNSHARE = ['unshare', '--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc']


def apart() -> None:
    """Go on in namespaces where this machine lets us; returns where it does not, too."""
    if _APART in os.environ:
        return
    for words in (_UNSHARE, [*_UNSHARE, '--user', '--map-root-user']):
        with contextlib.suppress(OSError):
            if not subprocess.run([*words, 'true'], capture_output=True, check=False).returncode:
                os.environ[_APART] = 'namespaces'
                os.execvp(words[0], [*words, sys.executable, *sys.argv])
    os.environ[_APART] = ''


class Road(ABC):
    """What is common: a server at `serves` of the robot, `url` of it as the desk sees it."""

    words = ''
    serves = ROBOT
    prefix: tuple[str, ...] = ()
    """Before a command that runs at the desk."""
    can_mount = False

    def enter(self) -> None:  # noqa: B027
        """This process is at the desk from now on."""

    @abstractmethod
    def url(self, port: int) -> str:
        """By which the desk reaches a server of the robot."""

    @abstractmethod
    def rate(self, bytes_s: float | None) -> None:
        """The road carries so much."""

    @abstractmethod
    def cut(self) -> None:
        """The robot's link goes down."""

    @abstractmethod
    def silence(self) -> None:
        """Nothing passes any more, and nobody is told."""

    @abstractmethod
    def mend(self) -> None:
        """All is well again."""

    @abstractmethod
    def carried_bytes(self) -> int:
        """What has left the robot so far."""


class Veth(Road):
    """Two namespaces; `ip` and `tc` spoil the robot's end."""

    serves = ROBOT
    can_mount = True

    def __init__(self) -> None:
        self.words = f'two network namespaces, veth pair, robot {ROBOT}, desk {DESK}'
        self._holder = subprocess.Popen(['unshare', '--net', 'sleep', 'infinity'])
        self._space = f'/proc/{self._holder.pid}/ns/net'
        while os.readlink(self._space) == os.readlink('/proc/self/ns/net'):
            time.sleep(0.01)
        self.prefix = ('nsenter', f'--net={self._space}')
        self._rate: list[str] = []
        pid = str(self._holder.pid)
        _do('ip', 'link', 'set', 'lo', 'up')
        _do('ip', 'link', 'add', 'robot0', 'type', 'veth', 'peer', 'name', 'desk0', 'netns', pid)
        _do('ip', 'address', 'add', f'{ROBOT}/24', 'dev', 'robot0')
        _do('ip', 'link', 'set', 'robot0', 'up')
        for words in (
            ('link', 'set', 'lo', 'up'),
            ('address', 'add', f'{DESK}/24', 'dev', 'desk0'),
            ('link', 'set', 'desk0', 'up'),
        ):
            _do(*self.prefix, 'ip', *words)

    def enter(self) -> None:
        """Join its namespace."""
        with open(self._space) as file:
            if ctypes.CDLL(None).setns(file.fileno(), 0):
                raise OSError('the namespace of the desk cannot be entered')

    def url(self, port: int) -> str:
        """The robot's own."""
        return f'http://{ROBOT}:{port}'

    def rate(self, bytes_s: float | None) -> None:
        """A token bucket on the robot's interface."""
        self._rate = [] if bytes_s is None else ['rate', f'{bytes_s * 8:.0f}bit']
        self._shape()

    def cut(self) -> None:
        """The interface goes down."""
        _do('ip', 'link', 'set', 'robot0', 'down')

    def silence(self) -> None:
        """A bucket of 32 bytes: every packet is larger, and such are dropped."""
        _do('tc', 'qdisc', 'replace', 'dev', 'robot0', 'root', 'tbf', 'rate', '1kbit', 'burst',
            '32', 'limit', '32')  # fmt: skip

    def mend(self) -> None:
        """Up again."""
        _do('ip', 'link', 'set', 'robot0', 'up')
        self._shape()

    def carried_bytes(self) -> int:
        """By the interface's counter, headers included."""
        rows = Path('/proc/self/net/dev').read_text().splitlines()
        (row,) = (row.split() for row in rows if row.strip().startswith('robot0:'))
        return int(row[9])

    def _shape(self) -> None:
        subprocess.run(
            ['tc', 'qdisc', 'del', 'dev', 'robot0', 'root'], capture_output=True, check=False
        )
        if self._rate:
            _do('tc', 'qdisc', 'add', 'dev', 'robot0', 'root', 'tbf', *self._rate, 'burst',
                '64kb', 'latency', '100ms')  # fmt: skip


class Loopback(Road):
    """Two processes of one machine, and a proxy between them that can be spoilt."""

    words = 'two processes over loopback with a proxy between them: no namespaces here'
    serves = '127.0.0.1'

    def __init__(self) -> None:
        self._limit = Limit(None)
        self._open = threading.Event()
        self._open.set()
        self._is_cut = False
        self._links: dict[int, Link] = {}

    def url(self, port: int) -> str:
        """That of the proxy."""
        if port not in self._links:
            self._links[port] = Link(port, self._pass)
        return self._links[port].url

    def rate(self, bytes_s: float | None) -> None:
        """The proxy passes so much."""
        self._limit = Limit(bytes_s)

    def cut(self) -> None:
        """Connections are closed in the middle."""
        self._is_cut = True

    def silence(self) -> None:
        """The proxy holds what it has."""
        self._open.clear()

    def mend(self) -> None:
        """It passes again."""
        self._is_cut = False
        self._open.set()

    def carried_bytes(self) -> int:
        """By the proxy."""
        return sum(link.passed_bytes for link in self._links.values())

    def _pass(self, number: int, passed: int, block: bytes) -> bytes | None:
        self._open.wait()
        self._limit.take(len(block))
        return None if self._is_cut else block


@contextmanager
def road() -> Iterator[Road]:
    """The better one of the two; call `apart` first."""
    made = Veth() if os.environ.get(_APART) else Loopback()
    try:
        yield made
    finally:
        if isinstance(made, Veth):
            made._holder.kill()
            made._holder.wait()


def _do(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f'{" ".join(words)}: {done.stderr.strip()}')

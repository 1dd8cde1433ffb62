# SPDX-License-Identifier: Apache-2.0
"""Two machines' folders, the processes of `flywheel travel` there, and what was seen of them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from road import Road
from travelling import catalogued, ids, keep_episodes, token_file

from cosmos_flywheel.cli.main import main as command
from cosmos_flywheel.core.errors import FlywheelError
from cosmos_flywheel.store.episodes import is_complete, read_episode
from cosmos_flywheel.travel.inbox import ARRIVING

CLIPS, CLIP_BYTES = 3, 4_000_000
PATIENCE_S = 120.0
LOOK_S = 0.05
NEVER = 10**6
CHANGES = {
    'open', 'os.rename', 'os.mkdir', 'os.remove', 'os.rmdir', 'os.link', 'os.truncate',
    'shutil.rmtree', 'shutil.copyfile', 'sqlite3.connect', 'socket.connect',
}  # fmt: skip
"""Audit events before which a process is killed."""


@dataclass
class Case:
    """Two folders, the processes there, and what was seen of them."""

    road: Road
    folder: Path
    quick: bool
    clips: int = CLIPS
    clip_bytes: int = CLIP_BYTES
    stay: int = 0
    """So many are expected to stay at the robot."""
    policy: str = ''
    names: list[str] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    early: set[str] = field(default_factory=set)
    """Gone from the robot before they lay verified at a desk."""
    notes: Counter[str] = field(default_factory=Counter)
    samples: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.robot, self.desk = self.folder / 'robot', self.folder / 'desk'
        self.desks = [self.desk]
        self.is_mounted = False
        self.folder.mkdir()
        self.names = keep_episodes(self.robot, self.clips, self.clip_bytes)
        self.token = token_file(self.folder)
        self.rules()
        self.carried = self.road.carried_bytes()
        self._server: subprocess.Popen[bytes] | None = None
        self.port = 0
        self._over = threading.Event()
        self._verified: set[tuple[Path, str]] = set()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def rules(self, extra: str = '') -> None:
        """What the robot's policy says."""
        path = self.folder / 'policy.yaml'
        path.write_text(
            f'schema: travel-v1\nendpoints: [loopback, 10.77.0.0/24]\ncleartext: true\n'
            f'redaction: {{faces: keep}}\nafter_fetch: {{whole: remove}}\n{extra}'
        )
        self.policy = str(path)

    def serve(self, host: str | None = None) -> subprocess.Popen[bytes]:
        """At the robot, always at the same port."""
        words = ['serve', str(self.robot), '--policy', self.policy, '--token-file',
                 str(self.token), '--bind', f'{host or self.road.serves}:{self.port}']  # fmt: skip
        process = self._start('serve', (), words)
        self.until(lambda: b'serving' in self._said(process) or process.poll() is not None)
        found = re.search(rb'serving .* at http://[^:]*:(\d+)', self._said(process))
        if found is None:
            raise RuntimeError(self._said(process).decode())
        self.port = int(found[1])
        self._server = process
        return process

    def fetch(self, *words: str, desk: Path | None = None, url: str = '') -> \
            subprocess.Popen[bytes]:  # fmt: skip
        """At the desk."""
        full = ['fetch', url or self.url, str(desk or self.desk), '--token-file', str(self.token),
                '--patience', str(PATIENCE_S), *words]  # fmt: skip
        return self._start('fetch', self.road.prefix, full)

    @property
    def url(self) -> str:
        """Of the server, as the desk sees it."""
        return self.road.url(self.port)

    def here_bytes(self) -> int:
        """What has come to all desks so far, each file once."""
        sizes = {}
        for desk in self.desks:
            for base, _, files in os.walk(desk):
                for name in files:
                    try:
                        told = os.stat(os.path.join(base, name))
                    except FileNotFoundError:
                        continue
                    if told.st_size > 65536 and 'catalogue' not in name:
                        sizes[told.st_ino] = told.st_size
        return sum(sizes.values())

    def comes(self, count: int, process: subprocess.Popen[bytes] | None = None) -> bool:
        """Wait until so many more bytes have come; False if the process ended before."""
        before = self.here_bytes()
        self.until(lambda: self.here_bytes() >= before + count
                   or (process is not None and process.poll() is not None))  # fmt: skip
        return process is None or process.poll() is None

    def until(self, is_so: Callable[[], bool], seconds: float = 300.0) -> None:
        """Wait; a bench that hangs ends so."""
        end_s = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > end_s:
                raise TimeoutError(f'{self.folder.name}: nothing happens any more')
            time.sleep(LOOK_S)

    def ends(self, process: subprocess.Popen[bytes], code: int = 0) -> None:
        """Wait for its end; a code that is not expected is noted."""
        if process.wait(300) != code:
            self.notes[f'exit code {process.returncode}, not {code}'] += 1
            print(self._said(process).decode(), file=sys.stderr)

    def mount(self, size_bytes: int) -> None:
        """A disk of the desk's own."""
        self.desk.mkdir()
        words = ['mount', '-t', 'tmpfs', '-o', f'size={size_bytes}', 'tmpfs', str(self.desk)]
        subprocess.run(words, check=True)
        self.is_mounted = True

    def close(self) -> dict[str, object]:
        """End what still runs, and count."""
        self._over.set()
        self._watcher.join()
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
                process.wait(30)
        self._look()
        here = {name for desk in self.desks for name in ids(desk)}
        robot = set(ids(self.robot))
        told = Counter(
            (n, name)
            for n, process in enumerate(self.processes)
            for name in re.findall(r'([0-9a-f]{16}): arrived', self._said(process).decode())
        )
        by_desk = Counter(name for _, name in told)
        indexed = all(catalogued(desk) == ids(desk) for desk in self.desks if desk.is_dir())
        rest = [p for desk in self.desks for p in (desk / ARRIVING).glob('*/*')]
        if self.is_mounted:
            subprocess.run(['umount', '--lazy', str(self.desk)], check=True)
        return {
            'clips': len(self.names),
            'arrived': len(here),
            'at the robot': len(robot - here),
            'lost': len({*self.names} - here - robot),
            'twice': sum(n > 1 for n in by_desk.values()) + (not indexed),
            'early': len(self.early),
            'left over': len(rest),
            'carried': round((self.road.carried_bytes() - self.carried)
                             / (self.clips * self.clip_bytes), 2),
        }  # fmt: skip

    def payload_s(self) -> float:
        """Bytes of clips a second, from a tenth to nine tenths of the way."""
        times, sizes = np.array(self.samples).T
        whole = sizes.max()
        first, last = np.searchsorted(sizes, (0.1 * whole, 0.9 * whole))
        return float((sizes[last] - sizes[first]) / (times[last] - times[first]))

    def _start(self, name: str, prefix: tuple[str, ...], words: list[str]) -> \
            subprocess.Popen[bytes]:  # fmt: skip
        path = self.folder / f'{name}_{len(self.processes)}.txt'
        with path.open('wb') as said:
            process = subprocess.Popen(
                [*prefix, sys.executable, '-m', 'cosmos_flywheel.cli.main', 'travel', *words],
                stdout=said, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.processes.append(process)
        process.said = path  # type: ignore[attr-defined]
        return process

    def _said(self, process: subprocess.Popen[bytes]) -> bytes:
        said: Path = process.said  # type: ignore[attr-defined]
        return said.read_bytes()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            self._look()
            self.samples.append((time.monotonic(), self.here_bytes()))

    def _look(self) -> None:
        """First the robot, then the desks: what went in between is no harm."""
        gone = [name for name in self.names if not is_complete(self.robot, name)]
        self.early |= {name for name in gone if not any(self._holds(d, name) for d in self.desks)}

    def _holds(self, desk: Path, name: str) -> bool:
        if (desk, name) not in self._verified:
            try:
                read_episode(desk / name, verify=True)
            except FlywheelError:
                return False
            self._verified.add((desk, name))
        return True


def at_each_step(case: Case, run: Callable[[int], None]) -> None:
    """For each step one more episode: die before it, then do the rest; until nobody dies."""
    died = case.folder / 'died'
    died.touch()
    for step in range(1, 200):
        run(step)
        if len(died.read_text().splitlines()) < step:
            break
        run(NEVER)
        case.clips += 1
        case.names += keep_episodes(case.robot, 1, case.clip_bytes, step)
    kinds = Counter(died.read_text().splitlines())
    case.notes |= {'kills': sum(kinds.values()), **{f'before {k}': n for k, n in kinds.items()}}


def wait_for(process: Any) -> None:
    process.join(60)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError('a process does not end')


def free_port(host: str) -> int:
    with socket.create_server((host, 0)) as listener:
        return int(listener.getsockname()[1])


def listens(case: Case) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((case.road.serves, case.port)):
        return True
    return False


def mortal(case: Case, words: list[str], step: int) -> Any:
    """A process that runs the command and is killed before the change of that number."""
    process = get_context('fork').Process(target=_live, args=(case, words, step))
    process.start()
    return process


def _live(case: Case, words: list[str], step: int) -> None:
    left, place = iter(range(1, step)), str(case.folder)
    out = os.open(case.folder / 'died', os.O_WRONLY | os.O_APPEND)

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event not in CHANGES or (event != 'socket.connect' and place not in str(args[0])):
            return
        if event == 'open' and not (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        if next(left, None) is None:
            os.write(out, f'{event}\n'.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    if words[0] == 'fetch':
        case.road.enter()
    sys.stdout = sys.stderr = open(os.devnull, 'w')  # noqa: SIM115
    if step < NEVER:
        sys.addaudithook(watch)
    sys.exit(command(['travel', *words]))

# SPDX-License-Identifier: Apache-2.0
"""Two machines' folders, a link between them that can be spoilt, and a robot's episodes."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from episode_maker import RUN, make_manifest

from cosmos_flywheel.store.catalogue import Catalogue
from cosmos_flywheel.store.episodes import EpisodeWriter, iter_episodes, read_episode
from cosmos_flywheel.travel.alter import alter
from cosmos_flywheel.travel.fetch import Tally, fetch
from cosmos_flywheel.travel.http_source import HttpSource
from cosmos_flywheel.travel.inbox import Inbox
from cosmos_flywheel.travel.limit import Limit
from cosmos_flywheel.travel.outbox import Outbox
from cosmos_flywheel.travel.parcel import Source
from cosmos_flywheel.travel.policy import Policy, Redaction
from cosmos_flywheel.travel.serve import TravelServer

TOKEN = 'a token of enough letters'.replace(' ', '-')
OPEN = Policy(redaction=Redaction(faces='keep'))
"""To this machine, as it is."""


def keep_episodes(
    out: Path, count: int = 2, clip_bytes: int = 300_000, first: int = 0
) -> list[str]:
    """Episodes with clips of bytes that no two share, indexed; their ids."""
    out.mkdir(exist_ok=True)
    names = []
    with Catalogue.open(out) as catalogue:
        for number in range(first, first + count):
            manifest = make_manifest(start_s=float(10 * number))
            names.append(manifest['id'])
            with EpisodeWriter(out, manifest['id']) as writer:
                content = bytes([number]) + os.urandom(clip_bytes - 1)
                (writer.path / 'clip.mcap').write_bytes(content)
                (writer.path / 'thumbnail.jpg').write_bytes(b'thumbnail')
                (writer.path / 'evidence' / 'strip.png').write_bytes(b'strip')
                writer.finish(manifest, RUN)
            catalogue.add_episode(manifest['id'])
    return sorted(names)


def ids(out: Path) -> list[str]:
    """Of the episodes in a folder, each verified by its hashes."""
    return [str(read_episode(folder, verify=True)['id']) for folder in iter_episodes(out)]


def catalogued(out: Path) -> list[str]:
    with Catalogue.open(out) as catalogue:
        return sorted(row.id for row in catalogue.episodes())


@contextlib.contextmanager
def serving(out: Path, policy: Policy = OPEN, **how: object) -> Iterator[TravelServer]:
    outbox = Outbox(out, None, policy, alter)
    server = TravelServer(('127.0.0.1', 0), outbox, TOKEN, **how)  # type: ignore[arg-type]
    server.start()
    try:
        yield server
    finally:
        server.stop()


def http(server: TravelServer) -> HttpSource:
    return HttpSource(server.url, TOKEN)


def take_all(
    source: Source, out: Path, wait: Callable[[float], bool] = lambda _: False,
    watch: bool = False, tell: Callable[[str], object] = lambda _: None,
    patience_s: float = 100.0,
) -> Tally:  # fmt: skip
    """Fetch without real waiting, unless `wait` does."""
    out.mkdir(exist_ok=True)
    inbox = Inbox(out, Limit(None), tell)
    return fetch(source, inbox, watch=watch, patience_s=patience_s, wait=wait, tell=tell)


class Link:
    """A TCP proxy in front of a server, that spoils what comes back.

    Args:
        port: of the server.
        spoil: given the number of a connection and its reply so far passed, and a block, what to
            pass; None cuts the link.
        host: where it listens.

    """

    def __init__(
        self,
        port: int,
        spoil: Callable[[int, int, bytes], bytes | None],
        host: str = '127.0.0.1',
    ) -> None:
        self._port, self._spoil = port, spoil
        self._listener = socket.create_server((host, 0))
        self.url = f'http://{host}:{self._listener.getsockname()[1]}'
        self.connections = 0
        self.passed_bytes = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(
                    target=self._join, args=(client, self.connections), daemon=True
                ).start()

    def _join(self, client: socket.socket, number: int) -> None:
        with client, contextlib.suppress(OSError):
            server = socket.create_connection(('127.0.0.1', self._port))
            with server:
                threading.Thread(target=_pump, args=(client, server), daemon=True).start()
                passed = 0
                while block := server.recv(16384):
                    kept = self._spoil(number, passed, block)
                    if kept is None:
                        client.shutdown(socket.SHUT_RDWR)  # another thread still reads it
                        server.shutdown(socket.SHUT_RDWR)
                        return
                    client.sendall(kept)
                    passed += len(block)
                    self.passed_bytes += len(block)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(16384):
            sink.sendall(block)


def flywheel(*words: object) -> subprocess.Popen[str]:
    """The command, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, '-m', 'cosmos_flywheel.cli.main', 'travel', *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def token_file(folder: Path) -> Path:
    path = folder / 'token'
    path.write_text(TOKEN + '\n')
    path.chmod(0o600)
    return path

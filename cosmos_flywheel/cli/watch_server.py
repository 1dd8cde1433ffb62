# SPDX-License-Identifier: Apache-2.0
"""Serves the page of `flywheel watch` over HTTP, to this machine's own pages only.

Nothing of a URL ever becomes part of a path; another site's page can neither read (no CORS, names
that are not this machine's are refused) nor ask for a capture (its Origin differs).
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from cosmos_flywheel.capture.live.watched import Shown, Watched
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.store.shelf import Shelf, file_of

TELL_S = 0.5
"""The page is told so often."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
KINDS = {
    '.jpg': 'image/jpeg',
    '.jpeg': 'image/jpeg',
    '.png': 'image/png',
    '.mp4': 'video/mp4',
    '.webm': 'video/webm',
}
EPISODE = re.compile(r'/episode/([0-9a-f]{16})/(thumbnail|strip|video)')
RANGE = re.compile(r'bytes=(\d*)-(\d*)')
BOUNDARY = 'picture'


class WatchServer(ThreadingHTTPServer):
    """The server; `start` lets it work in a thread of its own.

    Args:
        address: host and port; port 0 takes a free one.
        watched: what is told.
        shelf: episodes on disk.
        capture: asks for a capture; whether it was taken, and words. Set before `start`.

    Raises:
        ConfigError: the port is taken, or the host is not this machine's.

    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], watched: Watched, shelf: Shelf) -> None:
        self.watched, self.shelf = watched, shelf
        self.capture: Callable[[], tuple[bool, str]] = lambda: (False, 'There is no recorder.')
        self.ends = threading.Event()
        host, port = address
        if ':' in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__(address, Handler)
        except (OSError, OverflowError) as error:
            words = getattr(error, 'strerror', None) or str(error)
            raise ConfigError(
                f'{host}:{port} cannot be served ({words}); give another --port'
            ) from error
        self.assets = _assets()
        self.names = {'localhost', host.lower()}
        if not _is_loopback(host):
            self.names.add(socket.gethostname().lower())

    @property
    def url(self) -> str:
        """Where the page is."""
        host = str(self.server_address[0])
        return f'http://{f"[{host}]" if ":" in host else host}:{self.server_port}/'

    def start(self) -> None:
        """Serve until `stop`."""
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()

    def stop(self) -> None:
        """End all streams and give the port back."""
        self.ends.set()
        self.shutdown()
        self.server_close()

    def knows(self, host: str) -> bool:
        """Whether a Host header means this server: names of others may be made to point here."""
        try:
            parts = urlsplit(f'//{host}')
            name, port = parts.hostname or '', parts.port or 80
        except ValueError:
            return False
        if port != self.server_port or parts.username is not None:
            return False
        if name in self.names:
            return True
        return _is_address(name) and (
            _is_loopback(name) or not _is_loopback(str(self.server_address[0]))
        )

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that leaves in the middle is no error."""


class Handler(BaseHTTPRequestHandler):
    """One browser's requests."""

    server: WatchServer
    server_version, sys_version = 'flywheel', ''
    timeout = 30

    def do_GET(self) -> None:
        """Page, streams, and what belongs to episodes."""
        if not self.server.knows(self.headers.get('Host', '')):
            self._say(HTTPStatus.FORBIDDEN, 'this is not the name of this server')
            return
        path = urlsplit(self.path).path
        match = EPISODE.fullmatch(path)
        if path in self.server.assets:
            kind, content = self.server.assets[path]
            self._send(HTTPStatus.OK, kind, content)
        elif path == '/events':
            self._events()
        elif path == '/overlay':
            self._overlay()
        elif match:
            self._episode(match[1], match[2])
        else:
            self._say(HTTPStatus.NOT_FOUND, 'there is no such page')

    def do_POST(self) -> None:
        """Capture now, if this server's own page asks."""
        host = self.headers.get('Host', '')
        is_own = self.headers.get('Origin', '').lower() == f'http://{host}'.lower()
        if not self.server.knows(host) or not is_own:
            self._say(HTTPStatus.FORBIDDEN, 'only the page of this server may ask')
            return
        if self.path != '/capture':
            self._say(HTTPStatus.NOT_FOUND, 'there is no such request')
            return
        ok, words = self.server.capture()
        text = json.dumps({'ok': ok, 'words': words}).encode()
        code = HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
        self._send(code, 'application/json', text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is declared
        """Say nothing of each request."""

    def _events(self) -> None:
        """The state, again and again; of the scores only what is new."""
        self._head(HTTPStatus.OK, {'Content-Type': 'text/event-stream'})
        told = 0
        with contextlib.suppress(OSError):
            while not self.server.ends.is_set():
                shown = {name: _shown(m) for name, m in self.server.shelf.manifests().items()}
                state = self.server.watched.told(time.monotonic(), told, shown)
                told = state['count']
                self.wfile.write(f'data: {json.dumps(state)}\n\n'.encode())
                self.server.ends.wait(TELL_S)

    def _overlay(self) -> None:
        """JPEG after JPEG."""
        kind = f'multipart/x-mixed-replace; boundary={BOUNDARY}'
        self._head(HTTPStatus.OK, {'Content-Type': kind})
        number, quiet_s = -1, time.monotonic()
        self.server.watched.look(1)
        try:
            while not self.server.ends.is_set():
                number, jpeg = self.server.watched.overlay_after(max(number, 0), 1.0)
                if jpeg:
                    quiet_s = time.monotonic()
                elif time.monotonic() - quiet_s > self.timeout:
                    return  # the page asks again; one that has left is noticed so
                else:
                    continue
                head = f'--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}'
                self.wfile.write(head.encode() + b'\r\n\r\n' + jpeg + b'\r\n')
        except OSError:
            pass
        finally:
            self.server.watched.look(-1)

    def _episode(self, name: str, what: str) -> None:
        path = self.server.shelf.file(name, what)
        announced = self.server.watched.thumbnail(name) if what == 'thumbnail' else b''
        if path is not None:
            self._file(path)
        elif announced:
            self._send(HTTPStatus.OK, 'image/jpeg', announced)
        else:
            self._say(HTTPStatus.NOT_FOUND, 'the episode has none')

    def _file(self, path: Path) -> None:
        """A file, or the range of it that is asked for."""
        with path.open('rb') as source:
            size = source.seek(0, 2)
            begin, end, code = 0, size, HTTPStatus.OK
            match = RANGE.fullmatch(self.headers.get('Range', ''))
            if match and (match[1] or match[2]):
                code = HTTPStatus.PARTIAL_CONTENT
                begin = int(match[1]) if match[1] else max(0, size - int(match[2]))
                end = min(size, int(match[2]) + 1) if match[1] and match[2] else size
                if begin >= end:
                    headers = {'Content-Range': f'bytes */{size}', 'Content-Length': '0'}
                    self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers)
                    return
            headers = {
                'Content-Type': KINDS.get(path.suffix.lower(), 'application/octet-stream'),
                'Content-Length': str(end - begin),
                'Accept-Ranges': 'bytes',
            }
            if code is HTTPStatus.PARTIAL_CONTENT:
                headers['Content-Range'] = f'bytes {begin}-{end - 1}/{size}'
            self._head(code, headers)
            source.seek(begin)
            with contextlib.suppress(OSError):
                if end == size:
                    shutil.copyfileobj(source, self.wfile)
                else:
                    self.wfile.write(source.read(end - begin))

    def _say(self, code: HTTPStatus, words: str) -> None:
        self._send(code, 'text/plain; charset=utf-8', words.encode())

    def _send(self, code: HTTPStatus, kind: str, content: bytes) -> None:
        self._head(code, {'Content-Type': kind, 'Content-Length': str(len(content))})
        self.wfile.write(content)

    def _head(self, code: HTTPStatus, headers: Mapping[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header('Cache-Control', 'no-store')
        self.send_header('Content-Security-Policy', POLICY)
        self.send_header('X-Content-Type-Options', 'nosniff')
        self.send_header('Referrer-Policy', 'no-referrer')
        self.send_header('Cross-Origin-Resource-Policy', 'same-origin')
        self.end_headers()


def _assets() -> Mapping[str, tuple[str, bytes]]:
    """The page; its look is that of the report."""
    own = files('cosmos_flywheel.cli') / 'templates'
    report = files('cosmos_flywheel.capture.report') / 'templates'
    look = (report / 'report.css').read_bytes() + b'\n' + (own / 'watch.css').read_bytes()
    return {
        '/': ('text/html; charset=utf-8', (own / 'watch.html').read_bytes()),
        '/watch.js': ('text/javascript; charset=utf-8', (own / 'watch.js').read_bytes()),
        '/watch.css': ('text/css; charset=utf-8', look),
    }


def _shown(manifest: Mapping[str, object]) -> Shown:
    window = manifest['window']
    causes = manifest['causes']
    assert isinstance(window, Mapping)
    assert isinstance(causes, list)
    return Shown(
        str(manifest['id']),
        tuple(map(str, causes)),
        int(window['onset_ns']),
        int(window['start_ns']),
        int(window['end_ns']),
        str(manifest['state']),
        *(file_of(manifest, what) is not None for what in ('thumbnail', 'strip', 'video')),
    )


def _is_address(name: str) -> bool:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return False


def _is_loopback(name: str) -> bool:
    if not _is_address(name):
        return name == 'localhost'
    return ipaddress.ip_address(name).is_loopback

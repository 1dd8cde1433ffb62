# SPDX-License-Identifier: Apache-2.0
"""Serves a robot's outbox over HTTP: a list, files by their sha256 with ranges, and receipts.

    GET  /v1/episodes             {"parcels": [parcel-v1, …], "waiting": n}
    GET  /v1/episodes/ID/SHA256   the bytes; ETag is the sha256
    GET  /v1/hours                hours-v1; ETag is its sha256, 304 for who has it
    POST /v1/receipts             a receipt-v1; 200, or 409 where it is for something else

What one receiver fetches is not offered to others; the header X-Receiver tells them apart, without
it their address. Nothing of a URL becomes part of a path: ids and hashes are looked up in what is
offered.
"""

from __future__ import annotations

import contextlib
import hmac
import io
import ipaddress
import json
import re
import socket
import ssl
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cosmos_flywheel.core.errors import ConfigError, FlywheelError, SchemaError
from cosmos_flywheel.core.lineage import canonical_json, sha256_hex
from cosmos_flywheel.travel.limit import BLOCK_BYTES, Limit
from cosmos_flywheel.travel.outbox import Content, Outbox
from cosmos_flywheel.travel.policy import is_loopback
from cosmos_flywheel.travel.turns import Turns

EPISODES, HOURS, RECEIPTS = '/v1/episodes', '/v1/hours', '/v1/receipts'
RECEIVER = 'X-Receiver'
LARGEST_RECEIPT_BYTES = 1 << 20
PREPARE_S = 2.0
"""How often it is looked whether an episode has to be made ready."""
_FILE = re.compile(EPISODES + r'/([0-9a-f]{16})/([0-9a-f]{64})')
_RANGE = re.compile(r'bytes=(\d{1,18})-')


class TravelServer(ThreadingHTTPServer):
    """The server; `start` lets it work in threads of its own.

    Args:
        address: IP address and port; port 0 takes a free one.
        outbox: what is offered.
        token: whoever asks must know it.
        tls: certificate and key; None for plain HTTP.

    Raises:
        ConfigError: the policy does not allow to be reached there, or so; the port is taken; the
            certificate cannot be used.

    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, address: tuple[str, int], outbox: Outbox, token: str,
        tls: tuple[Path, Path] | None = None,
    ) -> None:  # fmt: skip
        host, port = address
        _check_address(host, outbox, tls is not None)
        self.outbox, self.token = outbox, token
        self.limit = Limit(outbox.policy.bytes_s)
        self.turns = Turns()
        self.ends = threading.Event()
        self._tls = _context(tls) if tls else None
        if ':' in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__(address, Handler)
        except (OSError, OverflowError) as error:
            words = getattr(error, 'strerror', None) or str(error)
            raise ConfigError(f'{host}:{port} cannot be served ({words}); give another --bind') \
                from error  # fmt: skip

    @property
    def url(self) -> str:
        """Where to fetch from."""
        host = str(self.server_address[0])
        scheme = 'https' if self._tls else 'http'
        return f'{scheme}://{f"[{host}]" if ":" in host else host}:{self.server_port}'

    def start(self) -> None:
        """Serve until `stop`, and make altered copies meanwhile."""
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()
        threading.Thread(target=self._prepare, daemon=True).start()

    def stop(self) -> None:
        """End and give the port back."""
        self.ends.set()
        self.shutdown()
        self.server_close()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """One connection, in its own thread; a slow handshake holds up nobody else."""
        if self._tls is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(Handler.timeout)
        with self._tls.wrap_socket(request, server_side=True) as safe:
            super().finish_request(safe, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """A receiver that leaves in the middle is no error."""

    def _prepare(self) -> None:
        while not self.ends.is_set():
            with contextlib.suppress(FlywheelError, OSError):
                if self.outbox.prepare():
                    continue
            self.ends.wait(PREPARE_S)


class Handler(BaseHTTPRequestHandler):
    """One receiver's request."""

    server: TravelServer
    server_version, sys_version = 'flywheel', ''
    timeout = 30

    def do_GET(self) -> None:
        """The list, or a file."""
        if not self._is_welcome():
            return
        path = urlsplit(self.path).path
        match = _FILE.fullmatch(path)
        if path == EPISODES:
            self._list()
            return
        if path == HOURS:
            self._hours()
            return
        content = self.server.outbox.content(match[1], match[2]) if match else None
        if match is None or content is None:
            self._say(HTTPStatus.NOT_FOUND, 'nothing is offered under this name')
        elif not self.server.turns.take(match[1], self._receiver):
            self._say(HTTPStatus.CONFLICT, 'another machine fetches it; ask for the list')
        else:
            self._file(content, match[1], match[2])

    def do_POST(self) -> None:
        """A receipt."""
        if not self._is_welcome():
            return
        length = self.headers.get('Content-Length', '')
        if urlsplit(self.path).path != RECEIPTS:
            self._say(HTTPStatus.NOT_FOUND, 'there is no such page')
        elif not length.isdecimal() or int(length) > LARGEST_RECEIPT_BYTES:
            self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, 'this is no receipt')
        else:
            self._receipt(self.rfile.read(int(length)))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: a token may stand in a request that was made by mistake."""

    def _is_welcome(self) -> bool:
        """Whether policy and token let the peer in; it has been answered if not."""
        peer = str(self.client_address[0])
        given = self.headers.get('Authorization', '').encode('utf-8', 'replace')
        if not self.server.outbox.policy.may_reach(peer):
            self._say(HTTPStatus.FORBIDDEN, f'the policy allows nothing to {peer}')
        elif not hmac.compare_digest(given, f'Bearer {self.server.token}'.encode()):
            self._say(HTTPStatus.UNAUTHORIZED, 'the token is not the one of this robot')
        else:
            return True
        return False

    @property
    def _receiver(self) -> str:
        return self.headers.get(RECEIVER) or str(self.client_address[0])

    def _list(self) -> None:
        """What is offered to this receiver; what others fetch may still become free."""
        look = self.server.outbox.look()
        free = [p for p in look.parcels if self.server.turns.is_free(p.id, self._receiver)]
        waiting = len(look.waiting) + len(look.parcels) - len(free)
        parcels = [parcel.document() for parcel in free]
        self._answer(HTTPStatus.OK, {'parcels': parcels, 'waiting': waiting})

    def _hours(self) -> None:
        data = canonical_json(self.server.outbox.hours())
        tag = f'"{sha256_hex(data)}"'
        if self.headers.get('If-None-Match') == tag:
            self._head(HTTPStatus.NOT_MODIFIED, {'ETag': tag})
            return
        size = str(len(data))
        self._head(
            HTTPStatus.OK,
            {'Content-Type': 'application/json', 'Content-Length': size, 'ETag': tag},
        )
        self.wfile.write(data)

    def _receipt(self, data: bytes) -> None:
        try:
            document = json.loads(data)
            if not isinstance(document, dict):
                raise SchemaError('receipt: holds no fields')
            is_taken = self.server.outbox.receive(document)
        except (ValueError, RecursionError, SchemaError) as error:
            self._say(HTTPStatus.BAD_REQUEST, str(error))
        except FlywheelError as error:
            self._say(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        else:
            if is_taken:
                self.server.turns.end(str(document['id']))
            words = 'thanks' if is_taken else 'this is not what is offered; ask for the list'
            self._say(HTTPStatus.OK if is_taken else HTTPStatus.CONFLICT, words)

    def _file(self, content: Content, episode_id: str, sha256: str) -> None:
        """All of it, or what follows an offset."""
        try:
            source = io.BytesIO(content) if isinstance(content, bytes) else content.open('rb')
        except OSError:
            self._say(HTTPStatus.NOT_FOUND, 'it is gone; ask for the list')
            return
        with source, contextlib.suppress(OSError):
            size = source.seek(0, 2)
            tag = f'"{sha256}"'
            match = _RANGE.fullmatch(self.headers.get('Range', ''))
            if self.headers.get('If-Range', tag) != tag:
                match = None
            begin = int(match[1]) if match else 0
            if match and begin >= size:
                self._head(
                    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                    {'Content-Range': f'bytes */{size}', 'Content-Length': '0'},
                )
                return
            headers = {
                'Content-Type': 'application/octet-stream',
                'Content-Length': str(size - begin),
                'Accept-Ranges': 'bytes',
                'ETag': tag,
            }
            if match:
                headers['Content-Range'] = f'bytes {begin}-{size - 1}/{size}'
            self._head(HTTPStatus.PARTIAL_CONTENT if match else HTTPStatus.OK, headers)
            source.seek(begin)
            while block := source.read(BLOCK_BYTES):
                self.server.limit.take(len(block))
                self.wfile.write(block)
                self.server.turns.take(episode_id, self._receiver)

    def _answer(self, code: HTTPStatus, document: Mapping[str, Any]) -> None:
        data = json.dumps(document).encode()
        self._head(code, {'Content-Type': 'application/json', 'Content-Length': str(len(data))})
        self.wfile.write(data)

    def _say(self, code: HTTPStatus, words: str) -> None:
        self._answer(code, {'said': words})

    def _head(self, code: HTTPStatus, headers: Mapping[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header('Cache-Control', 'no-store')
        self.send_header('X-Content-Type-Options', 'nosniff')
        self.end_headers()


def _check_address(host: str, outbox: Outbox, is_safe: bool) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError as error:
        raise ConfigError(f'--bind {host}: give an IP address, such as 127.0.0.1') from error
    if is_loopback(host):
        return
    if not any(e != 'loopback' and '://' not in e for e in outbox.policy.endpoints):
        raise ConfigError(
            f'--bind {host}: the policy allows nothing to leave this machine; name the '
            'workstation under its key `endpoints`'
        )
    if not is_safe and not outbox.policy.cleartext:
        raise ConfigError(
            f'--bind {host}: token and clips would cross the network in clear; give --cert and '
            '--key, or say `cleartext: true` in the policy'
        )


def _context(tls: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(*map(str, tls))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f'{tls[0]}, {tls[1]}: no certificate and its key ({error})') from error
    return context

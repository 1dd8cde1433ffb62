# SPDX-License-Identifier: Apache-2.0
"""One request to a server → its whole answer, within its time and its size, or an error.

By the standard library alone. Nothing is followed and no proxy is asked: pictures and token go to
the endpoint or nowhere.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.remote.errors import NoAnswerError, StoppedError
from cosmos_flywheel.engines.remote.server import Server

READ_BYTES = 1 << 16
MOST_JSON_BYTES = 16 << 20
MOST_VIDEO_BYTES = 512 << 20
"""Nothing larger is taken in; 400 pictures of a tier of 480 without loss have less."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole."""

    status: int
    kind: str
    """Its media type, without parameters."""
    data: bytes
    retry_after_s: float | None = None

    def document(self) -> dict[str, Any]:
        """The JSON mapping that it holds; an empty one for anything else."""
        try:
            found = json.loads(self.data)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


class Wire:
    """Asks one server, with a new connection for every request.

    Args:
        server: which.
        answer_s: longest that it may be silent.

    """

    def __init__(self, server: Server, answer_s: float) -> None:
        self.server = server
        self._answer_s = answer_s

    def ask(
        self,
        method: str,
        path: str,
        until_s: float,
        stop: threading.Event,
        *,
        body: bytes = b'',
        kind: str = '',
        most_bytes: int = MOST_JSON_BYTES,
    ) -> Answer:
        """Send a request and take its answer.

        Args:
            method: such as GET.
            path: from the root.
            until_s: of time.monotonic; nothing is waited for any longer.
            stop: set by whoever wants no answer any more.
            body: what is sent.
            kind: its media type.
            most_bytes: longest answer.

        Raises:
            NoAnswerError: no connection, none in time, or the answer was cut off.
            StoppedError: `stop` was set.
            EngineError: the answer is too long, or a token must not be sent.

        """
        headers = {'Accept': '*/*', 'Accept-Encoding': 'identity'}
        if kind:
            headers['Content-Type'] = kind
        token = self.server.token()
        if token:
            headers['Authorization'] = f'Bearer {token}'
        connection = self._connect(until_s)
        try:
            self._send(connection, method, path, body, headers, until_s, stop)
            response = connection.getresponse()
            data = self._read(connection, response, until_s, stop, most_bytes)
            return Answer(response.status, _kind(response), data, _retry_after_s(response))
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswerError(
                f'{method} {self.server.endpoint}{path}: {_words(error)}'
            ) from error
        finally:
            connection.close()

    def _connect(self, until_s: float) -> http.client.HTTPConnection:
        left_s = min(self._answer_s, max(until_s - time.monotonic(), 0.001))
        host, port = self.server.host, self.server.port
        if self.server.is_secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=left_s, context=context)
        return http.client.HTTPConnection(host, port, timeout=left_s)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes,
        headers: dict[str, str],
        until_s: float,
        stop: threading.Event,
    ) -> None:
        """The request, piece by piece, so that a long upload may last as long as it moves."""
        if not body:
            connection.request(method, path, headers=headers)
            return
        length = {'Content-Length': str(len(body))}
        pieces = self._pieces(body, until_s, stop)
        with suppress(BrokenPipeError, ConnectionResetError):  # it may have refused it half-way
            connection.request(method, path, body=pieces, headers=headers | length)

    def _pieces(self, body: bytes, until_s: float, stop: threading.Event) -> Iterator[bytes]:
        for begin in range(0, len(body), READ_BYTES):
            self._see(until_s, stop)
            yield body[begin : begin + READ_BYTES]

    def _see(self, until_s: float, stop: threading.Event) -> float:
        """Seconds that are left; StoppedError or TimeoutError if none are."""
        if stop.is_set():
            raise StoppedError(f'{self.server.endpoint}: closed or cancelled')
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s

    def _read(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        until_s: float,
        stop: threading.Event,
        most_bytes: int,
    ) -> bytes:
        """The body, piece by piece, so that a trickle does not outlast the deadline."""
        told = response.length
        data = bytearray()
        while piece := response.read1(READ_BYTES):
            data += piece
            left_s = self._see(until_s, stop)
            if len(data) > most_bytes:
                raise EngineError(
                    f'{self.server.endpoint}: the answer is longer than {most_bytes} bytes; is it '
                    'a vLLM-Omni server?'
                )
            if connection.sock is not None:
                connection.sock.settimeout(min(self._answer_s, left_s))
        if told is not None and len(data) != told:
            raise http.client.IncompleteRead(bytes(data[:0]), told - len(data))
        return bytes(data)


def _kind(response: http.client.HTTPResponse) -> str:
    return response.headers.get('Content-Type', '').partition(';')[0].strip().lower()


def _retry_after_s(response: http.client.HTTPResponse) -> float | None:
    """Seconds, where the server names them; a date is left alone."""
    text = response.headers.get('Retry-After', '')
    return float(text) if text.isdecimal() else None


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return 'no answer in time'
    if isinstance(error, http.client.IncompleteRead):
        return 'the answer was cut off'
    if isinstance(error, ConnectionRefusedError):
        return 'nobody listens there'
    return str(error) or type(error).__name__

# SPDX-License-Identifier: Apache-2.0
"""A robot's URL and a token → its parcels, over HTTP or HTTPS."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cosmos_flywheel.core.errors import ConfigError, NotNowError, SchemaError, TravelError
from cosmos_flywheel.travel.limit import BLOCK_BYTES
from cosmos_flywheel.travel.parcel import Entry, Parcel
from cosmos_flywheel.travel.serve import EPISODES, HOURS, RECEIPTS, RECEIVER

TIMEOUT_S = 30.0
LARGEST_LIST_BYTES = 64 << 20
_GOOD = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.NOT_MODIFIED)
_CONTENT_RANGE = re.compile(r'bytes (\d{1,18})-\d{1,18}/\d{1,18}')


class HttpSource:
    """What one `flywheel travel serve` offers.

    Args:
        url: `http://HOST:PORT` or `https://…`.
        token: that of the robot.
        authority: certificate by which the robot's is known; None for those of the system.
        receiver: tells this receiver from others at the same address; see `Inbox.receiver`.

    Raises:
        ConfigError: the URL is none, or the certificate cannot be read.

    """

    def __init__(
        self, url: str, token: str, authority: Path | None = None, receiver: str = ''
    ) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise ConfigError(f'{url}: {error}; write http://HOST:PORT') from error
        if parts.scheme not in ('http', 'https') or not parts.hostname or parts.path not in '/':
            raise ConfigError(f'{url}: write http://HOST:PORT or https://HOST:PORT')
        self._url, self._host, self._port = url, parts.hostname, port
        self._headers = {'Authorization': f'Bearer {token}'}
        if receiver:
            self._headers[RECEIVER] = receiver
        self._tls = None
        if parts.scheme == 'https':
            try:
                self._tls = ssl.create_default_context(cafile=authority and str(authority))
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(f'{authority}: is no certificate ({error})') from error
        self._is_preparing = False
        self._hours_tag = ''

    @property
    def is_preparing(self) -> bool:
        """Whether the robot is making more ready."""
        return self._is_preparing

    def parcels(self) -> tuple[Parcel, ...]:
        """All that is offered."""
        with self._ask('GET', EPISODES) as answer:
            data = answer.read(LARGEST_LIST_BYTES)
        try:
            document = json.loads(data)
            parcels, waiting = document['parcels'], int(document['waiting'])
            offered = tuple(Parcel.from_document(p, f'{self._url}, parcel') for p in parcels)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise NotNowError(f'{self._url}: its list cannot be read ({error})') from error
        except SchemaError as error:
            raise TravelError(f'{error}; is it a flywheel of this version?') from error
        self._is_preparing = waiting > 0
        return offered

    def hours(self) -> Mapping[str, Any] | None:
        """What the robot tells of them; None if nothing new."""
        tag = {'If-None-Match': self._hours_tag} if self._hours_tag else {}
        with self._ask('GET', HOURS, headers=tag) as answer:
            if answer.status == HTTPStatus.NOT_MODIFIED:
                return None
            data, self._hours_tag = answer.read(LARGEST_LIST_BYTES), answer.headers.get('ETag', '')
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise NotNowError(f'{self._url}: its hours cannot be read ({error})') from error
        return document if isinstance(document, dict) else {}

    def blocks(self, parcel: Parcel, entry: Entry, offset: int) -> tuple[int, Iterator[bytes]]:
        """The bytes of a file from an offset on, or from its beginning."""
        tag = f'"{entry.sha256}"'
        headers = {'Range': f'bytes={offset}-', 'If-Range': tag} if offset else {}
        stack = contextlib.ExitStack()
        path = f'{EPISODES}/{parcel.id}/{entry.sha256}'
        answer = stack.enter_context(self._ask('GET', path, headers=headers))
        begin = 0
        if answer.status == HTTPStatus.PARTIAL_CONTENT:
            match = _CONTENT_RANGE.fullmatch(answer.headers.get('Content-Range', ''))
            begin = int(match[1]) if match else -1
        if begin not in (0, offset) or answer.headers.get('ETag', tag) != tag:
            stack.close()
            raise NotNowError(f'{self._url}: {entry.file} of {parcel.id} has changed')
        return begin, self._read(stack, answer, entry, begin)

    def acknowledge(self, parcel: Parcel) -> None:
        """Give the receipt."""
        with self._ask('POST', RECEIPTS, json.dumps(parcel.receipt()).encode()):
            pass

    def _read(
        self, stack: contextlib.ExitStack, answer: http.client.HTTPResponse, entry: Entry,
        begin: int,
    ) -> Iterator[bytes]:  # fmt: skip
        with stack:
            while begin < entry.bytes:
                with self._away():
                    block = answer.read(BLOCK_BYTES)
                if not block:
                    raise NotNowError(f'{self._url}: was cut off in the middle of {entry.file}')
                begin += len(block)
                yield block

    @contextlib.contextmanager
    def _ask(
        self, verb: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer to one request, if it is a good one."""
        connection = self._connection()
        try:
            with self._away():
                connection.request(verb, path, body, {**self._headers, **headers})
                answer = connection.getresponse()
            self._check(answer)
            with self._away():
                yield answer
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=TIMEOUT_S, context=self._tls
        )

    def _check(self, answer: http.client.HTTPResponse) -> None:
        if answer.status in _GOOD:
            return
        with self._away():
            data = answer.read(1 << 16)
        words: Any = ''
        with contextlib.suppress(ValueError, TypeError, KeyError):
            words = json.loads(data)['said']
        said = f'{self._url}: answers {answer.status} ({words or answer.reason})'
        if answer.status == HTTPStatus.UNAUTHORIZED:
            raise ConfigError(f'{said}; give the --token-file that it was started with')
        if answer.status == HTTPStatus.FORBIDDEN:
            raise ConfigError(f'{said}; name this machine in the policy at the robot')
        raise NotNowError(said)

    @contextlib.contextmanager
    def _away(self) -> Iterator[None]:
        """What the network says, as what it means; a wrong certificate does not mend itself."""
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            raise ConfigError(
                f'{self._url}: its certificate is not trusted ({error.verify_message}); give --ca'
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise NotNowError(f'{self._url}: cannot be reached ({error})') from error

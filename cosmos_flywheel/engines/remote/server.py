# SPDX-License-Identifier: Apache-2.0
"""Which server is asked, for which model: an address that is checked before anything is sent."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from cosmos_flywheel.core.errors import EngineError

TOKEN_VARIABLE = 'FLYWHEEL_REMOTE_TOKEN'
"""The environment variable that holds what a server asks for as `--api-key`, if it does."""
SERVED = 'nvidia/Cosmos3-Nano'
"""What a server of Nano calls it, unless it was told another name."""
PORTS = {'http': 80, 'https': 443}
NAME = re.compile(r'[A-Za-z0-9_]([A-Za-z0-9._/-]*[A-Za-z0-9_])?')
COMMIT = re.compile(r'[0-9a-f]{40}')


@dataclass(frozen=True, slots=True)
class Server:
    """An endpoint, and what it must serve.

    Raises:
        EngineError: the address does not hold, or is another machine's without leave.

    """

    endpoint: str
    """Such as http://127.0.0.1:8091."""
    model: str
    """Its name at the server, such as nvidia/Cosmos3-Nano."""
    commit: str = ''
    """Of the checkpoint, 40 hex digits; empty where nobody vouches for it."""
    allow_remote: bool = False
    """Whether pictures may leave this machine."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.endpoint)
        told = parts.path.strip('/') or parts.query or parts.fragment or '@' in parts.netloc
        if parts.scheme not in PORTS or not parts.hostname or told:
            raise EngineError(
                f'endpoint {_shown(self.endpoint)!r} is no address of a server; give '
                'http://HOST:PORT or https://HOST:PORT, without user, path or query'
            )
        try:
            parts.port  # noqa: B018  (it is parsed when asked for)
        except ValueError as error:
            raise EngineError(f'endpoint {self.endpoint!r}: {error}') from error
        if not NAME.fullmatch(self.model):
            raise EngineError(
                f'{self.model!r} is no name of a model; give what the server lists, such as '
                'nvidia/Cosmos3-Nano'
            )
        if self.commit and not COMMIT.fullmatch(self.commit):
            raise EngineError(f'{self.commit!r} is no commit; give its 40 hex digits')
        if not self.is_here and not self.allow_remote:
            raise EngineError(
                f'endpoint {self.endpoint} is another machine, which would be sent pictures of '
                'the robot; say --allow-remote if that is meant'
            )

    @property
    def is_here(self) -> bool:
        """Whether it is this machine."""
        try:
            return self.host == 'localhost' or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_secure(self) -> bool:
        """Whether what is sent is encrypted."""
        return urlsplit(self.endpoint).scheme == 'https'

    @property
    def host(self) -> str:
        """Name or address."""
        return urlsplit(self.endpoint).hostname or ''

    @property
    def port(self) -> int:
        """As given, or the scheme's own."""
        parts = urlsplit(self.endpoint)
        return parts.port or PORTS[parts.scheme]

    def token(self) -> str:
        """What the environment holds for it; empty for none.

        Raises:
            EngineError: it would cross a network in plain text, or holds what no header can.

        """
        token = os.environ.get(TOKEN_VARIABLE, '').strip()
        if token and not (token.isascii() and token.isprintable()):
            raise EngineError(f'{TOKEN_VARIABLE} holds more than one line of plain letters')
        if token and not (self.is_here or self.is_secure):
            raise EngineError(
                f'endpoint {self.endpoint} would be sent the token of {TOKEN_VARIABLE} for '
                'everybody on the way to read; use https, or an ssh tunnel to 127.0.0.1'
            )
        return token


def _shown(endpoint: str) -> str:
    """Without what might be a password."""
    return endpoint.rpartition('@')[2]

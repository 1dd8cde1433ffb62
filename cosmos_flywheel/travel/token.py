# SPDX-License-Identifier: Apache-2.0
"""A file → the secret that lets a workstation fetch."""

from __future__ import annotations

from pathlib import Path

from cosmos_flywheel.core.errors import ConfigError

SHORTEST = 16


def read_token(path: Path) -> str:
    """The token in a file that only its owner may read; ConfigError says what is wrong."""
    try:
        mode, text = path.stat().st_mode, path.read_text('ascii').strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f'{path}: holds no token ({error}); make one: {_MAKE}') from error
    if mode & 0o077:
        raise ConfigError(f'{path}: others may read it; run: chmod 600 {path}')
    if len(text) < SHORTEST or not text.isprintable() or ' ' in text:
        raise ConfigError(f'{path}: a token has {SHORTEST} letters or more; make one: {_MAKE}')
    return text


_MAKE = '(umask 077; openssl rand -hex 32 > FILE)'

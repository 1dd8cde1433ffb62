# SPDX-License-Identifier: Apache-2.0
"""One process of this package per GPU: two would halve each other's speed and share its memory."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from pathlib import Path

from cosmos_flywheel.core.errors import EngineError


class Claim:
    """A GPU's lock file; it opens again when the process ends, however it ends.

    Raises:
        EngineError: another process has it.

    """

    def __init__(self, card: str, name: str, folder: Path | None = None) -> None:
        """Take it.

        Args:
            card: what tells it from others, such as its address on the bus.
            name: for people.
            folder: of lock files; by default that of temporary files.

        """
        plain = re.sub(r'[^0-9A-Za-z]+', '-', card)
        path = (folder or Path(tempfile.gettempdir())) / f'cosmos_flywheel-gpu-{plain}.lock'
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise EngineError(
                f'{path}: cannot be opened ({error.strerror}); remove it, or set TMPDIR'
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._file, 20).decode('ascii', 'replace').strip() or 'unknown'
            os.close(self._file)
            raise EngineError(
                f'{name} is taken by process {holder}; end that one, or choose another card with '
                'CUDA_VISIBLE_DEVICES'
            ) from error
        os.truncate(self._file, 0)
        os.pwrite(self._file, f'{os.getpid()}\n'.encode(), 0)

    def close(self) -> None:
        """Let others have the card."""
        os.close(self._file)

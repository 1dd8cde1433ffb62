# SPDX-License-Identifier: Apache-2.0
"""What a process that is killed leaves for the next one: which job of which server is its own.

A line of JSON for each thing that happened, added to one file; a line that was cut off is none.
The file is locked while a process waits, and gone when the server's job is.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from cosmos_flywheel.core.errors import EngineError, NotNowError

LONGEST_BYTES = 16 << 20


class Journal:
    """One file's; use it as a context, which holds the lock.

    Raises:
        NotNowError: another process has it.
        EngineError: it cannot be written.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = -1
        self.told: dict[str, Any] = {}
        """The newest value by name."""

    def __enter__(self) -> Journal:
        try:
            self._open()
        except BlockingIOError:
            os.close(self._file)
            raise NotNowError(f'{self.path}: another process asks for this film') from None
        except OSError as error:
            raise EngineError(f'{self.path}: cannot be written ({error.strerror})') from error
        data = os.pread(self._file, LONGEST_BYTES, 0)
        for line in data.split(b'\n'):
            with suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict):
                    self.told |= found
        if data and not data.endswith(b'\n'):
            self._append(b'\n')
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        os.close(self._file)

    def tell(self, **what: Any) -> None:
        """Note something, so that it survives this process."""
        try:
            self._append(json.dumps(what).encode() + b'\n')
        except OSError as error:
            raise EngineError(f'{self.path}: cannot be written ({error.strerror})') from error
        self.told |= what

    def clear(self) -> None:
        """Begin anew."""
        os.ftruncate(self._file, 0)
        self.told = {}

    def forget(self) -> None:
        """Remove it: nothing is left to be done."""
        self.path.unlink(missing_ok=True)
        self.told = {}

    def _open(self) -> None:
        while True:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.stat(self.path).st_ino == os.fstat(self._file).st_ino:
                    return
            os.close(self._file)  # removed while it was opened

    def _append(self, data: bytes) -> None:
        os.write(self._file, data)
        os.fsync(self._file)

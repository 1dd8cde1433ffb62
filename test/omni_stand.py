# SPDX-License-Identifier: Apache-2.0
"""The stand-in server of `omni_server.py`, as tests see it from outside."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Stand:
    """A running one."""

    def __init__(self, port: int) -> None:
        self.endpoint = f'http://127.0.0.1:{port}'

    def behave(self, **told: Any) -> None:
        """Forget all jobs, and misbehave from now on as is told."""
        data = json.dumps(told).encode()
        urllib.request.urlopen(f'{self.endpoint}/_behave', data, timeout=30).close()

    def told(self, **told: Any) -> None:
        """Misbehave in these ways too, or no longer, and keep all jobs."""
        data = json.dumps(told).encode()
        urllib.request.urlopen(f'{self.endpoint}/_told', data, timeout=30).close()

    def take_back(self, name: str) -> None:
        """Behave again in this way."""
        self.told(**{name: 0})

    def finish(self) -> None:
        """Do what was not to be done."""
        urllib.request.urlopen(f'{self.endpoint}/_finish', b'{}', timeout=30).close()

    def state(self) -> dict[str, Any]:
        """Jobs that are there, and what was asked for."""
        with urllib.request.urlopen(f'{self.endpoint}/_state', timeout=30) as answer:
            return dict(json.load(answer))


@contextmanager
def started_stand() -> Iterator[Stand]:
    """In a process of its own, which ends with this block."""
    script = Path(__file__).with_name('omni_server.py')
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield Stand(int(process.stdout.readline()))
        finally:
            process.kill()

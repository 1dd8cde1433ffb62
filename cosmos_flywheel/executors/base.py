# SPDX-License-Identifier: Apache-2.0
"""What all executors are: they start replicas of a task, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Protocol

Tell = Callable[[str, float], None]
"""Told the name of something and how many of its seconds are done."""
Task = Callable[[Any, Tell], Any]
"""Does one job after another, and tells how far it is. It and the jobs go between processes."""


class Replica(Protocol):
    """One process with the task in it. A future whose process dies holds WorkerDiedError."""

    @property
    def ready(self) -> Future[None]:
        """Done when jobs can be given; an error if they never can."""
        ...

    def call(self, job: Any) -> Future[Any]:
        """Begin a job, the one before being done; what the task raises is the future's."""
        ...

    def end(self) -> None:
        """Let it end; harmless when it has."""
        ...


class Executor(Protocol):
    """A context: with it all its replicas end."""

    def __enter__(self) -> Executor: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def start(self, task: Task) -> Replica:
        """Begin one replica."""
        ...

    def told(self) -> Iterable[tuple[str, float]]:
        """What tasks have told since this was asked."""
        ...

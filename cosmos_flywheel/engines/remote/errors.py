# SPDX-License-Identifier: Apache-2.0
"""What may go wrong with a server, a class for each way in which somebody reacts to it."""

from __future__ import annotations

from cosmos_flywheel.core.errors import EngineError, NotNowError, PermanentError


class NoAnswerError(EngineError):
    """No whole answer came: whether the server did what it was asked is not known."""


class UnreachableError(NoAnswerError, NotNowError):
    """The server gave no answer, or was busy, however often it was asked."""


class UnfitServerError(NotNowError, EngineError):
    """The server did not pass a control: nothing is asked of it until it is mended."""


class StoppedError(EngineError):
    """Whoever asked wants no answer any more."""


class RefusedError(EngineError, PermanentError):
    """The server says that the request is wrong; the same will be refused again."""


class BlockedError(EngineError):
    """The server's guardrails do not let a prompt pass.

    Args:
        message: for people.
        words: the server's own.

    """

    def __init__(self, message: str, words: str) -> None:
        super().__init__(message)
        self.words = words


class FailedJobError(EngineError):
    """The server gave a job up."""


class LostJobError(EngineError):
    """The server knows the job no more: it was started anew."""


class WrongFilmError(EngineError):
    """What came is not what was asked for."""

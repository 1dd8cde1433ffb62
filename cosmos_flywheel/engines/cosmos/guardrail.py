# SPDX-License-Identifier: Apache-2.0
"""The one door to NVIDIA's guardrail, whose weights are gated: it is off unless it is asked for.

It looks at the words before a film is made, and at the film afterwards, whose faces it may blur.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.cosmos.film import NoRoomError


class BlockedFilmError(EngineError):
    """The guardrail does not let words or a film pass; asking again does not help."""


class FilmGuardrail:
    """Loaded when it is made.

    Args:
        device: where it looks: `cuda` or `cpu`.

    Raises:
        NoRoomError: the card has no room for it beside the model.
        EngineError: the package or its weights are not on this machine.

    """

    def __init__(self, device: str) -> None:
        try:
            from cosmos_guardrail import CosmosSafetyChecker
        except ImportError as error:
            raise EngineError(
                'guardrail=on needs a package: `pip install cosmos_guardrail`, or leave '
                'guardrail=off'
            ) from error
        try:
            with _room():
                self._checker: Any = CosmosSafetyChecker()
                self._checker.to(device)
        except NoRoomError:
            raise
        except Exception as error:  # whatever its loaders raise without access or network
            raise EngineError(
                f'the weights of the guardrail cannot be loaded ({type(error).__name__}: '
                f'{str(error)[:200]}); accept the licence of nvidia/Cosmos-1.0-Guardrail on the '
                'hub and fetch it once, or leave guardrail=off'
            ) from error

    def check_words(self, words: str) -> None:
        """Raise BlockedFilmError unless a text passes."""
        with _room():
            passes = self._checker.check_text_safety(words)
        if not passes:
            raise BlockedFilmError(
                'the guardrail stopped the prompt; word the brief otherwise, or leave '
                'guardrail=off'
            )

    def check_film(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
        """(T, H, W, 3) as it may be shown, and how many frames were altered.

        Raises:
            BlockedFilmError: it may not be shown at all.

        """
        with _room():
            found = self._checker.check_video_safety(frames)
        if found is None:
            raise BlockedFilmError(
                'the guardrail stopped the film; look at the brief, or leave guardrail=off'
            )
        shown = np.asarray(found, np.uint8)
        return shown, int((shown != frames).any((1, 2, 3)).sum())


@contextmanager
def _room() -> Iterator[None]:
    from cosmos_flywheel.engines.cosmos.memory import is_out_of_memory

    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise NoRoomError(
            'the GPU has not enough memory for the guardrail beside the model; leave '
            'guardrail=off, or end what else uses the card'
        ) from error

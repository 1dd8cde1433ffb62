# SPDX-License-Identifier: Apache-2.0
"""The one door to NVIDIA's guardrail, whose weights are gated: it is off unless it is asked for.

It looks at the words before a film is made, and at the film afterwards, whose faces it may blur.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.errors import EngineError


class BlockedFilmError(EngineError):
    """The guardrail does not let words or a film pass; asking again does not help."""


class FilmGuardrail:
    """Loaded when it is made.

    Args:
        device: where it looks: `cuda` or `cpu`.

    Raises:
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
            self._checker: Any = CosmosSafetyChecker()
            self._checker.to(device)
        except Exception as error:  # whatever its loaders raise without access or network
            raise EngineError(
                f'the weights of the guardrail cannot be loaded ({type(error).__name__}: '
                f'{str(error)[:200]}); accept the licence of nvidia/Cosmos-1.0-Guardrail on the '
                'hub and fetch it once, or leave guardrail=off'
            ) from error

    def check_words(self, words: str) -> None:
        """Raise BlockedFilmError unless a text passes."""
        if not self._checker.check_text_safety(words):
            raise BlockedFilmError(
                'the guardrail stopped the prompt; word the brief otherwise, or leave '
                'guardrail=off'
            )

    def check_film(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
        """(T, H, W, 3) as it may be shown, and how many frames were altered.

        Raises:
            BlockedFilmError: it may not be shown at all.

        """
        found = self._checker.check_video_safety(frames)
        if found is None:
            raise BlockedFilmError(
                'the guardrail stopped the film; look at the brief, or leave guardrail=off'
            )
        shown = np.asarray(found, np.uint8)
        return shown, int((shown != frames).any((1, 2, 3)).sum())

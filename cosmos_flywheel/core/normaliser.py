# SPDX-License-Identifier: Apache-2.0
"""Physical action vectors into the ±1 range of a model, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

SMALLEST_SPAN = 1e-8
"""Floor of q99 − q01 for a constant channel (cosmos-framework, `action_processing.py`)."""


@dataclass(frozen=True, slots=True)
class QuantileNormaliser:
    """y = 2 (x − q01) / (q99 − q01) − 1 for each channel; cosmos3 calls it `quantile_rot`.

    The forward clamp to ±1 matches the base checkpoints; the inverse is never clamped.
    NaN stays NaN.
    """

    q01: tuple[float, ...]
    q99: tuple[float, ...]
    clamp: bool = True

    def forward(self, values: ArrayLike) -> NDArray[np.float64]:
        """Turn physical values (…, A) into model values."""
        low, span = self._low_and_span()
        scaled: NDArray[np.float64] = 2 * (np.asarray(values, np.float64) - low) / span - 1
        return np.clip(scaled, -1, 1) if self.clamp else scaled

    def inverse(self, values: ArrayLike) -> NDArray[np.float64]:
        """Turn model values (…, A) into physical values."""
        low, span = self._low_and_span()
        physical: NDArray[np.float64] = 0.5 * (np.asarray(values, np.float64) + 1) * span + low
        return physical

    def _low_and_span(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        low = np.asarray(self.q01, np.float64)
        return low, np.maximum(np.asarray(self.q99, np.float64) - low, SMALLEST_SPAN)

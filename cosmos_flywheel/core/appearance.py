# SPDX-License-Identifier: Apache-2.0
"""A picture → how bright it is: no surprise by itself, but a sign that normal has changed.

Scores forgive light on purpose. A calibration that was made in another light may still hold, but
what it promises was never shown in this one; so brightness is among what a stale test watches.
"""

from __future__ import annotations

import math

from cosmos_flywheel.core.types import Picture

APPEARANCE = 'appearance'
"""Its name beside those of channels."""


def brightness(picture: Picture | None) -> float:
    """Mean of all samples, 0 … 1; NaN without a picture."""
    if picture is None or not picture.size:
        return math.nan
    # Every fourth px in each direction tells as much.
    return float(picture[::4, ::4].mean()) / 255

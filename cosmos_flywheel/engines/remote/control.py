# SPDX-License-Identifier: Apache-2.0
"""Pictures that must be alike → whether a server answers what it is asked.

A server that is wired wrongly (another model behind the name, somebody else's film, actions or
picture lost on the way) answers with a film as good as any. Two things are known of a right one:
a film begins with the picture that it was given, and a robot that does not move is seen not to.
"""

from __future__ import annotations

import numpy as np

from cosmos_flywheel.core.types import Picture

NONSENSE = 0.5
"""A picture that leaves more than this share of the given one unexplained is of something else;
measured in bench/results/remote.txt."""
FLAT_LEVELS = 8.0
"""Grey levels; a picture that is nearly of one colour is compared as if it varied by so much."""


def unexplained(given: Picture, came: Picture) -> float:
    """Share of a picture that another one does not explain, 0 for equal ones.

    The mean absolute difference, over that to a picture of the given one's mean colour: about 1
    for whatever has nothing to do with it.
    """
    here, there = given.astype(np.float32), came.astype(np.float32)
    varies = float(np.abs(here - here.mean((0, 1))).mean())
    return float(np.abs(here - there).mean()) / max(varies, FLAT_LEVELS)


LEAST_PSNR_DB = 18.0
"""Of a film's first picture to the given one. Coding and the model's autoencoder leave more, a
picture of something else less; measured in bench/results/remote_generation.txt."""
MOST_PSNR_DB = 99.0


def psnr_db(given: Picture, came: Picture) -> float:
    """Peak signal-to-noise ratio of 8-bit pictures of one size, in dB; 99 for equal ones."""
    error = float(np.square(given.astype(np.float32) - came.astype(np.float32)).mean())
    return min(MOST_PSNR_DB, 10 * float(np.log10(255**2 / error))) if error else MOST_PSNR_DB

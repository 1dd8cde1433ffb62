# SPDX-License-Identifier: Apache-2.0
"""Makes recordings of a hand that goes to a place, closes, comes back and opens."""

from __future__ import annotations

import numpy as np

from cosmos_flywheel.core.prior import Recording
from cosmos_flywheel.core.timeline import NS

HZ = 10.0
PERIOD_NS = round(NS / HZ)
NAMES = 'reach', 'hand'
TIMES_S = (0.0, 1.0, 3.0, 4.0, 6.0, 7.0, 8.0)
REACH = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0)
HAND = (1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0)


def recording(seed: int, reach=REACH, hand=HAND) -> Recording:
    """8 s at 10 Hz: the commands go through the given knots, the states follow a tick later."""
    chance = np.random.default_rng(seed)
    at_s = np.arange(80) / HZ
    far = 1 + 0.1 * chance.standard_normal()
    actions = np.stack(
        [far * np.interp(at_s, TIMES_S, reach), np.interp(at_s, TIMES_S, hand)], axis=1
    )
    states = np.concatenate([actions[:1], actions[:-1]])
    states = states + 1e-3 * chance.standard_normal(states.shape)
    stamps_ns = np.arange(80, dtype=np.int64) * PERIOD_NS
    return Recording(stamps_ns, states.astype(np.float32), actions.astype(np.float32))


def nominal(count: int = 6) -> list[Recording]:
    return [recording(seed) for seed in range(count)]

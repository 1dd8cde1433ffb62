# SPDX-License-Identifier: Apache-2.0
"""What a predictor publishes is what a monitor reads."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='messages need ROS 2')

from cosmos_flywheel.core.errors import PictureError
from cosmos_flywheel.core.types import Prediction
from cosmos_flywheel.nodes.convert import from_prediction, to_prediction


def sent(prediction: Prediction):
    return to_prediction(
        prediction, engine_sha256='e', is_lookahead=False, stride=8, state_names=(), seconds=0.3
    )


def test_latents_arrive_as_they_were():
    latents = np.random.default_rng(0).normal(size=(48, 3, 2, 4)).astype(np.float32)
    stamps = np.array([7, 8], np.int64)
    found = from_prediction(sent(Prediction(5, 'cosmos-256', stamps, latents=latents)))
    assert np.array_equal(found.latents, latents)
    assert found.frames is None
    assert (found.input_stamp_ns, found.stamps_ns.tolist()) == (5, [7, 8])


def test_latents_of_another_type_or_shape_are_refused():
    latents = np.zeros((48, 1, 2, 2), np.float32)
    message = sent(Prediction(5, 'cosmos-256', np.array([7]), latents=latents))
    message.latents_dtype = 'float16'
    with pytest.raises(PictureError, match='float16'):
        from_prediction(message)
    message.latents_dtype = 'float32'
    message.latents_shape = [48, 2, 2, 2]
    with pytest.raises(PictureError, match='spoilt'):
        from_prediction(message)

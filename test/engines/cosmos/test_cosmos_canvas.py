# SPDX-License-Identifier: Apache-2.0
"""Where a picture lies on the canvas of a tier."""

from __future__ import annotations

import pytest

torch = pytest.importorskip('torch', reason='engine cosmos needs torch')

from cosmos_flywheel.core.errors import EngineError  # noqa: E402
from cosmos_flywheel.engines.cosmos.canvas import Canvas, concatenated  # noqa: E402


def test_droids_concat_view_takes_the_cells_that_the_reference_names():
    top, side = torch.zeros(3, 360, 640), torch.ones(3, 180, 320)
    picture = concatenated(top, [side, side])
    canvas = Canvas.choose(tuple(picture.shape[-2:]), 480)
    assert (canvas.size, canvas.content) == ((544, 736), (540, 640))
    assert (canvas.latent, canvas.shown) == ((33, 40), (528, 640))


def test_a_large_picture_is_shrunk_and_a_small_one_padded():
    large, small = Canvas.choose((720, 1280), 256), Canvas.choose((97, 211), 256)
    assert (large.content, small.content) == ((180, 320), (97, 211))
    pictures = torch.rand(1, 3, 2, 97, 211)
    laid = small.lay(pictures)
    assert laid.shape == (1, 3, 2, *small.size)
    assert torch.equal(laid[..., :97, :211], pictures)


def test_wrong_tiers_and_views_are_refused():
    with pytest.raises(EngineError, match='256, 480'):
        Canvas.choose((480, 640), 512)
    with pytest.raises(EngineError, match='0x0'):
        Canvas.choose((0, 0), 256)
    with pytest.raises(EngineError, match='not 1 below'):
        concatenated(torch.zeros(3, 4, 4), [torch.zeros(3, 2, 2)])

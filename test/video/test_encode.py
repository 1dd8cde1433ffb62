# SPDX-License-Identifier: Apache-2.0
"""Films hold the pictures and times that were put in, and equal pictures give equal bytes."""

from __future__ import annotations

import numpy as np
import pytest

from cosmos_flywheel.core.errors import PictureError
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.video.decode import decode_video
from cosmos_flywheel.video.encode import encode_webm


def sweep(count: int, height: int = 48, width: int = 64) -> list[Picture]:
    """A bright bar that moves to the right over a grey ground."""
    frames = [np.full((height, width, 3), 90, np.uint8) for _ in range(count)]
    for i, frame in enumerate(frames):
        frame[:, 2 * i : 2 * i + 8] = (220, 200, 40)
    return frames


@pytest.mark.parametrize(('height', 'width'), [(48, 64), (47, 63), (2, 2), (1, 1)])
def test_pictures_come_back_in_their_size_and_nearly_their_colours(
    height: int, width: int
) -> None:
    frames = sweep(6, height, width)
    times_s, decoded = decode_video(encode_webm(frames, 10))
    assert times_s == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert [p.shape for p in decoded] == [(height, width, 3)] * 6
    errors = [np.abs(d.astype(int) - f).mean() for d, f in zip(decoded, frames, strict=True)]
    assert max(errors) < 12


def test_given_times_are_kept_to_the_millisecond() -> None:
    times_s, _ = decode_video(encode_webm(sweep(4), 15, times_s=[5.0, 5.1, 7.0, 7.033]))
    assert times_s == pytest.approx([0, 0.1, 2.0, 2.033], abs=1e-6)


def test_equal_pictures_give_equal_bytes() -> None:
    assert encode_webm(sweep(20), 15) == encode_webm(sweep(20), 15)


def test_one_picture_is_a_film_that_lasts() -> None:
    times_s, decoded = decode_video(encode_webm(sweep(1), 15))
    assert (times_s, len(decoded)) == ([0.0], 1)


@pytest.mark.parametrize(
    ('frames', 'options', 'message'),
    [
        ([], {}, 'none was given'),
        ([*sweep(1), *sweep(1, 24)], {}, 'resize them'),
        ([np.zeros((4, 4), np.uint8)], {}, r'uint8 \(H, W, 3\)'),
        ([np.zeros((4, 4, 3), np.float32)], {}, 'float32'),
        ([np.zeros((0, 4, 3), np.uint8)], {}, 'Picture 0'),
        (sweep(2), {'times_s': [0.0]}, 'one time each'),
        (sweep(2), {'times_s': [1.0, 1.0]}, 'increase'),
        (sweep(2), {'times_s': [1.0, 0.5]}, 'increase'),
        (sweep(2), {'fps': 0.0}, 'fps > 0'),
        (sweep(2), {'fps': float('nan')}, 'fps > 0'),
    ],
)
def test_what_is_no_film_is_refused(frames: list, options: dict, message: str) -> None:
    with pytest.raises(PictureError, match=message):
        encode_webm(frames, **{'fps': 15.0, **options})


@pytest.mark.parametrize('data', [b'', b'no film at all', encode_webm(sweep(9), 15)[:200]])
def test_bytes_that_are_no_film_are_refused(data: bytes) -> None:
    with pytest.raises(PictureError, match='encode it again'):
        decode_video(data)


def test_more_pictures_than_allowed_are_refused() -> None:
    with pytest.raises(PictureError, match='max_frames'):
        decode_video(encode_webm(sweep(5), 15), max_frames=4)

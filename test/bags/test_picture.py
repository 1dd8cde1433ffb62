# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import array
import random
import struct
import zlib
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from bag_maker import compressed, image

from cosmos_flywheel.bags.picture import decode_picture, peek_size
from cosmos_flywheel.core.errors import PictureError


def scene(height: int = 48, width: int = 64) -> Any:
    """Smooth, coloured, and different in every corner and channel."""
    rows, columns = np.mgrid[0:height, 0:width]
    red = rows * 200 / height + 30
    green = columns * 200 / width + 20
    blue = 240 - red
    return np.stack([red, green, blue], axis=2).astype(np.uint8)


def grey(picture: Any) -> Any:
    return np.repeat(picture[:, :, 1:2], 3, axis=2)


def mosaic(picture: Any, pattern: str) -> Any:
    """What a sensor behind a colour filter sees."""
    raw = np.zeros(picture.shape[:2], picture.dtype)
    for place, letter in enumerate(pattern):
        y, x = divmod(place, 2)
        raw[y::2, x::2] = picture[y::2, x::2, 'rgb'.index(letter)]
    return raw


def wide(samples: Any) -> Any:
    return samples.astype(np.uint16) * 256 + 77


RGB = scene()
BGR = np.ascontiguousarray(RGB[:, :, ::-1])
ALPHA = np.full((48, 64, 1), 7, np.uint8)


@pytest.mark.parametrize(
    ('encoding', 'pixels', 'expected'),
    [
        ('rgb8', RGB, RGB),
        ('bgr8', BGR, RGB),
        ('rgba8', np.concatenate([RGB, ALPHA], 2), RGB),
        ('bgra8', np.concatenate([BGR, ALPHA], 2), RGB),
        ('rgb16', wide(RGB), RGB),
        ('bgr16', wide(BGR), RGB),
        ('rgba16', wide(np.concatenate([RGB, ALPHA], 2)), RGB),
        ('bgra16', wide(np.concatenate([BGR, ALPHA], 2)), RGB),
        ('mono8', RGB[:, :, 1], grey(RGB)),
        ('mono16', wide(RGB[:, :, 1]), grey(RGB)),
        ('8UC1', RGB[:, :, 1], grey(RGB)),
        ('8UC3', BGR, RGB),
        ('8UC4', np.concatenate([BGR, ALPHA], 2), RGB),
    ],
)
def test_plain_encodings_give_exactly_the_picture(
    encoding: str, pixels: Any, expected: Any
) -> None:
    picture = decode_picture(image(pixels, encoding))
    assert np.array_equal(picture, expected)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
@pytest.mark.parametrize('bits', [8, 16])
def test_mosaics_give_the_picture_back(pattern: str, bits: int) -> None:
    raw = mosaic(RGB, pattern)
    samples = raw if bits == 8 else wide(raw)
    picture = decode_picture(image(samples, f'bayer_{pattern}{bits}'))
    error = np.abs(picture.astype(int) - RGB)[2:-2, 2:-2]
    assert error.max() <= 6


@pytest.mark.parametrize(
    ('encoding', 'code'),
    [
        ('yuv422', cv2.COLOR_RGB2YUV_UYVY),
        ('uyvy', cv2.COLOR_RGB2YUV_UYVY),
        ('yuv422_yuy2', cv2.COLOR_RGB2YUV_YUY2),
        ('yuyv', cv2.COLOR_RGB2YUV_YUY2),
    ],
)
def test_yuv422_gives_the_picture_back(encoding: str, code: int) -> None:
    picture = decode_picture(image(cv2.cvtColor(RGB, code), encoding))
    assert np.abs(picture.astype(int) - RGB).max() <= 6


@pytest.mark.parametrize('encoding', ['nv12', 'nv21'])
def test_planar_yuv_gives_the_picture_back(encoding: str) -> None:
    planes = cv2.cvtColor(RGB, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    luma, chroma = planes[: 48 * 64], planes[48 * 64 :].reshape(2, -1)
    pairs = chroma if encoding == 'nv12' else chroma[::-1]
    data = np.concatenate([luma, pairs.T.reshape(-1)])
    message = image(RGB[:, :, 0], encoding, data=data)
    assert np.abs(decode_picture(message).astype(int) - RGB).max() <= 12


def test_row_padding_is_left_out() -> None:
    padded = np.concatenate([RGB.reshape(48, -1), np.full((48, 13), 255, np.uint8)], axis=1)
    message = image(RGB, 'rgb8', step=64 * 3 + 13, data=padded.reshape(-1))
    assert np.array_equal(decode_picture(message), RGB)


def test_big_endian_samples_are_turned() -> None:
    turned = wide(RGB[:, :, 1]).astype('>u2')
    assert np.array_equal(decode_picture(image(turned, 'mono16', is_bigendian=1)), grey(RGB))


@pytest.mark.parametrize('unit', ['16UC1', '32FC1'])
def test_depth_becomes_grey_by_one_rule_for_all_frames(unit: str) -> None:
    metres = np.array([[0.1, 0.25, 0.5, 1.0, 10.0, 0.0]], np.float32)
    pixels = metres if unit == '32FC1' else (metres * 1000).astype(np.uint16)
    picture = decode_picture(image(pixels, unit))
    assert picture[0, :, 0].tolist() == [255, 255, 128, 64, 6, 0]
    assert np.array_equal(picture[:, :, 0], picture[:, :, 2])


def test_unknown_depth_is_black() -> None:
    odd = np.array([[np.nan, np.inf, -np.inf, -1.0, 1.0]], np.float32)
    assert decode_picture(image(odd, '32FC1'))[0, :, 0].tolist() == [0, 0, 0, 0, 64]


@pytest.mark.parametrize('make', [bytes, list, lambda data: array.array('B', data)])
def test_every_kind_of_byte_field_is_taken(make: Any) -> None:
    message = image(RGB, 'rgb8', data=make(RGB.tobytes()))
    assert np.array_equal(decode_picture(message), RGB)


@pytest.mark.parametrize(
    ('fields', 'complaint'),
    [
        ({'height': 0}, 'no pixels'),
        ({'width': 0}, 'no pixels'),
        ({'height': 49}, 'header says 64x49'),
        ({'width': 65}, 'header says 65x48'),
        ({'step': 0}, 'rows of 0 bytes'),
        ({'step': 191}, 'rows of 191 bytes'),
        ({'data': np.zeros(10, np.uint8)}, 'there are 10 bytes'),
        ({'height': 2**31, 'width': 2**31}, 'more than'),
        ({'encoding': 'jpeg2000'}, "'jpeg2000' is unknown"),
        ({'encoding': ''}, "'' is unknown"),
    ],
)
def test_a_header_that_lies_about_the_picture_is_refused(
    fields: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(PictureError, match=complaint):
        decode_picture(image(RGB, **{'encoding': 'rgb8', **fields}))


@pytest.mark.parametrize('encoding', ['yuv422', 'nv12'])
def test_odd_sizes_of_shared_colour_are_refused(encoding: str) -> None:
    with pytest.raises(PictureError, match='not even'):
        decode_picture(image(np.zeros((4, 5), np.uint8), encoding))


def test_a_mosaic_too_small_to_interpolate_is_refused() -> None:
    with pytest.raises(PictureError, match='too small'):
        decode_picture(image(np.zeros((2, 2), np.uint8), 'bayer_rggb8'))


def test_a_message_that_is_no_picture_is_refused() -> None:
    with pytest.raises(PictureError, match='no picture'):
        decode_picture(SimpleNamespace(data=b'x'))


# Compressed.

JPEG = simplejpeg.encode_jpeg(scene(240, 320), 95, colorsubsampling='444')
PNG = cv2.imencode('.png', BGR)[1].tobytes()


@pytest.mark.parametrize('text', ['jpeg', '', 'rgb8; jpeg compressed bgr8', 'png'])
def test_a_jpeg_is_known_by_its_bytes(text: str) -> None:
    picture = decode_picture(compressed(JPEG, text))
    assert np.abs(picture.astype(int) - scene(240, 320)).max() <= 6


def test_a_jpeg_whose_channels_image_transport_swapped_is_swapped_back() -> None:
    picture = decode_picture(compressed(JPEG, 'rgb8; jpeg compressed rgb8'))
    assert np.abs(picture.astype(int) - scene(240, 320)[:, :, ::-1]).max() <= 6


def test_a_grey_jpeg_is_grey() -> None:
    data = cv2.imencode('.jpg', RGB[:, :, 1], [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    picture = decode_picture(compressed(data))
    assert np.abs(picture.astype(int) - grey(RGB)).max() <= 4


@pytest.mark.parametrize('size', [(120, 160), (100, 100), (240, 320), (192, 320), (480, 640)])
def test_shrink_to_gives_exactly_that_size_and_the_same_scene(size: tuple[int, int]) -> None:
    picture = decode_picture(compressed(JPEG), shrink_to=size)
    assert picture.shape == (*size, 3)
    whole = cv2.resize(decode_picture(compressed(JPEG)), size[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(picture.astype(int) - whole).mean() < 2


def test_shrink_to_holds_for_raw_and_swapped_pictures_too() -> None:
    for message in (
        image(RGB, 'rgb8'),
        image(BGR, 'bgr8'),
        compressed(PNG),
        compressed(JPEG, 'rgb8; jpeg compressed rgb8'),
    ):
        assert decode_picture(message, shrink_to=(24, 30)).shape == (24, 30, 3)


@pytest.mark.parametrize(
    ('samples', 'expected'),
    [
        (BGR, RGB),
        (np.concatenate([BGR, ALPHA], 2), RGB),
        (RGB[:, :, 1], grey(RGB)),
        (wide(RGB[:, :, 1]), grey(RGB)),
        (wide(BGR), RGB),
    ],
    ids=['colour', 'alpha', 'grey', 'grey 16', 'colour 16'],
)
def test_every_png_gives_exactly_the_picture(samples: Any, expected: Any) -> None:
    data = cv2.imencode('.png', samples)[1].tobytes()
    assert np.array_equal(decode_picture(compressed(data, 'png')), expected)


def test_depth_as_png_and_as_compressed_depth_follows_the_depth_rule() -> None:
    metres = np.array([[0.25, 0.5, 1.0, 0.0]], np.float32)
    millimetres = cv2.imencode('.png', (metres * 1000).astype(np.uint16))[1].tobytes()
    expected = [255, 128, 64, 0]
    plain = decode_picture(compressed(millimetres, '16UC1; png compressed '))
    head = struct.pack('<iff', 0, 0.0, 0.0)
    packed = decode_picture(compressed(head + millimetres, '16UC1; compressedDepth png'))
    assert plain[0, :, 0].tolist() == packed[0, :, 0].tolist() == expected


def test_float_compressed_depth_is_unquantised() -> None:
    scale, offset = 100.0, -40.0
    metres = np.array([[0.5, 1.0, 2.0]], np.float32)
    stored = np.append(scale / metres + offset, 0).astype(np.uint16)[None]
    data = struct.pack('<iff', 0, scale, offset) + cv2.imencode('.png', stored)[1].tobytes()
    picture = decode_picture(compressed(data, '32FC1; compressedDepth png'))
    assert picture[0, :, 0].tolist() == [128, 64, 32, 0]


@pytest.mark.parametrize('keep', [0.99, 0.5, 0.1])
@pytest.mark.parametrize('data', [JPEG, PNG], ids=['jpeg', 'png'])
def test_a_cut_picture_is_refused(
    data: bytes, keep: float, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PictureError, match=r'corrupt|cut'):
        decode_picture(compressed(data[: int(len(data) * keep)]))
    assert capfd.readouterr() == ('', '')


def test_bytes_overwritten_in_the_middle_are_refused() -> None:
    for data in (JPEG, PNG):
        middle = len(data) // 2
        spoilt = data[:middle] + bytes(200) + data[middle + 200 :]
        with pytest.raises(PictureError, match='corrupt'):
            decode_picture(compressed(spoilt))


def test_flipped_bits_never_crash_and_never_change_the_size(
    capfd: pytest.CaptureFixture[str],
) -> None:
    dice = random.Random(1)
    refused = 0
    for data in [JPEG] * 150 + [PNG] * 100:
        spoilt = bytearray(data)
        spoilt[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        try:
            picture = decode_picture(compressed(bytes(spoilt)), max_pixels=10**6)
        except PictureError:
            refused += 1
        else:
            assert data is JPEG
            assert picture.size <= 3 * 10**6
    assert refused >= 100
    assert capfd.readouterr() == ('', '')


def jpeg_claiming(height: int, width: int) -> bytes:
    data = bytearray(JPEG)
    at = data.index(b'\xff\xc0')
    struct.pack_into('>HH', data, at + 5, height, width)
    return bytes(data)


def png_claiming(height: int, width: int) -> bytes:
    data = bytearray(PNG)
    struct.pack_into('>II', data, 16, width, height)
    struct.pack_into('>I', data, 29, zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.parametrize('claiming', [jpeg_claiming, png_claiming])
def test_a_header_that_claims_too_much_is_refused_before_decoding(claiming: Any) -> None:
    with pytest.raises(PictureError, match=r'60000x60000.*more than'):
        decode_picture(compressed(claiming(60000, 60000)))


@pytest.mark.parametrize('claiming', [jpeg_claiming, png_claiming])
def test_a_header_that_claims_more_rows_than_there_are_is_refused(claiming: Any) -> None:
    with pytest.raises(PictureError, match='corrupt'):
        decode_picture(compressed(claiming(2000, 320)))


@pytest.mark.parametrize('claiming', [jpeg_claiming, png_claiming])
def test_a_compressed_picture_without_pixels_is_refused(claiming: Any) -> None:
    with pytest.raises(PictureError, match=r'no pixels|corrupt'):
        decode_picture(compressed(claiming(0, 320)))


def test_a_progressive_bomb_of_scans_is_refused() -> None:
    scans = JPEG[:-2] + b'\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00' * 5000 + JPEG[-2:]
    with pytest.raises(PictureError, match='scans'):
        decode_picture(compressed(scans))


@pytest.mark.parametrize('data', [b'', b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'RIFF    WEBP'])
def test_bytes_that_are_no_picture_are_refused(data: bytes) -> None:
    with pytest.raises(PictureError):
        decode_picture(compressed(data))


def test_sizes_are_peeked_without_decoding() -> None:
    assert peek_size(compressed(JPEG)) == (240, 320)
    assert peek_size(compressed(PNG)) == (48, 64)
    assert peek_size(compressed(JPEG[:2000])) == (240, 320)
    assert peek_size(image(RGB, 'rgb8')) == (48, 64)
    with pytest.raises(PictureError):
        peek_size(compressed(b'nothing'))

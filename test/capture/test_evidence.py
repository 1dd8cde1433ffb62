# SPDX-License-Identifier: Apache-2.0
"""Evidence pictures show what they were given, and are the same bytes each time."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import cv2
import numpy as np
import pytest
from harvest_example import make_column, make_episode, make_picture, make_trace

from cosmos_flywheel.capture.report.evidence import (
    draw_scores_svg,
    draw_strip,
    make_thumbnail,
    pack_frame,
    paint_residual,
    residual_top,
    shrink,
    strip_cells,
    unpack_frame,
)
from cosmos_flywheel.capture.report.result import ClipFrame, StripColumn
from cosmos_flywheel.core.errors import PictureError
from cosmos_flywheel.core.types import Picture


def opened(data: bytes) -> Picture:
    """An encoded picture as RGB."""
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), 1)[:, :, ::-1])


def test_evidence_is_the_same_bytes_each_time() -> None:
    view, trace = make_episode(), make_trace()
    assert draw_strip(view.strip, 5.0) == draw_strip(make_episode().strip, 5.0)
    assert make_thumbnail(make_picture(3)) == make_thumbnail(make_picture(3))
    assert draw_scores_svg(trace, 3, 9, 5) == draw_scores_svg(make_trace(), 3, 9, 5)


def test_strip_holds_three_rows_of_all_instants() -> None:
    sheet = opened(draw_strip(make_episode().strip, 5.0))
    height, width = 60, 80
    assert sheet.shape[0] > 3 * height
    assert sheet.shape[1] > 5 * width
    actual = make_picture(75)
    found = cv2.matchTemplate(sheet, actual, cv2.TM_SQDIFF).min()
    assert found == 0, 'the picture at the onset is not in the strip'


def test_a_colour_survives_the_thumbnail() -> None:
    red = np.zeros((480, 640, 3), np.uint8)
    red[:, :, 0] = 200
    small = opened(make_thumbnail(red))
    assert small.shape == (240, 320, 3)
    assert np.abs(small.reshape(-1, 3).mean(axis=0) - (200, 0, 0)).max() < 4


def test_pictures_are_never_enlarged_and_keep_their_shape() -> None:
    assert shrink(make_picture(0, 30, 40), 320).shape == (30, 40, 3)
    assert shrink(make_picture(0, 2, 4000), 320).shape == (1, 320, 3)


def test_frames_come_back_from_their_packing() -> None:
    frame = pack_frame(1.5, make_picture(4), alarm=True)
    assert (frame.time_s, frame.alarm) == (1.5, True)
    assert np.abs(unpack_frame(frame).astype(int) - make_picture(4)).mean() < 4


def test_a_frame_that_is_no_jpeg_is_refused() -> None:
    with pytest.raises(PictureError, match=r'2\.000 s is no JPEG'):
        unpack_frame(ClipFrame(2.0, b'nothing'))


def test_residual_is_black_where_nothing_parts_and_tolerates_what_is_no_number() -> None:
    residual = np.array([[0, 1], [np.nan, np.inf]], np.float32)
    painted = paint_residual(residual, 1.0)
    assert painted[0, 0].max() < 10
    assert painted[1, 0].max() < 10
    assert painted[0, 1].max() > 200
    assert (painted[1, 1] == painted[0, 1]).all()
    assert paint_residual(np.zeros((2, 2), np.float32), 0.0).max() < 10


def test_one_odd_pixel_does_not_set_the_scale() -> None:
    residual = np.full((100, 100), 0.1, np.float32)
    residual[0, 0] = 50
    assert residual_top([StripColumn(0, make_picture(0), None, residual)]) == pytest.approx(0.1)


def test_pictures_of_other_sizes_and_missing_ones_fit_into_the_strip() -> None:
    odd = StripColumn(5.4, make_picture(1, 33, 47), make_picture(1, 20, 20), None)
    cells = strip_cells([make_column(5.0), odd, StripColumn(5.8, make_picture(2))])
    assert {p.shape for row in cells for p in row if p is not None} == {(60, 80, 3)}
    assert [[p is None for p in row] for row in cells[1:]] == [
        [False, False, True],
        [False, True, True],
    ]


@pytest.mark.parametrize('columns', [[], [StripColumn(0.0, np.zeros((0, 0, 3), np.uint8))]])
def test_a_strip_without_pixels_is_refused(columns: list[StripColumn]) -> None:
    with pytest.raises(PictureError, match='strip'):
        draw_strip(columns, 0.0)


def test_an_empty_picture_has_no_thumbnail() -> None:
    with pytest.raises(PictureError, match='without pixels'):
        make_thumbnail(np.zeros((0, 0, 3), np.uint8))


def test_score_plot_is_sound_xml_with_a_line_per_channel() -> None:
    svg = ElementTree.fromstring(draw_scores_svg(make_trace(), 3, 9, 5))
    lines = svg.findall('.//*[@class="score"]')
    texts = [t.text for t in svg.iter('{http://www.w3.org/2000/svg}text')]
    assert len(lines) == 5
    assert {'tracking error', '6.0×', 'onset'} <= set(texts)


def test_hostile_names_stay_text_in_the_score_plot() -> None:
    name = '<script>alert(1)</script>\x00\ud800&"'
    trace = replace(make_trace(name), channels=(replace(make_trace().channels[0], name=name),))
    svg = ElementTree.fromstring(draw_scores_svg(trace, 0, 10).encode('utf-8'))
    assert not list(svg.iter('{http://www.w3.org/2000/svg}script'))
    assert '<script>alert(1)</script>\ufffd\ufffd&"' in ''.join(svg.itertext())

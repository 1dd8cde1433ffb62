# SPDX-License-Identifier: Apache-2.0
"""Turns an episode's pictures and scores into evidence files: thumbnail, strip, score plot.

Equal input gives equal bytes: these files are hashed into the episode's manifest.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.capture.report.lanes import lay_lanes, time_ticks, x_of
from cosmos_flywheel.capture.report.result import BagTrace, ClipFrame, StripColumn
from cosmos_flywheel.capture.report.templating import clock_words, offset_words, render
from cosmos_flywheel.core.errors import PictureError
from cosmos_flywheel.core.types import Picture

THUMBNAIL_PX = 320
CELL_PX = 240
"""Width of one picture of a strip."""
STRIP_ROWS = ('actual', 'predicted', 'residual')

_GUTTER_PX = 6
_LABEL_PX = 84
_HEAD_PX = 28
_PAPER, _INK, _FAINT, _ALARM = (255, 255, 255), (40, 44, 52), (228, 230, 233), (190, 52, 30)


def make_thumbnail(picture: Picture, width_px: int = THUMBNAIL_PX) -> bytes:
    """A small JPEG of one picture, at most `width_px` wide."""
    return encode_jpeg(shrink(picture, width_px))


def pack_frame(
    time_s: float, picture: Picture, alarm: bool = False, width_px: int = THUMBNAIL_PX
) -> ClipFrame:
    """One picture of an episode's video, reduced and compressed."""
    return ClipFrame(time_s, encode_jpeg(shrink(picture, width_px), quality=90), alarm)


def unpack_frame(frame: ClipFrame) -> Picture:
    """The picture of one video frame; raises `PictureError` where it is no JPEG."""
    decoded = cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:
        raise PictureError(f'Video frame at {frame.time_s:.3f} s is no JPEG: use pack_frame.')
    return np.asarray(decoded[:, :, ::-1], np.uint8)


def shrink(picture: Picture, width_px: int) -> Picture:
    """The picture at most `width_px` wide, its shape kept; never enlarged."""
    height, width = picture.shape[:2]
    if width <= width_px:
        return picture
    return fit(picture, width_px, max(1, round(height * width_px / width)))


def fit(picture: Picture, width_px: int, height_px: int) -> Picture:
    """The picture at exactly this size."""
    if picture.shape[:2] == (height_px, width_px):
        return picture
    smaller = picture.shape[1] >= width_px
    way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width_px, height_px), interpolation=way), np.uint8)


def encode_jpeg(picture: Picture, quality: int = 82) -> bytes:
    """JPEG bytes of an RGB picture."""
    return _encode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, quality])


def residual_top(columns: Sequence[StripColumn]) -> float:
    """The residual shown brightest in a strip: its 99.9th percentile over all columns."""
    known = [np.nan_to_num(np.abs(c.residual)).ravel() for c in columns if c.residual is not None]
    return float(np.percentile(np.concatenate(known), 99.9)) if known else 0.0


def paint_residual(residual: NDArray[np.float32], top: float) -> Picture:
    """A residual as a picture: black where nothing parts, bright from `top` on."""
    share = np.nan_to_num(np.abs(residual), posinf=top) / (top or 1.0)
    grey = np.round(np.clip(share, 0, 1) * 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)[:, :, ::-1], np.uint8)


def strip_cells(
    columns: Sequence[StripColumn], width_px: int = CELL_PX
) -> list[tuple[Picture | None, ...]]:
    """Pictures of one size for each instant: actual, predicted, residual; None where unknown."""
    if not columns:
        return []
    height, width = shrink(columns[0].actual, width_px).shape[:2]
    top = residual_top(columns)
    rows = [
        (c.actual, c.predicted, None if c.residual is None else paint_residual(c.residual, top))
        for c in columns
    ]
    return [tuple(None if p is None else fit(p, width, height) for p in row) for row in rows]


def draw_strip(columns: Sequence[StripColumn], onset_s: float) -> bytes:
    """A PNG of what came, what was expected and where they part, around the onset.

    Raises:
        PictureError: No column, or an empty picture.
    """
    if not columns or any(not c.actual.size for c in columns):
        raise PictureError('A strip needs at least one picture: leave it out without a camera.')
    cells = strip_cells(columns)
    height, width = cells[0][0].shape[:2] if cells[0][0] is not None else (1, 1)
    sheet = _blank_sheet(len(columns), width, height)
    for row, name in enumerate(STRIP_ROWS):
        _write(sheet, name, _GUTTER_PX, _HEAD_PX + row * (height + _GUTTER_PX) + height // 2, _INK)
    for index, (column, cell) in enumerate(zip(columns, cells, strict=True)):
        x = _LABEL_PX + index * (width + _GUTTER_PX)
        after = column.time_s >= onset_s
        words = offset_words(column.time_s - onset_s).replace('−', '-')  # the font is ASCII
        _write(sheet, words, x, 19, _ALARM if after else _INK)
        for row, picture in enumerate(cell):
            y = _HEAD_PX + row * (height + _GUTTER_PX)
            sheet[y : y + height, x : x + width] = _FAINT if picture is None else picture
    return _encode('.png', sheet, [cv2.IMWRITE_PNG_COMPRESSION, 6])


def draw_scores_svg(
    trace: BagTrace, start_s: float, end_s: float, onset_s: float | None = None, bins: int = 300
) -> str:
    """A stand-alone SVG of every channel's score over its threshold between two times."""
    ticks, digits = time_ticks(start_s, end_s)
    return render(
        'scores.svg.j2',
        bag=trace.bag,
        lanes=lay_lanes(trace, start_s, end_s, bins),
        ticks=[(clock_words(t, digits), x_of(t, start_s, end_s)) for t in ticks],
        onset_x=None if onset_s is None else x_of(onset_s, start_s, end_s),
    )


def _blank_sheet(columns: int, width_px: int, height_px: int) -> Picture:
    height = _HEAD_PX + len(STRIP_ROWS) * (height_px + _GUTTER_PX)
    width = _LABEL_PX + columns * (width_px + _GUTTER_PX)
    return np.full((height, width, 3), _PAPER, np.uint8)


def _write(sheet: Picture, text: str, x: int, y: int, colour: tuple[int, int, int]) -> None:
    cv2.putText(sheet, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)


def _encode(kind: str, picture: Picture, options: list[int]) -> bytes:
    if not picture.size:
        raise PictureError('A picture without pixels cannot be written: skip it.')
    written, data = cv2.imencode(kind, np.ascontiguousarray(picture[:, :, ::-1]), options)
    if not written:
        raise PictureError(f'A {picture.shape} picture could not be written as {kind}.')
    return data.tobytes()

# SPDX-License-Identifier: Apache-2.0
"""One judged tick → a picture for people: actual, predicted, residual, and each channel's bar."""

from __future__ import annotations

import math

import cv2
import numpy as np

from cosmos_flywheel.capture.live.comparing import Compared
from cosmos_flywheel.capture.report.evidence import fit, paint_residual
from cosmos_flywheel.core.types import ChannelScore, Picture

CELL_PX = 320
"""Width of each of the three pictures."""
ROW_PX = 18
TOP = 24.0
"""Grey levels, or multiples of being unsure, of a residual that is drawn brightest."""
_PAPER, _INK, _FAINT = (250, 250, 248), (40, 44, 52), (205, 208, 212)
_CALM, _ALARM = (76, 120, 168), (190, 52, 30)
_FULL = 1.5
"""A bar's right end, in multiples of the threshold."""
_NAME_PX, _FONT = 150, cv2.FONT_HERSHEY_SIMPLEX


def draw_overlay(compared: Compared, width_px: int = CELL_PX) -> Picture:
    """RGB (H, 3 · width_px, 3); a picture that is not known is left grey."""
    tick, moment = compared.moment.tick, compared.moment
    known = tick.picture if tick.picture is not None else moment.predicted
    shape = (3, 4) if known is None else known.shape[:2]
    height_px = max(1, round(width_px * shape[0] / shape[1]))
    residual = next((r for r in moment.residuals if r is not None), None)
    painted = None if residual is None else paint_residual(residual, TOP)
    cells = [
        _cell(picture, name, width_px, height_px)
        for name, picture in (
            ('actual', tick.picture),
            ('predicted', moment.predicted),
            ('residual', painted),
        )
    ]
    rows = [_row(channel, 3 * width_px) for channel in compared.score.channels]
    return np.concatenate([np.concatenate(cells, axis=1), *rows])


def _cell(picture: Picture | None, name: str, width_px: int, height_px: int) -> Picture:
    if picture is None:
        cell = np.full((height_px, width_px, 3), 128, np.uint8)
    else:
        cell = fit(picture, width_px, height_px).copy()
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(cell, name, (8, 18), _FONT, 0.5, colour, thickness, cv2.LINE_AA)
    return cell


def _row(channel: ChannelScore, width_px: int) -> Picture:
    """A channel's name, its score as a bar, its threshold as a line, and what surprised."""
    row = np.full((ROW_PX, width_px, 3), _PAPER, np.uint8)
    _write(row, channel.name, 8)
    right = width_px - 2 * _NAME_PX
    share = channel.score / channel.threshold if channel.threshold > 0 else math.nan
    cv2.rectangle(row, (_NAME_PX, 4), (right, ROW_PX - 4), _FAINT, -1)
    if not math.isnan(share):
        length = (right - _NAME_PX) * min(share, _FULL) / _FULL
        colour = _ALARM if channel.alarm else _CALM
        cv2.rectangle(row, (_NAME_PX, 4), (_NAME_PX + round(length), ROW_PX - 4), colour, -1)
        at = _NAME_PX + round((right - _NAME_PX) / _FULL)
        cv2.line(row, (at, 1), (at, ROW_PX - 2), _INK, 1)
    _write(row, _words(channel, share), right + 8)
    return row


def _words(channel: ChannelScore, share: float) -> str:
    if math.isnan(channel.score):
        return 'nothing to say'
    if math.isnan(share):
        return f'{channel.score:.2f}, no threshold'
    return f'{share:.2f}  {channel.detail}' if channel.alarm else f'{share:.2f}'


def _write(row: Picture, words: str, x: int) -> None:
    text = words.encode('ascii', 'replace').decode()
    cv2.putText(row, text, (x, ROW_PX - 5), _FONT, 0.38, _INK, 1, cv2.LINE_AA)

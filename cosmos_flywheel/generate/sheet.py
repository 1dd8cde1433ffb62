# SPDX-License-Identifier: Apache-2.0
"""Candidates side by side → one picture: a row each, its frames from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.store.candidates import VIDEO, Manifest, read_candidate
from cosmos_flywheel.video.decode import decode_video

COLUMNS = 6
FRAME_PX = 150
"""Width of a frame."""
LABEL_PX = 250
GAP_PX = 4
INK, PALE, GROUND, MARK = (30, 34, 40), (105, 112, 122), (255, 255, 255), (214, 69, 65)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_sheet(folders: Sequence[Path]) -> bytes:
    """A PNG of these candidates, in this order; frames after the onset have a red edge.

    Raises:
        StoreError, SchemaError, PictureError: a candidate cannot be read.

    """
    rows = [_row(folder) for folder in folders]
    width = max((row.shape[1] for row in rows), default=LABEL_PX)
    sheet = np.concatenate([_widened(row, width) for row in rows] or [_blank(20, width)])
    return bytes(cv2.imencode('.png', np.ascontiguousarray(sheet[..., ::-1]))[1])


def _row(folder: Path) -> Picture:
    manifest = read_candidate(folder)
    times_s, frames = decode_video((folder / VIDEO).read_bytes())
    picks = np.linspace(0, len(frames) - 1, COLUMNS).round().astype(int)
    height = max(1, round(frames[0].shape[0] * FRAME_PX / frames[0].shape[1]))
    cells: list[Any] = [_label(manifest, height)]
    for pick in picks:
        small = cv2.resize(frames[pick], (FRAME_PX, height), interpolation=cv2.INTER_AREA)
        onset_s = manifest['onset_s']
        if onset_s is not None and times_s[pick] >= onset_s:
            cv2.rectangle(small, (0, 0), (FRAME_PX - 1, height - 1), MARK, 2)
        cells += [_blank(height, GAP_PX), small]
    row = np.concatenate(cells, axis=1)
    return np.concatenate([row, _blank(GAP_PX, row.shape[1])])


def _label(manifest: Manifest, height: int) -> Picture:
    """What the candidate is, in five short lines."""
    cell = _blank(height, LABEL_PX)
    variation, actions = manifest['variation'], manifest['actions']
    lines = [
        (f'{manifest["backend"]} ({manifest["kind"]})', INK),
        (variation['family'].replace('_', ' '), INK),
        (', '.join(f'{a} {v}' for a, v in variation['cell'].items()) or '-', PALE),
        (f'{actions["source"] if actions else "no"} commands, seed {manifest["seed"]}', PALE),
        (manifest['id'], PALE),
    ]
    for number, (text, colour) in enumerate(lines):
        plain = text.encode('ascii', 'replace').decode()[:38]
        cv2.putText(cell, plain, (2, 15 + 17 * number), FONT, 0.4, colour, 1, cv2.LINE_AA)
    return cell


def _blank(height: int, width: int) -> Picture:
    return np.full((height, width, 3), GROUND, np.uint8)


def _widened(row: Picture, width: int) -> Picture:
    return np.concatenate([row, _blank(len(row), width - row.shape[1])], axis=1)

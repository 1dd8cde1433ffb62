# SPDX-License-Identifier: Apache-2.0
"""Candidates side by side → one picture: a row each, its frames from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.store.briefs import read_brief
from cosmos_flywheel.store.candidates import VIDEO, Manifest, read_candidate
from cosmos_flywheel.video.decode import decode_video

COLUMNS = 6
FRAME_PX = 150
"""Width of a frame."""
LABEL_PX, LINE_PX = 250, 18
GAP_PX, APART_PX, EDGE_PX = 4, 18, 12
"""Between rows, between failures, and around all."""
INK, PALE, GROUND, MARK = (30, 34, 40), (105, 112, 122), (255, 255, 255), (214, 69, 65)
FONT, SIZE, MOST = cv2.FONT_HERSHEY_SIMPLEX, 0.4, 38
"""Letters of this size, so many in a line."""


def draw_sheet(folders: Sequence[Path]) -> bytes:
    """A PNG of these candidates, those of a failure together; a red edge from the onset on.

    Raises:
        StoreError, SchemaError, PictureError: a candidate cannot be read.

    """
    rows: list[Any] = []
    before = ''
    for folder in by_failure(folders):
        manifest, brief = read_candidate(folder), read_brief(folder, verify=False)
        if rows:
            gap = GAP_PX if manifest['episode'] == before else APART_PX
            rows.append(_blank(gap, rows[0].shape[1]))
        before = manifest['episode']
        rows.append(_row(folder, manifest, brief.failure.cause, brief.failure.object))
    sheet = np.concatenate(rows) if rows else _blank(LINE_PX, LABEL_PX)
    edges = cv2.copyMakeBorder(sheet, *(EDGE_PX,) * 4, cv2.BORDER_CONSTANT, value=GROUND)
    return bytes(cv2.imencode('.png', np.ascontiguousarray(edges[..., ::-1]))[1])


def by_failure(folders: Sequence[Path]) -> list[Path]:
    """Candidates of one episode next to one another, and within it those of one family."""

    def place(folder: Path) -> tuple[str, str, str]:
        manifest = read_candidate(folder)
        return manifest['episode'], manifest['variation']['family'], manifest['backend']

    return sorted(folders, key=place)


def _row(folder: Path, manifest: Manifest, cause: str, thing: str) -> Picture:
    times_s, frames = decode_video((folder / VIDEO).read_bytes())
    picks = np.linspace(0, len(frames) - 1, COLUMNS).round().astype(int)
    height = max(1, round(frames[0].shape[0] * FRAME_PX / frames[0].shape[1]))
    cells: list[Any] = [_label(manifest, f'{words(cause)}: {thing}' if thing else words(cause))]
    cells[0] = cells[0][:height] if height < len(cells[0]) else _taller(cells[0], height)
    for pick in picks:
        small = cv2.resize(frames[pick], (FRAME_PX, height), interpolation=cv2.INTER_AREA)
        onset_s = manifest['onset_s']
        if onset_s is not None and times_s[pick] >= onset_s:
            cv2.rectangle(small, (0, 0), (FRAME_PX - 1, height - 1), MARK, 2)
        cells += [_blank(height, GAP_PX), small]
    return np.concatenate(cells, axis=1)


def _label(manifest: Manifest, failure: str) -> Picture:
    """What the candidate is, in a few short lines."""
    variation, actions = manifest['variation'], manifest['actions']
    cell = ', '.join(f'{axis} {words(value)}' for axis, value in variation['cell'].items())
    lines = [
        (words(variation['family']), INK),
        (failure, INK),
        *([(cell, PALE)] if cell else []),
        (f'{manifest["backend"]}, {actions["source"] if actions else "no"} commands', PALE),
        (f'seed {manifest["seed"]}, {manifest["id"]}', PALE),
    ]
    label = _blank(LINE_PX * len(lines), LABEL_PX)
    for number, (text, colour) in enumerate(lines):
        plain = text.encode('ascii', 'replace').decode()
        plain = plain if len(plain) <= MOST else f'{plain[: MOST - 3]}...'
        at = (0, 12 + LINE_PX * number)
        cv2.putText(label, plain, at, FONT, SIZE, colour, 1, cv2.LINE_AA)
    return label


def words(name: str) -> str:
    """A name as people write it."""
    return name.replace('_', ' ')


def _taller(label: Picture, height: int) -> Picture:
    return np.concatenate([label, _blank(height - len(label), label.shape[1])])


def _blank(height: int, width: int) -> Picture:
    return np.full((height, width, 3), GROUND, np.uint8)

# SPDX-License-Identifier: Apache-2.0
"""Writes docs/watch.png: the page of `flywheel watch`, as its browser test leaves it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2

ROOT = Path(__file__).resolve().parents[1]
TEST = 'test/nodes/test_watch_in_browser.py'
WIDTH_PX, SHOWN_PX = 860, 1370
"""Width of the picture, and height of the part of the page that it shows."""


def main() -> None:
    """Run the test with a camera, and make its picture small."""
    with tempfile.TemporaryDirectory() as folder:
        taken = Path(folder) / 'watch.png'
        environment = {**os.environ, 'WATCH_PICTURE': str(taken)}
        subprocess.run(
            [sys.executable, '-m', 'pytest', '-q', TEST], cwd=ROOT, env=environment, check=True
        )
        picture = cv2.imread(str(taken))[:SHOWN_PX]
    size = (WIDTH_PX, SHOWN_PX * WIDTH_PX // picture.shape[1])
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(ROOT / 'docs' / 'watch.png'), small, [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == '__main__':
    main()
